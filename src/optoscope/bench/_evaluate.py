"""Paired evaluation: the same problems, starts and batches for every optimizer."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from optoscope._core.chunks import side_by_side
from optoscope._core.errors import InvalidValueError, check_count
from optoscope._core.estimates import Estimate, turned
from optoscope._core.inference import mean, mean_share
from optoscope._core.pairs import difference, relative_decrease
from optoscope._core.programs import Program
from optoscope._core.showing import shown
from optoscope.bench._metrics import TRAIN, Metric, validation_names
from optoscope.optimizers import Optimizer
from optoscope.tasks import Task, TaskDistribution
from optoscope.training import Probe, compile_train, run_keys
from optoscope.training._train import inner_bytes, measured_steps

FORMAT = "optoscope/results"
VERSION = 2


@shown
@dataclass(frozen=True)
class OptimizerEvaluation:
    """One optimizer's runs.

    Args:
        losses: training loss before each step, shape (runs, steps).
        test_accuracy: at the end of each run, or None where the task has none.
        validation: what the task's `validate` gives at the end of each run, by name.
        seconds_per_step: wall time of a step of one run, compilation excluded.
        records: for each probe its arrays, leading axes (runs, measurements).
        measured_steps: for each probe the steps it was measured at.
    """

    losses: Float[np.ndarray, "runs steps"]
    test_accuracy: Float[np.ndarray, " runs"] | None
    seconds_per_step: float
    records: dict[str, PyTree[np.ndarray]] = field(default_factory=dict)
    measured_steps: dict[str, tuple[int, ...]] = field(default_factory=dict)
    validation: dict[str, Float[np.ndarray, " runs"]] = field(default_factory=dict)

    def values(self, metric: Metric, metric_steps: int) -> Float[np.ndarray, " runs"]:
        """The metric of each run."""
        with np.errstate(invalid="ignore", over="ignore"):
            if metric.needs_validation:
                return self.validation[metric.key]
            return np.asarray(metric.of_losses(self.losses, metric_steps))

    @property
    def diverged(self) -> int:
        """Runs whose loss is not finite at some step."""
        return int(np.sum(~np.all(np.isfinite(self.losses), axis=1)))

    @property
    def diverged_at(self) -> int | None:
        """The first step, counted from 0, at which the loss of a run is not finite."""
        broken = ~np.isfinite(self.losses).all(axis=0)
        return int(np.argmax(broken)) if broken.any() else None

    @property
    def tenths(self) -> Float[np.ndarray, "runs tenths"]:
        """The mean training loss over each tenth of the steps: one batch alone is noisy."""
        return tenths(self.losses)

    def mean_loss(self, num_steps: int) -> Estimate:
        """The mean training loss over the first `num_steps` steps."""
        return mean(_over_steps(self.losses[:, :num_steps]), signed=self._signed)

    def final_loss(self) -> Estimate:
        """The mean training loss over the last tenth of the steps."""
        return mean(self.tenths[:, -1], signed=self._signed)

    @property
    def _signed(self) -> bool:
        """Whether the loss is known to have either sign, like a negative log-likelihood's."""
        return bool((self.losses < 0).any())

    def given_back(self) -> Estimate:
        """How far the loss has risen again by the end of a run: the mean of `given_back`."""
        return mean_share(given_back(self.losses))


def tenths(losses: Float[np.ndarray, "runs steps"]) -> Float[np.ndarray, "runs tenths"]:
    """The mean loss over each tenth of the steps of each run: one batch alone is noisy.

    Example:
        >>> tenths(np.arange(20.0)[None])[0, :3].tolist()
        [0.5, 2.5, 4.5]
    """
    pieces = np.array_split(losses, min(10, losses.shape[1]), axis=1)
    return np.stack([_over_steps(piece) for piece in pieces], axis=1)


