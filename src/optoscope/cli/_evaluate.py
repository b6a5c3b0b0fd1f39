"""optoscope evaluate: an optimizer against tuned baselines."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import tyro

from optoscope._core.errors import InvalidValueError
from optoscope.cli._command import RunCommand, get_task_or_own
from optoscope.cli._console import console, show_table, steps
from optoscope.cli._options import Count, Several


def show_results(directory: Path, notes: tuple[str, ...] = ()) -> Path:
    """Draws the run's page, prints its headline and table, returns the page's path."""
    from optoscope import report

    page = report.render(directory, notes=notes)
    results = report.read_run(directory).results
    if results is not None:
        show_table(report.table(results))
        console.print(report.sentence(results), style="bold")
        for one in report.endurance(results):
            console.print(one)
    return page


def split_places(text: str) -> list[str]:
    """The places in a comma-separated list; a folder whose name holds a comma is one of them.

    Raises:
        InvalidValueError: none is named, or one twice.
    """
    pieces, places = text.split(","), []
    while pieces:
        # The longest run of pieces that is a folder, else the next piece.
        lengths = (n for n in range(len(pieces), 1, -1) if Path(",".join(pieces[:n])).is_dir())
        length = next(lengths, 1)
        places.append(",".join(pieces[:length]).strip())
        del pieces[:length]
    places = [str(Path(p).expanduser()) if p.startswith("~") else p for p in places if p]
    if not places:
        raise InvalidValueError(
            "no optimizer is named; for example: optoscope evaluate runs/demo --task quadratic"
        )
    seen: dict[Path, int] = {}
    for index, place in enumerate(places):
        first = seen.setdefault(_saved_at(place), index)
        if first != index:
            same = "twice" if places[first] == place else f"also as {places[first]}"
            raise InvalidValueError(f"{place} is named {same}; name every optimizer once.")
    return places


def _saved_at(place: str) -> Path:
    """The folder that stands for a saved optimizer: for `run/optimizer` the run directory."""
    path = Path(place).resolve()
    return path.parent if path.name == "optimizer" else path


def distinct_labels(
    places: Sequence[str], descriptions: Sequence[Mapping[str, Any]], pretrained: Collection[str]
) -> list[str]:
    """The names of saved optimizers in reports: their kind, with the folder where it is ambiguous.

    Args:
        places: of the optimizers, all different.
        descriptions: theirs, in the same order.
        pretrained: the names of those that come with the library.
    """
    kinds = [
        place if place in pretrained else str(description["class"])
        for place, description in zip(places, descriptions, strict=True)
    ]
    folders = [_saved_at(place).parts for place in places]
    labels = []
    for kind, folder in zip(kinds, folders, strict=True):
        others = [f for k, f in zip(kinds, folders, strict=True) if k == kind and f != folder]
        length = 0
        # As many of the last folders as tell it from every other one of its kind.
        while any(_last(other, length) == _last(folder, length) for other in others):
            length += 1
        label = "-".join([kind, *_last(folder, length)])
        labels.append(label if label not in labels else f"{label}-{len(labels) + 1}")
    return labels


def _last(parts: Sequence[str], length: int) -> Sequence[str]:
    return parts[max(0, len(parts) - length) :]


def split_names(text: str) -> list[str]:
    """The names in a comma-separated list.

    Raises:
        InvalidValueError: one is there twice.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    for index, name in enumerate(names):
        if name in names[:index]:
            raise InvalidValueError(f"{name!r} is named twice in {text!r}; name it once.")
    return names


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
        steps: steps per run.
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
        """Tunes the baselines, runs all optimizers, writes the results and draws the page."""
        return self.configured()._work()

    def _work(self) -> int:
        if self.optimizer is None:
            raise InvalidValueError(
                "which optimizer? For example: optoscope evaluate runs/demo --task mnist-mlp-relu"
            )
        # `analysis` registers its probes.
        from optoscope import analysis, bench, optimizers, training  # noqa: F401
        from optoscope.bench._checks import check_comparison

        places = split_places(self.optimizer)
        descriptions = [optimizers.read_description(place) for place in places]
        labels = distinct_labels(places, descriptions, optimizers.pretrained_names())
        learned = dict(zip(labels, map(optimizers.load, places), strict=True))
        horizons = dict(zip(labels, map(_horizon, descriptions), strict=True))
        baselines = split_names(self.against)
        probes = {
            name: training.PROBES[name](every=self.probe_every) for name in split_names(self.probe)
        }
        task_name, task = get_task_or_own(self.task, places[0], **self.task_options())
        settings: dict[str, Any] = {
            "num_steps": self.steps,
            "num_runs": self.runs,
            "num_points": self.search_points,
            "metric_steps": self.metric_steps,
            "probes": probes,
        }
        check_comparison(task, learned, baselines, **settings)
        with self.new_directory(f"evaluate-{'-'.join(learned)}-{task_name}") as directory:
            with steps() as show:
                comparison = bench.compare(
                    task,
                    learned,
                    baselines,
                    seed=self.seed,
                    horizons={label: one for label, one in horizons.items() if one is not None},
                    on_progress=show,
                    **settings,
                )
            comparison.write(directory)
            page = show_results(directory)
        console.print(f"Page: {page}")
        return 0


def _horizon(description: Mapping[str, Any]) -> int | None:
    """Steps of the runs that a saved optimizer was meta-trained on, if it says so."""
    training = description["metadata"].get("meta_training")
    horizon = training.get("horizon") if isinstance(training, dict) else None
    return horizon if isinstance(horizon, int) and horizon > 0 else None
