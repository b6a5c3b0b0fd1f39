"""Update functions Δ(g) at a state, and their slopes at zero with the traps in them."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from optoscope._core.errors import InvalidValueError, check_number
from optoscope._core.showing import shown
from optoscope.analysis.dynamics._coordinates import CoordinateMap, ScalarMap
from optoscope.analysis.dynamics._precision import double_precision

# Gradient sizes at which the update function is looked at, relative to the scale.
_SIZES = np.geomspace(1e-10, 1.0, 41)
_GRID = np.concatenate([-_SIZES[::-1], _SIZES])
_BISECTIONS = 60
# Not one half, which would look at g = 0 itself, where Adam has no slope.
_SPLIT = 0.4375
# A jump is counted from this share of the update's range, a kink from this share of the slopes'.
_LEAST_JUMP, _LEAST_KINK = 1e-3, 0.05
# The slope at zero is not the optimizer's where it holds for so small a part of the scale.
_STEEP = 0.01
_CHUNK = 64


def update_function(
    coordinates: CoordinateMap,
    state: Float[np.ndarray, "*batch size"],
    grid: Float[np.ndarray, " grid"],
) -> Float[np.ndarray, "*batch grid"]:
    """Δ(g): what the optimizer adds to the parameter on meeting each gradient at a state.

    Source: paper B, section 4.1 and figure 2.

    Args:
        coordinates: the optimizer's map.
        state: h, with any leading axes.
        grid: gradients.

    Raises:
        InvalidValueError: a state of another size.

    Example:
        >>> from optoscope import optimizers
        >>> from optoscope.analysis.dynamics import coordinate_map
        >>> momentum = coordinate_map(optimizers.momentum(0.5, 0.75))
        >>> update_function(momentum, np.ones(1), np.array([0.0, 1.0])).tolist()
        [-0.375, -0.875]
    """
    state = np.asarray(state, np.float64)
    coordinates.check_states(state)
    return coordinates.step(state[..., None, :], np.asarray(grid, np.float64))[1]


@shown
@dataclasses.dataclass(frozen=True)
class EffectiveLearningRates:
    """−∂Δ/∂g at g = 0 for each state, and whether that says what the optimizer does.

    Args:
        rates: the derivative, or the secant where `used_secant`.
        derivatives: −∂Δ/∂g at 0; NaN or infinite where there is none.
        secants: −(Δ(s) − Δ(−s)) / 2s with s = `scale`.
        used_secant: where the derivative is not finite, Δ jumps (Lion, sign inputs), or
            the slope holds for less than a hundredth of the scale (Adam and RMSProp with an
            empty second moment, whose slope at 0 is the learning rate over ε).
        discontinuous: where Δ jumps within ±s.
        kinked: where the slope of Δ jumps within ±s (the logarithmic input at ±e^−p).
        linear_range: up to which |g| the secants are within a tenth of the derivative.
        scale: s.
    """

    rates: Float[np.ndarray, "*batch"]
    derivatives: Float[np.ndarray, "*batch"]
    secants: Float[np.ndarray, "*batch"]
    used_secant: Bool[np.ndarray, "*batch"]
    discontinuous: Bool[np.ndarray, "*batch"]
    kinked: Bool[np.ndarray, "*batch"]
    linear_range: Float[np.ndarray, "*batch"]
    scale: float


@double_precision
def _examine(scalar_map: ScalarMap, states: Array, scale: Array) -> tuple[Array, ...]:
    grid = scale * jnp.asarray(_GRID)

    def one(state: Array) -> tuple[Array, ...]:
        def delta(g: Array) -> Array:
            return scalar_map.step(state, g)[1]

        slope = jax.jacfwd(delta)
        zero = jnp.zeros((), grid.dtype)
        values, slopes = jax.vmap(delta)(grid), jax.vmap(slope)(grid)

        def remaining_jump(function: Callable[[Array], Array], at_grid: Array) -> Array:
            """The largest jump between neighbors that halving the interval does not remove."""
            jumps = jnp.abs(jnp.diff(at_grid))
            first = jnp.nanargmax(jnp.where(jnp.isfinite(jumps), jumps, -1.0))

            def halve(_: Array, ends: tuple) -> tuple:
                low, high, at_low, at_high = ends
                middle = low + _SPLIT * (high - low)
                value = function(middle)
                left = jnp.abs(value - at_low) > jnp.abs(at_high - value)
                return (
                    jnp.where(left, low, middle),
                    jnp.where(left, middle, high),
                    jnp.where(left, at_low, value),
                    jnp.where(left, value, at_high),
                )

            ends = (grid[first], grid[first + 1], at_grid[first], at_grid[first + 1])
            _, _, at_low, at_high = jax.lax.fori_loop(0, _BISECTIONS, halve, ends)
            return jnp.abs(at_high - at_low)

        return (
            slope(zero),
            delta(zero),
            values,
            slopes,
            remaining_jump(delta, values),
            remaining_jump(slope, slopes),
        )

    return jax.lax.map(one, states, batch_size=min(_CHUNK, states.shape[0]))


def effective_learning_rate(
    coordinates: CoordinateMap, state: Float[np.ndarray, "*batch size"], *, scale: float = 0.1
) -> EffectiveLearningRates:
    """The slope of the update function at zero gradient, −∂Δ/∂g, for each state.

    By differentiation where that means something; by a secant, flagged, where it does not. Read
    the flags: for a jump or a steep slope the number depends on `scale`, which should then be a
    typical size of the gradients that the optimizer meets.

    Source: paper B, section 4.1.

    Args:
        coordinates: the optimizer's map.
        state: h, with any leading axes.
        scale: s, the gradient size up to which the update function is examined, above 0.

    Raises:
        InvalidValueError: a state of another size, no states, or a scale that is not positive.

    Example:
        >>> from optoscope import optimizers
        >>> from optoscope.analysis.dynamics import coordinate_map
        >>> sgd = effective_learning_rate(coordinate_map(optimizers.sgd(0.25)), np.zeros(0))
        >>> float(sgd.rates), bool(sgd.used_secant)
        (0.25, False)
        >>> adam = effective_learning_rate(coordinate_map(optimizers.adam(0.25)), np.zeros(2))
        >>> round(float(adam.rates), 6), bool(adam.used_secant)
        (2.5, True)
    """
    check_number("scale", scale, minimum=0, exclusive_minimum=True)
    state = np.asarray(state, np.float64)
    coordinates.check_states(state)
    batch = state.shape[:-1]
    if 0 in batch:
        raise InvalidValueError(f"states of shape {state.shape}: give at least one.")
    states = state.reshape(int(np.prod(batch)), coordinates.size)
    at_zero, center, values, slopes, jump, kink = _examine(
        coordinates.scalar_map, states, float(scale)
    )
    derivatives = 0.0 - at_zero
    grid = scale * _GRID
    secants = -(values[:, -1] - values[:, 0]) / (2 * scale)
    spread = np.ptp(values, axis=1)
    noise = 1e-12 * np.abs(values).max(axis=1)
    discontinuous = (jump > _LEAST_JUMP * spread) & (spread > noise)
    steepest = np.nanmax(np.abs(np.where(np.isfinite(slopes), slopes, np.nan)), axis=1)
    kinked = kink > np.maximum(_LEAST_KINK * steepest, 1e-9 * np.abs(secants))
    linear_range = _linear_range(grid, values, center, derivatives)
    used_secant = ~np.isfinite(derivatives) | discontinuous | (linear_range < _STEEP * scale)
    rates = np.where(used_secant, secants, derivatives)
    per_state = (rates, derivatives, secants, used_secant, discontinuous, kinked, linear_range)
    return EffectiveLearningRates(*(array.reshape(batch) for array in per_state), scale=scale)


def _linear_range(
    grid: np.ndarray, values: np.ndarray, center: np.ndarray, derivatives: np.ndarray
) -> Float[np.ndarray, " states"]:
    """The largest |g| up to which both one-sided secants are within a tenth of the slope."""
    # The rounding of an update read against its distance from Δ(0) is no bend.
    rounding = 1e-14 * np.abs(values).max(axis=1, keepdims=True)
    error = np.abs(values - center[:, None] + derivatives[:, None] * grid)
    straight = error <= 0.1 * np.abs(derivatives[:, None] * grid) + rounding
    half = len(_SIZES)
    both = straight[:, half:] & straight[:, half - 1 :: -1]
    held = np.cumprod(both, axis=1).sum(axis=1)
    sizes = np.concatenate([[0.0], np.abs(grid[half:])])
    return sizes[held]
