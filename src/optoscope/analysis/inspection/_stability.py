"""Will it last: the curvature met beside the curvature on which it is stable, and a longer run."""

from collections.abc import Mapping
from dataclasses import dataclass

import jax
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from optoscope._core.errors import InvalidValueError, check_count
from optoscope._core.findings import Axis, Chart, Findings, Measured
from optoscope.analysis.inspection._coordinate_view import coordinate_view
from optoscope.analysis.inspection._curvature import curvature_along
from optoscope.analysis.inspection._panels import Inspection
from optoscope.analysis.inspection._recording import Recording
from optoscope.analysis.quadratic import stable_curvature
from optoscope.optimizers import Optimizer
from optoscope.tasks import Task, TaskDistribution
from optoscope.training import train

_LONGER = 10
_LONG_RUNS = 2
_MOST_PLACES = 120
# The share of its gain that a run may lose at the end before it counts: batches differ.
_GIVEN_BACK = 0.01


@dataclass(frozen=True)
class StableEdge:
    """The largest curvature on which an optimizer is stable, or why none is named.

    Args:
        value: the curvature; NaN where there is none.
        reason: why there is none, in words; "" where there is one.
        has_map: whether the optimizer is a map of one coordinate there, which an edge needs.
    """

    value: float
    reason: str = ""
    has_map: bool = True


def stable_edge(recording: Recording, name: str, point: int) -> StableEdge:
    """The largest curvature on which an optimizer is stable, with the state of a recorded step.

    The state is that of the median coordinate, held: for Adam, its preconditioner is. What its
    linearization does not describe (a sign) and what is no map of one coordinate (Muon) has none.

    Args:
        recording: of the optimizer.
        name: of the optimizer.
        point: the index of the step.
    """
    try:
        view = coordinate_view(recording, name, point)
    except InvalidValueError as error:
        return StableEdge(np.nan, str(error), has_map=False)
    state = np.median(view.states, axis=0)
    state = np.where(state == 0, np.mean(np.abs(view.states), axis=0), state)
    try:
        found = stable_curvature(
            recording.optimizers[name],
            curvature_range=(1e-3, 1e6),
            state=state if view.coordinates.size else None,
            counters=recording.steps[point],
            # The linearization alone is asked for.
            run_curvatures=[1.0],
            num_steps=8,
        )
    except InvalidValueError as error:
        return StableEdge(np.nan, f"it cannot be linearized there: {error}")
    if not found.informative:
        return StableEdge(np.nan, found.caveats[-1])
    if not found.intervals:
        return StableEdge(np.nan, "it is stable on no curvature between 0.001 and 1e6.")
    edge = found.intervals[0][1]
    if not np.isfinite(edge):
        return StableEdge(np.nan, "it is stable on every curvature up to 1e6.")
    return StableEdge(edge)


def curvature_beside_edge(own: Mapping[str, Recording], *, key: PRNGKeyArray) -> Findings:
    """The largest curvature along each optimizer's own runs, beside its stable edge.

    Args:
        own: by name the recording of each optimizer's own runs, see `Inspection.own`.
        key: draws the batches that the loss is the mean of.

    Returns:
        `curvature`, `residual` and `edge` (optimizer, step).
    """
    any_recording = next(iter(own.values()))
    shape = (len(own), len(any_recording.steps))
    values, residuals = np.full(shape, np.nan), np.full(shape, np.nan)
    edges, said = np.full(shape, np.nan), []
    for row, (name, recording) in enumerate(own.items()):
        found, errors = curvature_along(recording, key=key)
        values[row], residuals[row] = np.median(found, axis=1), np.median(errors, axis=1)
        # At the very first step averages are empty; the edge is that of the step after it.
        along = [stable_edge(recording, name, point) for point in range(shape[1])]
        edges[row] = [edge.value for edge in along]
        said.append(_sentence(name, values[row], residuals[row], along[-1]))
    axes = {
        "optimizer": Axis("optimizer", np.array(list(own))),
        "step": Axis("step", np.array(any_recording.steps)),
    }
    both = ("optimizer", "step")
    return Findings(
        axes,
        {
            "curvature": Measured(both, values),
            "residual": Measured(both, residuals),
            "edge": Measured(both, edges),
        },
        (
            Chart(
                "Largest curvature met, and the stable edge (dotted)", "curvature", "curvature",
                "step", reference="edge", logarithmic=True, along_logarithmic=True,
            ),
        ),
        tuple(said),
    )  # fmt: skip


