"""Trajectories of states: principal components, variance, motion without a gradient."""

import dataclasses

import jax
import numpy as np
from jaxtyping import Array, Float
from scipy.special import gammaln

from optoscope._core.errors import InvalidValueError, check_count, check_number
from optoscope._core.showing import shown
from optoscope.analysis.dynamics._coordinates import CoordinateMap, ScalarMap
from optoscope.analysis.dynamics._precision import double_precision
from optoscope.analysis.dynamics._update_function import (
    EffectiveLearningRates,
    effective_learning_rate,
)


@shown
@dataclasses.dataclass(frozen=True)
class StatePCA:
    """Principal components of states.

    Args:
        mean: the mean state.
        components: orthonormal directions in rows, the one of most variance first.
        explained: the share of the variance along each.
        projections: the states that were given, along the components.
    """

    mean: Float[np.ndarray, " size"]
    components: Float[np.ndarray, "components size"]
    explained: Float[np.ndarray, " components"]
    projections: Float[np.ndarray, "*batch components"]

    def project(
        self, states: Float[np.ndarray, "*other size"]
    ) -> Float[np.ndarray, "*other components"]:
        """Other states along the same components."""
        return (np.asarray(states, np.float64) - self.mean) @ self.components.T


def state_pca(states: Float[np.ndarray, "*batch size"], *, num_components: int = 3) -> StatePCA:
    """Principal components of visited states (scikit-learn's, by a full SVD).

    Source: paper B, figures 3 to 7 and 14.

    Args:
        states: with any leading axes (runs, steps, coordinates).
        num_components: how many to keep; at most the number of states and of their entries.

    Raises:
        InvalidValueError: fewer than two states, or states that are not finite.

    Example:
        >>> line = np.outer(np.arange(4.0), [3.0, 4.0])
        >>> found = state_pca(line, num_components=1)
        >>> abs(found.components.round(6)).tolist(), found.explained.round(6).tolist()
        ([[0.6, 0.8]], [1.0])
    """
    states = np.asarray(states, np.float64)
    flat = states.reshape(-1, states.shape[-1])
    if len(flat) < 2 or not np.isfinite(flat).all():
        raise InvalidValueError(
            f"states of shape {states.shape}: give at least two, all of them finite "
            "(leave out the runs that diverged)."
        )
    check_count("num_components", num_components, minimum=1, maximum=min(flat.shape))
    # Takes longer to import than most commands to start.
    from sklearn.decomposition import PCA

    pca = PCA(num_components, svd_solver="full").fit(flat)
    projections = pca.transform(flat).reshape(*states.shape[:-1], num_components)
    return StatePCA(
        np.asarray(pca.mean_),
        np.asarray(pca.components_),
        np.asarray(pca.explained_variance_ratio_),
        projections,
    )


def total_variance(
    states: Float[np.ndarray, "runs *batch size"],
) -> Float[np.ndarray, "*batch"]:
    """The variance of h over the first axis, summed over its entries.

    Over problems and step by step it goes to zero when all runs converge to one state.

    Source: paper B, insets of figures 3 and 8.

    Args:
        states: runs first.
    """
    return np.asarray(states, np.float64).var(axis=0).sum(axis=-1)


@shown
@dataclasses.dataclass(frozen=True)
class AutonomousTrajectory:
    """The trajectory of a state under a constant gradient.

    Args:
        states: h₀, h₁, …
        rates: effective learning rates at each state.
        updates: what is done to the parameter at each state.
        drift: `updates` less the first.
        alignment: |cos| between h_t − h₀ and the linear readout; NaN at the start, and None for
            an optimizer without one.
        chance: the mean of that number for a random direction.
    """

    states: Float[np.ndarray, "steps size"]
    rates: EffectiveLearningRates
    updates: Float[np.ndarray, " steps"]
    drift: Float[np.ndarray, " steps"]
    alignment: Float[np.ndarray, " steps"] | None
    chance: float


@double_precision
def _iterate(scalar_map: ScalarMap, state: Array, gradient: Array, num_steps: int) -> tuple:
    def step(h: Array, _: None) -> tuple[Array, tuple[Array, Array]]:
        new, update = scalar_map.step(h, gradient)
        return new, (h, update)

    return jax.lax.scan(step, state, None, length=num_steps)[1]


def autonomous_trajectory(
    coordinates: CoordinateMap,
    num_steps: int,
    *,
    start: Float[np.ndarray, " size"] | None = None,
    gradient: float = 0.0,
    scale: float = 0.1,
) -> AutonomousTrajectory:
    """Iterates F(h, 0): a learning rate schedule, if the effective rate changes on the way.

    The paper says that this motion is orthogonal to the readout, so that it changes the
    rate and not the parameters; `drift` and `alignment` say whether it is. Integer counters are
    frozen in the map, so what shows is a schedule that the optimizer keeps in its floats.

    Source: paper B, section 4.4 and figure 5.

    Args:
        coordinates: the optimizer's map.
        num_steps: states to record, the first included.
        start: h₀; the optimizer's own if not given.
        gradient: g.
        scale: as in `effective_learning_rate`.

    Raises:
        InvalidValueError: fewer than one step or a start of another size.

    Example:
        >>> from optoscope import optimizers
        >>> from optoscope.analysis.dynamics import coordinate_map
        >>> momentum = coordinate_map(optimizers.momentum(0.5, 0.75))
        >>> autonomous_trajectory(momentum, 3, start=np.ones(1)).states.ravel().tolist()
        [1.0, 0.75, 0.5625]
    """
    check_count("num_steps", num_steps, minimum=1)
    check_number("gradient", gradient)
    start = coordinates.initial_state if start is None else np.asarray(start, np.float64)
    if start.shape != (coordinates.size,):
        raise InvalidValueError(f"start has shape {start.shape}; it must be ({coordinates.size},).")
    states, updates = _iterate(coordinates.scalar_map, start, float(gradient), num_steps)
    alignment = None
    if coordinates.readout is not None:
        weights, moved = coordinates.readout.weights, states - states[0]
        lengths = np.linalg.norm(moved, axis=1) * np.linalg.norm(weights)
        alignment = np.full(num_steps, np.nan)
        np.divide(np.abs(moved @ weights), lengths, out=alignment, where=lengths > 0)
    return AutonomousTrajectory(
        states,
        effective_learning_rate(coordinates, states, scale=scale),
        updates,
        updates - updates[0],
        alignment,
        _mean_alignment(coordinates.size),
    )


def _mean_alignment(size: int) -> float:
    """E|cos| between a fixed and a random direction: Γ(n/2) / (√π Γ((n+1)/2))."""
    if size == 0:
        return float("nan")
    logarithm = gammaln(size / 2) - gammaln((size + 1) / 2)
    return float(np.exp(logarithm) / np.pi**0.5)
