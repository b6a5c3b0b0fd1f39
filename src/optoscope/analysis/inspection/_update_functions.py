"""The update of one coordinate as a function of its gradient, all others held as they were met.

This is exact for every optimizer. For a coordinate-wise one it is its update function; for one
that looks at whole matrices (Muon, SOAP), or at a global norm, it is the conditional function, and
how much the other coordinates matter is measured beside it.
"""

from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from optoscope._core.chunks import map_chunked, side_by_side
from optoscope._core.errors import check_count
from optoscope._core.findings import Axis, Chart, Findings, Measured
from optoscope._core.keys import as_key
from optoscope._core.programs import Program
from optoscope._core.trees import num_bytes
from optoscope.analysis.inspection._geometry import layer_names
from optoscope.analysis.inspection._panels import Inspection, optimizer_axis
from optoscope.analysis.inspection._recording import Recording, proposed_updates
from optoscope.optimizers import Optimizer
from optoscope.tasks import Task
from optoscope.training import StepRecord
from optoscope.training._step import loss_at

# Shown are the coordinates at these quantiles of the size of gradients that they meet.
_QUANTILES = {"a median": 0.5, "a large": 0.9, "a very large": 0.99, "the largest": 1.0}
_GRID = np.linspace(-4, 4, 41)
_MOST_POINTS = 6
_NUM_JUDGED, _NUM_BATCHES = 8, 12
# Below this share the other coordinates count as without influence.
NO_INFLUENCE = 1e-3


@Program
def _answers(
    task: Task,
    optimizer: Optimizer,
    record: StepRecord,
    coordinates: Int[Array, " asked"],
    gradients: Float[Array, " asked"],
    others: PyTree[Array],
    chunk_size: int,
) -> Float[Array, " asked"]:
    """The updates of some coordinates, each with a gradient of its own and given others."""

    def answer(item: tuple[Array, Array, Array]) -> Array:
        coordinate, gradient, around = item
        vector = around.at[coordinate].set(gradient.astype(around.dtype))
        grads = ravel_pytree(record.grads)[1](vector)
        updates = proposed_updates(task, optimizer, record, grads)
        return ravel_pytree(updates)[0][coordinate]

    return map_chunked(answer, (coordinates, gradients, others), chunk_size)


def conditional_updates(
    task: Task,
    optimizer: Optimizer,
    record: StepRecord,
    coordinates: Int[np.ndarray, " asked"],
    gradients: Float[np.ndarray, " asked"],
    others: Float[np.ndarray, "asked coordinates"] | None = None,
) -> Float[np.ndarray, " asked"]:
    """What an optimizer does to single coordinates that meet another gradient than they did.

    Everything else is as it was at the recorded step: parameters, state, counters, and the other
    coordinates' gradients.

    Args:
        task: for the loss, which some optimizers ask for.
        optimizer: whose state the record holds.
        record: of one step of one run, see `Recording.of_run`.
        coordinates: whose, as `jax.flatten_util.ravel_pytree(params)` counts them.
        gradients: the gradient of each.
        others: the whole gradient around each, in that order; the record's own if not given.
    """
    grads = ravel_pytree(record.grads)[0]
    around = jnp.broadcast_to(grads, (len(coordinates), grads.size))
    # An update's temporaries are a few times the state.
    each = 4 * num_bytes((record.params, record.state))
    return np.asarray(
        _answers(
            task,
            optimizer,
            record,
            jnp.asarray(coordinates),
            jnp.asarray(gradients, jnp.float32),
            around if others is None else jnp.asarray(others, grads.dtype),
            side_by_side(each, len(coordinates)),
        ),
        np.float64,
    )


@Program
def _fresh_gradients(
    task: Task, record: StepRecord, keys: Array
) -> Float[Array, "batches coordinates"]:
    def gradient(key: PRNGKeyArray) -> Array:
        there = eqx.tree_at(lambda r: r.batch, record, task.sample_batch(key))
        return ravel_pytree(jax.grad(lambda params: loss_at(task, params, there))(record.params))[0]

    return jax.lax.map(gradient, keys)


