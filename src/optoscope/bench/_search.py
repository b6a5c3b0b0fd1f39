"""Search for hyper-parameters: all candidates in one vectorized program, chunk by chunk."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, PRNGKeyArray

from optoscope._core.chunks import map_chunked, side_by_side
from optoscope._core.errors import InvalidValueError, check_count, check_number
from optoscope._core.keys import as_key
from optoscope._core.non_finite import worst_unless_finite
from optoscope._core.programs import Program
from optoscope._core.showing import shown
from optoscope.bench._contestants import SCHEDULE
from optoscope.bench._metrics import TRAIN, Metric
from optoscope.optimizers import Optimizer, evaluation_params
from optoscope.tasks import Task, TaskDistribution, as_distribution
from optoscope.training import run_keys
from optoscope.training._run import run_once, split_run_key
from optoscope.training._train import inner_bytes

Create = Callable[..., Optimizer]


@dataclass(frozen=True)
class LogUniform:
    """Values between `low` and `high` that are uniform in the logarithm.

    As many fall between 0.001 and 0.01 as between 0.01 and 0.1: for learning rates, and for
    whatever else may be of any size.

    Args:
        low: above 0.
        high: at least `low`.
    """

    low: float
    high: float

    def __post_init__(self):
        check_number("low", self.low, minimum=0, exclusive_minimum=True)
        check_number("high", self.high, minimum=self.low)

    def sample(self, generator: np.random.Generator, num: int) -> Float[np.ndarray, " num"]:
        """Draws `num` values, uniform in the logarithm."""
        return np.exp(generator.uniform(math.log(self.low), math.log(self.high), num))

    def grid(self, num: int) -> Float[np.ndarray, " num"]:
        """`num` values, evenly spaced in the logarithm, both ends included."""
        return np.geomspace(self.low, self.high, num)


@dataclass(frozen=True)
class Uniform:
    """Values uniform in [low, high]."""

    low: float
    high: float

    def __post_init__(self):
        check_number("low", self.low)
        check_number("high", self.high, minimum=self.low)

    def sample(self, generator: np.random.Generator, num: int) -> Float[np.ndarray, " num"]:
        """Draws `num` values, uniform between `low` and `high`."""
        return generator.uniform(self.low, self.high, num)

    def grid(self, num: int) -> Float[np.ndarray, " num"]:
        """`num` evenly spaced values, both ends included."""
        return np.linspace(self.low, self.high, num)


@dataclass(frozen=True)
class OneMinusLogUniform:
    """Decays β such that 1 − β is uniform in the logarithm between `low` and `high`.

    For momenta and other decays near 1, of which 0.9, 0.99 and 0.999 are equally far apart: they
    average over about 10, 100 and 1000 steps.
    """

    low: float
    high: float

    def __post_init__(self):
        check_number("low", self.low, minimum=0, exclusive_minimum=True)
        check_number("high", self.high, minimum=self.low, maximum=1)

    def sample(self, generator: np.random.Generator, num: int) -> Float[np.ndarray, " num"]:
        """Draws `num` values β, uniform in the logarithm of 1 − β."""
        return 1 - LogUniform(self.low, self.high).sample(generator, num)

    def grid(self, num: int) -> Float[np.ndarray, " num"]:
        """`num` values, evenly spaced in the logarithm of 1 − β."""
        return 1 - LogUniform(self.low, self.high).grid(num)


Distribution = LogUniform | Uniform | OneMinusLogUniform


@shown
@dataclass(frozen=True)
class SearchResult:
    """The result of a search for hyper-parameters.

    Args:
        hyperparameters: the values tried, by name, each of shape (configurations,).
        scores: the metric of each configuration and run (negative where larger is better);
            infinite where the run diverged.
        warnings: hyper-parameters whose best value lies at the edge of what was tried.
        seconds: what it took, compilation included.
    """

    hyperparameters: dict[str, Float[np.ndarray, " configurations"]]
    scores: Float[np.ndarray, "configurations runs"]
    warnings: tuple[str, ...]
    seconds: float = 0.0

    @property
    def score(self) -> Float[np.ndarray, " configurations"]:
        """The mean over runs."""
        return np.mean(self.scores, axis=1)

    @property
    def best(self) -> dict[str, float]:
        """The configuration with the least score; see `best_place`."""
        index = best_place(self.scores)
        return {name: float(values[index]) for name, values in self.hyperparameters.items()}


@Program
def _scores(
    distribution: TaskDistribution,
    create: Create,
    hyperparameters: dict[str, Array],
    num_steps: int,
    keys: Key[Array, " runs"],
    chunk_size: int,
    metric: Metric,
) -> Float[Array, "configurations runs"]:
    def one(configuration: dict[str, Array]) -> Array:
        optimizer = create(**configuration)

        def run(key: PRNGKeyArray) -> Array:
            task_key, init_key, batch_key = split_run_key(key)
            task = distribution.sample(task_key)
            losses, inner, _ = run_once(task, optimizer, num_steps, init_key, batch_key)
            params = evaluation_params(optimizer, inner.optimizer_state, inner.params)
            return metric.of_run(task, losses, inner, params)

        return jax.vmap(run)(keys)

    scores = map_chunked(one, hyperparameters, chunk_size)
    return worst_unless_finite(scores)


def best_place(scores: Float[np.ndarray, "configurations runs"]) -> int:
    """The place of the least mean score.

    Where all are infinite it is the one with the most finite runs, and of those the one that is
    best on them.

    Example:
        >>> best_place(np.array([[math.inf, math.inf], [math.inf, 9.0], [math.inf, 7.0]]))
        2
    """
    finite = np.isfinite(scores)
    count = finite.sum(axis=1)
    total = np.where(finite, scores, 0.0).sum(axis=1)
    on_finite = np.where(count > 0, total / np.maximum(count, 1), math.inf)
    return int(np.lexsort((on_finite, -count, np.mean(scores, axis=1)))[0])


def edge_warnings(
    hyperparameters: Mapping[str, Float[np.ndarray, " configurations"]],
    scores: Float[np.ndarray, "configurations runs"],
    metric: Metric = TRAIN,
) -> tuple[str, ...]:
    """A sentence for every hyper-parameter whose best value is the lowest or highest tried."""
    best = best_place(scores)
    if not np.isfinite(scores[best]).all():
        if metric.name == "target":
            return (
                f"no configuration brings the loss to {metric.target:g} in every run; take more "
                "steps, or a loss that is easier to reach",
            )
        return ("every configuration diverged; search smaller learning rates",)
    warnings = []
    for name, values in hyperparameters.items():
        low, high = float(np.min(values)), float(np.max(values))
        if low == high or name == SCHEDULE:
            continue
        for edge, word, direction in ((low, "lowest", "below"), (high, "highest", "above")):
            if values[best] == edge:
                warnings.append(
                    f"the best {name} ({edge:.3g}) is the {word} that was tried; "
                    f"widen the search {direction} it"
                )
    return tuple(warnings)


def evaluate_configurations(
    task: Task | TaskDistribution,
    create: Create,
    hyperparameters: Mapping[str, Sequence[float] | np.ndarray],
    *,
    num_steps: int,
    key: PRNGKeyArray,
    num_runs: int = 4,
    metric: Metric = TRAIN,
    on_progress: Callable[[int, int], None] | None = None,
) -> SearchResult:
    """Scores given configurations by a metric, all on the same runs.

    Args:
        task: the problem, or a distribution of problems.
        create: makes an optimizer from keyword arguments (traced numbers).
        hyperparameters: for each argument its values, one per configuration.
        num_steps: steps per run.
        key: draws the runs' problems, initial parameters and batches.
        num_runs: runs per configuration.
        metric: what is minimized; by default the mean training loss.
        on_progress: called with (configurations done, configurations in all).

    Raises:
        InvalidValueError: no configuration, values of unequal number, or counts below 1.
    """
    check_count("num_steps", num_steps, minimum=1)
    check_count("num_runs", num_runs, minimum=1)
    values = {name: np.asarray(v, np.float32) for name, v in hyperparameters.items()}
    sizes = {len(v) for v in values.values()}
    if len(sizes) != 1 or 0 in sizes:
        raise InvalidValueError(
            f"hyperparameters hold {sorted(len(v) for v in values.values())} values; each needs "
            "the same number, at least 1."
        )
    total = sizes.pop()
    distribution = as_distribution(task)
    example = create(**{name: float(v[0]) for name, v in values.items()})
    chunk = side_by_side(4 * num_runs * inner_bytes(task, example), total)
    # A few calls rather than one, so that there is progress to see; all of one shape.
    per_call = chunk * max(1, math.ceil(total / (20 * chunk)))
    keys = run_keys(key, num_runs)
    started = time.perf_counter()
    scores = []
    for start in range(0, total, per_call):
        index = np.minimum(np.arange(start, start + per_call), total - 1)
        part = {name: jnp.asarray(v[index]) for name, v in values.items()}
        scores.append(
            np.asarray(_scores(distribution, create, part, num_steps, keys, chunk, metric))
        )
        if on_progress is not None:
            on_progress(min(start + per_call, total), total)
    all_scores = np.concatenate(scores)[:total]
    warnings = edge_warnings(values, all_scores, metric)
    return SearchResult(values, all_scores, warnings, time.perf_counter() - started)


def random_search(
    task: Task | TaskDistribution,
    create: Create,
    space: Mapping[str, Distribution],
    num_samples: int,
    *,
    num_steps: int,
    key: PRNGKeyArray,
    num_runs: int = 4,
    metric: Metric = TRAIN,
    on_progress: Callable[[int, int], None] | None = None,
) -> SearchResult:
    """Draws `num_samples` configurations from `space` and scores them.

    Source: paper B, appendix (2500 samples for each baseline).

    Args:
        task: the problem, or a distribution of problems.
        create: makes an optimizer from keyword arguments.
        space: for each argument its distribution.
        num_samples: configurations to draw.
        num_steps: steps per run.
        key: draws both the configurations and the runs.
        num_runs: runs per configuration.
        metric: what is minimized; by default the mean training loss.
        on_progress: called with (configurations done, configurations in all).

    Example:
        >>> from optoscope import optimizers, tasks
        >>> found = random_search(
        ...     tasks.get("quadratic"), optimizers.sgd, {"learning_rate": LogUniform(1e-4, 1.0)},
        ...     50, num_steps=20, key=jax.random.key(0))
        >>> 0.05 < found.best["learning_rate"] < 0.8
        True
    """
    check_count("num_samples", num_samples, minimum=1)
    sample_key, runs_key = jax.random.split(as_key(key))
    generator = np.random.default_rng(np.asarray(jax.random.key_data(sample_key)))
    drawn = {name: dist.sample(generator, num_samples) for name, dist in space.items()}
    return evaluate_configurations(
        task,
        create,
        drawn,
        num_steps=num_steps,
        key=runs_key,
        num_runs=num_runs,
        metric=metric,
        on_progress=on_progress,
    )


def grid_search(
    task: Task | TaskDistribution,
    create: Create,
    grid: Mapping[str, Sequence[float] | np.ndarray],
    *,
    num_steps: int,
    key: PRNGKeyArray,
    num_runs: int = 4,
    metric: Metric = TRAIN,
    on_progress: Callable[[int, int], None] | None = None,
) -> SearchResult:
    """Scores every combination of the listed values.

    Args:
        task: the problem, or a distribution of problems.
        create: makes an optimizer from keyword arguments.
        grid: for each argument its values.
        num_steps: steps per run.
        key: draws the runs.
        num_runs: runs per configuration.
        metric: what is minimized; by default the mean training loss.
        on_progress: called with (configurations done, configurations in all).
    """
    axes = np.meshgrid(*(np.asarray(values, float) for values in grid.values()), indexing="ij")
    combinations: dict[str, Any] = {
        name: axis.ravel() for name, axis in zip(grid, axes, strict=True)
    }
    return evaluate_configurations(
        task,
        create,
        combinations,
        num_steps=num_steps,
        key=key,
        num_runs=num_runs,
        metric=metric,
        on_progress=on_progress,
    )
