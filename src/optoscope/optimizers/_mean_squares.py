"""Mean squares of many functions of the same tensors in one pass over memory."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

# Four terms a sum are unrolled and vectorised by the compiler; eight are not.
_TERMS = 4
# Below this many partial sums one scalar loop over all features beats a call for each.
_FEW = 8192


def mean_squares(build: Callable[[Any], Sequence[Array]], tensors: Any) -> list[Float[Array, ""]]:
    """The mean square of every array that `build(tensors)` would return.

    No feature is written to memory: a reduction of several operands is compiled to one
    loop that reads every tensor once, where separate means are as many loops. It adds up four
    coordinates at a time, which vectorises; what is left is a quarter of the size.

    Args:
        build: element-wise; all its results have the tensors' common shape.
        tensors: a tree of arrays of one rank, with size 1 where they repeat.
    """
    shape = np.broadcast_shapes(*(leaf.shape for leaf in jax.tree.leaves(tensors)))
    axis = _axis_to_fold(shape)
    if axis is None:
        return [jnp.mean(value * value) for value in build(tensors)]
    whole = shape[axis] - shape[axis] % _TERMS

    def part(leaf: Array, begin: int, end: int, terms: int) -> Array:
        if leaf.shape[axis] == 1:
            return jnp.expand_dims(leaf, axis)
        taken = jax.lax.slice_in_dim(leaf, begin, end, axis=axis)
        lengths = leaf.shape
        return taken.reshape(*lengths[:axis], terms, (end - begin) // terms, *lengths[axis + 1 :])

    folded = jax.tree.map(lambda leaf: part(leaf, 0, whole, _TERMS), tensors)
    sums = _totals(_add_up(tuple(value * value for value in build(folded)), (axis,)))
    if whole < shape[axis]:
        rest = jax.tree.map(
            lambda leaf: part(leaf, whole, shape[axis], shape[axis] - whole), tensors
        )
        squares = tuple(value * value for value in build(rest))
        sums = [a + b for a, b in zip(sums, _add_up(squares, _all_axes(squares)), strict=True)]
    return [total / math.prod(shape) for total in sums]


def _axis_to_fold(shape: tuple[int, ...]) -> int | None:
    """The first axis that four divides, the last axis spared; else the longest of at least four."""
    for axis, length in enumerate(shape[:-1]):
        if length % _TERMS == 0 and length > 0:
            return axis
    longest = max(range(len(shape)), key=lambda axis: shape[axis])
    return longest if shape[longest] >= _TERMS else None


def _totals(partial: tuple[Array, ...]) -> list[Array]:
    # Read from memory: fused, each total would recompute all features.
    partial = jax.lax.optimization_barrier(partial)
    if partial[0].size <= _FEW:
        return list(_add_up(partial, _all_axes(partial)))
    return [jnp.sum(values) for values in partial]


def _all_axes(arrays: tuple[Array, ...]) -> tuple[int, ...]:
    return tuple(range(arrays[0].ndim))


def _add_up(arrays: tuple[Array, ...], axes: tuple[int, ...]) -> tuple[Array, ...]:
    """Sums of several arrays over the same axes, in one loop."""

    @jax.custom_jvp
    def sums(arrays: tuple[Array, ...]) -> tuple[Array, ...]:
        zeros = tuple(jnp.zeros((), array.dtype) for array in arrays)
        return tuple(
            jax.lax.reduce(
                arrays, zeros, lambda a, b: tuple(x + y for x, y in zip(a, b, strict=True)), axes
            )
        )

    # The general rule for reductions of several operands is far slower than that of sums.
    @sums.defjvp
    def _(primals: tuple, tangents: tuple) -> tuple:
        return sums(*primals), tuple(jnp.sum(tangent, axis=axes) for tangent in tangents[0])

    return sums(arrays)
