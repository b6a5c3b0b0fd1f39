"""The 39 inputs of the small learned optimizers, without ever building the 39 × size array.

Features that differ from coordinate to coordinate are `whole`; those that repeat over rows or
over columns are kept as one vector; the time features are eleven numbers for all coordinates.
"""

from collections.abc import Sequence
from typing import Any

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

# Where the stacked features of rows and of columns stand among the inputs: R_k, then the roots.
ROW_INDICES = (13, 14, 15, 19, 20, 21)
COLUMN_INDICES = (16, 17, 18, 22, 23, 24)


class Products(eqx.Module):
    """The features that are one tensor, alone or times a partner.

    Args:
        tensor: of the tensor's own shape.
        indices: which of the 39 inputs each feature stands for; a vector's D_k stands for two.
        partners: what the tensor is multiplied by; None for the tensor alone.
    """

    tensor: Float[Array, "*shape"]
    indices: tuple[tuple[int, ...], ...] = eqx.field(static=True)
    partners: tuple[Float[Array, "*shape"] | None, ...] = (None,)

    def values(self) -> list[Float[Array, "*shape"]]:
        """The features before their normalisation."""
        return [
            self.tensor if partner is None else self.tensor * partner for partner in self.partners
        ]


class Inputs(eqx.Module):
    """The inputs of one tensor at one step, before their normalisation.

    Args:
        whole: the features of the tensor's own shape.
        rows: the six that repeat over the largest axis; None for rank below 2.
        columns: the six that repeat over the second largest axis; None for rank below 2.
        scales: one over the root mean square of the inputs 0 to 27.
        preconditioner: (v + 1e-6)^(-1/2).
    """

    whole: tuple[Products, ...]
    rows: Float[Array, "six ..."] | None
    columns: Float[Array, "six ..."] | None
    scales: Float[Array, " normalized"]
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
    preconditioner = jax.lax.rsqrt(accumulators.second_moment + _SECOND_MOMENT_OFFSET)
    tensors = (
        gradient,
        parameter,
        accumulators.momenta,
        accumulators.second_moment,
        preconditioner,
        _factors(accumulators),
        [] if accumulators.factored else list(accumulators.rows),
    )
    squares = mean_squares(lambda tensors: _distinct(_products(tensors)), tensors)
    whole = _products(tensors)
    if not accumulators.factored:
        # R_k = C_k = D_k, and so are their roots.
        averages, roots = squares[13:16], squares[16:19]
        squares = [squares[:13], averages, averages, roots, roots, squares[19:]]
        scales = _one_over_root(jnp.concatenate(squares))
        return Inputs(whole, None, None, scales, preconditioner)
    rows, columns = _with_roots(accumulators.rows), _with_roots(accumulators.columns)
    # Their mean squares need no spreading.
    spread = [jnp.mean((x * x).reshape(2, 3, -1), axis=-1) for x in (rows, columns)]
    squares = [squares[:13], jnp.stack(spread, axis=1).ravel(), squares[13:]]
    scales = _one_over_root(jnp.concatenate(squares))
    return Inputs(whole, rows, columns, scales, preconditioner)


Tensors = tuple[Any, ...]


def _products(tensors: Tensors) -> tuple[Products, ...]:
    """Inputs 0 to 12 and 25 to 27; for rank below 2 all of 0 to 27."""
    gradient, parameter, momenta, second_moment, preconditioner, factors, averages = tensors
    if averages:
        for_gradient, for_momenta = zip(*factors, strict=True)
    else:
        for_gradient = for_momenta = tuple(row * column for row, column in factors)
    return (
        Products(gradient, ((0,), (10,), (11,), (12,)), (None, *for_gradient)),
        Products(parameter, ((1,),)),
        *(
            Products(momentum, ((2 + k,), (6 + k,), (25 + k,)), (None, preconditioner, factor))
            for k, (momentum, factor) in enumerate(zip(momenta, for_momenta, strict=True))
        ),
        Products(second_moment, ((5,),)),
        Products(preconditioner, ((9,),)),
        *(Products(average, ((13 + k, 16 + k),)) for k, average in enumerate(averages)),
        *(Products(_root(average), ((19 + k, 22 + k),)) for k, average in enumerate(averages)),
    )


def _distinct(products: Sequence[Products]) -> list[Array]:
    """The features in the order of the first input each stands for."""
    values = {
        indices[0]: value
        for product in products
        for indices, value in zip(product.indices, product.values(), strict=True)
    }
    return [values[index] for index in sorted(values)]


def _factors(accumulators: Accumulators) -> list[tuple[Array, Array]]:
    """(r_k, c_k) of rank 2 or more; what g and m_k are multiplied by for lower ranks."""
    rows, columns = accumulators.rows, accumulators.columns
    if not accumulators.factored:
        first = _floored_one_over_root(rows + _FACTOR_FLOOR)
        second = jax.lax.rsqrt(rows + _SECOND_MOMENT_OFFSET)
    else:
        axis, _ = factored_axes(accumulators.second_moment.shape)
        means = jnp.mean(rows, axis=axis + 1, keepdims=True)
        first = _floored_one_over_root(rows / (means + _FACTOR_FLOOR))
        second = _floored_one_over_root(columns)
    return list(zip(first, second, strict=True))


def _with_roots(averages: Float[Array, "averages ..."]) -> Float[Array, "features ..."]:
    return jnp.concatenate([averages, _root(averages)])


def _root(average: Float[Array, "..."]) -> Float[Array, "..."]:
    return jax.lax.rsqrt(average + _AVERAGE_OFFSET)


def _one_over_root(mean_square: Float[Array, "..."]) -> Float[Array, "..."]:
    return jax.lax.rsqrt(_NORMALIZER_OFFSET + mean_square)


def _floored_one_over_root(values: Float[Array, "..."]) -> Float[Array, "..."]:
    return jax.lax.rsqrt(jnp.maximum(values, _FACTOR_FLOOR))
