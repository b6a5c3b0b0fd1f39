"""Sums of squares of many products of the same tensors in few passes over memory."""

import math
from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

# A loop that adds up so many terms of up to five products is unrolled and vectorized by the
# compiler; one of more is not.
_TERMS = 10
# Products per loop once the tensors are folded: their number is rarely one more than a multiple of
# this, and a loop of one is compiled to something slower.
_PRODUCTS = 4
# What is left of a tensor when folding it once more would cost more than it saves.
_SMALL = 256
# Up to so many coordinates a loop more costs more than reading a tensor beside others.
_BESIDE_OTHERS = 2**14
# Shorter runs of neighbors do not fill the processor's vectors.
_SHORT = 16


class InverseRoot(eqx.Module):
    """One over the square root of an array, not written to memory to be read by every loop.

    Each computes for itself what it needs: the root, or the square without one. That holds for a
    factor of one product per tensor; one that several products share is written once.
    """

    array: Float[Array, "..."]

    @property
    def value(self) -> Float[Array, "..."]:
        """One over the square root of each entry."""
        return jax.lax.rsqrt(self.array)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the array."""
        return self.array.shape


Tensor = Float[Array, "..."] | InverseRoot
# Of one rank, with size 1 where they repeat.
Factors = tuple[Tensor, ...]
# A tensor, and for each of its products the factors that it is multiplied by.
Group = tuple[Tensor, tuple[Factors, ...]]
Loops = Sequence[Sequence[Group]]
# The square of a tensor and the squares of its factors; an inverse root that is left among them
# stands for a division by its array.
Squares = tuple[Float[Array, "..."], tuple[Factors, ...]]


def as_array(tensor: Tensor) -> Float[Array, "..."]:
    """The array that a tensor stands for."""
    return tensor.value if isinstance(tensor, InverseRoot) else tensor


def sums_of_squares(
    loops: Loops, alone: Sequence[Float[Array, "..."]] = (), *, whole: bool = True
) -> Float[Array, " products"]:
    """The sum of every product's squares, loop by loop and group by group, then of the rest.

    A reduction of several operands is compiled to one loop that reads every tensor once, where
    separate sums are as many loops. It adds up a few neighbors at a time, which vectorizes;
    factors that repeat along the axis that it folds are multiplied after it, where less is left.

    Args:
        loops: for every loop the tensors that it reads, all of one shape, and their factors; no
            factors are the tensor itself. At most five products of two large tensors a loop: of
            more, the processor does not follow the rows.
        alone: tensors of that shape that nothing is multiplied with. XLA sums one tensor's
            squares as fast as memory delivers it; in a loop with others it slows them down.
        whole: whether each tensor lies on one device. Folding one that is split over several
            could need all of it on each; plain sums need none of it.
    """

    # Differentiated as plain sums: the rules for reductions of several operands are far slower,
    # and a square may overflow where a product does not.
    @jax.custom_jvp
    def sums(loops: Loops, alone: Sequence[Array]) -> Array:
        if not whole:
            return _one_by_one(loops, alone)
        return jax.lax.platform_dependent(loops, alone, cpu=_in_few_loops, default=_one_by_one)

    @sums.defjvp
    def _(primals: tuple, tangents: tuple) -> tuple:
        products, slopes = jax.jvp(_products, primals, tangents)
        slopes = [jnp.sum(2 * x * slope) for x, slope in zip(products, slopes, strict=True)]
        return sums(*primals), jnp.stack(slopes)

    return sums(loops, alone)


def _one_by_one(loops: Loops, alone: Sequence[Array]) -> Float[Array, " products"]:
    """Plain sums, which a compiler for accelerators fuses by itself."""
    squares = [_square(group) for groups in loops for group in groups]
    products = _squared_products([*squares, *((tensor * tensor, ((),)) for tensor in alone)])
    return jnp.stack([jnp.sum(product) for product in products])


def _in_few_loops(loops: Loops, alone: Sequence[Array]) -> Float[Array, " products"]:
    squares = [[_square(group) for group in groups] for groups in loops]
    others = [(tensor * tensor, ((),)) for tensor in alone]
    if squares[0][0][0].size <= _BESIDE_OTHERS:
        return _sums([*squares[:-1], [*squares[-1], *others]])
    return jnp.concatenate([_sums(squares), *(jnp.sum(x)[None] for x, _ in others)])


def _products(loops: Loops, alone: Sequence[Array]) -> list[Float[Array, "*shape"]]:
    products = [
        math.prod(map(as_array, factors), start=as_array(tensor))
        for groups in loops
        for tensor, several in groups
        for factors in several
    ]
    return [*products, *alone]


def _square(group: Group) -> Squares:
    tensor, several = group
    square = 1 / tensor.array if isinstance(tensor, InverseRoot) else tensor * tensor
    return square, tuple(
        tuple(f if isinstance(f, InverseRoot) else f * f for f in factors) for factors in several
    )


def _squared_products(groups: Sequence[Squares]) -> list[Float[Array, "*shape"]]:
    return [_squared_product(square, factors) for square, several in groups for factors in several]


def _squared_product(square: Float[Array, "*shape"], factors: Factors) -> Float[Array, "*shape"]:
    for factor in factors:
        square = square / factor.array if isinstance(factor, InverseRoot) else square * factor
    return square


def _sums(loops: Sequence[Sequence[Squares]]) -> Float[Array, " products"]:
    """The sum of every squared product over all coordinates."""
    shape = loops[0][0][0].shape
    if math.prod(shape) <= _SMALL:
        products = [product.ravel() for groups in loops for product in _squared_products(groups)]
        return jnp.sum(jnp.stack(products), axis=1)
    axis, terms = _fold(shape)
    whole = shape[axis] - shape[axis] % terms
    if whole < shape[axis]:
        return _sums(_part(loops, axis, 0, whole)) + _sums(_part(loops, axis, whole, shape[axis]))
    folded = []
    for groups in loops:
        inside, after = _split(groups, axis)
        folded += zip(_fold_products(inside, axis, terms), after, strict=True)
    return _sums([folded[i : i + _PRODUCTS] for i in range(0, len(folded), _PRODUCTS)])


def _fold(shape: tuple[int, ...]) -> tuple[int, int]:
    """The axis to fold, and how many neighbors to add up.

    Example:
        >>> _fold((1000, 1000)), _fold((3, 3, 60, 40)), _fold((3, 1009))
        ((0, 10), (2, 10), (1, 10))
    """
    for axis, length in enumerate(shape):
        for terms in range(_TERMS, _TERMS // 2 - 1, -1):
            if length % terms == 0:
                return axis, terms
    axis = max(range(len(shape)), key=lambda axis: shape[axis])
    return axis, min(_TERMS, shape[axis])


def _split(groups: Sequence[Squares], axis: int) -> tuple[list[Squares], list[tuple[Factors]]]:
    """The groups with the factors that vary along the axis; product by product, the others."""

    def chosen(several: tuple[Factors, ...], varying: bool) -> tuple[Factors, ...]:
        return tuple(
            tuple(factor for factor in factors if (factor.shape[axis] > 1) == varying)
            for factors in several
        )

    inside = [(tensor, chosen(several, True)) for tensor, several in groups]
    after = [(factors,) for _, several in groups for factors in chosen(several, False)]
    return inside, after


def _part(
    loops: Sequence[Sequence[Squares]], axis: int, begin: int, end: int
) -> Sequence[Sequence[Squares]]:
    def part(leaf: Array) -> Array:
        if leaf.shape[axis] == 1:
            return leaf
        return jax.lax.slice_in_dim(leaf, begin, end, axis=axis)

    return jax.tree.map(part, loops)


def _fold_products(groups: Sequence[Squares], axis: int, terms: int) -> tuple[Array, ...]:
    """Every product, with `terms` coordinates of the axis added up to one, in one loop."""
    # Neighbors are read together, unless they would be all that is contiguous.
    short = math.prod(groups[0][0].shape[axis + 1 :]) < _SHORT

    def cut(leaf: Array) -> Array:
        if leaf.shape[axis] == 1:
            return jnp.expand_dims(leaf, axis)
        lengths = (terms, -1) if short else (-1, terms)
        return leaf.reshape(*leaf.shape[:axis], *lengths, *leaf.shape[axis + 1 :])

    products = tuple(_squared_products(jax.tree.map(cut, groups)))
    zeros = tuple(jnp.zeros((), product.dtype) for product in products)
    folded = jax.lax.reduce(
        products,
        zeros,
        lambda a, b: tuple(x + y for x, y in zip(a, b, strict=True)),
        (axis if short else axis + 1,),
    )
    return tuple(folded)
