"""Whether an optimizer's coordinate map is what it does in a run, and what the map then shows."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from optoscope._core.errors import InvalidValueError
from optoscope._core.findings import Axis, Chart, Findings, Measured
from optoscope._core.showing import shown
from optoscope.analysis.dynamics import CoordinateMap, coordinate_map, coordinate_states, linearize
from optoscope.analysis.dynamics._coordinates import ScalarMap
from optoscope.analysis.dynamics._precision import double_precision
from optoscope.analysis.inspection._panels import Inspection, optimizer_axis
from optoscope.analysis.inspection._recording import Recording
from optoscope.optimizers import Optimizer

# The largest root mean square by which the map may miss the updates, relative to theirs, and
# relative to what rounding the states in the run's precision changes.
_FAITHFUL, _ROUNDINGS = 0.02, 8
_NUM_COMPARED = 256
_MOST_MODES = 6
_S_CURVE = np.concatenate([-np.geomspace(10, 1e-3, 20), [0.0], np.geomspace(1e-3, 10, 20)])
# Long enough for the running averages of Adam, and counters far beyond bias corrections.
_SETTLING, _FAR = 10_000, 100_000


@shown
@dataclass(frozen=True)
class CoordinateView:
    """An optimizer as the map of one coordinate, with the proof that it is one.

    Args:
        coordinates: the map, with counters at the step.
        states: the states of some coordinates at the step.
        gradients: the gradients that they met.
        error: by how much the map misses their updates, relative to the updates' size. It is above
            2% only where rounding alone changes them as much, at the end of a run that has
            converged.
    """

    coordinates: CoordinateMap
    states: Float[np.ndarray, "compared size"]
    gradients: Float[np.ndarray, " compared"]
    error: float


def coordinate_view(recording: Recording, name: str, point: int) -> CoordinateView:
    """An optimizer's coordinate map at a recorded step, where it is what the optimizer does.

    The map is made with the counters of that step and asked for the updates of some coordinates
    of the first run, from their states and gradients. If these are not the updates that the
    optimizer made there, it is not a function of one coordinate (Muon, clipping by a global norm),
    and no map is given.

    Args:
        recording: see `record`.
        name: of the optimizer.
        point: the index of the step.

    Raises:
        InvalidValueError: the map is not what the optimizer does.
    """
    optimizer, met = recording.optimizers[name], recording.of_run(name, point)
    try:
        coordinates = coordinate_map(optimizer, counters=recording.steps[point])
        states = np.asarray(coordinate_states(optimizer, met.state, met.params), np.float64)
    # An optimizer that needs matrices fails on a lone number in ways of its own.
    except Exception as error:
        kind = "" if isinstance(error, InvalidValueError) else f" ({type(error).__name__})"
        raise InvalidValueError(
            f"{name} has no coordinate map: its state is not that of single coordinates{kind}."
        ) from None
    gradients, updates = (
        np.concatenate([np.ravel(np.asarray(leaf, np.float64)) for leaf in jax.tree.leaves(tree)])
        for tree in (met.grads, met.updates)
    )
    chosen = np.unique(np.linspace(0, len(updates) - 1, _NUM_COMPARED).astype(int))
    mapped = coordinates.step(states[chosen], gradients[chosen])[1]
    scale = np.sqrt(np.mean(np.square(updates[chosen])))
    if not np.isfinite(scale):
        raise InvalidValueError(f"{name} has left the finite numbers, so no map is compared.")
    missed = float(np.sqrt(np.mean(np.square(mapped - updates[chosen]))))
    error = float(missed / scale) if scale else 0.0
    allowed = _ROUNDINGS * _rounding(coordinates, states[chosen], gradients[chosen])
    if scale == 0 and not missed <= allowed:
        raise InvalidValueError(
            f"{name} moves no parameter at step {recording.steps[point]}, and a map of one "
            "coordinate would."
        )
    if not (error <= _FAITHFUL or missed <= allowed):
        part = f"{100 * error:.2g}% of" if error < 1 else f"{error:,.0f} times"
        raise InvalidValueError(
            f"{name} is not a function of one coordinate's state and gradient: such a map misses "
            f"its updates at step {recording.steps[point]} by {part} their size. They depend on "
            "other coordinates, or on the parameter itself."
        )
    return CoordinateView(coordinates, states[chosen], gradients[chosen], error)


def _rounding(
    coordinates: CoordinateMap,
    states: Float[np.ndarray, "compared size"],
    gradients: Float[np.ndarray, " compared"],
) -> float:
    """What single precision alone changes in updates, as a root mean square.

    The update of a learned optimizer can be a small difference of large numbers.
    """
    signs = np.random.default_rng(0).choice([-1.0, 1.0], size=states.shape)
    moved = states * (1 + signs * np.finfo(np.float32).eps)
    change = coordinates.step(moved, gradients)[1] - coordinates.step(states, gradients)[1]
    return float(np.sqrt(np.mean(np.square(change))))


@double_precision
def _settled_updates(
    scalar_map: ScalarMap, state: Float[Array, " size"], gradients: Float[Array, " grid"]
) -> Float[Array, " grid"]:
    def settle(gradient: Array) -> Array:
        def body(_: Array, state: Array) -> Array:
            return scalar_map.step(state, gradient)[0]

        return scalar_map.step(jax.lax.fori_loop(0, _SETTLING, body, state), gradient)[1]

    return jax.vmap(settle)(jnp.asarray(gradients))


def coordinate_dynamics(recording: Recording) -> Findings:
    """Modes of optimizers that are maps of one coordinate, and where constant gradients lead.

    Each is linearized at the state and the gradient of the median coordinate at the last recorded
    step, which gives its modes: momenta with a timescale and a learning rate. The S-curve is the
    update that it settles on under a constant gradient, that is at the fixed point of its state
    for each gradient.

    Args:
        recording: see `record`.

    Returns:
        `timescale`, `rate`, `share` (optimizer, mode), the largest share first; `settled`
        (optimizer, gradient). NaN for optimizers that are no such maps.
    """
    names, point = recording.names, len(recording.steps) - 1
    modes = np.full((3, len(names), _MOST_MODES), np.nan)
    settled = np.full((len(names), len(_S_CURVE)), np.nan)
    said = []
    for row, name in enumerate(names):
        try:
            view = coordinate_view(recording, name, point)
        except InvalidValueError as error:
            said.append(str(error))
            continue
        unit = float(np.sqrt(np.mean(np.square(view.gradients)))) or 1.0
        middle = np.median(view.states, axis=0)
        # A second moment of zero, of coordinates that never meet a gradient, has no derivative.
        middle = np.where(middle == 0, np.mean(np.abs(view.states), axis=0), middle)
        settled[row], note = _s_curve(recording.optimizers[name], view, middle, unit)
        said.append(_modes_into(modes[:, row], name, view, middle, unit) + note)
    optimizer = {"optimizer": optimizer_axis(recording)}
    return Findings(
        optimizer
        | {
            "mode": Axis("mode, from the largest share", np.arange(1, _MOST_MODES + 1)),
            "gradient": Axis("constant gradient, in units of its size", _S_CURVE),
        },
        {
            "timescale": Measured(("optimizer", "mode"), modes[0]),
            "rate": Measured(("optimizer", "mode"), modes[1]),
            "share": Measured(("optimizer", "mode"), modes[2]),
            "settled": Measured(("optimizer", "gradient"), settled),
        },
        (
            Chart("Where a constant gradient leads", "settled", "update per step", "gradient"),
            Chart(
                "Modes: learning rate against timescale", "rate", "learning rate", "mode",
                kind="points", horizontal="timescale",
            ),
            Chart(
                "Share of each mode in the impulse response", "share", "share", "mode",
                kind="points",
            ),
        ),
        tuple(said),
    )  # fmt: skip


def _s_curve(
    optimizer: Optimizer, view: CoordinateView, state: np.ndarray, unit: float
) -> tuple[Float[np.ndarray, " gradients"], str]:
    """The settled updates, and a note where the counters could not be far beyond the run."""
    far = coordinate_map(optimizer, counters=_FAR)
    settled = _settled_updates(far.scalar_map, state, _S_CURVE * unit)
    if settled.any():
        return settled, ""
    # A schedule has ended there.
    settled = _settled_updates(view.coordinates.scalar_map, state, _S_CURVE * unit)
    return settled, " Its S-curve is with its counters held at the last step looked at."


def _modes_into(
    modes: np.ndarray, name: str, view: CoordinateView, state: np.ndarray, unit: float
) -> str:
    """Writes the modes of one optimizer, and says in words what they are."""
    if view.coordinates.size == 0:
        return f"{name} has no state of a coordinate: no memory, so no modes."
    try:
        found = linearize(view.coordinates, state, 0.1 * unit).modes()
    except InvalidValueError as error:
        return f"{name}: {error}"
    # Modes that the gradient does not reach, or the update does not read, are none of its memory.
    kept = [index for index in np.argsort(-found.shares) if found.shares[index] > 1e-4]
    for place, index in enumerate(kept[:_MOST_MODES]):
        modes[:, place] = (
            abs(found.timescales[index]),
            complex(found.learning_rates[index]).real,
            found.shares[index],
        )
    if not kept:
        return f"{name}: linearized, its update does not depend on the gradient (a sign, perhaps)."
    first = complex(found.timescales[kept[0]])
    return (
        f"{name}: {100 * found.shares[kept[0]]:.0f}% of its response to a gradient is a momentum "
        f"with decay {abs(first):.4g}" + (", which oscillates." if abs(first.imag) > 1e-9 else ".")
    )


def dynamics_panel(inspection: Inspection) -> Findings:
    """The panel's computation: `coordinate_dynamics` of the shared recording."""
    return coordinate_dynamics(inspection.recording)
