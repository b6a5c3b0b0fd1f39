"""Matrices seen in the eigenbases of their gradients' covariances, which follow the gradients."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, PyTree

from optoscope._core.batching import anywhere
from optoscope._core.input_layouts import (
    EIGENBASES_DECAY,
    LONGEST_SIDE,
    SMALLEST_SHARE,
    matrices_shape,
)
from optoscope._core.trees import select


class Side(NamedTuple):
    """The covariance over one side of a tensor's matrices, and its eigenbasis as columns."""

    covariance: Float[Array, "matrices size size"]
    basis: Float[Array, "matrices size size"]


class Eigenbases(NamedTuple):
    """Those of the rows and of the columns of one tensor's matrices; None for a longer side."""

    rows: Side | None
    columns: Side | None


def as_matrices(tensor: Float[Array, "*shape"]) -> Float[Array, "..."]:
    """A tensor of rank 2 or more as its matrices, see `matrices_shape`; others as they are."""
    return tensor.reshape(matrices_shape(tensor.shape)) if tensor.ndim > 1 else tensor


def start(tensor: Float[Array, "*shape"], dtype: DTypeLike) -> Eigenbases | None:
    """Covariances of zero, and the axes as they are; None for what has no matrices."""
    if tensor.ndim < 2 or tensor.size == 0:
        return None
    count, *sizes = matrices_shape(tensor.shape)

    def side(size: int) -> Side | None:
        if size > LONGEST_SIDE:
            return None
        own = jnp.broadcast_to(jnp.eye(size, dtype=dtype), (count, size, size))
        return Side(jnp.zeros((count, size, size), dtype), jnp.array(own, copy=True))

    return Eigenbases(*map(side, sizes))


def turned(tensor: Float[Array, "*shape"], bases: Eigenbases | None) -> Float[Array, "..."]:
    """The tensor's matrices in the bases: Q_rowsᵀ X Q_columns; without bases as it is."""
    if bases is None:
        return as_matrices(tensor)
    given = (None if side is None else side.basis for side in bases)
    return _between(as_matrices(tensor), *given)


def turned_gradient(gradient: Float[Array, "*shape"], bases: Eigenbases | None) -> Array:
    """The same of a gradient, without what rounding leaves where it has no part."""
    found = turned(gradient, bases)
    if bases is None:
        return found
    mean_square = jnp.mean(found * found, axis=(-2, -1), keepdims=True)
    return jnp.where(found * found < SMALLEST_SHARE**2 * mean_square, 0.0, found)


def turned_back(
    matrices: Float[Array, "..."], like: Float[Array, "*shape"], bases: Eigenbases | None
) -> Float[Array, "*shape"]:
    """The tensor of that one's shape whose matrices are Q_rows X Q_columnsᵀ."""
    if bases is not None:
        matrices = _between(matrices, *(None if one is None else one.basis.mT for one in bases))
    return matrices.reshape(like.shape)


def advanced(
    bases: Eigenbases,
    gradient: Float[Array, "count rows columns"],
    averages: PyTree[Float[Array, "count rows columns"]],
    refresh: Bool[Array, ""],
) -> tuple[Eigenbases, PyTree[Array]]:
    """The covariances with one more gradient, and now and then the bases that follow them.

    Math: L ← 0.95 L + 0.05 G Gᵀ, R ← 0.95 R + 0.05 Gᵀ G; a refresh is one step of orthogonal
    iteration, Q ← the orthogonal factor of C Q. Derivatives take the bases for constants.

    Source: SOAP (Vyas et al. 2024), algorithm 3 and its implementation.

    Args:
        bases: as the last step left them.
        gradient: of the matrices, in their own axes.
        averages: running averages of gradients in the bases, which turn with these.
        refresh: whether the bases are brought up to the covariances.

    Returns:
        The bases, and the averages in them.
    """
    # The product of a side that is too long to have a covariance would not fit into memory.
    sides = [
        None if side is None else _seen(side, matrices)
        for side, matrices in zip(bases, (gradient, gradient.mT), strict=True)
    ]

    def followed(before: tuple[Any, Any]) -> tuple[Any, Any]:
        sides, averages = before
        turns, after = [], []
        for side in sides:
            if side is None:
                turns.append(None)
                after.append(None)
                continue
            basis = jax.lax.stop_gradient(_orthogonal_factors(side.covariance @ side.basis))
            turns.append(side.basis.mT @ basis)
            after.append(Side(side.covariance, basis))
        return after, jax.tree.map(lambda average: _between(average, *turns), averages)

    sides = jax.lax.stop_gradient(sides)
    before = sides, averages
    # Decomposed for nobody, or for all that run side by side, who are mostly at the same step.
    sides, averages = jax.lax.cond(
        anywhere(refresh),
        lambda before: select(refresh, followed(before), before),
        lambda before: before,
        before,
    )
    return Eigenbases(*sides), averages


def _seen(side: Side, matrices: Float[Array, "count size others"]) -> Side:
    """The side after one more gradient, its own axis first."""
    square = matrices @ matrices.mT
    covariance = EIGENBASES_DECAY * side.covariance + (1 - EIGENBASES_DECAY) * square
    return side._replace(covariance=covariance)


def _orthogonal_factors(matrices: Float[Array, "count size size"]) -> Array:
    """The orthogonal factor of each matrix's QR decomposition."""
    return jax.lax.map(_orthogonal_factor, matrices)


# JAX's batched decompositions wait for threads of the pool that they run on: two of them at the
# same time can wait for each other for ever. One matrix at a time is decomposed where it is.
@jax.custom_batching.sequential_vmap
def _orthogonal_factor(matrix: Float[Array, "size size"]) -> Array:
    return jnp.linalg.qr(matrix)[0]


def _between(matrices: Array, left: Array | None, right: Array | None) -> Array:
    highest = jax.lax.Precision.HIGHEST
    if left is not None:
        matrices = jnp.matmul(left.mT, matrices, precision=highest)
    return matrices if right is None else jnp.matmul(matrices, right, precision=highest)
