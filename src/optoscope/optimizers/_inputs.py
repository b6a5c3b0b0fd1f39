"""The 39 inputs of the small learned optimizers, without ever building the 39 × size array.

Features that differ from coordinate to coordinate are `whole`; those that repeat over rows or
over columns are kept as one vector; the time features are eleven numbers for all coordinates.
"""

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from optoscope.optimizers._accumulators import Accumulators, factored_axes
from optoscope.optimizers._mean_squares import mean_squares

TIME_SCALES = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1e3, 3e3, 1e4, 3e4, 1e5)
NUM_NORMALIZED = 28
NUM_INPUTS = NUM_NORMALIZED + len(TIME_SCALES)
_SECOND_MOMENT_OFFSET = 1e-6
_AVERAGE_OFFSET = 1e-8
_NORMALIZER_OFFSET = 1e-5
_FACTOR_FLOOR = 1e-9

# Which of the 39 inputs each whole feature stands for; a vector's D_k stands for two.
_MATRIX_INDICES = tuple((index,) for index in (*range(13), 25, 26, 27))
_VECTOR_INDICES = (
    *_MATRIX_INDICES,
    *((13 + k, 16 + k) for k in range(3)),
    *((19 + k, 22 + k) for k in range(3)),
)


class Feature(eqx.Module):
    """One normalised feature and the inputs it stands for.

    Args:
        indices: which of the 39 inputs.
        values: the feature before its normalisation; of the tensor's shape, or with size 1 on
            the axis it repeats over.
        scale: one over its root mean square.
    """

    indices: tuple[int, ...] = eqx.field(static=True)
    values: Float[Array, "..."]
    scale: Float[Array, ""]


class Inputs(eqx.Module):
    """The inputs of one tensor at one step.

    Args:
        whole: features of the tensor's own shape.
        rows: features that repeat over the largest axis.
        columns: features that repeat over the second largest axis.
        preconditioner: (v + 1e-6)^(-1/2).
    """

    whole: tuple[Feature, ...]
    rows: tuple[Feature, ...]
    columns: tuple[Feature, ...]
    preconditioner: Float[Array, "*shape"]


def time_features(step: Int[Array, ""], dtype: DTypeLike = jnp.float32) -> Float[Array, " times"]:
    """Inputs 28 to 38: tanh(t/τ − 1) for eleven time scales τ, t counted from 0.

    Example:
        >>> float(time_features(jnp.asarray(10))[2])
        0.0
    """
    return jnp.tanh(step.astype(dtype) / jnp.asarray(TIME_SCALES, dtype) - 1.0)


def measure(
    gradient: Float[Array, "*shape"],
    parameter: Float[Array, "*shape"],
    accumulators: Accumulators,
) -> Inputs:
    """The inputs 0 to 27 of one tensor, from its updated accumulators.

    Source: Metz et al. (2022), `small_fc_lopt`, as restated in the project's specification.

    Args:
        gradient: g.
        parameter: p before the update.
        accumulators: the averages that have already seen g.
    """
    factors = _factors(accumulators)
    tensors = (gradient, parameter, accumulators.momenta, accumulators.second_moment, factors)
    is_vector = not accumulators.columns
    build = _vector_features if is_vector else _matrix_features
    squares = mean_squares(build, (*tensors, accumulators.rows if is_vector else ()))
    values = build((*tensors, accumulators.rows if is_vector else ()))
    indices = _VECTOR_INDICES if is_vector else _MATRIX_INDICES
    whole = tuple(
        Feature(index, value, _one_over_root(square))
        for index, value, square in zip(indices, values, squares, strict=True)
    )
    preconditioner = values[9]
    if is_vector:
        return Inputs(whole, (), (), preconditioner)
    return Inputs(
        whole,
        _spread(accumulators.rows, 13, 19),
        _spread(accumulators.columns, 16, 22),
        preconditioner,
    )


Tensors = tuple[Array, Array, Sequence[Array], Array, Sequence[tuple[Array, ...]], Sequence[Array]]


def _matrix_features(tensors: Tensors) -> list[Array]:
    """Inputs 0 to 12 and 25 to 27."""
    gradient, parameter, momenta, second_moment, factors, _ = tensors
    preconditioner = jax.lax.rsqrt(second_moment + _SECOND_MOMENT_OFFSET)
    products = [row * column for row, column in factors]
    return [
        gradient,
        parameter,
        *momenta,
        second_moment,
        *(momentum * preconditioner for momentum in momenta),
        preconditioner,
        *(gradient * product for product in products),
        *(momentum * product for momentum, product in zip(momenta, products, strict=True)),
    ]


def _vector_features(tensors: Tensors) -> list[Array]:
    """The same for rank below 2, then D_k and (D_k + 1e-8)^(-1/2)."""
    gradient, parameter, momenta, second_moment, factors, averages = tensors
    preconditioner = jax.lax.rsqrt(second_moment + _SECOND_MOMENT_OFFSET)
    return [
        gradient,
        parameter,
        *momenta,
        second_moment,
        *(momentum * preconditioner for momentum in momenta),
        preconditioner,
        *(gradient * for_gradient for for_gradient, _ in factors),
        *(momentum * other for momentum, (_, other) in zip(momenta, factors, strict=True)),
        *averages,
        *(jax.lax.rsqrt(average + _AVERAGE_OFFSET) for average in averages),
    ]


def _factors(accumulators: Accumulators) -> tuple[tuple[Array, Array], ...]:
    """(r_k, c_k) of rank 2 or more; what g and m_k are multiplied by for lower ranks."""
    if not accumulators.columns:
        return tuple(
            (
                _floored_one_over_root(average + _FACTOR_FLOOR),
                jax.lax.rsqrt(average + _SECOND_MOMENT_OFFSET),
            )
            for average in accumulators.rows
        )
    second, _ = factored_axes(accumulators.second_moment.shape)
    return tuple(
        (
            _floored_one_over_root(
                row / (jnp.mean(row, axis=second, keepdims=True) + _FACTOR_FLOOR)
            ),
            _floored_one_over_root(column),
        )
        for row, column in zip(accumulators.rows, accumulators.columns, strict=True)
    )


def _spread(averages: Sequence[Array], first: int, first_root: int) -> tuple[Feature, ...]:
    """R_k (or C_k) and its inverse roots; their mean squares need no spreading."""
    roots = [jax.lax.rsqrt(average + _AVERAGE_OFFSET) for average in averages]
    return tuple(
        Feature((start + k,), value, _one_over_root(jnp.mean(value * value)))
        for start, values in ((first, averages), (first_root, roots))
        for k, value in enumerate(values)
    )


def _one_over_root(mean_square: Float[Array, ""]) -> Float[Array, ""]:
    return jax.lax.rsqrt(_NORMALIZER_OFFSET + mean_square)


def _floored_one_over_root(values: Float[Array, "..."]) -> Float[Array, "..."]:
    return jax.lax.rsqrt(jnp.maximum(values, _FACTOR_FLOOR))