def given_back(losses: Float[np.ndarray, "runs steps"]) -> Float[np.ndarray, " runs"]:
    """How far each run's loss has risen again by its end, as a share of how far it fell.

    Math: (last − least) / (first − least) with the first loss and the last and the least of
    the `tenths`; 0 where the loss ends at its least, 1 where it ends at or above the first,
    never fell below it, or is not finite.

    Args:
        losses: training losses before each step.

    Example:
        >>> given_back(np.array([[4.0] + [1.0] * 18 + [2.0] * 2])).round(3).tolist()
        [0.333]
    """
    losses = np.asarray(losses, np.float64)
    means, first = tenths(losses), losses[:, 0]
    least, last = np.min(means, axis=1), means[:, -1]
    with np.errstate(invalid="ignore", divide="ignore"):
        share = (last - least) / (first - least)
    kept = np.isfinite(losses).all(axis=1) & (first > least) & (share < 1)
    return np.where(kept, share, 1.0)


def _summary(metric: str, values: Float[np.ndarray, " runs"]) -> Estimate:
    """The mean of a metric by its name; an accuracy, which tasks call so, is a share."""
    is_share = metric == "accuracy" and ((values >= 0) & (values <= 1)).all()
    return mean_share(values) if is_share else mean(values)


def _over_steps(losses: Float[np.ndarray, "runs steps"]) -> Float[np.ndarray, " runs"]:
    """Each run's mean; it is not finite, without a warning, where the run's losses are not."""
    with np.errstate(invalid="ignore", over="ignore"):
        return np.mean(losses, axis=1)


@shown
@dataclass(frozen=True)
class Evaluation:
    """Several optimizers on the same runs, by name."""

    optimizers: dict[str, OptimizerEvaluation]
    num_steps: int
    num_runs: int

    def improvement(
        self,
        learned: str,
        baseline: str,
        num_steps: int,
        metric: Metric = TRAIN,
        *,
        comparisons: int = 1,
    ) -> Estimate:
        """By what share `learned`'s metric is better than `baseline`'s, run paired with run.

        Where values are not all positive there is no such share: see `difference`.

        Args:
            learned: an optimizer.
            baseline: the one it is compared with.
            num_steps: the first steps over which a mean training loss is taken.
            metric: what is compared, by default the mean training loss.
            comparisons: among how many these two were chosen by the same runs; see `bench.ratio`.
        """
        pair = self._pair(learned, baseline, num_steps, metric)
        found = relative_decrease(*pair, comparisons=comparisons)
        return turned(found) if metric.maximize else found

    def difference(
        self,
        learned: str,
        baseline: str,
        num_steps: int,
        metric: Metric = TRAIN,
        *,
        comparisons: int = 1,
    ) -> Estimate:
        """`learned`'s metric minus `baseline`'s, run paired with run; arguments as above."""
        pair = self._pair(learned, baseline, num_steps, metric)
        return difference(*pair, comparisons=comparisons)

    def _pair(
        self, learned: str, baseline: str, num_steps: int, metric: Metric
    ) -> tuple[np.ndarray, np.ndarray]:
        first, second = (self.optimizers[name] for name in (learned, baseline))
        return first.values(metric, num_steps), second.values(metric, num_steps)

    def best(self, names: tuple[str, ...], num_steps: int, metric: Metric = TRAIN) -> str:
        """The optimizer with the best mean of the metric, diverged ones last."""

        def badness(name: str) -> float:
            value = float(np.mean(self.optimizers[name].values(metric, num_steps)))
            return math.inf if math.isnan(value) else -value if metric.maximize else value

        return min(names, key=badness)

    def as_json(self) -> dict[str, dict[str, Any]]:
        """For each optimizer its summaries, as `results.json` holds them."""
        horizons = sorted({min(h, self.num_steps) for h in (100, 200, self.num_steps)})
        return {
            name: {
                "mean_loss": {str(h): one.mean_loss(h).as_json() for h in horizons},
                "final_loss": one.final_loss().as_json(),
                "test_accuracy": None
                if one.test_accuracy is None
                else _summary("accuracy", one.test_accuracy).as_json(),
                "validation": {k: _summary(k, v).as_json() for k, v in one.validation.items()},
                "seconds_per_step": one.seconds_per_step,
                "diverged": one.diverged,
                "diverged_at": one.diverged_at,
                "given_back": one.given_back().as_json(),
            }
            for name, one in self.optimizers.items()
        }


