"""How far the updates of several optimizers break what symmetries put on gradients."""

from collections.abc import Mapping
from dataclasses import replace

import jax
import numpy as np
from jaxtyping import Array, PyTree

from optoscope._core.findings import Axis, Chart, Findings, Measured
from optoscope._core.programs import Program
from optoscope._core.trees import size
from optoscope.analysis.inspection._panels import Inspection, optimizer_axis, step_axis
from optoscope.analysis.inspection._recording import Recording
from optoscope.analysis.symmetry import Discovery, deviations, isotropic_level
from optoscope.analysis.symmetry._declared_or_found import declared_or_found
from optoscope.analysis.symmetry._task import task_symmetries
from optoscope.tasks import Symmetry

# A search takes some fifteen seconds for 1,500 parameters, and minutes for 3,000.
_MOST_SEARCHED = 2000


@Program
def _cosines(
    symmetries: dict[str, Symmetry], updates: PyTree[Array], params: PyTree[Array]
) -> dict[str, Array]:
    def one(updates: PyTree[Array], params: PyTree[Array]) -> dict[str, Array]:
        return {
            name: deviations(updates, params, symmetry).cosine
            for name, symmetry in symmetries.items()
        }

    return jax.vmap(one)(updates, params)


def symmetry_deviations(
    recording: Recording, symmetries: Mapping[str, Symmetry] | None = None
) -> Findings:
    """The cosines of updates with the directions that gradients have nothing along.

    Args:
        recording: see `record`.
        symmetries: by name; those that the task declares if not given.

    Returns:
        `cosine` (symmetry, optimizer, step), the median over runs, and `isotropic` (symmetry,
        optimizer, step): what a direction that knows nothing of the symmetry would have.

    Raises:
        InvalidValueError: the task declares none.
    """
    found = dict(task_symmetries(recording.task) if symmetries is None else symmetries)
    values = np.full((len(found), len(recording.names), len(recording.steps)), np.nan)
    for row, name in enumerate(recording.names):
        for point, met in enumerate(recording.records):
            cosines = _cosines(found, recording.updates[point][name], met.params)
            for place, symmetry in enumerate(found):
                values[place, row, point] = np.median(np.asarray(cosines[symmetry]))
    level = isotropic_level(size(recording.records[0].params) // recording.num_runs)
    own = ("symmetry", "optimizer", "step")
    return Findings(
        {
            "symmetry": Axis("symmetry", np.array(list(found))),
            "optimizer": optimizer_axis(recording),
            "step": step_axis(recording),
        },
        {
            "cosine": Measured(own, values),
            "isotropic": Measured(own, np.full(values.shape, level)),
        },
        (
            Chart(
                "Cosine with the symmetry's directions, and of a random direction (dotted)",
                "cosine", "cosine", "step", reference="isotropic", logarithmic=True,
                along_logarithmic=True,
            ),
        ),
        tuple(_sentence(name, level, values[:, row]) for row, name in enumerate(recording.names)),
    )  # fmt: skip


def _sentence(name: str, level: float, cosines: np.ndarray) -> str:
    typical = np.nanmedian(cosines) if np.isfinite(cosines).any() else np.nan
    ratio = typical / level
    if not np.isfinite(ratio):
        return f"{name}: no update to measure."
    if ratio < 0.1:
        return f"{name} keeps the symmetries' constraints as gradients do."
    return (
        f"{name} steps along the symmetries' directions {ratio:.2g} times as much as a random "
        "direction would."
    )


def symmetry_panel(inspection: Inspection) -> Findings:
    """The panel's computation: `symmetry_deviations` of the shared recording.

    For a task that declares no symmetries, a user's own model perhaps, they are searched for,
    and a sentence says what was found.
    """
    chosen = declared_or_found(inspection.task, most_params=_MOST_SEARCHED)
    found = symmetry_deviations(inspection.recording, chosen.symmetries)
    if chosen.discovery is None:
        return found
    return replace(found, sentences=(_searched(chosen.discovery), *found.sentences))


def _searched(discovery: Discovery) -> str:
    """What was found, with how many directions belong to each name."""
    counts = [
        f"{name} ({discovery.named[name]})"
        for name in discovery.symmetries
        if name in discovery.named
    ]
    rest = f" {discovery.unnamed} more have no name and are not looked at." if (
        discovery.unnamed
    ) else ""  # fmt: skip
    return (
        "The task declares no symmetries; these were found from its losses, in directions: "
        f"{', '.join(counts)}.{rest}"
    )
