"""The geometry of updates: their size by layer, what they are parallel to, and their spectra."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, PyTree

from optoscope._core.findings import Axis, Chart, Findings, Measured
from optoscope.analysis.inspection._panels import Inspection, optimizer_axis, step_axis
from optoscope.analysis.inspection._recording import ADAM, MOMENTUM, Recording
from optoscope.analysis.updates import log_bins

ALL = "all parameters"
# Of a network with very many arrays the first are shown; their names say which.
_MOST_LAYERS = 40
# Singular values are computed where the smaller side has at most so many.
_LARGEST_SIDE = 1024
_MOST_VALUES, _LEAST_VALUE = 48, 1e-6
_BINS = 36

COMPARED = ("−gradient", ADAM, MOMENTUM)
EXPLANATIONS = (
    "gradient", "sign of the gradient", MOMENTUM, "sign of the momentum", ADAM, "all together",
)  # fmt: skip


def layer_names(params: PyTree[Array]) -> list[str]:
    """A name for each array of parameters: its place, its type and its shape.

    Example:
        >>> layer_names({"w": jax.numpy.zeros((3, 2)), "b": jax.numpy.zeros(2)})
        ['b (vector 2)', 'w (matrix 3×2)']
    """
    names = []
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        place = jax.tree_util.keystr(path).replace("']['", ".").strip("[]'.") or "parameters"
        kind = {0: "number", 1: "vector", 2: "matrix"}.get(np.ndim(leaf), "kernel")
        shape = "×".join(map(str, np.shape(leaf)))
        names.append(f"{place} ({kind} {shape})" if shape else f"{place} ({kind})")
    return names


def layer_axis(recording: Recording) -> Axis:
    """The axis of layers: all parameters together, then each array."""
    one = jax.tree.map(lambda leaf: leaf[0], recording.records[0].params)
    return Axis("layer", np.array([ALL, *layer_names(one)[:_MOST_LAYERS]]))


def layers_of(tree: PyTree[Array], run: int) -> list[Float[np.ndarray, " entries"]]:
    """One run's arrays as vectors in float64: all of them in one, then each alone."""
    leaves = [np.asarray(leaf[run], np.float64).ravel() for leaf in jax.tree.leaves(tree)]
    return [np.concatenate(leaves), *leaves[:_MOST_LAYERS]]


def cosine(first: np.ndarray, second: np.ndarray) -> float:
    """The cosine between two vectors; NaN where one is zero."""
    scale = np.linalg.norm(first) * np.linalg.norm(second)
    return float(first @ second / scale) if scale > 0 else np.nan


def explained_share(update: np.ndarray, parts: Sequence[np.ndarray]) -> float:
    """The share of an update's squared length that a combination of some directions explains.

    Math: 1 − min ‖u − Σ cᵢ dᵢ‖² / ‖u‖² over the coefficients c; for one direction the squared
    cosine.

    Args:
        update: u.
        parts: the directions d; those that are zero or not finite count for nothing.

    Example:
        >>> explained_share(np.array([3.0, 4.0]), [np.array([1.0, 0.0])])
        0.36
    """
    if not (np.any(update) and np.isfinite(update).all()):
        return np.nan
    norms = [np.linalg.norm(part) for part in parts]
    columns = [p / n for p, n in zip(parts, norms, strict=True) if np.isfinite(n) and n > 0]
    if not columns:
        return 0.0
    directions, values, _ = np.linalg.svd(np.stack(columns, axis=1), full_matrices=False)
    directions = directions[:, values > 1e-6 * values[0]]
    unit = update / np.linalg.norm(update)
    return float(min(1.0, np.sum(np.square(directions.T @ unit))))


def singular_values(matrix: np.ndarray) -> Float[np.ndarray, " values"]:
    """The singular values of an array, the largest first; a kernel's last axis are its columns."""
    values = np.asarray(matrix, np.float64).reshape(-1, matrix.shape[-1])
    if not np.isfinite(values).all():
        return np.full(min(values.shape), np.nan)
    return np.linalg.svd(values, compute_uv=False)


def effective_rank(values: Float[np.ndarray, " values"]) -> float:
    """How many directions a matrix uses: the exponential of the entropy of its singular values.

    Math: exp(−Σ pᵢ log pᵢ) with pᵢ = σᵢ / Σ σ. It is the rank where all are equal, 1 where one
    is not zero.

    Source: Roy and Vetterli 2007.

    Example:
        >>> round(effective_rank(np.array([1.0, 1.0, 1.0, 0.0])), 6)
        3.0
    """
    total = values.sum()
    if not total > 0:
        return np.nan
    shares = values[values > 0] / total
    return float(np.exp(-np.sum(shares * np.log(shares))))