def _sentence(
    name: str,
    values: Float[np.ndarray, " steps"],
    residuals: Float[np.ndarray, " steps"],
    edge: StableEdge,
) -> str:
    last = f"{values[-1]:.3g} (Lanczos residual {residuals[-1]:.1g})"
    if not np.isfinite(values[-1]):
        return f"{name}: its run has left the finite numbers."
    if not edge.has_map:
        return (
            f"{edge.reason} An edge of one coordinate would be wrong for it, so none is drawn. In "
            "its place are the largest curvature along its run, which ends at "
            f"{last}, and the run of ten times the length."
        )
    if edge.reason:
        return f"{name} ends at a largest curvature of {last}. It has no stable edge: {edge.reason}"
    ratio = values[-1] / edge.value
    where = "beyond" if ratio > 1 else "inside"
    part = f"{ratio:,.2f} times the edge" if ratio > 1 else f"{100 * ratio:.0f}% of the edge"
    return (
        f"{name} ends at a largest curvature of {last}, {where} its stable range, whose edge is at "
        f"{edge.value:.3g}: {part}."
    )


def longer_runs(
    task: Task | TaskDistribution,
    optimizers: Mapping[str, Optimizer],
    num_steps: int,
    *,
    key: PRNGKeyArray,
    num_runs: int = _LONG_RUNS,
) -> Findings:
    """Runs of many steps, to see what lasts: the loss, averaged between the places shown.

    Args:
        task: the problem, or a distribution.
        optimizers: by name.
        num_steps: of the long run.
        key: draws the runs.
        num_runs: runs per optimizer.

    Returns:
        `long_loss` (optimizer, long_step), the median over runs.
    """
    check_count("num_steps", num_steps, minimum=1)
    edges = np.unique(np.round(np.geomspace(1, num_steps + 1, _MOST_PLACES)).astype(int)) - 1
    edges = np.unique(np.append(edges, num_steps))
    places = edges[:-1]
    losses, said = np.full((len(optimizers), len(places)), np.nan), []
    for row, (name, optimizer) in enumerate(optimizers.items()):
        run: Array = train(task, optimizer, num_steps, key=key, num_runs=num_runs).losses
        all_losses = np.asarray(run, np.float64)
        sums = np.add.reduceat(all_losses, places, axis=1)
        means = sums / np.diff(edges)
        losses[row] = np.median(means, axis=0)
        said.append(_lasting(name, all_losses))
    return Findings(
        {
            "optimizer": Axis("optimizer", np.array(list(optimizers))),
            "long_step": Axis("step", places + 1),
        },
        {"long_loss": Measured(("optimizer", "long_step"), losses)},
        (
            Chart(
                "A longer run", "long_loss", "training loss", "long_step", logarithmic=True,
                along_logarithmic=True,
            ),
        ),
        tuple(said),
    )  # fmt: skip


def _lasting(name: str, losses: Float[np.ndarray, "runs steps"]) -> str:
    broken = ~np.isfinite(losses).all(axis=0)
    if broken.any():
        return f"{name}: a run leaves the finite numbers at step {int(np.argmax(broken))}."
    tenths = [piece.mean() for piece in np.array_split(losses, 10, axis=1) if piece.size]
    first, least, last = losses[:, 0].mean(), min(tenths), tenths[-1]
    if last >= first or last - least > _GIVEN_BACK * (first - least):
        return (
            f"{name} does not last: over {losses.shape[1]:,} steps its loss falls to {least:.3g} "
            f"and comes back to {last:.3g}."
        )
    return f"{name} lasts over {losses.shape[1]:,} steps: its last tenth has loss {last:.3g}."


def stability_panel(inspection: Inspection) -> Findings:
    """The panel's computation: the curvature along each one's own runs, and runs ten times as long.

    An optimizer that was made for a length of training is run beyond it as it is.
    """
    edge_key, long_key = (jax.random.fold_in(inspection.key, place) for place in (2, 3))
    near = curvature_beside_edge(inspection.own, key=edge_key)
    long = longer_runs(
        inspection.task, inspection.optimizers, _LONGER * inspection.num_steps, key=long_key
    )
    return Findings(
        dict(near.axes) | dict(long.axes),
        dict(near.arrays) | dict(long.arrays),
        (*near.charts, *long.charts),
        (*near.sentences, *long.sentences),
    )
