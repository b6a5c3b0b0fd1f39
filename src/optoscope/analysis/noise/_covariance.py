"""How much updates vary over mini-batches: the spectrum of their covariance."""

import math
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float64

from optoscope._core.drawings import Drawing, ProbeText
from optoscope._core.errors import InvalidValueError, check_count, check_number
from optoscope._core.showing import shown
from optoscope.analysis.noise._samples import FreshBatchProbe
from optoscope.training import StepRecord

CovarianceMethod = Literal["eigh", "power"]

# Columns converted to float64 at a time.
_COLUMNS = 2**16


@shown
@dataclass(frozen=True)
class UpdateCovariance:
    """The covariance of mini-batch updates, through its L×L Gram matrix.

    Args:
        eigenvalues: from the largest down; all L of them, or the first by power iteration.
        top: the largest.
        trace_share: `top` over the sum of all eigenvalues; NaN if the updates do not vary.
        relative_top: `top` over ‖ū‖², which does not change with the learning rate; infinite
            where the mean update is zero.
        residual: ‖Gv − λv‖/λ of the top pair: how far it is from an eigenpair.
    """

    eigenvalues: Float64[np.ndarray, " count"]
    top: float
    trace_share: float
    relative_top: float
    residual: float


def _gram(updates: np.ndarray) -> tuple[np.ndarray, float]:
    """The centered Gram matrix over L, and ‖ū‖²; float64, a block of columns at a time."""
    num_batches, num_coordinates = updates.shape
    gram, squared_mean = np.zeros((num_batches, num_batches)), 0.0
    for start in range(0, num_coordinates, _COLUMNS):
        # Centered before any product: a common offset must not cost the digits of the spread.
        block = updates[:, start : start + _COLUMNS].astype(np.float64)
        mean = block.mean(axis=0)
        block -= mean
        # A second time, since the mean of large numbers is itself rounded.
        block -= block.mean(axis=0)
        gram += block @ block.T
        squared_mean += float(mean @ mean)
    return gram / num_batches, squared_mean


def _power_iteration(
    gram: np.ndarray, max_iterations: int, tolerance: float
) -> tuple[float, np.ndarray]:
    # Not the constant vector: a centered Gram matrix sends it to zero.
    vector = np.cos(np.arange(1.0, len(gram) + 1))
    value = 0.0
    for _ in range(max_iterations):
        vector = vector / np.linalg.norm(vector)
        image = gram @ vector
        value = float(vector @ image)
        if np.linalg.norm(image - value * vector) <= tolerance * abs(value):
            break
        vector = image
    return value, vector / np.linalg.norm(vector)


def update_covariance(
    updates: Float[np.ndarray | Array, "batches coordinates"],
    *,
    method: str = "eigh",
    max_iterations: int = 1000,
    tolerance: float = 1e-6,
) -> UpdateCovariance:
    """The eigenvalues of the covariance of updates over mini-batches at one state.

    Use it on `noise_samples(..., quantity="update", full_batch="none")`. Compare optimizers by
    `relative_top` as well as by `top`: the latter grows with the learning rate squared. With L
    batches there are at most L − 1 non-zero eigenvalues, and L batches of any noise in many
    dimensions leave the top one an overestimate of the true covariance's.

    Math: G_ij = ⟨u_i − ū, u_j − ū⟩/L has the non-zero eigenvalues of (1/L) Σ (u_i − ū)(u_i − ū)ᵀ.

    Source: paper A, section 3.3, equations 23 and 24 (L = 93, power iteration); here all
    eigenvalues by a symmetric solver, unless asked otherwise.

    Args:
        updates: one row per mini-batch, not centered.
        method: "eigh", or "power" for the paper's power iteration.
        max_iterations: of the power iteration.
        tolerance: the relative residual at which it stops.

    Returns:
        Eigenvalues and what is read from them, float64.

    Raises:
        InvalidValueError: an unknown method, updates that are not finite, fewer than 2 rows.

    Example:
        >>> result = update_covariance(np.array([[1.0, 0.0], [3.0, 0.0]]))
        >>> result.top, result.trace_share, result.relative_top
        (1.0, 1.0, 0.25)
    """
    if method not in ("eigh", "power"):
        raise InvalidValueError(f"method is {method!r}; it must be 'eigh' or 'power'.")
    check_count("max_iterations", max_iterations, minimum=1)
    check_number("tolerance", tolerance, minimum=0)
    rows: Any = np.asarray(updates)
    if rows.ndim != 2 or len(rows) < 2:
        raise InvalidValueError(
            f"updates has shape {rows.shape}; it must be (batches, coordinates) with at least 2 "
            "batches."
        )
    if not np.isfinite(rows).all():
        raise InvalidValueError(
            "updates holds numbers that are not finite; leave out the steps at which the run "
            "diverged."
        )
    gram, squared_mean = _gram(rows)
    trace = float(np.trace(gram))
    if method == "power":
        top, vector = _power_iteration(gram, max_iterations, tolerance) if trace else (0.0, gram[0])
        eigenvalues = np.array([top])
    else:
        ascending, vectors = np.linalg.eigh(gram)
        eigenvalues, vector = np.maximum(ascending[::-1], 0.0), vectors[:, -1]
        top = float(eigenvalues[0])
    residual = float(np.linalg.norm(gram @ vector - top * vector)) / top if top else 0.0
    return UpdateCovariance(
        eigenvalues,
        top,
        top / trace if trace else math.nan,
        top / squared_mean if squared_mean else math.inf,
        residual,
    )