def update_geometry(recording: Recording) -> Findings:
    """Sizes of updates by layer, their cosines with known directions, and what explains them.

    Numbers are medians over runs. Directions are those of momentum and Adam that were given the
    same gradients.

    Args:
        recording: see `record`.

    Returns:
        `size` and `relative_size` (optimizer, layer, step), `cosine` (optimizer, compared, layer,
        step), `share` (optimizer, explanation, layer, step), `histogram` (optimizer, step, bin).
    """
    layers, points = layer_axis(recording), len(recording.steps)
    names, shape = recording.names, (len(recording.names), len(layers.values), points)
    runs = range(recording.num_runs)
    size, relative = np.full((*shape, len(runs)), np.nan), np.full((*shape, len(runs)), np.nan)
    cosines = np.full((len(COMPARED), *shape, len(runs)), np.nan)
    shares = np.full((len(EXPLANATIONS), *shape, len(runs)), np.nan)
    for point in range(points):
        for run in runs:
            met = _Met.of(recording, point, run)
            for row, name in enumerate(names):
                updates = layers_of(recording.updates[point][name], run)
                for layer, update in enumerate(updates):
                    place = (row, layer, point, run)
                    size[place] = np.sqrt(np.mean(np.square(update)))
                    length = np.linalg.norm(met.params[layer])
                    relative[place] = np.linalg.norm(update) / length if length else np.nan
                    for index, other in enumerate(met.compared(layer)):
                        cosines[(index, *place)] = cosine(update, other)
                    for index, parts in enumerate(met.explanations(layer)):
                        shares[(index, *place)] = explained_share(update, parts)
    axes = {
        "optimizer": optimizer_axis(recording),
        "layer": layers,
        "step": step_axis(recording),
        "compared": Axis("compared with", np.array(COMPARED)),
        "explanation": Axis("explained by", np.array(EXPLANATIONS)),
    }
    own = ("optimizer", "layer", "step")
    arrays = {
        "size": Measured(own, _median(size)),
        "relative_size": Measured(own, _median(relative)),
        "cosine": Measured(("compared", *own), _median(cosines)),
        "share": Measured(("explanation", *own), _median(shares)),
    }
    histogram = _histograms(recording)
    spectra = _spectra(recording)
    return Findings(
        axes | dict(histogram.axes) | dict(spectra.axes),
        arrays | dict(histogram.arrays) | dict(spectra.arrays),
        (*_CHARTS, *histogram.charts, *spectra.charts),
        _sentences(names, arrays),
    )


_CHARTS = (
    Chart(
        "What explains the update", "share", "share explained", "step", "explanation",
        along_logarithmic=True,
    ),
    Chart("Which way it points", "cosine", "cosine", "step", along_logarithmic=True),
    Chart(
        "Size of the update", "size", "root mean square", "step", logarithmic=True,
        along_logarithmic=True,
    ),
    Chart(
        "Size relative to the parameters", "relative_size", "‖update‖ / ‖parameters‖", "step",
        logarithmic=True, along_logarithmic=True,
    ),
)  # fmt: skip


def _median(values: np.ndarray) -> np.ndarray:
    """Over the last axis, without a warning where there is nothing."""
    known = ~np.isnan(values).all(axis=-1)
    result = np.full(values.shape[:-1], np.nan)
    result[known] = np.nanmedian(values[known], axis=-1)
    return result


class _Met:
    """One run's parameters, gradient and reference directions at one step, by layer."""

    def __init__(self, params: list, grads: list, momentum: list, adam: list):
        self.params, self.grads, self.momentum, self.adam = params, grads, momentum, adam

    @classmethod
    def of(cls, recording: Recording, point: int, run: int) -> "_Met":
        found, asked = recording.records[point], recording.updates[point]
        trees = (found.params, found.grads, asked[MOMENTUM], asked[ADAM])
        return cls(*(layers_of(tree, run) for tree in trees))

    def compared(self, layer: int) -> tuple[np.ndarray, ...]:
        return -self.grads[layer], self.adam[layer], self.momentum[layer]

    def explanations(self, layer: int) -> tuple[list[np.ndarray], ...]:
        grads, momentum = self.grads[layer], self.momentum[layer]
        single = [grads, np.sign(grads), momentum, np.sign(momentum), self.adam[layer]]
        return (*([one] for one in single), single)


