"""Mean squares of many functions of the same tensors in one pass over memory."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

# Four terms a sum are unrolled and vectorised by the compiler; eight are not.
_TERMS = 4
# Coordinates whose tensors and partial sums fit a core's cache together.
_BLOCK = 4096

Build = Callable[[Any], Sequence[Array]]


def mean_squares(build: Build, tensors: Any) -> Float[Array, " features"]:
    """The mean square of every array that `build(tensors)` would return.

    No feature is written to memory: a reduction of several operands is compiled to one
    loop that reads every tensor once, where separate means are as many loops. It adds up four
    coordinates at a time, which vectorises; what is left is a quarter of the size. Large tensors
    are taken in blocks, so that this quarter never leaves the cache.

    Args:
        build: element-wise; all its results have the tensors' common shape.
        tensors: a tree of arrays of one rank, with size 1 where they repeat.
    """
    shape = np.broadcast_shapes(*(leaf.shape for leaf in jax.tree.leaves(tensors)))

    # Differentiated as plain means: the rules for loops over blocks and for reductions of
    # several operands are far slower.
    @jax.custom_jvp
    def means(tensors: Any) -> Array:
        return _sums_of_squares(build, tensors, shape) / math.prod(shape)

    @means.defjvp
    def _(primals: tuple, tangents: tuple) -> tuple:
        values, slopes = jax.jvp(build, primals, tangents)
        slopes = [jnp.mean(2 * value * slope) for value, slope in zip(values, slopes, strict=True)]
        return means(*primals), jnp.stack(slopes)

    return means(tensors)


def _sums_of_squares(
    build: Build, tensors: Any, shape: tuple[int, ...]
) -> Float[Array, " features"]:
    axis = _axis_to_fold(shape)

    def sums(begin: int | Int[Array, ""], length: int, terms: int) -> Float[Array, " features"]:
        """Over a part of the axis, folded into so many terms."""

        def part(leaf: Array) -> Array:
            if leaf.shape[axis] == 1:
                return jnp.expand_dims(leaf, axis)
            taken = jax.lax.dynamic_slice_in_dim(leaf, begin, length, axis)
            around = taken.shape[:axis], taken.shape[axis + 1 :]
            return taken.reshape(*around[0], terms, length // terms, *around[1])

        squares = tuple(value * value for value in build(jax.tree.map(part, tensors)))
        # Read from memory: fused, each total would recompute all features.
        partial = jax.lax.optimization_barrier(_add_up(squares, axis))
        partial = jax.lax.optimization_barrier(jnp.stack([values.ravel() for values in partial]))
        return jnp.sum(partial, axis=1)

    rest = shape[axis] % _TERMS
    whole = shape[axis] - rest
    if not whole:
        return sums(0, rest, rest)
    length = _block_length(whole, math.prod(shape) // shape[axis])
    if length == whole:
        total = sums(0, whole, _TERMS)
    else:
        begins = jnp.arange(0, whole, length)
        total = jnp.sum(jax.lax.map(lambda begin: sums(begin, length, _TERMS), begins), axis=0)
    return total + sums(whole, rest, rest) if rest else total


def _axis_to_fold(shape: tuple[int, ...]) -> int:
    """The first axis that four divides, the last axis spared; else the longest."""
    for axis, length in enumerate(shape[:-1]):
        if length % _TERMS == 0 and length > 0:
            return axis
    return max(range(len(shape)), key=lambda axis: shape[axis])


def _block_length(whole: int, size: int) -> int:
    """The longest multiple of four that cuts the axis into equal blocks of the wanted size."""
    quarters, most = whole // _TERMS, max(1, _BLOCK // (_TERMS * size))
    longest = max(d for d in range(1, min(most, quarters) + 1) if quarters % d == 0)
    # Blocks that are far too small cost more than they save.
    return _TERMS * longest if 8 * longest >= most else whole


def _add_up(arrays: tuple[Array, ...], axis: int) -> tuple[Array, ...]:
    """Sums of several arrays over one axis, in one loop."""
    zeros = tuple(jnp.zeros((), array.dtype) for array in arrays)
    return tuple(
        jax.lax.reduce(
            arrays, zeros, lambda a, b: tuple(x + y for x, y in zip(a, b, strict=True)), (axis,)
        )
    )
