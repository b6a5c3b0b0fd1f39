"""optoscope evaluate: an optimizer against tuned baselines."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import tyro

from optoscope._core.errors import InvalidValueError
from optoscope._core.files import with_home
from optoscope.cli._command import get_task_or_own
from optoscope.cli._console import console, show_table, steps
from optoscope.cli._named_optimizers import (
    as_shipped,
    contestant,
    description_of,
    is_made_here,
    label_of,
    load_saved,
    saved_at,
)
from optoscope.cli._optimizer_command import OptimizerCommand
from optoscope.cli._options import Count, Several
from optoscope.cli._user_code import check_owners, parse_settings


def show_results(directory: Path, notes: tuple[str, ...] = ()) -> Path:
    """Draws the run's page, prints its headline and table, returns the page's path."""
    from optoscope import report

    page = report.render(directory, notes=notes)
    results = report.read_run(directory).results
    if results is not None:
        show_table(report.table(results))
        console.print(report.sentence(results), style="bold")
        for one in (*report.endurance(results), report.others_win(results)):
            if one is not None:
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
    places = [str(with_home(p, "the optimizer")) if p[0] == "~" else p for p in places if p]
    if not places:
        raise InvalidValueError(
            "no optimizer is named; for example: optoscope evaluate runs/demo --task quadratic"
        )
    seen: dict[Path, int] = {}
    for index, place in enumerate(places):
        first = seen.setdefault(saved_at(place), index)
        if first != index:
            same = "twice" if places[first] == place else f"also as {places[first]}"
            raise InvalidValueError(f"{place} is named {same}; name every optimizer once.")
    return places


def distinct_labels(
    places: Sequence[str],
    descriptions: Sequence[Mapping[str, Any]],
    pretrained: Collection[str],
    taken: Collection[str] = (),
) -> list[str]:
    """The names of saved optimizers in reports: their kind, with the folder where it is ambiguous.

    Args:
        places: of the optimizers, all different.
        descriptions: theirs, in the same order.
        pretrained: the names of those that come with the library.
        taken: labels of others beside them.
    """
    kinds = [
        # Of a person's own class, MODULE:CLASS, the class.
        place if place in pretrained else str(description["class"]).rpartition(":")[2]
        for place, description in zip(places, descriptions, strict=True)
    ]
    folders = [saved_at(place).parts for place in places]
    labels = []
    for kind, folder in zip(kinds, folders, strict=True):
        others = [f for k, f in zip(kinds, folders, strict=True) if k == kind and f != folder]
        # As many of the last folders as tell it from every other one of its kind.
        length = int(kind in taken)
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
class Evaluate(OptimizerCommand):
    """Compare an optimizer with tuned baselines: same problems, same starts, same batches.

    Each baseline's learning rate is searched on the task first, by the very number that is then
    compared (--metric). The optimizer is run as it is, and a second time with a factor of its
    updates and its schedule tuned by as many trials; where it has a schedule of its own, all
    of them are factors. Writes results.json, the curves, figures and a page.

    Args:
        optimizer: a run directory, a folder with a saved optimizer, a name that
            `optoscope list pretrained` or `list optimizers` shows, one of Optax's (optax.lamb,
            optax.contrib.muon), or your own: FILE.py:NAME or MODULE:NAME. Several, separated by
            commas, are compared.
        task: what to run on, as `optoscope list tasks` shows it, or your own, FILE.py:NAME or
            MODULE:NAME, a task, a distribution or a function that makes one; by default what the
            first optimizer was trained on, with its options.
        set: options of the task, or of a function that makes an optimizer:
            --set hidden=64 optax.lamb.b1=0.8; of an optimizer that comes trained num_steps alone,
            the length of the run that it is told.
        against: baselines to tune, separated by commas, of the same kinds as the optimizer; with
            "-cosine" or "-warmup-cosine" behind a registered name it has that schedule.
        metric: what is tuned for and compared: train, the mean training loss over the first
            --metric-steps steps; final, that over the last tenth of the run; target:LOSS, the
            steps until the training loss has come down to LOSS; validation, the validation loss
            at the end; or another metric of the task, with :max where larger is better.
        schedules: schedules that everything tuned may choose from, separated by commas:
            constant, cosine, warmup-cosine.
        tuned: whether the optimizer is run a second time, tuned.
        steps: steps per run.
        runs: paired runs.
        metric_steps: first steps whose mean training loss is tuned for and compared.
        search_points: points of each learning-rate grid, for each schedule.
        probe: what to measure on the way, separated by commas, as `optoscope list probes` shows.
        probe_every: steps between measurements.
    """

    name: ClassVar[str] = "evaluate"

    optimizer: Annotated[tyro.conf.Positional[str | None], tyro.conf.arg(metavar="[OPTIMIZER]")] = (
        None
    )
    task: str | None = None
    set: tuple[str, ...] = ()
    against: str = "momentum,adam,lion"
    metric: str = "train"
    schedules: str = "constant,cosine"
    tuned: bool = True
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
        from optoscope import bench, training

        if self.probe:
            # Registers its probes; not imported for nothing, since that takes as long as JAX.
            from optoscope import analysis  # noqa: F401
        from optoscope.bench._checks import check_comparison

        self.check_trust()
        given = parse_settings(self.set)
        learned, horizons, first = self._optimizers(given)
        tuned = tuple(
            contestant(name, given.get(label_of(name), {}), self.steps, self.trust)
            for name in split_names(self.against)
        )
        check_owners(given, [*learned, *(one.label for one in tuned)])
        kinds = {name: training.PROBES[name] for name in split_names(self.probe)}
        task_name, task = get_task_or_own(
            self.task, first, given.get("", {}), **self.task_options()
        )
        probes = {name: kind(every=self.probe_every).prepared(task) for name, kind in kinds.items()}
        settings: dict[str, Any] = {
            "num_steps": self.steps,
            "num_runs": self.runs,
            "num_points": self.search_points,
            "metric_steps": self.metric_steps,
            "metric": bench.Metric.parse(self.metric),
            "schedules": split_names(self.schedules),
            "probes": probes,
        }
        check_comparison(task, learned, tuned, **settings)
        with self.new_directory(f"evaluate-{'-'.join(learned)}-{task_name}") as directory:
            with steps() as show:
                comparison = bench.compare(
                    task,
                    learned,
                    tuned,
                    seed=self.seed,
                    tune_learned=self.tuned,
                    horizons=horizons,
                    on_progress=show,
                    **settings,
                )
            comparison.write(directory, draw=False)
            page = show_results(directory)
        console.print(f"Page: {page}")
        return 0

    def _optimizers(
        self, given: Mapping[str, Mapping[str, Any]]
    ) -> tuple[dict[str, Any], dict[str, int], str]:
        """The optimizers by label, the horizons of those that know theirs, and the first place."""
        assert self.optimizer is not None
        places = split_places(self.optimizer)
        made = {
            place: as_shipped(place, given.get(label_of(place), {}), self.steps)
            for place in places
            if is_made_here(place)
        }
        labels, horizons = labels_of(places, made)
        learned = {
            labels[place]: made[place]
            if place in made
            else load_saved(place, self.trust, self.steps, given.get(labels[place]))
            for place in places
        }
        return learned, horizons, places[0]


def labels_of(
    places: Sequence[str], made: Collection[str]
) -> tuple[dict[str, str], dict[str, int]]:
    """What reports call optimizers, and the horizons of the saved ones that know theirs.

    Args:
        places: the optimizers as they were typed, all different.
        made: those among them that are not saved, but made here.

    Returns:
        The label of each place, and the horizons by label.

    Raises:
        UnknownNameError: there is no such optimizer.
        InvalidValueError: two of them have one label.
    """
    from optoscope import optimizers

    saved = [place for place in places if place not in made]
    descriptions = list(map(description_of, saved))
    own = {place: label_of(place) for place in made}
    names = distinct_labels(saved, descriptions, optimizers.pretrained_names(), own.values())
    labels = dict(zip(saved, names, strict=True)) | own
    for index, place in enumerate(places):
        if labels[place] in [labels[earlier] for earlier in places[:index]]:
            raise InvalidValueError(
                f"two optimizers would be called {labels[place]!r}; rename one of them."
            )
    horizons = dict(zip(names, map(_horizon, descriptions), strict=True))
    return labels, {label: h for label, h in horizons.items() if h is not None}


def _horizon(description: Mapping[str, Any]) -> int | None:
    """Steps of the longest runs that a saved optimizer was meta-trained on, if it says so."""
    training = description["metadata"].get("meta_training")
    if not isinstance(training, dict):
        return None
    # Those of a mixture's tasks stand for the one of all; a curriculum's follow.
    lists = [training.get("task_horizons") or [training.get("horizon")], training.get("curriculum")]
    found = [length for given in lists if isinstance(given, list) for length in given]
    return max((h for h in found if isinstance(h, int) and h > 0), default=None)
