"""Learned optimizers against tuned baselines: search and paired evaluation."""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import PRNGKeyArray

from optoscope._core.errors import check_seed
from optoscope._core.keys import stream
from optoscope.bench._checks import check_comparison, check_search
from optoscope.bench._comparison_result import Comparison
from optoscope.bench._contestants import (
    SCHEDULE,
    Contestant,
    Raced,
    contestants,
    given,
    named,
    schedule_places,
)
from optoscope.bench._evaluate import evaluate
from optoscope.bench._metrics import TRAIN, Metric
from optoscope.bench._search import LogUniform, SearchResult, edge_warnings, grid_search
from optoscope.optimizers import Optimizer
from optoscope.tasks import Task, TaskDistribution
from optoscope.tasks._contract import metadata_of
from optoscope.training import Probe

Progress = Callable[[str, int, int], None]
# Fewer is said beside the result.
COARSE_POINTS, FEW_RUNS = 10, 4


def tune(
    contestant: str | Contestant,
    task: Task | TaskDistribution,
    *,
    num_steps: int,
    key: PRNGKeyArray,
    num_points: int = 25,
    num_runs: int = 4,
    metric: Metric = TRAIN,
    schedules: Sequence[str] = ("constant",),
    run_steps: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> SearchResult:
    """Searches an optimizer's own hyper-parameters on a logarithmic grid, and its schedule.

    When the best value is the least or the greatest of the grid, a better one may lie outside: a
    further grid that begins there is searched as well, up to three times. If the best value is at
    an end even then, the result's warnings say so.

    Args:
        contestant: the name of a registered optimizer, or what `Contestant` describes.
        task: the problem.
        num_steps: steps a run of the search.
        key: draws the runs.
        num_points: points of the grid of each hyper-parameter, for each schedule.
        num_runs: runs a point.
        metric: what is minimized.
        schedules: which schedules of the learning rate are tried, where the optimizer takes one;
            the result's `schedule` is a place in `optimizers.SCHEDULES`.
        run_steps: the length of the run that schedules are made for, by default `num_steps`.
        on_progress: called with (configurations done, configurations in all).

    Raises:
        UnknownNameError: no such optimizer or schedule.
        InvalidValueError: the optimizer has nothing to search, or the task lacks the metric.
    """
    one = named(contestant) if isinstance(contestant, str) else contestant
    metric.check(task)
    create = Raced(one.create, run_steps or num_steps, one.takes_num_steps)
    ranges = dict(one.search)
    example = {key: low for key, (low, _) in ranges.items()}
    tried_schedules = schedule_places(schedules) if one.takes_schedule else []
    points = num_points ** len(ranges) * max(1, len(tried_schedules))
    check_search(task, create, example, points, num_steps, num_runs)
    found = None
    for _ in range(4):
        grid = {key: LogUniform(*bounds).grid(num_points) for key, bounds in ranges.items()}
        # The constant schedule alone needs no multiplication.
        if any(tried_schedules):
            grid[SCHEDULE] = np.asarray(tried_schedules, float)
        tried = grid_search(
            task,
            create,
            grid,
            num_steps=num_steps,
            key=key,
            num_runs=num_runs,
            metric=metric,
            on_progress=on_progress,
        )
        found = tried if found is None else _merged(found, tried, metric)
        if not found.warnings or not np.isfinite(np.min(found.score)):
            break
        ranges = {key: _moved(bounds, found.best[key]) for key, bounds in ranges.items()}
    assert found is not None
    return _with_coarseness(found, num_points, num_runs)


def _with_coarseness(found: SearchResult, num_points: int, num_runs: int) -> SearchResult:
    """The search, with a warning where it was too coarse or too short to be called tuned."""
    warnings = found.warnings
    if num_points < COARSE_POINTS:
        warnings += (f"a coarse search, {num_points} points; take {COARSE_POINTS} or more",)
    if num_runs < FEW_RUNS:
        runs = "1 run" if num_runs == 1 else f"{num_runs} runs"
        warnings += (f"a short search, {runs} a point; take {FEW_RUNS} or more",)
    return dataclasses.replace(found, warnings=warnings)


def _moved(bounds: tuple[float, float], best: float) -> tuple[float, float]:
    low, high = bounds
    if np.isclose(best, high, rtol=1e-4):
        return high, 10 * high
    if np.isclose(best, low, rtol=1e-4):
        return low / 10, low
    return bounds


def _merged(first: SearchResult, second: SearchResult, metric: Metric) -> SearchResult:
    values = {
        name: np.concatenate([first.hyperparameters[name], second.hyperparameters[name]])
        for name in first.hyperparameters
    }
    scores = np.concatenate([first.scores, second.scores])
    warnings = edge_warnings(values, scores, metric)
    return SearchResult(values, scores, warnings, first.seconds + second.seconds)


def compare(
    task: Task | TaskDistribution,
    learned: Mapping[str, Optimizer],
    baselines: Sequence[str | Contestant] | Mapping[str, str | Contestant | Optimizer],
    *,
    num_steps: int,
    seed: int,
    num_runs: int = 10,
    metric_steps: int = 100,
    num_points: int = 25,
    tuning_runs: int = 8,
    metric: str | Metric = "train",
    schedules: Sequence[str] = ("constant",),
    tune_learned: bool = True,
    probes: Mapping[str, Probe] | None = None,
    horizons: Mapping[str, int] | None = None,
    on_progress: Progress | None = None,
) -> Comparison:
    """Tunes the baselines on the task, then runs everything on the same fresh runs.

    An optimizer is tuned by the same number by which it is compared afterwards (`metric`), and on
    other runs than those of the comparison, so that no one gains by luck in the tuning. A learned
    optimizer is run twice: once as it is, and once more, with "(tuned)" behind its label, with its
    updates multiplied by a factor and a schedule. These two are tuned by as many trials as a
    baseline's learning rate and schedule, so that neither side had more help: one that has a
    schedule of its own tries more points of its grid instead.

    Args:
        task: the problem.
        learned: optimizers to compare, by name.
        baselines: what to tune: a list of names of registered optimizers ("adamw",
            "muon-cosine") and of `Contestant`s; or a mapping from the labels that reports should
            use to names, `Contestant`s or optimizers of any kind. Of an optimizer that is given
            as it is, a factor of its updates is tuned.
        num_steps: steps per evaluation run.
        seed: of everything random here.
        num_runs: evaluation runs per optimizer.
        metric_steps: the first steps the mean loss is taken over; at most `num_steps`.
        num_points: points of each search grid, for each schedule.
        tuning_runs: runs per point.
        metric: what is tuned for and compared: "train", "final", "validation", "target:LOSS" or
            a name of what the task's `validate` gives; see `Metric.parse`.
        schedules: of `optimizers.SCHEDULES`, those that every tuned optimizer may choose from.
        tune_learned: whether learned optimizers are run a second time, tuned.
        probes: what to measure during the evaluation.
        horizons: steps that learned optimizers were meta-trained for, by name, for the report.
        on_progress: called with (what, done, in all).

    Raises:
        UnknownNameError: no such optimizer, schedule or metric.
        InvalidValueError: labels that collide, or counts and probes that do not fit.
    """
    check_seed(seed)
    started = time.perf_counter()
    metric = Metric.parse(metric) if isinstance(metric, str) else metric
    metric_steps = min(metric_steps, num_steps)
    report = on_progress or (lambda *_: None)
    tuned = contestants(baselines)
    as_shipped = dict(learned)
    probes = {name: probe.prepared(task) for name, probe in (probes or {}).items()}
    if tune_learned:
        tuned = (*tuned, *(given(tuned_label(label), one) for label, one in learned.items()))
    settings: dict[str, Any] = {"schedules": schedules, "metric": metric}
    check_comparison(
        task,
        as_shipped,
        tuned,
        num_steps=num_steps,
        num_runs=num_runs,
        metric_steps=metric_steps,
        num_points=num_points,
        tuning_runs=tuning_runs,
        probes=probes,
        **settings,
    )
    searches, optimizers = {}, as_shipped
    for one in tuned:
        searches[one.label] = tune(
            one,
            task,
            num_steps=metric.steps(metric_steps, num_steps),
            key=stream(seed, "tuning"),
            num_points=_points(one, num_points, schedules),
            num_runs=tuning_runs,
            run_steps=num_steps,
            on_progress=lambda done, total, one=one: report(f"tuning {one.label}", done, total),
            **settings,
        )
        create = Raced(one.create, num_steps, one.takes_num_steps)
        optimizers[one.label] = create(**searches[one.label].best)
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
        (*learned, *(tuned_label(label) for label in learned if tune_learned)),
        metric_steps,
        metadata_of(task),
        seed,
        time.perf_counter() - started,
        dict(horizons or {}),
        probes,
        metric,
        {
            "learned": list(learned),
            "baselines": [one.label for one in contestants(baselines)],
            "num_steps": num_steps,
            "seed": seed,
            "num_runs": num_runs,
            "metric_steps": metric_steps,
            "num_points": num_points,
            "tuning_runs": tuning_runs,
            "metric": str(metric),
            "schedules": list(schedules),
            "tune_learned": tune_learned,
        },
    )


def _points(one: Contestant, num_points: int, schedules: Sequence[str]) -> int:
    """The points of a grid that make as many trials as those who may choose a schedule have."""
    is_fixed = not one.takes_schedule and len(one.search) == 1
    return num_points * len(schedule_places(schedules)) if is_fixed else num_points


def tuned_label(label: str) -> str:
    """What a learned optimizer is called where a factor of its updates was tuned."""
    return f"{label} (tuned)"
