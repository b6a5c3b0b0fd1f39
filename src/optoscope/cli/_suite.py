"""optoscope suite: optimizers ranked over several tasks."""

import dataclasses
import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import tyro

from optoscope._core.errors import InvalidValueError, RunDirectoryError, UnknownNameError
from optoscope._core.files import read_bytes, write_json
from optoscope._core.locks import locked
from optoscope.cli._command import read_arguments
from optoscope.cli._console import command_line, console, show_table, steps
from optoscope.cli._directories import CONFIG, check_empty
from optoscope.cli._evaluate import distinct_labels, split_names, split_places
from optoscope.cli._named_optimizers import (
    as_shipped,
    description_of,
    is_made_here,
    label_of,
    load_saved,
)
from optoscope.cli._optimizer_command import OptimizerCommand
from optoscope.cli._options import Count
from optoscope.cli._user_code import check_owners, parse_settings

if TYPE_CHECKING:
    from optoscope.bench import SuiteResult

_MOST_WEIGHTS = 2**30
# What a run directory was begun with and goes on with.
_FIXED = ("suite", "steps", "runs", "rates", "seed")


@dataclass(frozen=True, kw_only=True)
class Suite(OptimizerCommand):
    """Rank optimizers over several tasks, by the scores of AlgoPerf, Celo and VeLO.

    Baselines try --rates learning rates with a schedule. An optimizer that is given runs as it
    is, and tuned by as many trials. Give --out the same folder again to go on after an
    interruption or to add optimizers and tasks: finished cells are reused. Several processes may
    work in one folder at the same time: each takes the cells that no other one is computing.

    Args:
        suite: small (eight tasks, MNIST and Shakespeare) or smoke (three, the bundled digits).
        optimizers: who is ranked beside the baselines, separated by commas: run directories,
            folders with a saved optimizer, names that `optoscope list pretrained` shows, celo and
            celo2 once they are fetched, other published weights as KIND@FILE (l2o-dm@w.npz) or
            NAME=KIND@FILE, optax.NAME, or your own, FILE.py:NAME. Empty: the baselines alone.
        against: baselines, separated by commas; with "-cosine" or "-warmup-cosine" behind a
            registered name it has that schedule.
        set: options of optimizers: --set celo2.orthogonalize=true
        tasks: those of the suite that are wanted, separated by commas; all if empty.
        steps: steps per run.
        runs: paired runs.
        rates: trials of everyone.
        tuned: whether optimizers are tuned too, and not only run as they are.
        untuned: those of --optimizers that run only as they are, by the names that the table shows,
            separated by commas.
    """

    name: ClassVar[str] = "suite"

    suite: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="[SUITE]")] = "small"
    optimizers: str = ""
    against: str = "adamw-cosine,muon-cosine,schedule_free_adamw,lion-cosine,nadamw-cosine"
    set: tuple[str, ...] = ()
    tasks: str = ""
    steps: Count = 2000
    runs: Count = 3
    rates: Count = 10
    tuned: bool = True
    untuned: str = ""

    def run(self) -> int:
        """Computes what is missing, ranks everyone and draws the page."""
        return self.configured()._work()

    def _work(self) -> int:
        from optoscope import bench, report
        from optoscope.bench._entrants import entrants
        from optoscope.bench._suite_tasks import suite_tasks

        self.check_trust()
        given = parse_settings(self.set)
        optimizers = self._optimizers(given)
        if "" in given:
            raise InvalidValueError(
                f"--set {next(iter(given['']))} has no optimizer; write --set "
                f"NAME.{next(iter(given['']))}=…. The tasks of a suite are as they are."
            )
        check_owners(given, list(optimizers))
        against, tasks = split_names(self.against), split_names(self.tasks)
        if not against:
            raise InvalidValueError("there is no baseline to rank with; name one: --against adamw")
        # Whatever can be wrong is found before a directory is made.
        tuned = self._tuned(optimizers)
        entrants(optimizers, against, self.rates, tuned)
        suite_tasks(self.suite, tasks, data_dir=self.data_dir)
        directory = self._begun()
        console.print(f"Ranking {len(optimizers) + len(against)} optimizers: {directory}")
        with steps() as show:
            try:
                result = bench.suite(
                    optimizers,
                    self.suite,
                    only=tasks,
                    data_dir=self.data_dir,
                    baselines=against,
                    num_steps=self.steps,
                    num_runs=self.runs,
                    num_rates=self.rates,
                    tuned=tuned,
                    directory=directory,
                    seed=self.seed,
                    on_progress=lambda done, total, what: show("cells", done, total, what),
                )
            except KeyboardInterrupt:
                console.print(f"Stopped. Go on with: {self._again(directory)}")
                raise
        result.write(directory)
        page = report.render(directory)
        self._show(result, directory)
        console.print(f"Page: {page}")
        return 0

    def _tuned(self, labels: Collection[str]) -> list[str]:
        """The labels of the optimizers that are tuned too."""
        untuned = split_names(self.untuned)
        for label in untuned:
            if label not in labels:
                raise UnknownNameError("optimizer of --optimizers", label, labels)
        return [label for label in labels if self.tuned and label not in untuned]

    def _show(self, result: "SuiteResult", directory: Path) -> None:
        from optoscope import report

        record = report.read_run(directory).suite
        assert record is not None
        show_table(report.ranking_table(record))
        console.print(report.suite_sentence(record), style="bold")
        for note in result.notes():
            console.print(f"Note: {note}.", style="yellow")

    def _optimizers(self, given: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """The optimizers of --optimizers by label, in the order given."""
        from optoscope import optimizers

        if not self.optimizers.strip():
            return {}
        places = split_places(self.optimizers)
        made: dict[str, tuple[str, Any]] = {}
        for place in places:
            named = published_place(place, self.data_dir)
            if named is not None:
                label, kind, file = named
                options = dict(given.get(label, {}))
                if "num_steps" in optimizers.PUBLISHED[kind].options:
                    options.setdefault("num_steps", self.steps)
                made[place] = label, optimizers.load_published(kind, file, **options)
            elif is_made_here(place):
                label = label_of(place)
                made[place] = label, as_shipped(place, given.get(label, {}), self.steps)
        saved = [place for place in places if place not in made]
        descriptions = list(map(description_of, saved))
        taken = {label for label, _ in made.values()}
        labels = distinct_labels(saved, descriptions, optimizers.pretrained_names(), taken)
        for place, label in zip(saved, labels, strict=True):
            made[place] = label, load_saved(place, self.trust, self.steps, given.get(label))
        found: dict[str, Any] = {}
        for place in places:
            label, optimizer = made[place]
            if label in found:
                raise InvalidValueError(
                    f"two optimizers would be called {label!r}; write NAME=KIND@FILE for one "
                    "or rename its folder."
                )
            found[label] = optimizer
        return found

    def _begun(self) -> Path:
        """The run directory, made or joined."""
        if self.out is None:
            with self.new_directory(f"suite-{self.suite}") as directory:
                return directory
        advice = "Choose another --out."
        if not (self.out / CONFIG).exists():
            check_empty(self.out, advice, in_use=True)
        with locked(self.out, on_wait=lambda holder: None):
            if (self.out / CONFIG).exists():
                before = read_arguments(self.out, self.name)
                for name in _FIXED:
                    if before.get(name) != getattr(self, name):
                        raise RunDirectoryError(
                            f"{self.out} was made with {name} {before.get(name)}, not "
                            f"{getattr(self, name)}. {advice}"
                        )
            else:
                check_empty(self.out, advice)
            write_json(self.out / CONFIG, self.described())
        return self.out

    def _again(self, directory: Path) -> str:
        words: list[object] = ["suite", self.suite]
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name in ("suite", "out", "config", "debug") or value == field.default:
                continue
            option = field.name.replace("_", "-")
            if isinstance(value, bool):
                words.append(f"--{option}" if value else f"--no-{option}")
            else:
                words += [f"--{option}", *(value if isinstance(value, tuple) else (value,))]
        return command_line(*words, "--out", directory)


def published_place(text: str, data_dir: Path | None = None) -> tuple[str, str, Path] | None:
    """The label, kind and file of weights that others published; None if the text names none.

    Args:
        text: KIND@FILE, NAME=KIND@FILE, or the name of weights that `optoscope fetch` knows.
        data_dir: where fetched weights lie.

    Raises:
        UnknownNameError: no such kind.
        InvalidValueError: the weights are not fetched yet.
    """
    from optoscope import data, optimizers

    if text in optimizers.WEIGHTS:
        known = optimizers.WEIGHTS[text]
        path = data.data_directory(data_dir) / "weights" / text / known.url.rpartition("/")[2]
        if not path.is_file():
            raise InvalidValueError(
                f"the weights of {text} are not at {path}. Fetch them: optoscope fetch {text}; or "
                f"say where they are: {known.format}@FILE."
            )
        return text, known.format, path
    place, at, file = text.partition("@")
    label, equals, kind = place.rpartition("=")
    if not at or not file:
        return None
    optimizers.PUBLISHED[kind]
    path = Path(file).expanduser()
    return (label if equals else _label(path)), kind, path


def _label(path: Path) -> str:
    """The name of known weights, else that of the file without its endings."""
    from optoscope import optimizers
    from optoscope._core.errors import FileFormatError

    digest = hashlib.sha256(read_bytes(path, most=_MOST_WEIGHTS, error=FileFormatError)).hexdigest()
    for name in optimizers.WEIGHTS:
        if optimizers.WEIGHTS[name].sha256 == digest:
            return name
    return path.name.partition(".")[0]
