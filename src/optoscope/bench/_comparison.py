"""Learned optimizers against tuned baselines: search, paired evaluation, records."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from optoscope._core.drawings import DRAWINGS_FORMAT, DRAWINGS_VERSION
from optoscope._core.errors import check_seed
from optoscope._core.files import write_json
from optoscope._core.keys import stream
from optoscope._core.records import save_records
from optoscope.bench._checks import check_comparison, check_search, searchable
from optoscope.bench._evaluate import FORMAT, VERSION, Evaluation, evaluate
from optoscope.bench._search import LogUniform, SearchResult, edge_warnings, grid_search
from optoscope.optimizers import REGISTRY, Optimizer
from optoscope.tasks import Task, TaskDistribution
from optoscope.training import Probe

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Comparison:
    """The result of `compare`.

    Args:
        evaluation: all optimizers on the same fresh runs.
        searches: for each tuned baseline its search.
        learned: the names that were not tuned.
        metric_steps: the first steps over which the headline mean loss is taken.
        task: the task's metadata.
        seed: the seed of the evaluation.
        seconds: wall time of searches and evaluation.
        horizons: steps of the runs that learned optimizers were meta-trained on, where known.
        probes: what measured the runs, by name; how it is drawn is written beside it.
    """

    evaluation: Evaluation
    searches: dict[str, SearchResult]
    learned: tuple[str, ...]
    metric_steps: int
    task: dict[str, Any]
    seed: int
    seconds: float
    horizons: Mapping[str, int] = field(default_factory=dict)
    probes: Mapping[str, Probe] = field(default_factory=dict)

    def headline(self) -> dict[str, Any] | None:
        """The best learned optimizer against the best tuned baseline, or None without both."""
        if not self.learned or not self.searches:
            return None
        learned = self.evaluation.best(self.learned, self.metric_steps)
        baseline = self.evaluation.best(tuple(self.searches), self.metric_steps)
        improvement = self.evaluation.improvement(learned, baseline, self.metric_steps)
        difference = self.evaluation.difference(learned, baseline, self.metric_steps)
        return {
            "metric": f"mean training loss over the first {self.metric_steps} steps",
            "learned": learned,
            "baseline": baseline,
            "relative_improvement": improvement.as_json(),
            "difference": difference.as_json(),
        }

    def results(self) -> dict[str, Any]:
        """The content of `results.json`."""
        optimizers = self.evaluation.as_json()
        for name, entry in optimizers.items():
            search = self.searches.get(name)
            entry["hyperparameters"] = search.best if search else {}
            entry["warnings"] = list(search.warnings) if search else []
            entry["horizon"] = self.horizons.get(name)
        return {
            "format": FORMAT,
            "version": VERSION,
            "task": self.task,
            # Run r draws its problem, start and batches from fold_in(evaluation stream, r).
            "seed": self.seed,
            "seeds": list(range(self.evaluation.num_runs)),
            "num_steps": self.evaluation.num_steps,
            "num_runs": self.evaluation.num_runs,
            "seconds": self.seconds,
            "learned": list(self.learned),
            "optimizers": optimizers,
            "comparison": self.headline(),
        }

    def write(self, directory: Path) -> None:
        """Writes `results.json` and the records behind the figures."""
        losses = {f"losses/{name}": one.losses for name, one in self.evaluation.optimizers.items()}
        save_records(directory, "evaluation", losses)
        if self.searches:
            save_records(directory, "search", search_arrays(self.searches))
        probes = {
            f"{name}/{probe}{jax.tree_util.keystr(path)}": np.asarray(leaf)
            for name, one in self.evaluation.optimizers.items()
            for probe, record in one.records.items()
            for path, leaf in jax.tree_util.tree_leaves_with_path(record)
        }
        steps = {
            f"{name}/{probe}/steps": np.asarray(measured)
            for name, one in self.evaluation.optimizers.items()
            for probe, measured in one.measured_steps.items()
        }
        if probes:
            save_records(directory, "probes", probes | steps)
            texts = {name: probe.text.as_json() for name, probe in self.probes.items()}
            content = {"format": DRAWINGS_FORMAT, "version": DRAWINGS_VERSION, "probes": texts}
            write_json(directory / "records" / "probes.json", content)
        write_json(directory / "results.json", self.results())


def search_arrays(searches: Mapping[str, SearchResult]) -> dict[str, np.ndarray]:
    """For each search its scores and the values tried, as `records/search.npz` holds them."""
    arrays = {}
    for name, search in searches.items():
        arrays[f"{name}/score"] = search.score
        arrays |= {f"{name}/{key}": values for key, values in search.hyperparameters.items()}
    return arrays


def tune(
    name: str,
    task: Task | TaskDistribution,
    *,
    num_steps: int,
    key: PRNGKeyArray,
    num_points: int = 25,
    num_runs: int = 4,
    on_progress: Callable[[int, int], None] | None = None,
) -> SearchResult:
    """Searches a registered optimizer's own hyper-parameters on a logarithmic grid.

    When the best value lies on an edge of the grid, the grid is moved on past that edge and
    searched again, up to three times; what still lies on an edge then is in the warnings.

    Raises:
        UnknownNameError: no such optimizer.
        InvalidValueError: the optimizer has nothing to search.
    """
    entry = searchable(name)
    ranges = dict(entry.search)
    example = {key: low for key, (low, _) in ranges.items()}
    points = num_points ** len(ranges)
    check_search(task, entry.create, example, points, num_steps, num_runs)
    found = None
    for _ in range(4):
        grid = {key: LogUniform(*bounds).grid(num_points) for key, bounds in ranges.items()}
        tried = grid_search(
            task,
            entry.create,
            grid,
            num_steps=num_steps,
            key=key,
            num_runs=num_runs,
            on_progress=on_progress,
        )
        found = tried if found is None else _merged(found, tried)
        if not found.warnings or not np.isfinite(np.min(found.score)):
            break
        ranges = {key: _moved(bounds, found.best[key]) for key, bounds in ranges.items()}
    assert found is not None
    return found


def _moved(bounds: tuple[float, float], best: float) -> tuple[float, float]:
    low, high = bounds
    if np.isclose(best, high, rtol=1e-4):
        return high, 10 * high
    if np.isclose(best, low, rtol=1e-4):
        return low / 10, low
    return bounds


def _merged(first: SearchResult, second: SearchResult) -> SearchResult:
    values = {
        name: np.concatenate([first.hyperparameters[name], second.hyperparameters[name]])
        for name in first.hyperparameters
    }
    scores = np.concatenate([first.scores, second.scores])
    return SearchResult(values, scores, edge_warnings(values, np.mean(scores, axis=1)))


def compare(
    task: Task | TaskDistribution,
    learned: Mapping[str, Optimizer],
    baselines: Sequence[str],
    *,
    num_steps: int,
    seed: int,
    num_runs: int = 10,
    metric_steps: int = 100,
    num_points: int = 25,
    tuning_runs: int = 8,
    probes: Mapping[str, Probe] | None = None,
    horizons: Mapping[str, int] | None = None,
    on_progress: Progress | None = None,
) -> Comparison:
    """Tunes the baselines on the task, then runs everything on the same fresh runs.

    Baselines are tuned by the very quantity they are then compared by, the mean training loss
    over the first `metric_steps` steps, on runs that the evaluation does not use again.

    Args:
        task: the problem.
        learned: optimizers to compare as they are, by name.
        baselines: names of registered optimizers to tune.
        num_steps: steps per evaluation run.
        seed: of everything random here.
        num_runs: evaluation runs per optimizer.
        metric_steps: the first steps the mean loss is taken over; at most `num_steps`.
        num_points: points of each search grid.
        tuning_runs: runs per point.
        probes: what to measure during the evaluation.
        horizons: steps that learned optimizers were meta-trained for, by name, for the report.
        on_progress: called with (what, done, in all).
    """
    check_seed(seed)
    started = time.perf_counter()
    metric_steps = min(metric_steps, num_steps)
    report = on_progress or (lambda *_: None)
    searches, optimizers = {}, dict(learned)
    check_comparison(
        task,
        learned,
        baselines,
        num_steps=num_steps,
        num_runs=num_runs,
        metric_steps=metric_steps,
        num_points=num_points,
        tuning_runs=tuning_runs,
        probes=probes,
    )
    for name in baselines:
        searches[name] = tune(
            name,
            task,
            num_steps=metric_steps,
            key=stream(seed, "tuning"),
            num_points=num_points,
            num_runs=tuning_runs,
            on_progress=lambda done, total, name=name: report(f"tuning {name}", done, total),
        )
        optimizers[name] = REGISTRY[name].create(**searches[name].best)
    evaluation = evaluate(
        task,
        optimizers,
        num_steps,
        key=stream(seed, "evaluation"),
        num_runs=num_runs,
        probes=probes,
        on_progress=lambda name, done, total: report(f"running {name}", done, total),
    )
    return Comparison(
        evaluation,
        searches,
        tuple(learned),
        metric_steps,
        task.metadata,
        seed,
        time.perf_counter() - started,
        dict(horizons or {}),
        dict(probes or {}),
    )
