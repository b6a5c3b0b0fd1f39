"""The noise of the updates of several optimizers, from the same fresh batches."""

import jax
import numpy as np
from jaxtyping import Array, Float

from optoscope._core.errors import InvalidValueError
from optoscope._core.findings import Axis, Chart, Findings, Measured
from optoscope._core.programs import Program
from optoscope.analysis.inspection._panels import Inspection
from optoscope.analysis.inspection._recording import Recording
from optoscope.analysis.inspection._update_functions import chosen_points
from optoscope.analysis.noise import FreshBatchProbe, TailIndex, TailIndexProbe, update_covariance
from optoscope.analysis.noise._samples import QUANTITIES, BatchRows, centered
from optoscope.analysis.noise._tail_index import tail_index_from_seed
from optoscope.training import StepRecord

_POINTS, _BATCHES, _MOST_EIGENVALUES = 3, 40, 12


@Program
def _rows(probe: FreshBatchProbe, met: StepRecord) -> tuple[BatchRows, Array]:
    found, key = probe.fresh_rows(met, QUANTITIES)
    return found, jax.random.key_data(key)


def update_noise(recording: Recording, *, num_batches: int = _BATCHES) -> Findings:
    """Tail indices and covariance spectra of gradient and update noise at a few recorded steps.

    Args:
        recording: see `record`; the first run is looked at.
        num_batches: fresh batches at each step.

    Returns:
        `alpha` and `null` (noise_of, step): the tail index, and that of Gaussian noise with the
        same scales and correlations; `eigenvalues` (noise_of, step, index): the spectrum of the
        covariance, as shares of its trace. `noise_of` are the optimizers and the gradient.
    """
    points = chosen_points(recording, _POINTS)
    rows, task = (*recording.names, "gradient"), recording.task_of_run()
    shape = (len(rows), len(points))
    alpha, null = np.full(shape, np.nan), np.full(shape, np.nan)
    spectra = np.full((*shape, _MOST_EIGENVALUES), np.nan)
    last: dict[int, TailIndex | None] = {}
    for row, name in enumerate(recording.names):
        probe = TailIndexProbe(num_batches=num_batches, batches="sampled")
        probe = probe.bind(task, recording.optimizers[name])
        for column, point in enumerate(points):
            found, seed = _rows(probe, recording.of_run(name, point))
            places = {"update": row} | ({"gradient": len(rows) - 1} if row == 0 else {})
            for quantity, place in places.items():
                tail, spectra[place, column] = _measured(found, quantity, np.asarray(seed))
                last[place] = tail
                if tail is not None:
                    alpha[place, column], null[place, column] = tail.alpha, tail.surrogate_alpha
    axes = {
        "noise_of": Axis("noise of", np.array(rows)),
        "step": Axis("step", np.array([recording.steps[point] for point in points])),
        "index": Axis("eigenvalue, from the largest", np.arange(1, _MOST_EIGENVALUES + 1)),
    }
    return Findings(
        axes,
        {
            "alpha": Measured(("noise_of", "step"), alpha),
            "null": Measured(("noise_of", "step"), null),
            "eigenvalues": Measured(("noise_of", "step", "index"), spectra),
        },
        (
            Chart(
                "Tail index of the noise, and of Gaussian noise like it (dotted)", "alpha", "α",
                "step", "noise_of", reference="null", along_logarithmic=True,
            ),
            Chart(
                "Spectrum of the covariance over batches", "eigenvalues", "share of the trace",
                "index", "noise_of", slider="step", logarithmic=True,
            ),
        ),
        tuple(_sentence(name, last[place]) for place, name in enumerate(rows)),
    )  # fmt: skip


def _measured(
    found: BatchRows, quantity: str, seed: np.ndarray
) -> tuple[TailIndex | None, Float[np.ndarray, " eigenvalues"]]:
    """The tail index, and the shares of the first eigenvalues; none where a run has diverged."""
    shares = np.full(_MOST_EIGENVALUES, np.nan)
    rows = np.asarray(found.rows[quantity])
    if not np.isfinite(rows).all():
        return None, shares
    eigenvalues = update_covariance(rows).eigenvalues
    total = eigenvalues.sum()
    if total > 0:
        kept = eigenvalues[:_MOST_EIGENVALUES] / total
        shares[: len(kept)] = np.where(kept > 1e-9, kept, np.nan)
    noise = centered(found, quantity)
    if not noise.any():
        return None, shares
    try:
        tail = tail_index_from_seed(
            noise, seed, group_size=None, protocol="corrected", standardize=None
        )
    except InvalidValueError:  # too few samples that vary
        return None, shares
    return tail, shares


def _sentence(name: str, tail: TailIndex | None) -> str:
    if tail is None:
        return f"{name}: no noise to measure at the last step."
    if not np.isfinite(tail.alpha):
        return (
            f"The noise of {name} at the last step has no tail to measure: it is silent or takes a "
            "few values, as that of a sign does."
        )
    return (
        f"The noise of {name} at the last step is {tail.verdict}: α = {tail.alpha:.2f}, and "
        f"{tail.surrogate_alpha:.2f} for Gaussian noise like it."
    )


def noise_panel(inspection: Inspection) -> Findings:
    """The panel's computation: `update_noise` of the shared recording."""
    return update_noise(inspection.recording)
