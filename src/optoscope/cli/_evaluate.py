"""optoscope evaluate: an optimizer against tuned baselines."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import tyro

from optoscope._core.errors import InvalidValueError
from optoscope.cli._command import RunCommand, get_task_or_own
from optoscope.cli._console import console, steps
from optoscope.cli._options import Count, Several


def show_results(directory: Path, notes: tuple[str, ...] = ()) -> Path:
    """Draws the run's page, prints its headline and table, returns the page's path."""
    from optoscope import report

    page = report.render(directory, notes=notes)
    results = report.read_run(directory).results
    if results is not None:
        console.print(report.table(results))
        console.print(report.sentence(results), style="bold")
        for one in report.endurance(results):
            console.print(one)
    return page


def split_names(text: str) -> list[str]:
    """The names in a comma-separated list."""
    return [name.strip() for name in text.split(",") if name.strip()]


@dataclass(frozen=True, kw_only=True)
class Evaluate(RunCommand):
    """Compare an optimizer with tuned baselines: same problems, same starts, same batches.

    Each baseline's learning rate is searched on the task first, by the very number that is then
    compared: the mean training loss over the first --metric-steps steps. Writes results.json,
    the curves, figures and a page.

    Args:
        optimizer: a run directory, a folder with a saved optimizer, or a name that
            `optoscope list pretrained` shows. Several, separated by commas, are compared.
        task: what to run on, as `optoscope list tasks` shows it; by default what the first
            optimizer was trained on, with its options.
        against: baselines to tune, separated by commas.
        steps: steps a run.
        runs: paired runs.
        metric_steps: first steps whose mean training loss is tuned for and compared.
        search_points: points of each learning-rate grid.
        probe: what to measure on the way, separated by commas, as `optoscope list probes` shows.
        probe_every: steps between measurements.
    """

    name: ClassVar[str] = "evaluate"

    optimizer: Annotated[tyro.conf.Positional[str | None], tyro.conf.arg(metavar="[OPTIMIZER]")] = (
        None
    )
    task: str | None = None
    against: str = "momentum,adam,lion"
    steps: Count = 200
    runs: Count = 10
    metric_steps: Count = 100
    search_points: Several = 25
    probe: str = ""
    probe_every: Count = 10

    def run(self) -> int:
        """Tunes, runs, writes and draws."""
        return self.configured()._work()

    def _work(self) -> int:
        if self.optimizer is None:
            raise InvalidValueError(
                "which optimizer? For example: optoscope evaluate runs/demo --task mnist-mlp-relu"
            )
        # `analysis` registers its probes.
        from optoscope import analysis, bench, optimizers, training  # noqa: F401

        learned, horizons = {}, {}
        for place in split_names(self.optimizer):
            description = optimizers.read_description(place)
            name = _label(place, description, learned)
            learned[name] = optimizers.load(place)
            horizon = _horizon(description)
            if horizon is not None:
                horizons[name] = horizon
        baselines = split_names(self.against)
        for baseline in baselines:
            optimizers.REGISTRY[baseline]
        probes = {
            name: training.PROBES[name](every=self.probe_every) for name in split_names(self.probe)
        }
        first = split_names(self.optimizer)[0]
        task_name, task = get_task_or_own(self.task, first, **self.task_options())
        directory = self.new_directory(f"evaluate-{'-'.join(learned)}-{task_name}")
        with steps() as show:
            comparison = bench.compare(
                task,
                learned,
                baselines,
                num_steps=self.steps,
                seed=self.seed,
                num_runs=self.runs,
                metric_steps=self.metric_steps,
                num_points=self.search_points,
                probes=probes,
                horizons=horizons,
                on_progress=show,
            )
        comparison.write(directory)
        page = show_results(directory)
        console.print(f"Page: {page}")
        return 0


def _label(place: str, description: Mapping[str, Any], taken: Collection[str]) -> str:
    """What reports call a saved optimizer."""
    from optoscope import optimizers

    if place in optimizers.pretrained_names():
        return place
    name = description["class"]
    return name if name not in taken else f"{name}-{Path(place).resolve().name}"


def _horizon(description: Mapping[str, Any]) -> int | None:
    """Steps of the runs that a saved optimizer was meta-trained on, if it says so."""
    training = description["metadata"].get("meta_training")
    horizon = training.get("horizon") if isinstance(training, dict) else None
    return horizon if isinstance(horizon, int) and horizon > 0 else None
