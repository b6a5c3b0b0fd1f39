"""The inputs of the small learned optimizers, without ever building the inputs × size array.

Features that differ from coordinate to coordinate are `whole`; those that repeat over rows or
over columns are kept as one vector; the time features are eleven numbers for all coordinates.
Which inputs there are, and in what order, is an `InputLayout`.
"""

import math
from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from optoscope._core.input_layouts import GRADIENT_CLIP, SMALL_FC, TIME_SCALES, InputLayout
from optoscope.optimizers._accumulators import Accumulators, factored_axes
from optoscope.optimizers._sums_of_squares import (
    Factors,
    InverseRoot,
    Tensor,
    as_array,
    sums_of_squares,
)

_AVERAGE_OFFSET = 1e-8
_FACTOR_FLOOR = 1e-9
# Added to the square of a padded coordinate: its inverse root is nothing beside any other's.
_PADDING = 1e30


class Products(eqx.Module):
    """The features that are one tensor, alone or times some factors.

    Args:
        tensor: of the tensor's own shape.
        indices: which of the inputs each feature stands for; a vector's D_k stands for two.
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
        scales: one over the root mean square of each normalized input; with more axes after
            the first where tensors of more than two axes are normalized over the last two.
        preconditioner: (v + ε)^(-1/2).
    """

    whole: tuple[Products, ...]
    rows: Float[Array, "six ..."] | None
    columns: Float[Array, "six ..."] | None
    scales: Float[Array, "normalized ..."]
    preconditioner: Float[Array, "*shape"]


def time_features(
    step: Int[Array, ""], dtype: DTypeLike = jnp.float32, unit: float = 1.0
) -> Float[Array, " times"]:
    """The last inputs: tanh(t/τ − 1) for eleven time scales τ, t counted from 0 in `unit` steps.

    Example:
        >>> float(time_features(jnp.asarray(10))[2])
        0.0
        >>> float(time_features(jnp.asarray(20), unit=2.0)[2])
        0.0
    """
    scales = jnp.asarray([unit * scale for scale in TIME_SCALES], dtype)
    return jnp.tanh(step.astype(dtype) / scales - 1.0)


def measure(
    gradient: Float[Array, "*shape"],
    parameter: Float[Array, "*shape"],
    accumulators: Accumulators,
    real: Bool[Array, "*shape"] | None = None,
    *,
    layout: InputLayout = SMALL_FC,
    over: tuple[int, ...] | None = None,
    whole: bool = True,
) -> Inputs:
    """The normalized inputs of one tensor, from its updated accumulators.

    Source: Metz et al. (2022), `small_fc_lopt`, and Celo's, as restated in the project's
    specification.

    Args:
        gradient: g.
        parameter: p before the update.
        accumulators: the averages that have already seen g.
        real: which coordinates of a vector are no padding; all of them if not given.
        layout: which inputs there are.
        over: the axes that root mean squares are taken over; all of them if not given.
        whole: whether the tensor lies on one device, see `sums_of_squares`.
    """
    preconditioner = InverseRoot(
        accumulators.second_moment + _offset(layout.second_moment_offset, real, gradient.dtype)
    )
    loops = _products(
        gradient,
        accumulators,
        preconditioner,
        _offset(_AVERAGE_OFFSET, real, gradient.dtype),
        layout,
    )
    alone = [Products(parameter, ((layout.parameter,),))]
    if layout.clipped_gradient is not None:
        clipped = jnp.clip(gradient, -GRADIENT_CLIP, GRADIENT_CLIP)
        alone.append(Products(clipped, ((layout.clipped_gradient,),)))
    features = (*(products for loop in loops for products in loop), *alone)
    rows = columns = None
    if accumulators.columns is not None:
        rows, columns = _with_roots(accumulators.rows), _with_roots(accumulators.columns)
    if over is None:
        size = gradient.size if real is None else jnp.sum(real)
        squares = sums_of_squares(
            [[(x.tensor, x.factors) for x in loop] for loop in loops],
            [as_array(x.tensor) for x in alone],
            whole=whole,
        )
        parts = [squares / size, *_repeated_mean_squares(rows), *_repeated_mean_squares(columns)]
        squares = jnp.concatenate(parts)
    else:
        squares = _mean_squares_over(over, features, rows, columns)
    places = _places(features, layout, rows is not None)
    scales = jax.lax.rsqrt(layout.normalizer_offset + squares[np.asarray(places)])
    return Inputs(features, rows, columns, scales, preconditioner.value)


