"""The 39 inputs of the small learned optimizers, without ever building the 39 × size array.

Features that differ from coordinate to coordinate are `whole`; those that repeat over rows or
over columns are kept as one vector; the time features are eleven numbers for all coordinates.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from optoscope.optimizers._accumulators import Accumulators, factored_axes
from optoscope.optimizers._sums_of_squares import Factors, InverseRoot, Tensor, sums_of_squares

TIME_SCALES = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1e3, 3e3, 1e4, 3e4, 1e5)
NUM_NORMALIZED = 28
NUM_INPUTS = NUM_NORMALIZED + len(TIME_SCALES)
_SECOND_MOMENT_OFFSET = 1e-6
_AVERAGE_OFFSET = 1e-8
_NORMALIZER_OFFSET = 1e-5
_FACTOR_FLOOR = 1e-9
# Added to the square of a padded coordinate: its inverse root is nothing beside any other's.
_PADDING = 1e30

# Where the stacked features of rows and of columns stand among the inputs: R_k, then the roots.
ROW_INDICES = (13, 14, 15, 19, 20, 21)
COLUMN_INDICES = (16, 17, 18, 22, 23, 24)


class Products(eqx.Module):
    """The features that are one tensor, alone or times some factors.

    Args:
        tensor: of the tensor's own shape.
        indices: which of the 39 inputs each feature stands for; a vector's D_k stands for two.
        factors: what the tensor is multiplied by, one tuple a feature; with size 1 where they
            repeat.
    """

    tensor: Tensor
    indices: tuple[tuple[int, ...], ...] = eqx.field(static=True)
    factors: tuple[Factors, ...] = ((),)


class Inputs(eqx.Module):
    """The inputs of one tensor at one step, before their normalization.

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
    real: Bool[Array, "*shape"] | None = None,
    *,
    whole: bool = True,
) -> Inputs:
    """The inputs 0 to 27 of one tensor, from its updated accumulators.

    Source: Metz et al. (2022), `small_fc_lopt`.

    Args:
        gradient: g.
        parameter: p before the update.
        accumulators: the averages that have already seen g.
        real: which coordinates of a vector are no padding; all of them if not given.
        whole: whether the tensor lies on one device, see `sums_of_squares`.
    """
    size = gradient.size if real is None else jnp.sum(real)
    preconditioner = InverseRoot(
        accumulators.second_moment + _offset(_SECOND_MOMENT_OFFSET, real, gradient.dtype)
    )
    loops = _products(
        gradient, accumulators, preconditioner, _offset(_AVERAGE_OFFSET, real, gradient.dtype)
    )
    features = (*(products for loop in loops for products in loop), Products(parameter, ((1,),)))
    squares = sums_of_squares(
        [[(x.tensor, x.factors) for x in loop] for loop in loops], (parameter,), whole=whole
    )
    squares = squares / size
    first = [indices[0] for products in features for indices in products.indices]
    squares = squares[np.argsort(first)]
    if accumulators.columns is None:
        # R_k = C_k = D_k, and so are their roots.
        averages, roots = squares[13:16], squares[16:19]
        squares = [squares[:13], averages, averages, roots, roots, squares[19:]]
        scales = _one_over_root(jnp.concatenate(squares))
        return Inputs(features, None, None, scales, preconditioner.value)
    rows, columns = _with_roots(accumulators.rows), _with_roots(accumulators.columns)
    # Their mean squares need no spreading.
    spread = [jnp.mean(x * x, axis=tuple(range(1, x.ndim))).reshape(2, 3) for x in (rows, columns)]
    squares = [squares[:13], jnp.stack(spread, axis=1).ravel(), squares[13:]]
    scales = _one_over_root(jnp.concatenate(squares))
    return Inputs(features, rows, columns, scales, preconditioner.value)


def _offset(
    value: float, real: Bool[Array, "*shape"] | None, dtype: DTypeLike
) -> float | Float[Array, "*shape"]:
    return value if real is None else jnp.where(real, value, _PADDING).astype(dtype)


def _products(
    gradient: Array,
    accumulators: Accumulators,
    preconditioner: InverseRoot,
    offset: float | Float[Array, "*shape"],
) -> tuple[tuple[Products, ...], ...]:
    """Inputs 0, 2 to 12 and 25 to 27; for rank below 2 all of 0 to 27 but 1.

    Returns:
        For every loop of `sums_of_squares` what is measured in it.
    """
    for_gradient, for_momenta = _factors(accumulators)
    averages = () if accumulators.columns is not None else accumulators.rows
    first, second, third = (
        Products(momentum, ((2 + k,), (6 + k,), (25 + k,)), ((), (preconditioner,), factors))
        for k, (momentum, factors) in enumerate(zip(accumulators.momenta, for_momenta, strict=True))
    )
    roots = (InverseRoot(average + offset) for average in averages)
    return (
        (Products(gradient, ((0,), (10,), (11,), (12,)), ((), *for_gradient)),),
        (first,),
        (second,),
        (
            third,
            Products(accumulators.second_moment, ((5,),)),
            Products(preconditioner, ((9,),)),
        ),
        *(
            (Products(average, ((13 + k, 16 + k),)), Products(root, ((19 + k, 22 + k),)))
            for k, (average, root) in enumerate(zip(averages, roots, strict=True))
        ),
    )


def _factors(accumulators: Accumulators) -> tuple[tuple[Factors, ...], tuple[Factors, ...]]:
    """The factors of g and of m_k: (r_k, c_k) for rank 2 or more."""
    rows, columns = accumulators.rows, accumulators.columns
    if columns is None:
        first = _floored_one_over_root(rows + _FACTOR_FLOOR)
        second = jax.lax.rsqrt(rows + _SECOND_MOMENT_OFFSET)
        return tuple((factor,) for factor in first), tuple((factor,) for factor in second)
    axis, _ = factored_axes(accumulators.second_moment.shape)
    means = jnp.mean(rows, axis=axis + 1, keepdims=True)
    first = _floored_one_over_root(rows / (means + _FACTOR_FLOOR))
    second = _floored_one_over_root(columns)
    both = tuple(zip(first, second, strict=True))
    return both, both


def _with_roots(averages: Float[Array, "averages ..."]) -> Float[Array, "features ..."]:
    return jnp.concatenate([averages, _root(averages)])


def _root(average: Float[Array, "..."]) -> Float[Array, "..."]:
    return jax.lax.rsqrt(average + _AVERAGE_OFFSET)


def _one_over_root(mean_square: Float[Array, "..."]) -> Float[Array, "..."]:
    return jax.lax.rsqrt(_NORMALIZER_OFFSET + mean_square)


def _floored_one_over_root(values: Float[Array, "..."]) -> Float[Array, "..."]:
    return jax.lax.rsqrt(jnp.maximum(values, _FACTOR_FLOOR))