def _histograms(recording: Recording) -> Findings:
    """How the sizes of single coordinates are distributed, over all runs."""
    edges = np.asarray(log_bins(1e-8, 10.0, _BINS), np.float64)
    shares = np.zeros((len(recording.names), len(recording.steps), _BINS))
    for row, name in enumerate(recording.names):
        for point, asked in enumerate(recording.updates):
            sizes = np.abs(
                np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(asked[name])])
            )
            known = sizes[np.isfinite(sizes)]
            shares[row, point] = np.histogram(known, edges)[0] / max(sizes.size, 1)
    axes = {"bin": Axis("size of a coordinate's update", np.sqrt(edges[1:] * edges[:-1]))}
    chart = Chart(
        "How large single coordinates' updates are", "histogram", "share of coordinates", "bin",
        slider="step", along_logarithmic=True,
    )  # fmt: skip
    # The axes of optimizers and steps are the caller's; arrays are checked there.
    axes |= {"optimizer": optimizer_axis(recording), "step": step_axis(recording)}
    array = Measured(("optimizer", "step", "bin"), shares)
    return Findings(axes, {"histogram": array}, (chart,))


def _spectra(recording: Recording) -> Findings:
    """Singular values of the updates of matrices, beside those of the gradient; first run."""
    one = jax.tree.map(lambda leaf: leaf[0], recording.records[0].params)
    names = layer_names(one)
    chosen = [
        index
        for index, leaf in enumerate(jax.tree.leaves(one))
        if leaf.ndim >= 2 and 1 < min(np.prod(leaf.shape[:-1]), leaf.shape[-1]) <= _LARGEST_SIDE
    ][:_MOST_LAYERS]
    if not chosen:
        return Findings()
    rows = (*recording.names, "gradient")
    shape = (len(rows), len(chosen), len(recording.steps))
    spectra, ranks = np.full((*shape, _MOST_VALUES), np.nan), np.full(shape, np.nan)
    for point, asked in enumerate(recording.updates):
        trees: Mapping[str, Any] = asked | {"gradient": recording.records[point].grads}
        for row, name in enumerate(rows):
            leaves = jax.tree.leaves(trees[name])
            for column, index in enumerate(chosen):
                values = singular_values(np.asarray(leaves[index][0]))
                ranks[row, column, point] = effective_rank(values) / len(values)
                if values[0] > 0:
                    kept = values[:_MOST_VALUES] / values[0]
                    # Below that there is rounding.
                    kept = np.where(kept > _LEAST_VALUE, kept, np.nan)
                    spectra[row, column, point, : len(kept)] = kept
    longest = int(np.isfinite(spectra).any(axis=(0, 1, 2)).sum()) or 1
    axes = {
        "direction": Axis("update of", np.array(rows)),
        "matrix": Axis("matrix", np.array([names[index] for index in chosen])),
        "step": step_axis(recording),
        "index": Axis("singular value, from the largest", np.arange(1, longest + 1)),
    }
    own = ("direction", "matrix", "step")
    arrays = {
        "spectrum": Measured((*own, "index"), spectra[..., :longest]),
        "effective_rank": Measured(own, ranks),
    }
    charts = (
        Chart(
            "Singular values of the update of a matrix", "spectrum", "relative to the largest",
            "index", "direction", slider="step", logarithmic=True,
        ),
        Chart(
            "Effective rank", "effective_rank", "share of the full rank", "step", "direction",
            along_logarithmic=True,
        ),
    )  # fmt: skip
    return Findings(axes, arrays, charts)


def _sentences(names: Sequence[str], arrays: Mapping[str, Measured]) -> tuple[str, ...]:
    """For each optimizer what single direction explains its updates best, over the whole run."""
    said = []
    for row, name in enumerate(names):
        shares = _median(arrays["share"].values[:, row, 0, :])
        if not np.isfinite(shares).any():
            said.append(f"{name} does not move the parameters.")
            continue
        best = int(np.nanargmax(shares[:-1]))
        said.append(
            f"{name}: {_percent(shares[best])} of its update is along {EXPLANATIONS[best]}"
            + (
                "."
                if shares[-1] - shares[best] < 0.02
                else f", {_percent(shares[-1])} along all directions together."
            )
        )
    return tuple(said)


def _percent(share: float) -> str:
    return f"{100 * share:.0f}%"


def geometry(inspection: Inspection) -> Findings:
    """The panel's computation: `update_geometry` of the shared recording."""
    return update_geometry(inspection.recording)
