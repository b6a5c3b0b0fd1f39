"""optoscope tune: search an optimizer's hyper-parameters on a task."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import tyro

from optoscope._core.errors import InvalidValueError
from optoscope._core.files import write_json
from optoscope.cli._command import get_task, task_label
from optoscope.cli._console import console, steps
from optoscope.cli._named_optimizers import (
    as_shipped,
    contestant,
    is_made_here,
    is_own_or_optax,
    label_of,
)
from optoscope.cli._optimizer_command import OptimizerCommand
from optoscope.cli._options import Count, CountOrZero, Several
from optoscope.cli._user_code import check_owners, parse_settings

if TYPE_CHECKING:
    from optoscope.bench import Contestant, Metric, SearchResult


@dataclass(frozen=True, kw_only=True)
class Tune(OptimizerCommand):
    """Search an optimizer's hyper-parameters on a task; all candidates run side by side.

    Args:
        optimizer: what to tune, as `optoscope list optimizers` shows it, one of Optax's
            (optax.lamb), or your own function of a learning rate, FILE.py:NAME.
        task: what to run on, as `optoscope list tasks` shows it, or your own, FILE.py:NAME.
        set: options of the task, or of a function that makes an optimizer: --set hidden=64
        metric: what is minimized: train, final, validation, target:LOSS or a metric of the task;
            see `optoscope evaluate --help`.
        steps: steps per run; the score is the mean training loss over them, or the --metric.
        runs: runs per candidate; all candidates see the same problems, starts and batches.
        samples: candidates to draw at random; 0 takes a grid of `points` values instead.
        points: points of the grid.
        search: ranges to search, e.g. learning_rate=1e-4:3,momentum=0.5:0.99 (logarithmic for
            learning rates and eps, logarithmic in 1 − value for decays). By default the
            optimizer's own.
    """

    name: ClassVar[str] = "tune"

    optimizer: Annotated[tyro.conf.Positional[str | None], tyro.conf.arg(metavar="[OPTIMIZER]")] = (
        None
    )
    task: str = "digits-mlp-sigmoid"
    set: tuple[str, ...] = ()
    metric: str = "train"
    steps: Count = 100
    runs: Count = 8
    samples: CountOrZero = 0
    points: Several = 25
    search: str = ""

    def run(self) -> int:
        """Searches, writes the results and draws the page."""
        return self.configured()._work()

    def _work(self) -> int:
        if self.optimizer is None:
            raise InvalidValueError("which optimizer? For example: optoscope tune adam")
        from optoscope import optimizers
        from optoscope.bench import Metric
        from optoscope.bench._checks import check_search
        from optoscope.bench._contestants import Raced

        self.check_trust()
        given = parse_settings(self.set)
        label = label_of(self.optimizer)
        check_owners(given, [label])
        registered = self.optimizer in optimizers.REGISTRY
        made_here = registered and is_made_here(self.optimizer)
        if made_here and optimizers.REGISTRY[self.optimizer].learned:
            raise InvalidValueError(
                f"{self.optimizer!r} has no hyper-parameters to search; meta-train it with "
                f"`optoscope train {self.optimizer}`."
            )
        one = contestant(self.optimizer, given.get(label, {}), self.steps, self.trust)
        create = Raced(one.create, self.steps, one.takes_num_steps)
        ranges = parse_ranges(self.search) or dict(one.search)
        example: dict[str, Any] = {name: low for name, (low, _) in ranges.items()}
        if self.search:
            self._check_ranges(one, given.get(label, {}), example)
        task = get_task(self.task, given.get("", {}), **self.task_options())
        metric = Metric.parse(self.metric)
        metric.check(task)
        space = {name: _distribution(name, *bounds) for name, bounds in ranges.items()}
        tried = self.samples or self.points ** len(ranges)
        check_search(task, create, example, tried, self.steps, self.runs)
        with self.new_directory(f"tune-{label}-{task_label(self.task)}") as directory:
            found = self._search(task, one, create, space, metric)
            self._show(directory, task, found, metric)
        return 0

    def _check_ranges(
        self, one: "Contestant", settings: Mapping[str, Any], example: Mapping[str, float]
    ) -> None:
        """Raises InvalidValueError for a range of what the optimizer does not take."""
        assert self.optimizer is not None
        if is_made_here(self.optimizer) and not is_own_or_optax(self.optimizer):
            as_shipped(self.optimizer, {**settings, **example}, self.steps)
            return
        taken = inspect.signature(one.create).parameters
        for name in example:
            if name not in taken:
                raise InvalidValueError(
                    f"{one.label} has no {name!r} to search; it has {', '.join(taken)}."
                )

    def _search(
        self,
        task: Any,
        one: "Contestant",
        create: Any,
        space: dict[str, Any],
        metric: "Metric",
    ) -> "SearchResult":
        from optoscope import bench
        from optoscope._core.keys import stream

        key = stream(self.seed, "tuning")
        with steps() as show:
            settings: dict[str, Any] = {
                "num_steps": self.steps,
                "num_runs": self.runs,
                "metric": metric,
                "on_progress": lambda done, total: show(f"tuning {one.label}", done, total),
            }
            if self.samples:
                return bench.random_search(task, create, space, self.samples, key=key, **settings)
            if self.search:
                grid = {name: dist.grid(self.points) for name, dist in space.items()}
                return bench.grid_search(task, create, grid, key=key, **settings)
            return bench.tune(one, task, key=key, num_points=self.points, **settings)

    def _show(self, directory: Path, task: Any, found: "SearchResult", metric: "Metric") -> None:
        from optoscope import report
        from optoscope._core.records import save_records
        from optoscope.bench._comparison_result import search_arrays
        from optoscope.tasks._contract import metadata_of

        assert self.optimizer is not None
        save_records(directory, "search", search_arrays({self.optimizer: found}))
        score = float(found.score.min())
        write_json(
            directory / "search.json",
            {
                "optimizer": self.optimizer,
                "task": metadata_of(task),
                "best": found.best,
                "score": score if score < float("inf") else None,
                "configurations": len(found.score),
                "warnings": list(found.warnings),
            },
        )
        words = "mean training loss" if metric.name == "train" else metric.name
        score = -score if metric.maximize else score
        values = ", ".join(f"{name} {value:.4g}" for name, value in found.best.items())
        console.print(f"Best of {len(found.score)}: {values}; {words} {score:.4f}.")
        for warning in found.warnings:
            console.print(f"Note: {warning}.", style="yellow")
        console.print(f"Page: {report.render(directory)}")


def parse_ranges(text: str) -> dict[str, tuple[float, float]]:
    """Reads "name=low:high,name=low:high".

    Raises:
        InvalidValueError: not of that form.

    Example:
        >>> parse_ranges("learning_rate=1e-3:1")
        {'learning_rate': (0.001, 1.0)}
    """
    ranges: dict[str, tuple[float, float]] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, bounds = part.partition("=")
        low, _, high = bounds.partition(":")
        if name.strip() in ranges:
            raise InvalidValueError(f"--search has {name.strip()} twice; give it one range.")
        try:
            ranges[name.strip()] = (float(low), float(high))
        except ValueError:
            raise InvalidValueError(
                f"--search has {part!r}; write it as name=low:high, e.g. learning_rate=1e-4:3."
            ) from None
    return ranges


_DECAYS = ("momentum", "decay", "b1", "b2")


def _distribution(name: str, low: float, high: float):
    from optoscope import bench

    typed = f"--search {name}={low:g}:{high:g}"
    if not low < high:
        raise InvalidValueError(f"{typed}: the first number must be below the second.")
    if name in _DECAYS and not 0 <= low < high < 1:
        raise InvalidValueError(f"{typed}: a decay is at least 0 and below 1; end at 0.999.")
    if name in _DECAYS:
        return bench.OneMinusLogUniform(1 - high, 1 - low)
    return bench.LogUniform(low, high)