def _places(features: Sequence[Products], layout: InputLayout, has_rows: bool) -> tuple[int, ...]:
    """For each input the position of its mean square: of the features', then rows', columns'."""
    # An input that a vector does not have is never read.
    places = [0] * layout.num_normalized
    measured = [indices for products in features for indices in products.indices]
    if has_rows:
        measured += [(index,) for index in (*layout.row_indices, *layout.column_indices)]
    for position, indices in enumerate(measured):
        for index in indices:
            places[index] = position
    return tuple(places)


def _repeated_mean_squares(
    features: Float[Array, "six ..."] | None,
) -> tuple[Float[Array, " six"], ...]:
    """Their mean squares need no spreading."""
    if features is None:
        return ()
    return (jnp.mean(features * features, axis=tuple(range(1, features.ndim))),)


def _mean_squares_over(
    over: tuple[int, ...],
    features: Sequence[Products],
    rows: Float[Array, "six ..."] | None,
    columns: Float[Array, "six ..."] | None,
) -> Float[Array, "features ..."]:
    """The mean squares over some axes, which are kept with length 1."""
    products = [
        math.prod(map(as_array, factors), start=as_array(part.tensor))
        for part in features
        for factors in part.factors
    ]
    repeated = [feature for part in (rows, columns) if part is not None for feature in part]
    squares = [jnp.mean(x * x, axis=over, keepdims=True) for x in (*products, *repeated)]
    return jnp.stack(jnp.broadcast_arrays(*squares))


def _offset(
    value: float, real: Bool[Array, "*shape"] | None, dtype: DTypeLike
) -> float | Float[Array, "*shape"]:
    return value if real is None else jnp.where(real, value, _PADDING).astype(dtype)


def _products(
    gradient: Array,
    accumulators: Accumulators,
    preconditioner: InverseRoot,
    offset: float | Float[Array, "*shape"],
    layout: InputLayout,
) -> tuple[tuple[Products, ...], ...]:
    """What the tensor's own shape has, but for what `alone` stands in `measure`.

    Returns:
        For every loop of `sums_of_squares` what is measured in it.
    """
    is_vector = accumulators.columns is None
    for_gradient, for_momenta = _factors(accumulators, layout.vector_offset)
    indices = [(layout.gradient,), *((layout.factored_gradients + k,) for k in range(3))]
    factors: list[Factors] = [(), *for_gradient]
    if layout.preconditioned_gradient is not None:
        indices.append((layout.preconditioned_gradient,))
        factors.append((preconditioner,))
    with_averages = layout.with_averages_of_vectors or not is_vector
    averages = accumulators.rows if is_vector and with_averages else ()

    def momentum(k: int) -> Products:
        places = [(layout.momenta + k,), (layout.normalized_momenta + k,)]
        factors: list[Factors] = [(), (preconditioner,)]
        if with_averages:
            places.append((layout.factored_momenta + k,))
            factors.append(for_momenta[k])
        return Products(accumulators.momenta[k], tuple(places), tuple(factors))

    def pair(first: int, second: int, k: int) -> tuple[tuple[int, ...], ...]:
        return ((first + k, second + k),)

    roots = (InverseRoot(average + offset) for average in averages)
    return (
        (Products(gradient, tuple(indices), tuple(factors)),),
        (momentum(0),),
        (momentum(1),),
        (
            momentum(2),
            Products(accumulators.second_moment, ((layout.second_moment,),)),
            Products(preconditioner, ((layout.preconditioner,),)),
        ),
        *(
            (
                Products(average, pair(layout.rows, layout.columns, k)),
                Products(root, pair(layout.row_roots, layout.column_roots, k)),
            )
            for k, (average, root) in enumerate(zip(averages, roots, strict=True))
        ),
    )


def _factors(
    accumulators: Accumulators, vector_offset: float
) -> tuple[tuple[Factors, ...], tuple[Factors, ...]]:
    """What g and what m_k are multiplied by: (r_k, c_k) for rank 2 or more."""
    rows, columns = accumulators.rows, accumulators.columns
    if columns is None:
        first = _floored_one_over_root(rows + _FACTOR_FLOOR)
        second = jax.lax.rsqrt(rows + vector_offset)
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


def _floored_one_over_root(values: Float[Array, "..."]) -> Float[Array, "..."]:
    return jax.lax.rsqrt(jnp.maximum(values, _FACTOR_FLOOR))
