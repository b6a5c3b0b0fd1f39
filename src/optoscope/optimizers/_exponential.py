"""A factor times a power of two, with half the delay of the compiler's own exponentials."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

LOG2_E = 1 / math.log(2)
# 2^f ≈ 1 + c₁ f + ... + c₅ f⁵ for |f| ≤ 1/2, to 1.1e-7 of its value.
_COEFFICIENTS = (0.6931470, 0.24022242, 0.055507336, 0.009671514, 0.0013264726)
# Whole powers of two beyond these are no normal float32.
_LOWEST, _HIGHEST = np.float32(-126), np.float32(127)
# Added to a small float32, its last bits are the nearest whole number.
_TO_LAST_BITS = np.float32(1.5 * 2**23)
_MANTISSA_BITS, _EXPONENT_OFFSET = 23, np.int32(127 << 23)


@jax.custom_jvp
def times_power_of_two(
    factor: Float[Array, "..."], exponent: Float[Array, "..."]
) -> Float[Array, "..."]:
    """Factor times 2^exponent, element-wise; in float32 to 3e-7 of its value.

    In a loop over coordinates that waits for every result, XLA's exponential is a third of the
    wait: one chain of fifteen operations. Here the polynomial is taken in parts, and the whole
    power, the factor and the limits beside it. Where the whole power is no normal float32, the
    nearest that is takes its place; NaN stays NaN.
    """
    if jnp.result_type(factor, exponent) != jnp.float32:
        return factor * jnp.exp2(exponent)
    fraction = exponent - jnp.round(exponent)
    # One instruction each; minimum and maximum take more, for NaN's sake.
    limited = jnp.where(exponent > _HIGHEST, _HIGHEST, exponent)
    limited = jnp.where(limited < _LOWEST, _LOWEST, limited)
    bits = jax.lax.bitcast_convert_type(limited + _TO_LAST_BITS, jnp.int32)
    whole = jax.lax.bitcast_convert_type((bits << _MANTISSA_BITS) + _EXPONENT_OFFSET, jnp.float32)
    c1, c2, c3, c4, c5 = (np.float32(coefficient) for coefficient in _COEFFICIENTS)
    square = fraction * fraction
    polynomial = (1 + c1 * fraction) + square * (
        (c2 + c3 * fraction) + square * (c4 + c5 * fraction)
    )
    return (factor * whole) * polynomial


@times_power_of_two.defjvp
def _(primals: tuple, tangents: tuple) -> tuple:
    (factor, exponent), (factor_slope, exponent_slope) = primals, tangents
    value = times_power_of_two(factor, exponent)
    along = times_power_of_two(factor_slope, exponent)
    return value, along + value * (math.log(2) * exponent_slope)
