"""The curvatures an optimizer is stable on: parameter and hidden state taken together."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float64

from optoscope._core.errors import InvalidValueError, check_number
from optoscope._core.roots import plain_roots
from optoscope._core.showing import shown
from optoscope.analysis.dynamics import CoordinateMap, coordinate_map
from optoscope.analysis.dynamics._coordinates import ScalarMap
from optoscope.analysis.dynamics._precision import double_precision
from optoscope.analysis.quadratic._curvature_runs import CurvatureRuns, curvature_runs
from optoscope.optimizers import Optimizer

# Steps at zero gradient after which the state counts as settled, and how still it must be.
_SETTLING = 5000
_STILL = 1e-9
_POINTS_PER_DECADE = 40
# The least margin by which a spectral radius counts as above 1.
_ROUNDING = 1e-9
_EDGE = 1e-10
_PROBED = 10.0 ** np.arange(-8, 3)
_LINEAR = 0.1


@shown
@dataclass(frozen=True)
class StableCurvature:
    """The curvatures on which an optimizer is stable by its linearization, and by its runs.

    Args:
        intervals: the curvatures [from, to] on which ρ ≤ 1, inside the range that was looked
            at; a lower end of 0 or an upper end of infinity stands for the end of that range.
            Empty if there are none, and if not `informative`.
        informative: whether the linearization says anything: not for an optimizer that has no
            derivative at the state, or whose updates it does not predict at any size.
        curvatures: λ, where ρ was computed.
        spectral_radii: ρ of the joint matrix of (φ, h) there; NaN without a derivative.
        linear_up_to: the largest size of gradients (of those tried, 1e-8 to 100) for which the
            linearization predicts the updates to 10%; infinite if all, 0 if none.
        caveats: what the linearization does not say of this optimizer, in words.
        runs: what it did at some curvatures.
    """

    intervals: tuple[tuple[float, float], ...]
    informative: bool
    curvatures: Float64[np.ndarray, " curvatures"]
    spectral_radii: Float64[np.ndarray, " curvatures"]
    linear_up_to: float
    caveats: tuple[str, ...]
    runs: CurvatureRuns

    def predicts_stable(self, curvature: float) -> bool:
        """Whether λ lies in one of the intervals."""
        return any(low <= curvature <= high for low, high in self.intervals)

    @property
    def agrees(self) -> tuple[bool | None, ...]:
        """For each run whether "converges" goes with "inside an interval"; None for no word."""
        if not self.informative:
            return (None,) * len(self.runs.outcomes)
        pairs = zip(self.runs.curvatures, self.runs.outcomes, strict=True)
        return tuple(self.predicts_stable(value) == (o == "converges") for value, o in pairs)


def _joint_step(
    scalar_map: ScalarMap, joint: Float[Array, " size_and_1"], gradient: Float[Array, ""]
) -> Float[Array, " size_and_1"]:
    """(φ, h) ↦ (φ + u, h') for a given gradient; the optimizer may look at φ."""
    there = eqx.tree_at(lambda m: m.parameter, scalar_map, joint[0])
    state, update = there.step(joint[1:], gradient)
    return jnp.concatenate([(joint[0] + update)[None], state])


@double_precision
def _settle(scalar_map: ScalarMap, state: Float[Array, " size"]) -> tuple[Array, Array, Array]:
    """The state after many zero gradients, its last change, and the update it gives."""
    zero = jnp.zeros(())

    def body(_: Array, state: Array) -> Array:
        return scalar_map.step(state, zero)[0]

    settled = jax.lax.fori_loop(0, _SETTLING, body, state)
    new, update = scalar_map.step(settled, zero)
    return settled, jnp.max(jnp.abs(new - settled), initial=0.0), update


@double_precision
def _derivatives(scalar_map: ScalarMap, joint: Float[Array, " size_and_1"]) -> tuple[Array, Array]:
    step = jax.jacfwd(lambda z, g: _joint_step(scalar_map, z, g), argnums=(0, 1))
    with plain_roots():
        return step(joint, jnp.zeros(()))


@double_precision
def _responses(
    scalar_map: ScalarMap,
    state: Float[Array, " size"],
    sizes: Float[Array, " sizes"],
    pattern: Float[Array, " steps"],
) -> Float[Array, "sizes steps"]:
    """Updates to a pattern of gradients at several sizes, φ held still."""

    def respond(size: Float[Array, ""]) -> Float[Array, " steps"]:
        return jax.lax.scan(lambda h, g: scalar_map.step(h, g), state, size * pattern)[1]

    return jax.vmap(respond)(sizes)


def _linear_up_to(
    scalar_map: ScalarMap, state: np.ndarray, jacobian: np.ndarray, inputs: np.ndarray
) -> float:
    """The size up to which updates are what the linearization says.

    Only states that gradients can bring about are tried: a second moment is never negative.
    """
    pattern = np.array([1.0, 0.5, -1.0, 0.25, -0.5, 1.0])
    true = _responses(scalar_map, state, np.append(_PROBED, 0.0), pattern)
    true = true[:-1] - true[-1]
    predicted, hidden = [], np.zeros(len(state))
    for gradient in pattern:
        predicted.append(jacobian[0, 1:] @ hidden + inputs[0] * gradient)
        hidden = jacobian[1:, 1:] @ hidden + inputs[1:] * gradient
    linear = _PROBED[:, None] * np.array(predicted)
    scale = np.maximum(np.abs(true).max(axis=1), np.abs(linear).max(axis=1))
    good = np.abs(true - linear).max(axis=1) <= _LINEAR * scale
    if good.all():
        return np.inf
    first_bad = int(np.argmin(good))
    return float(_PROBED[first_bad - 1]) if first_bad else 0.0


def _radius(jacobian: np.ndarray, inputs: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """ρ of the joint matrix J + λ b eᵀ, e picking φ, for many λ."""

    def radius(curvatures: np.ndarray) -> np.ndarray:
        matrices = np.repeat(jacobian[None], len(curvatures), axis=0)
        matrices[:, :, 0] += curvatures[:, None] * inputs
        return np.abs(np.linalg.eigvals(matrices)).max(axis=-1)

    return radius


def _edge(radius: Callable[[np.ndarray], np.ndarray], low: float, high: float) -> float:
    """The curvature between `low` and `high` at which stability changes, by bisection."""
    stable_low = radius(np.array([low]))[0] <= 1 + _ROUNDING
    while high - low > _EDGE * high:
        middle = (low + high) / 2
        if (radius(np.array([middle]))[0] <= 1 + _ROUNDING) == stable_low:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _intervals(
    radius: Callable[[np.ndarray], np.ndarray], grid: np.ndarray, radii: np.ndarray
) -> tuple[tuple[float, float], ...]:
    stable = radii <= 1 + _ROUNDING
    found, low = [], 0.0 if stable[0] else None
    for index in np.flatnonzero(stable[1:] != stable[:-1]):
        edge = _edge(radius, float(grid[index]), float(grid[index + 1]))
        if low is None:
            low = edge
        else:
            found.append((low, edge))
            low = None
    if low is not None:
        found.append((low, np.inf))
    return tuple(found)


def _run_curvatures(intervals: tuple[tuple[float, float], ...]) -> list[float]:
    edges = {edge for interval in intervals for edge in interval if 0 < edge < np.inf}
    if not edges:
        return [0.01, 0.1, 1.0, 10.0, 100.0]
    return sorted({factor * edge for edge in edges for factor in (0.1, 0.5, 0.95, 1.05, 2.0)})


def stable_curvature(
    optimizer: Optimizer,
    *,
    curvature_range: tuple[float, float] = (1e-4, 1e6),
    state: Float[np.ndarray, " size"] | None = None,
    counters: int = 100_000,
    run_curvatures: Sequence[float] | None = None,
    num_steps: int = 2000,
    start: float = 1.0,
) -> StableCurvature:
    """The curvatures on which any optimizer is stable, beside what runs on them do.

    On ½λφ² an optimizer with hidden state h is a map of (φ, h). It is linearized at rest: φ = 0
    and the state that many zero gradients lead to. For a linear optimizer that decides: SGD is
    stable for λ ≤ 2/α, heavy ball for αλ ≤ 2(1 + β). For others it decides about small
    gradients only, and `caveats`, `linear_up_to` and the runs say how small, and whether it
    says anything (Lion's sign has the derivative zero). Adam has no derivative at rest; give a
    `state` with its second moment v: that is the optimizer with its preconditioner held, stable
    for λη/(√v + ε) ≤ 2(1 + β₁)/(1 − β₁).

    Math: the spectral radius of ∂(φ + u(h, λφ, φ), h')/∂(φ, h) = J + λ b eᵀ, J and b by forward
    differentiation in float64, over a grid of λ with the changes found by bisection. The
    optimizer's own dependence on φ (weight decay, p as an input) is included.

    Source: paper C, sections 4.1 and 4.4, which asks for the joint stability of state and
    parameters and leaves it open.

    Args:
        optimizer: any component-wise pair of `init` and `update`.
        curvature_range: the curvatures to look at, both positive.
        state: h where to linearize, as `analysis.dynamics.coordinate_map(optimizer).labels`
            order it; the settled one if not given.
        counters: at which integer counters are held for the linearization; the default is far
            beyond bias corrections. Runs count from 0.
        run_curvatures: where to run; around the edges of the intervals if not given.
        num_steps: of a run.
        start: φ₀ of a run.

    Raises:
        InvalidValueError: an empty range, a state of another size, or what
            `coordinate_map` and `curvature_runs` refuse.

    Example:
        >>> from optoscope import optimizers
        >>> found = stable_curvature(optimizers.momentum(0.5, 0.5), num_steps=200)
        >>> found.intervals[0][0], round(found.intervals[0][1], 6), found.linear_up_to
        (0.0, 6.0, inf)
        >>> found.runs.outcomes[-2:]
        ('diverges', 'diverges')
    """
    low, high = curvature_range
    check_number("curvature_range", low, minimum=0, exclusive_minimum=True)
    check_number("curvature_range", high, minimum=low, exclusive_minimum=True)
    coordinates = coordinate_map(optimizer, counters=counters)
    rest, caveats = _resting_state(coordinates, state)
    jacobian, inputs = _derivatives(coordinates.scalar_map, np.concatenate([[0.0], rest]))
    decades = np.log10(high / low)
    grid = np.geomspace(low, high, int(np.ceil(decades * _POINTS_PER_DECADE)) + 1)
    radii, intervals, linear = np.full(len(grid), np.nan), (), 0.0
    if np.isfinite(jacobian).all() and np.isfinite(inputs).all():
        radius = _radius(jacobian, inputs)
        radii = radius(grid)
        if _answers(jacobian, inputs):
            linear = _linear_up_to(coordinates.scalar_map, rest, jacobian, inputs)
        if linear > 0:
            intervals = _intervals(radius, grid, radii)
    caveats += _caveats(linear, jacobian, inputs)
    chosen = _run_curvatures(intervals) if run_curvatures is None else run_curvatures
    runs = curvature_runs(optimizer, chosen, num_steps=num_steps, start=start)
    return StableCurvature(intervals, linear > 0, grid, radii, linear, caveats, runs)


def _resting_state(
    coordinates: CoordinateMap, state: Any | None
) -> tuple[np.ndarray, tuple[str, ...]]:
    """The state to linearize at, and what is not at rest about it."""
    if state is not None:
        rest = np.asarray(state, np.float64)
        if rest.shape != (coordinates.size,):
            raise InvalidValueError(
                f"state has shape {rest.shape}; the optimizer's has {coordinates.size} entries: "
                f"{', '.join(coordinates.labels) or 'none'}."
            )
        new, update = coordinates.step(rest, 0.0)
        change = float(np.abs(new - rest).max(initial=0.0))
        held = "the state given is held: it moves by {:.2g} a step without a gradient."
    else:
        rest, change, update = _settle(coordinates.scalar_map, coordinates.initial_state)
        held = "the state does not settle without a gradient: it still moves by {:.2g} per step."
    caveats = ()
    if not change <= _STILL:
        caveats += (held.format(float(change)),)
    if not abs(float(update)) <= _STILL:
        caveats += (
            f"without a gradient it moves the parameter by {float(update):.2g} per step: the "
            "minimum is no fixed point of it.",
        )
    return rest, caveats


def _answers(jacobian: np.ndarray, inputs: np.ndarray) -> bool:
    """Whether the update depends on state or gradient to first order; a sign does not."""
    return bool(jacobian[0, 1:].any() or inputs[0])


def _caveats(linear_up_to: float, jacobian: np.ndarray, inputs: np.ndarray) -> tuple[str, ...]:
    if linear_up_to == np.inf:
        return ()
    if not (np.isfinite(jacobian).all() and np.isfinite(inputs).all()):
        return (
            "it has no derivative at rest (the root of a second moment of zero, perhaps): the "
            "linearization says nothing. Give a state with a second moment above zero.",
        )
    if not _answers(jacobian, inputs):
        return (
            "the derivative of its update is zero (a sign, perhaps): ρ is at least 1 whatever "
            "the curvature, and the linearization says nothing. Near the minimum such an "
            "optimizer keeps stepping by its learning rate.",
        )
    if linear_up_to == 0:
        return (
            "the linearization does not describe gradients of any size tried (from 1e-8 on): it "
            "says nothing of what runs do.",
        )
    return (
        f"the linearization describes gradients up to {linear_up_to:g} only; the interval is "
        "about those, and a larger instability can end in a limit cycle.",
    )
