"""Runs on one-dimensional quadratics of given curvatures, to see whether they are stable."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float64

from optoscope._core.errors import check_count, check_number
from optoscope._core.keys import new_key
from optoscope._core.showing import shown
from optoscope.optimizers import Optimizer
from optoscope.tasks import LeastSquares
from optoscope.training import Probe, StepRecord, train

Outcome = Literal["converges", "diverges", "limit cycle", "stalls"]

# A run that has come this far below its start is done, whatever its last steps look like.
_ARRIVED = 1e-6
_CHANGED = 0.05


class _Position(Probe):
    """Records the task's only parameter at every step."""

    def measure(self, record: StepRecord) -> Float[Array, ""]:
        return record.params[0]


@shown
@dataclass(frozen=True)
class CurvatureRuns:
    """Runs on ½λφ², one for each curvature.

    Args:
        curvatures: λ.
        outcomes: "converges": the last quarter of the run is below the one before, or φ is
            within a millionth of its start; "diverges": not finite, or beyond the start and
            still growing; "limit cycle": bounded, does not shrink and turns back and forth;
            "stalls": the same without turning (at rest elsewhere, or too slow to tell).
        final_sizes: the largest |φ| in the last quarter, over |φ₀|; infinite if not finite.
        positions: φ before every step.
    """

    curvatures: Float64[np.ndarray, " curvatures"]
    outcomes: tuple[Outcome, ...]
    final_sizes: Float64[np.ndarray, " curvatures"]
    positions: Float64[np.ndarray, "curvatures steps"]


def _judge(position: Float64[np.ndarray, " steps"]) -> tuple[Outcome, float]:
    start = abs(position[0])
    if not np.isfinite(position).all():
        return "diverges", np.inf
    quarter = len(position) // 4
    before, last = position[-2 * quarter : -quarter], position[-quarter:]
    size, size_before = float(np.abs(last).max()), float(np.abs(before).max())
    if size <= _ARRIVED * start or size < (1 - _CHANGED) * size_before:
        return "converges", size / start
    if size > (1 + _CHANGED) * size_before and size > start:
        return "diverges", size / start
    moves = np.diff(last)
    turns = np.sign(moves[1:]) * np.sign(moves[:-1]) < 0
    return ("limit cycle" if turns.any() else "stalls"), size / start


def curvature_runs(
    optimizer: Optimizer,
    curvatures: Sequence[float] | np.ndarray,
    *,
    num_steps: int = 2000,
    start: float = 1.0,
) -> CurvatureRuns:
    """Runs an optimizer on ½λφ² for each λ and classifies the outcome.

    `training.train` in float32, without noise. A judgment of what was seen: a run that is
    slow, or that bursts more rarely than a quarter of its length, can be misjudged; look at
    `positions`.

    Args:
        optimizer: any pair of `init` and `update`.
        curvatures: λ, each positive.
        num_steps: steps per run, at least 8.
        start: φ₀, not zero. Matters to every optimizer that is not linear.

    Raises:
        InvalidValueError: a curvature that is not positive, too few steps, a start at zero.

    Example:
        >>> from optoscope import optimizers
        >>> curvature_runs(optimizers.sgd(0.5), [1.0, 3.9, 4.1], num_steps=400).outcomes
        ('converges', 'converges', 'diverges')
    """
    check_count("num_steps", num_steps, minimum=8)
    check_number("abs(start)", abs(start), minimum=0, exclusive_minimum=True)
    positions = []
    for curvature in curvatures:
        check_number("curvatures", float(curvature), minimum=0, exclusive_minimum=True)
        # Arrays of one shape and type, so that all curvatures share one program.
        task = LeastSquares(
            jnp.full((1, 1), float(curvature) ** 0.5, jnp.float32),
            jnp.zeros(1, jnp.float32),
            jnp.full((1,), start, jnp.float32),
            jnp.zeros((), jnp.float32),
        )
        run = train(task, optimizer, num_steps, key=new_key(0), probes={"position": _Position()})
        positions.append(np.asarray(run.records["position"][0], np.float64))
    judged = [_judge(position) for position in positions]
    return CurvatureRuns(
        np.asarray(curvatures, np.float64),
        tuple(outcome for outcome, _ in judged),
        np.array([size for _, size in judged]),
        np.array(positions).reshape(len(judged), num_steps),
    )