@Program
def _validations(task: Task, params: PyTree, model_state: PyTree) -> dict[str, Array]:
    return jax.lax.map(lambda one: task.validate(*one), (params, model_state))


@Program
def _accuracies(task: Task, params: PyTree) -> Any:
    return jax.lax.map(lambda one: task.accuracy(one, "test"), params)


def evaluate(
    task: Task | TaskDistribution,
    optimizers: Mapping[str, Optimizer],
    num_steps: int,
    *,
    key: PRNGKeyArray,
    num_runs: int = 10,
    probes: Mapping[str, Probe] | None = None,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> Evaluation:
    """Runs every optimizer on the same problems, initial parameters and batches.

    What differs between two optimizers in run r is thus due to the optimizers and not to luck: they
    are compared run by run, which takes far fewer runs than comparing two means. Nothing is tuned;
    `compare` does that first.

    Args:
        task: the problem, or a distribution: then run r has the same problem for all.
        optimizers: by the names that reports should use.
        num_steps: steps per run.
        key: draws the runs; run r is the same for any number of runs.
        num_runs: runs per optimizer.
        probes: what to measure on the way, by name.
        on_progress: called with (optimizer, runs done, runs in all).

    Raises:
        InvalidValueError: no optimizer, or counts below 1.

    Example:
        >>> from optoscope import optimizers, tasks
        >>> found = evaluate(tasks.get("quadratic"), {"slow": optimizers.sgd(0.01),
        ...     "fast": optimizers.sgd(0.2)}, 50, key=jax.random.key(0), num_runs=5)
        >>> found.best(("slow", "fast"), 50)
        'fast'
    """
    check_count("num_steps", num_steps, minimum=1)
    check_count("num_runs", num_runs, minimum=1)
    if not optimizers:
        raise InvalidValueError("there is no optimizer to evaluate; name at least one.")
    keys = run_keys(key, num_runs)
    results = {}
    for name, optimizer in optimizers.items():
        chunk = side_by_side(4 * inner_bytes(task, optimizer), num_runs)
        # At most ten calls per optimizer, all of one shape, so that there is progress to see.
        per_call = chunk * math.ceil(num_runs / (10 * chunk))
        program = compile_train(
            task, optimizer, num_steps, probes=probes, num_runs=per_call, chunk_size=chunk
        )
        parts, accuracies, validations, seconds = [], [], [], 0.0
        for start in range(0, num_runs, per_call):
            index = np.minimum(np.arange(start, start + per_call), num_runs - 1)
            started = time.perf_counter()
            trajectory = jax.block_until_ready(program(keys[index]))
            seconds += time.perf_counter() - started
            parts.append((trajectory.losses, trajectory.records))
            if isinstance(task, Task) and validation_names(task):
                found = _validations(task, trajectory.params, trajectory.model_state)
                validations.append(found)
            if isinstance(task, Task) and task.accuracy(_first(trajectory.params)) is not None:
                accuracies.append(np.asarray(_accuracies(task, trajectory.params)))
            if on_progress is not None:
                on_progress(name, min(start + per_call, num_runs), num_runs)
        losses, records = _joined(parts, num_runs)
        results[name] = OptimizerEvaluation(
            losses=losses,
            test_accuracy=np.concatenate(accuracies)[:num_runs] if accuracies else None,
            seconds_per_step=seconds / (len(parts) * per_call * num_steps),
            records=records,
            measured_steps=measured_steps(probes or {}, num_steps),
            validation=_joined(validations, num_runs) if validations else {},
        )
    return Evaluation(results, num_steps, num_runs)


def _joined(parts: Sequence[PyTree], num_runs: int) -> PyTree:
    """The runs of all calls one after the other, without those that only filled the last one."""
    return jax.tree.map(
        lambda *leaves: np.concatenate([np.asarray(leaf) for leaf in leaves])[:num_runs], *parts
    )


def _first(params: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: leaf[0], params)
