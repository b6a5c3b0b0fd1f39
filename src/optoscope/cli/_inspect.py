"""optoscope inspect: what optimizers do on a task, on one page."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import tyro

from optoscope._core.errors import InvalidValueError
from optoscope.cli._command import get_task_or_own
from optoscope.cli._console import console, show_table, steps
from optoscope.cli._evaluate import labels_of, split_names, split_places
from optoscope.cli._named_optimizers import (
    as_shipped,
    is_made_here,
    label_of,
    load_saved,
    tuned_or_as_it_is,
)
from optoscope.cli._optimizer_command import OptimizerCommand
from optoscope.cli._options import Count, CountOrZero
from optoscope.cli._user_code import check_owners, load_object, names_code, parse_settings

# More runs make the panels slower than they make them surer: most show medians of many numbers.
_MOST_RUNS_OF_PANELS = 3
_TUNING_RUNS = 4


@dataclass(frozen=True, kw_only=True)
class Inspect(OptimizerCommand):
    """Look at what optimizers do on a task: one page of interactive panels, and its arrays.

    What has a learning rate is tuned on the task first; learned optimizers are taken as they
    are. Then the first one runs, all are asked for their updates on the same gradients, and each
    runs by itself. The panels show losses, update functions, the geometry of updates, learning
    rates and schedules, memory, stability, symmetries, noise and costs.

    Args:
        optimizer: one or several, separated by commas, of the kinds that `evaluate` takes: a run
            directory, a saved optimizer, a registered name ("muon", "adamw-cosine"), one of
            Optax's, FILE.py:NAME or MODULE:NAME. The first one's runs are where all are asked.
        task: what to run on, as `optoscope list tasks` shows it, or your own, FILE.py:NAME or
            MODULE:NAME; by default what the first optimizer was trained on.
        set: options of the task, or of a function that makes an optimizer:
            --set hidden=64 optax.lamb.b1=0.8
        trials: learning rates that are tried for each optimizer that has one; 0 takes all as
            they are.
        steps: steps per run.
        runs: paired runs for the losses; the panels take at most three.
        points: about how many steps of a run are looked at, evenly spaced in the logarithm.
        panels: which panels, separated by commas: update-function, geometry, learning-rate,
            dynamics, stability, symmetry, noise, cost, and your own as FILE.py:NAME; all that
            come with the library by default.
    """

    name: ClassVar[str] = "inspect"

    optimizer: Annotated[tyro.conf.Positional[str | None], tyro.conf.arg(metavar="[OPTIMIZER]")] = (
        None
    )
    task: str | None = None
    set: tuple[str, ...] = ()
    trials: CountOrZero = 10
    steps: Count = 200
    runs: Count = 5
    points: Count = 10
    panels: str = ""

    def run(self) -> int:
        """Tunes, runs, looks with every panel, writes the arrays and the page."""
        return self.configured()._work()

    def _work(self) -> int:
        from optoscope.bench._checks import check_comparison

        if self.optimizer is None:
            raise InvalidValueError(
                "which optimizer? For example: optoscope inspect adam,lion --task digits-mlp-relu"
            )
        if self.trials == 1:
            raise InvalidValueError("--trials is 1; try at least 2 learning rates, or 0 for none.")
        self.check_trust()
        panels = self._panels()
        given = parse_settings(self.set)
        labels, found = self._optimizers(given)
        check_owners(given, list(found))
        task_name, task = get_task_or_own(
            self.task, next(iter(labels)), given.get("", {}), **self.task_options()
        )
        as_they_are, tuned = _sorted_by_kind(found)
        check_comparison(
            task, as_they_are, tuned, num_steps=self.steps, num_runs=self.runs,
            num_points=max(2, self.trials),
        )  # fmt: skip
        with self.new_directory(f"inspect-{'-'.join(found)}-{task_name}") as directory:
            self._look(task, found, panels, directory)
            page = _show(directory)
        console.print(f"Page: {page}")
        return 0

    def _look(
        self, task: Any, found: Mapping[str, Any], panels: Mapping[str, Any], directory: Path
    ) -> None:
        from optoscope import bench
        from optoscope._core.keys import stream
        from optoscope.analysis import inspection
        from optoscope.bench._contestants import Raced

        as_they_are, tuned = _sorted_by_kind(found)
        with steps() as show:
            comparison = bench.compare(
                task,
                as_they_are,
                tuned,
                num_steps=self.steps,
                seed=self.seed,
                num_runs=self.runs,
                metric_steps=self.steps,
                num_points=max(2, self.trials),
                tuning_runs=_TUNING_RUNS,
                tune_learned=False,
                on_progress=show,
            )
            comparison.write(directory)
            everyone = as_they_are | {
                one.label: Raced(one.create, self.steps, one.takes_num_steps)(
                    **comparison.searches[one.label].best
                )
                for one in tuned
            }
            looked = inspection.inspect(
                task,
                {name: everyone[name] for name in found},
                self.steps,
                key=stream(self.seed, "inspection"),
                num_runs=min(self.runs, _MOST_RUNS_OF_PANELS),
                points=self.points,
                panels=panels,
                # One bar, with the panel that is being computed beside it.
                on_progress=lambda title, done, total: show("looking", done, total, title),
            )
        inspection.save_findings(directory, looked, panels)

    def _panels(self) -> dict[str, Any]:
        """The chosen panels by name."""
        from optoscope.analysis import inspection

        registered = inspection.PANELS
        if not self.panels:
            return {name: registered[name] for name in registered}
        chosen: dict[str, Any] = {}
        for name in split_names(self.panels):
            panel = load_object(name)[0] if names_code(name) else registered[name]
            if not isinstance(panel, inspection.Panel):
                raise InvalidValueError(
                    f"{name} is a {type(panel).__name__}; it must be a Panel of "
                    "optoscope.analysis.inspection."
                )
            chosen[label_of(name)] = panel
        return chosen

    def _optimizers(
        self, given: Mapping[str, Mapping[str, Any]]
    ) -> tuple[dict[str, str], dict[str, Any]]:
        """The label of each place as it was typed, and by label the optimizers or contestants."""
        assert self.optimizer is not None
        places = split_places(self.optimizer)
        make = tuned_or_as_it_is if self.trials else as_shipped
        made = {
            place: make(place, given.get(label_of(place), {}), self.steps)
            for place in places
            if is_made_here(place)
        }
        labels, _ = labels_of(places, made)
        return {place: labels[place] for place in places}, {
            labels[place]: made[place]
            if place in made
            else load_saved(place, self.trust, self.steps, given.get(labels[place]))
            for place in places
        }


def _sorted_by_kind(found: Mapping[str, Any]) -> tuple[dict[str, Any], list[Any]]:
    """Those that are taken as they are, by label, and those that are tuned."""
    from optoscope.bench import Contestant

    as_they_are = {name: one for name, one in found.items() if not isinstance(one, Contestant)}
    return as_they_are, [one for one in found.values() if isinstance(one, Contestant)]


def _show(directory: Path) -> Path:
    """Draws the page, prints the table and what the panels say, returns the page's path."""
    from optoscope import report

    page = report.render(directory)
    run = report.read_run(directory)
    if run.results is not None:
        show_table(report.table(run.results))
    for panel in run.panels:
        console.print(panel.title, style="bold")
        for said in panel.findings.sentences:
            console.print(f"  {said}")
    return page