@dataclass(frozen=True)
class Influence:
    """How much the other coordinates matter for the update of one, over mini-batches.

    Args:
        own: the variance of updates when only the coordinate's own gradient changes with the
            batch, summed over the coordinates that were looked at.
        others: that when only the other coordinates' gradients do.
    """

    own: float
    others: float

    @property
    def share(self) -> float:
        """The others' share: 0 for a coordinate-wise optimizer, NaN where nothing varies."""
        total = self.own + self.others
        return self.others / total if total > 0 else np.nan


def influence_of_others(
    task: Task,
    optimizer: Optimizer,
    record: StepRecord,
    *,
    key: PRNGKeyArray,
    coordinates: Int[np.ndarray, " judged"],
    num_batches: int = _NUM_BATCHES,
) -> Influence:
    """Whether an optimizer is a function of one coordinate, measured at a recorded step.

    Math: with g the recorded gradient and g⁽ᵇ⁾ those of fresh batches at the same parameters, the
    variances over b of uᵢ(gᵢ⁽ᵇ⁾, g₋ᵢ) and of uᵢ(gᵢ, g₋ᵢ⁽ᵇ⁾).

    Args:
        task: draws the batches.
        optimizer: whose state the record holds.
        record: of one step of one run.
        key: draws the batches.
        coordinates: where to look.
        num_batches: how many batches, at least 2.
    """
    check_count("num_batches", num_batches, minimum=2)
    keys = jax.random.split(as_key(key), num_batches)
    fresh = np.asarray(_fresh_gradients(task, record, keys))
    met = np.asarray(ravel_pytree(record.grads)[0])
    asked = np.repeat(coordinates, num_batches)
    batch = np.tile(np.arange(num_batches), len(coordinates))
    own = conditional_updates(task, optimizer, record, asked, fresh[batch, asked])
    others = conditional_updates(task, optimizer, record, asked, met[asked], fresh[batch])

    def variance(updates: np.ndarray) -> float:
        return float(updates.reshape(len(coordinates), num_batches).var(axis=1).sum())

    return Influence(variance(own), variance(others))


def chosen_points(recording: Recording, count: int = _MOST_POINTS) -> list[int]:
    """Indices of some of the recorded steps, the first and the last among them."""
    total = len(recording.steps)
    return sorted({round(place) for place in np.linspace(0, total - 1, min(count, total))})


def gradient_sizes(recording: Recording) -> Float[np.ndarray, " coordinates"]:
    """For each coordinate the root mean square gradient over all steps and runs."""
    squares: Any = 0.0
    for met in recording.records:
        leaves = [np.square(np.asarray(leaf, np.float64)) for leaf in jax.tree.leaves(met.grads)]
        squares = squares + np.concatenate([leaf.mean(axis=0).ravel() for leaf in leaves])
    return np.sqrt(squares / len(recording.records))


def coordinates_at_quantiles(
    recording: Recording, quantiles: Float[np.ndarray, " chosen"]
) -> Int[np.ndarray, " chosen"]:
    """Coordinates by the size of their gradients, of matrices where there are any."""
    sizes = gradient_sizes(recording)
    leaves = jax.tree.leaves(recording.records[0].params)
    in_matrix = np.concatenate([np.full(leaf[0].size, leaf[0].ndim >= 2) for leaf in leaves])
    allowed = np.flatnonzero((sizes > 0) & (in_matrix | ~in_matrix.any()))
    allowed = allowed if len(allowed) else np.arange(len(sizes))
    order = allowed[np.argsort(sizes[allowed], kind="stable")]
    return order[np.round(np.asarray(quantiles) * (len(order) - 1)).astype(int)]


