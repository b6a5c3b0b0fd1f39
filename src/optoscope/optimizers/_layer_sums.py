"""The sums of a small network's layers, one operation of a fused loop over coordinates each."""

import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from optoscope._core.programs import Program
from optoscope.optimizers._inputs import Products
from optoscope.optimizers._sums_of_squares import as_array


def repeated(
    features: Float[Array, "features ..."] | None,
    weights: Float[Array, "inputs hidden ..."],
    indices: tuple[int, ...],
) -> Float[Array, "hidden ..."]:
    """The contribution to every hidden unit of features that repeat over an axis.

    A matrix product is never fused into the loop over all coordinates, to be taken again for
    each: there it costs one addition.
    """
    if features is None:
        return jnp.zeros(weights.shape[1:2], weights.dtype)
    if weights.ndim > 2:  # they differ along axes of the tensor
        return jnp.sum(weights[np.asarray(indices)] * features[:, None], axis=0)
    return jnp.tensordot(
        weights[jnp.asarray(indices)].T, features, axes=1, precision=jax.lax.Precision.HIGHEST
    )


def along(units: Float[Array, " hidden"], like: Float[Array, "..."] | None) -> Array:
    """One number per unit, broadcast against arrays with a leading axis like another's."""
    return units if like is None else units.reshape(-1, *(1,) * (like.ndim - 1))


def weighted_sum(
    products: Sequence[Products], weights: Float[Array, "inputs ..."], offset: Float[Array, "..."]
) -> Float[Array, "..."]:
    """The factors' weights first: then a tensor costs one product, whatever its factors."""
    summands = [offset]
    for product in products:
        terms = []
        for indices, factors in zip(product.indices, product.factors, strict=True):
            weight = sum((weights[index] for index in indices[1:]), weights[indices[0]])
            terms.append(math.prod(map(as_array, factors), start=weight))
        summands.append(as_array(product.tensor) * sum(terms[1:], terms[0]))
    return _sum(summands)


def affine(
    values: Sequence[Array], weights: Float[Array, " values"], offset: Float[Array, ""]
) -> Array:
    return _sum([offset, *(value * weight for value, weight in zip(values, weights, strict=True))])


def _sum(terms: Sequence[Array]) -> Array:
    """The sum in two halves, so that not every addition waits for the one before it."""
    half = len(terms) // 2
    return sum(terms[1:half], terms[0]) + sum(terms[half + 1 :], terms[half])


def relu(values: Float[Array, "..."]) -> Float[Array, "..."]:
    # One instruction per vector; jax.nn.relu's maximum takes three, for NaN's sake, which this
    # keeps too.
    return jnp.where(values < 0, jnp.zeros_like(values), values)


@functools.partial(Program, runs_once=True)
def untrained_weights(
    key: PRNGKeyArray, shapes: tuple[tuple[int, int], ...]
) -> list[Float[Array, "fan_in fan_out"]]:
    """A truncated normal matrix of each shape, times 1/sqrt(fan_in)."""
    keys = [jax.random.fold_in(key, index) for index in range(len(shapes))]
    return [
        jax.random.truncated_normal(key, -2.0, 2.0, shape) * max(1, shape[0]) ** -0.5
        for key, shape in zip(keys, shapes, strict=True)
    ]
