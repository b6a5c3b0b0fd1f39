"""Panels: what one looks at in an optimizer, each a function that returns named arrays."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import PRNGKeyArray

from optoscope._core.errors import InvalidValueError
from optoscope._core.files import write_json
from optoscope._core.findings import FINDINGS_FORMAT, FINDINGS_VERSION, Axis, Findings
from optoscope._core.records import save_records
from optoscope._core.registry import Registry
from optoscope._core.showing import shown
from optoscope.analysis.inspection._recording import Recording, record
from optoscope.optimizers import Optimizer
from optoscope.tasks import Task, TaskDistribution


@shown
@dataclass(frozen=True, eq=False)
class Inspection:
    """What the panels look at: a problem, some optimizers, and the runs that are shared.

    Args:
        task: the problem, or a distribution of problems.
        optimizers: by name, the one that runs first.
        num_steps: steps per run.
        key: draws everything.
        num_runs: runs per optimizer.
        points: about how many steps of a run are looked at.
    """

    task: Task | TaskDistribution
    optimizers: Mapping[str, Optimizer]
    num_steps: int
    key: PRNGKeyArray
    num_runs: int = 3
    points: int = 10

    @functools.cached_property
    def recording(self) -> Recording:
        """The first optimizer's runs, with what all of them propose there."""
        return self._recorded(self.optimizers)

    @functools.cached_property
    def own(self) -> dict[str, Recording]:
        """By name each optimizer's own runs, from the same starts with the same batches."""
        first = next(iter(self.optimizers))
        others = {
            name: self._recorded({name: one})
            for name, one in self.optimizers.items()
            if name != first
        }
        return {first: self.recording} | others

    def _recorded(self, optimizers: Mapping[str, Optimizer]) -> Recording:
        return record(
            self.task,
            optimizers,
            self.num_steps,
            key=self.key,
            num_runs=self.num_runs,
            points=self.points,
        )


@dataclass(frozen=True)
class Panel:
    """One question about optimizers and how it is answered.

    Args:
        title: a short heading.
        compute: the answer; it raises InvalidValueError, with the reason in words, where the
            question has no answer for this task.
        how_to_read: what the charts show and where to look.
        does_not_show: what a reader could wrongly conclude from them.

    Example: a panel of one's own.
        >>> import jax
        >>> def update_norms(inspection):
        ...     recording = inspection.recording
        ...     norms = np.array([[np.sqrt(sum(np.sum(np.square(leaf)) for leaf in
        ...         jax.tree.leaves(asked[name]))) for asked in recording.updates]
        ...         for name in recording.names])
        ...     axes = {"optimizer": optimizer_axis(recording), "step": step_axis(recording)}
        ...     array = Measured(("optimizer", "step"), norms)
        ...     return Findings(axes, {"norm": array}, (Chart("Norm", "norm", "norm", "step"),))
        >>> from optoscope._core.findings import Chart, Measured
        >>> panel = Panel("Norms of updates", update_norms, "Larger is farther.", "Direction.")
    """

    title: str
    compute: Callable[[Inspection], Findings]
    how_to_read: str
    does_not_show: str


PANELS: Registry[Panel] = Registry("panel")


def optimizer_axis(recording: Recording, *more: str) -> Axis:
    """The axis of optimizers, with further names behind them."""
    return Axis("optimizer", np.array([*recording.names, *more]))


def step_axis(recording: Recording) -> Axis:
    """The axis of the steps that were looked at."""
    return Axis("step", np.array(recording.steps))


def save_findings(
    directory: Path, found: Mapping[str, Findings], panels: Mapping[str, Panel]
) -> None:
    """Writes what panels found into a run directory, where `report.render` finds it.

    Args:
        directory: of the run.
        found: by the panel's name, what `inspect` gave.
        panels: the panels, for the words beside their charts.
    """
    described = {}
    for name, findings in found.items():
        panel = panels[name]
        save_records(directory, f"inspect-{name}", findings.records())
        described[name] = {
            "title": panel.title,
            "how_to_read": panel.how_to_read,
            "does_not_show": panel.does_not_show,
            **findings.as_json(),
        }
    content = {"format": FINDINGS_FORMAT, "version": FINDINGS_VERSION, "panels": described}
    write_json(directory / "records" / "inspect.json", content)


def inspect(
    task: Task | TaskDistribution,
    optimizers: Mapping[str, Optimizer],
    num_steps: int = 200,
    *,
    key: PRNGKeyArray,
    num_runs: int = 3,
    points: int = 10,
    panels: Mapping[str, Panel] | None = None,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> dict[str, Findings]:
    """Looks at optimizers with every panel, on the same runs.

    A panel that has no answer for this task is there as well, with the reason as its sentence.

    Args:
        task: the problem, or a distribution of problems.
        optimizers: by the names that charts should use; the first one's runs are where all are
            asked.
        num_steps: steps per run.
        key: draws everything.
        num_runs: runs per optimizer.
        points: about how many steps of a run are looked at.
        panels: by name; all that are registered if not given.
        on_progress: called with (what, done, in all).

    Example:
        >>> import jax
        >>> from optoscope import optimizers, tasks
        >>> from optoscope.analysis.inspection import PANELS
        >>> found = inspect(tasks.get("quadratic"), {"sgd": optimizers.sgd(0.1)}, 20,
        ...     key=jax.random.key(0), panels={"geometry": PANELS["geometry"]})
        >>> bool((found["geometry"].at("cosine", optimizer="sgd", compared="−gradient") > 0.999)
        ...      .all())
        True
    """
    chosen = {name: PANELS[name] for name in PANELS} if panels is None else dict(panels)
    report: Callable[[str, int, int], Any] = on_progress or (lambda *_: None)
    inspection = Inspection(task, dict(optimizers), num_steps, key, num_runs, points)
    found = {}
    for index, (name, panel) in enumerate(chosen.items()):
        report(panel.title, index, len(chosen))
        try:
            found[name] = panel.compute(inspection)
        except InvalidValueError as error:
            found[name] = Findings(sentences=(f"Not measured: {error}",))
    report("panels", len(chosen), len(chosen))
    return found