def _described(recording: Recording, coordinate: int) -> str:
    """The array that a coordinate is in, and its place there."""
    one = jax.tree.map(lambda leaf: leaf[0], recording.records[0].params)
    start = 0
    for name, leaf in zip(layer_names(one), jax.tree.leaves(one), strict=True):
        if coordinate < start + leaf.size:
            place = np.unravel_index(coordinate - start, leaf.shape)
            return f"{name.split(' (')[0]}[{', '.join(map(str, place))}]"
        start += leaf.size
    return str(coordinate)


def update_functions(recording: Recording, *, key: PRNGKeyArray) -> Findings:
    """The conditional update functions at states that were met, and what the others change.

    Gradients are in units of their root mean square over all coordinates at the step, updates in
    units of the optimizer's own at the step, so that shapes can be compared.

    Args:
        recording: see `record`; the first run is looked at.
        key: draws the batches that tell how much the others matter.

    Returns:
        `update` (optimizer, coordinate, step, gradient), `influence` (optimizer, step).
    """
    task, points = recording.task_of_run(), chosen_points(recording)
    shown = coordinates_at_quantiles(recording, np.array(list(_QUANTILES.values())))
    judged = coordinates_at_quantiles(recording, np.linspace(0.3, 1.0, _NUM_JUDGED))
    shape = (len(recording.names), len(shown), len(points), len(_GRID))
    updates = np.full(shape, np.nan)
    influence = np.full((len(recording.names), len(points)), np.nan)
    for row, name in enumerate(recording.names):
        optimizer = recording.optimizers[name]
        for column, point in enumerate(points):
            met = recording.of_run(name, point)
            unit = _root_mean_square(met.grads)
            asked = np.repeat(shown, len(_GRID))
            found = conditional_updates(
                task, optimizer, met, asked, np.tile(_GRID * unit, len(shown))
            )
            size = _root_mean_square(met.updates) or 1.0
            updates[row, :, column] = found.reshape(len(shown), -1) / size
            influence[row, column] = influence_of_others(
                task, optimizer, met, key=jax.random.fold_in(key, point), coordinates=judged
            ).share
    steps = Axis("step", np.array([recording.steps[point] for point in points]))
    labels = [
        f"{word} gradient: {_described(recording, one)}"
        for word, one in zip(_QUANTILES, shown.tolist(), strict=True)
    ]
    return Findings(
        {
            "optimizer": optimizer_axis(recording),
            "coordinate": Axis("coordinate that usually meets", np.array(labels)),
            "step": steps,
            "gradient": Axis("gradient, in units of its size", _GRID),
        },
        {
            "update": Measured(("optimizer", "coordinate", "step", "gradient"), updates),
            "influence": Measured(("optimizer", "step"), influence),
        },
        (
            Chart(
                "One coordinate's update against its gradient", "update",
                "update, in units of its size", "gradient", slider="step",
            ),
            Chart(
                "How much the other coordinates matter", "influence",
                "share of the variance", "step", along_logarithmic=True,
            ),
        ),
        tuple(map(_sentence, recording.names, influence)),
    )  # fmt: skip


def _root_mean_square(tree: PyTree[Array]) -> float:
    vector = np.concatenate([np.ravel(np.asarray(leaf, np.float64)) for leaf in
                             jax.tree.leaves(tree)])  # fmt: skip
    return float(np.sqrt(np.mean(np.square(vector))))


def _sentence(name: str, influence: Float[np.ndarray, " steps"]) -> str:
    known = influence[np.isfinite(influence)]
    if not known.size:
        return f"{name}: its updates do not vary over batches, so nothing is said of the others."
    share = float(known.max())
    if share <= NO_INFLUENCE:
        return f"{name} works on each coordinate by itself: the others change nothing."
    return (
        f"{name}: {100 * float(np.median(known)):.2g}% of the update's variance over batches comes "
        f"from other coordinates (up to {100 * share:.2g}%), so the curve holds only beside the "
        "gradient that was met."
    )


def update_function_panel(inspection: Inspection) -> Findings:
    """The panel's computation: `update_functions` of the shared recording."""
    return update_functions(inspection.recording, key=jax.random.fold_in(inspection.key, 1))
