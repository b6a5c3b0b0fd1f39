"""Each mechanism's numbers, read from an optimizer's map."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy.optimize import least_squares

from optoscope._core.errors import InvalidValueError
from optoscope.analysis.dynamics._continuation import continue_fixed_points
from optoscope.analysis.dynamics._coordinates import CoordinateMap
from optoscope.analysis.dynamics._explicit import Adaptation, Clipping, Schedule
from optoscope.analysis.dynamics._trajectories import autonomous_trajectory
from optoscope.analysis.dynamics._update_function import effective_learning_rate, update_function

# Mechanisms that change the rate by less than this share over all that is met are not there.
_LEAST_EFFECT = 0.02
_POINTS = 25


def fit_clipping(
    coordinates: CoordinateMap,
    state: Float[np.ndarray, " size"],
    sizes: tuple[float, float],
) -> Clipping | None:
    """The threshold c with which r c tanh(g/c) is nearest to the odd part of the update function.

    Errors are relative to the gradient, over sizes that are equally dense in the logarithm.

    Args:
        coordinates: the optimizer's map.
        state: h.
        sizes: the smallest and largest |g| to fit over.

    Returns:
        The clipping, or None where the update function is straight (or not of this shape).
    """
    grid = np.geomspace(*sizes, _POINTS)
    odd = update_function(coordinates, state, -grid) - update_function(coordinates, state, grid)
    slopes = odd / (2 * grid)
    if not np.isfinite(slopes).all() or slopes[0] == 0:
        return None

    def errors(logs: np.ndarray) -> np.ndarray:
        scaled = grid / np.exp(logs[0])
        return logs[1] * np.tanh(scaled) / scaled - slopes / slopes[0]

    fit = least_squares(errors, [np.log(grid[-1]), 1.0])
    threshold = np.exp(np.clip(fit.x[0], -60, 60))
    if np.tanh(grid[-1] / threshold) / (grid[-1] / threshold) > 1 - _LEAST_EFFECT:
        return None
    return Clipping(jnp.asarray(threshold, jnp.float32))


def fit_schedule(
    coordinates: CoordinateMap, state: Float[np.ndarray, " size"], num_steps: int, scale: float
) -> Schedule | None:
    """1 + a exp(−t/τ) fitted to the effective rates of the autonomous trajectory.

    Args:
        coordinates: the optimizer's map.
        state: where the rate is 1.
        num_steps: of the trajectory.
        scale: as in `effective_learning_rate`.
    """
    final = effective_learning_rate(coordinates, state, scale=scale).rates
    rates = autonomous_trajectory(coordinates, num_steps, scale=scale).rates.rates / final
    steps = np.arange(num_steps)
    if not np.isfinite(rates).all() or np.abs(rates - 1).max() < _LEAST_EFFECT:
        return None

    def errors(values: np.ndarray) -> np.ndarray:
        return 1 + values[0] * np.exp(-steps / np.exp(values[1])) - rates

    start = [rates[0] - 1, np.log(max(num_steps / 10, 1.0))]
    fit = least_squares(errors, start, bounds=([-0.999, -1.0], [np.inf, 12.0]))
    if abs(fit.x[0]) < _LEAST_EFFECT:
        return None
    return Schedule(jnp.asarray(fit.x[0], jnp.float32), jnp.asarray(np.exp(fit.x[1]), jnp.float32))


def fit_adaptation(
    coordinates: CoordinateMap,
    state: Float[np.ndarray, " size"],
    sizes: tuple[float, float],
    decay: float,
) -> Adaptation | None:
    """1/(1 + (|g*|/s)^p) fitted to the effective rates at the fixed points of gradients g*.

    Args:
        coordinates: the optimizer's map.
        state: the fixed point at g* = 0.
        sizes: the smallest and largest |g*|.
        decay: γ of the running mean that stands for g*.

    Returns:
        The adaptation, or None where the rate does not fall or the branch cannot be followed.
    """
    grid = np.geomspace(*sizes, _POINTS)
    gradients = np.concatenate([-grid[::-1], [0.0], grid])
    try:
        branch = continue_fixed_points(coordinates, gradients, state)
    except InvalidValueError:
        return None
    asked = branch.requested & branch.stable
    met = np.abs(branch.gradients[asked])
    found = effective_learning_rate(coordinates, branch.points[asked], scale=sizes[1] / 10).rates
    if not (met == 0).any() or len(met) < 5:
        return None
    relative = found / found[met == 0][0]
    usable = (met > 0) & np.isfinite(relative)
    if relative[usable].size == 0 or relative[usable].min() > 1 - _LEAST_EFFECT:
        return None

    def errors(logs: np.ndarray) -> np.ndarray:
        powers = np.exp(np.clip(np.exp(logs[1]) * (np.log(met[usable]) - logs[0]), -60, 60))
        return 1 / (1 + powers) - relative[usable]

    fit = least_squares(errors, [np.log(np.median(met[usable])), 0.0])
    if not np.isfinite(fit.x).all() or np.abs(fit.x).max() > 30:
        return None
    scale, power = np.exp(fit.x)
    return Adaptation(*(jnp.asarray(value, jnp.float32) for value in (scale, power, decay)))
