"""Levenberg–Marquardt for F(h, g) = h from many starts, a fixed number of them at a time.

Optimistix solves one problem; under `vmap` every start takes the steps of the slowest one. From
1,000 starts on a 32-unit GRU its LM took 4.2 s for 64 steps, most of it on starts that had long
arrived. Here starts that have arrived leave and others take their place.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from optoscope.analysis.dynamics._coordinates import ScalarMap
from optoscope.analysis.dynamics._precision import double_precision

# Starts that are advanced side by side, and the steps they make before any is replaced.
_BATCH = 64
_STEPS = 6
_EASIER, _HARDER = 0.1, 6.0
# A round that lessens the residual by less than this share is one too many.
_LEAST_PROGRESS = 1e-4
# Rounds spent on what has converged, to reach rounding.
_POLISH_ROUNDS = 1


class Roots(NamedTuple):
    """The points that the solver reached from all starts.

    Args:
        points: h.
        residuals: ‖F(h, g) − h‖.
        converged: whether the residual is within the tolerance.
    """

    points: Float[np.ndarray, "starts size"]
    residuals: Float[np.ndarray, " starts"]
    converged: Bool[np.ndarray, " starts"]


def _advance(scalar_map: ScalarMap, point: Array, gradient: Array, nu: Array) -> tuple:
    """`_STEPS` steps of one start, with damping ν‖r‖², which keeps them quadratic on lines too."""

    def residual(h: Array) -> Array:
        return scalar_map.step(h, gradient)[0] - h

    identity = jnp.eye(point.shape[0], dtype=point.dtype)

    def step(carry: tuple[Array, Array, Array], _: None) -> tuple:
        h, r, nu = carry
        jacobian = jax.jacfwd(residual)(h)
        normal = jacobian.T @ jacobian + nu * jnp.sum(r**2) * identity
        trial = h - jax.scipy.linalg.solve(normal, jacobian.T @ r, assume_a="pos")
        trial_r = residual(trial)
        # Not a number compares as false, so a failed solve only raises the damping.
        better = jnp.sum(trial_r**2) < jnp.sum(r**2)
        h, r = jnp.where(better, trial, h), jnp.where(better, trial_r, r)
        nu = jnp.clip(jnp.where(better, _EASIER, _HARDER) * nu, 1e-9, 1e30)
        return (h, r, nu), None

    (point, r, nu), _ = jax.lax.scan(step, (point, residual(point), nu), None, length=_STEPS)
    return point, jnp.linalg.norm(r), nu


@double_precision
def _advance_all(scalar_map: ScalarMap, points: Array, gradient: Array, nus: Array) -> tuple:
    return jax.vmap(_advance, in_axes=(None, 0, None, 0))(scalar_map, points, gradient, nus)


@double_precision
def _iterate_all(scalar_map: ScalarMap, points: Array, gradient: Array, num_steps: int) -> Array:
    def iterate(point: Array) -> Array:
        return jax.lax.fori_loop(0, num_steps, lambda _, h: scalar_map.step(h, gradient)[0], point)

    return jax.vmap(iterate)(points)


@double_precision
def _jacobians_all(scalar_map: ScalarMap, points: Array, gradient: Array) -> tuple:
    def one(point: Array) -> tuple[Array, Array]:
        jacobian = jax.jacfwd(lambda h: scalar_map.step(h, gradient)[0])(point)
        return jacobian, scalar_map.step(point, gradient)[1]

    return jax.vmap(one)(points)


def _batches(points: np.ndarray) -> list[np.ndarray]:
    """Batches of one size, the last filled up with copies, so that one program serves all."""
    if len(points) == 0:
        return []
    filled = np.concatenate([points, np.repeat(points[-1:], -len(points) % _BATCH, axis=0)])
    return list(filled.reshape(-1, _BATCH, points.shape[1]))


def jacobians(
    scalar_map: ScalarMap, points: Float[np.ndarray, "points size"], gradient: float
) -> tuple[Float[np.ndarray, "points size size"], Float[np.ndarray, " points"]]:
    """∂F/∂h and the update at every point."""
    if len(points) == 0:
        return np.zeros((0, points.shape[1], points.shape[1])), np.zeros(0)
    results = [_jacobians_all(scalar_map, batch, gradient) for batch in _batches(points)]
    parts = [np.concatenate(part)[: len(points)] for part in zip(*results, strict=True)]
    return parts[0], parts[1]


def iterate_forward(
    scalar_map: ScalarMap,
    points: Float[np.ndarray, "points size"],
    gradient: float,
    num_steps: int,
) -> Float[np.ndarray, "points size"]:
    """The states after many steps h ← F(h, g)."""
    results = [_iterate_all(scalar_map, batch, gradient, num_steps) for batch in _batches(points)]
    return np.concatenate(results)[: len(points)] if results else points


def _tolerances(points: np.ndarray, tolerance: float) -> np.ndarray:
    return tolerance * (1 + np.linalg.norm(points, axis=1))


def find_roots(
    scalar_map: ScalarMap,
    starts: Float[np.ndarray, "starts size"],
    gradient: float,
    *,
    tolerance: float,
    max_steps: int,
) -> Roots:
    """Levenberg–Marquardt from every start, then to rounding from where it converged."""
    points = np.array(starts)
    residuals = np.full(len(points), np.inf)
    nus, steps = np.full(len(points), 1e-2), np.zeros(len(points), int)
    extra, stalled = np.zeros(len(points), int), np.zeros(len(points), int)
    queue = list(range(len(points)))
    while queue:
        chosen = queue[:_BATCH]
        padded = np.resize(np.array(chosen), _BATCH)
        new, norms, new_nus = _advance_all(scalar_map, points[padded], gradient, nus[padded])
        count = len(chosen)
        stalled[chosen] += norms[:count] > residuals[chosen] * (1 - _LEAST_PROGRESS)
        points[chosen], residuals[chosen], nus[chosen] = new[:count], norms[:count], new_nus[:count]
        steps[chosen] += _STEPS
        small = residuals[chosen] <= _tolerances(points[chosen], tolerance)
        extra[chosen] += small
        done = (
            (extra[chosen] > _POLISH_ROUNDS) | (steps[chosen] >= max_steps) | (stalled[chosen] > 1)
        )
        done |= ~np.isfinite(residuals[chosen])
        queue = [index for index, d in zip(chosen, done, strict=True) if not d] + queue[count:]
    converged = residuals <= _tolerances(points, tolerance)
    return Roots(points, residuals, converged)