_RECORDED = ("eigenvalues", "top", "trace_share", "relative_top", "residual")


class CovarianceProbe(FreshBatchProbe):
    """The spectrum of the update covariance over fresh batches (93 by default).

    The batches' updates are computed inside the run's program; the Gram matrix and its
    eigenvalues by `update_covariance` itself, in float64, through a callback to the host. Where
    the run has diverged every number is NaN.

    Source: paper A, figures 8, 11 and 12.

    Args:
        every: measure at steps 0, every, 2·every, …
        task: draws the batches.
        optimizer: the one that is being run.
        key: draws the batches; with the step it gives the batches of a measurement.
        batches: as in `FreshBatchProbe`.
        num_batches: as in `noise_samples`.

    Example:
        >>> from optoscope import optimizers, tasks, training
        >>> task, optimizer = tasks.get("digits-mlp-sigmoid", batch_size=8), optimizers.adam()
        >>> probe = CovarianceProbe(every=2, task=task, optimizer=optimizer, num_batches=5)
        >>> run = training.train(task, optimizer, 3, key=jax.random.key(0),
        ...                      probes={"covariance": probe})
        >>> run.records["covariance"]["eigenvalues"].shape  # (runs, measurements, batches)
        (1, 2, 5)
    """

    text = ProbeText(
        "The largest eigenvalue of the covariance of updates over fresh batches, and its share of "
        "the trace: near 1 all noise lies along one direction, near one over the number of "
        "batches it has none.",
        "Which direction that is. The eigenvalue grows with the square of the step; the share "
        "does not.",
        (
            Drawing("curve", "['top']", "top covariance eigenvalue", logarithmic=True),
            Drawing("curve", "['trace_share']", "its share of the trace"),
        ),
    )

    def measure(self, record: StepRecord) -> dict[str, Float[Array, "..."]]:
        """The fields of `UpdateCovariance`, as float32."""
        found, _ = self.fresh_rows(record, ("update",))
        updates = found.rows["update"]
        shapes = {
            name: jax.ShapeDtypeStruct(
                updates.shape[:1] if name == "eigenvalues" else (), jnp.float32
            )
            for name in _RECORDED
        }
        return jax.pure_callback(_covariance_on_host, shapes, updates, vmap_method="sequential")


def _covariance_on_host(updates: Any) -> dict[str, np.ndarray]:
    """NumPy alone: JAX inside a callback can wait for itself."""
    updates = np.asarray(updates)
    if not np.isfinite(updates).all():
        return {
            name: np.full(len(updates) if name == "eigenvalues" else (), np.nan, np.float32)
            for name in _RECORDED
        }
    result = update_covariance(updates)
    return {name: np.asarray(getattr(result, name), np.float32) for name in _RECORDED}
