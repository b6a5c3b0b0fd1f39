"""The result of a comparison, written as a run directory and read again."""

import dataclasses
import html
import math
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np

from optoscope._core.arrays import read_arrays
from optoscope._core.drawings import DRAWINGS_FORMAT, DRAWINGS_VERSION, ProbeText
from optoscope._core.errors import FileFormatError
from optoscope._core.files import read_json, with_home, write_json
from optoscope._core.records import save_records
from optoscope._core.showing import MOST_LINES
from optoscope._core.versions import versions
from optoscope.bench._contestants import SCHEDULE
from optoscope.bench._evaluate import FORMAT, VERSION, Evaluation, OptimizerEvaluation
from optoscope.bench._metrics import TRAIN, Metric
from optoscope.bench._search import SearchResult
from optoscope.optimizers import SCHEDULES
from optoscope.training import Probe

COMMAND = "Python: optoscope.bench.compare"


@dataclass(frozen=True, repr=False)
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
        probes: what measured the runs, by name, or, where it was read again, how it is drawn.
        metric: what was tuned for and is compared.
        settings: the other arguments of `compare`, as config.json holds them.
    """

    evaluation: Evaluation
    searches: dict[str, SearchResult]
    learned: tuple[str, ...]
    metric_steps: int
    task: dict[str, Any]
    seed: int
    seconds: float
    horizons: Mapping[str, int] = field(default_factory=dict)
    probes: Mapping[str, Probe | ProbeText] = field(default_factory=dict)
    metric: Metric = TRAIN
    settings: Mapping[str, Any] = field(default_factory=dict)

    def headline(self) -> dict[str, Any] | None:
        """The best learned optimizer against the best tuned baseline, or None without both.

        The best are chosen on the runs that their interval is made from. Between sides of about as
        many, that hardly favors either; where one has k times as many as the other, the interval is
        that of k comparisons. Measured on optimizers that are all equally good (1 to 10 against 1
        to 5), either side wins in at most 2.5% of cases.
        """
        baselines = tuple(name for name in self.searches if name not in self.learned)
        if not self.learned or not baselines:
            return None
        steps, metric = self.metric_steps, self.metric
        learned = self.evaluation.best(self.learned, steps, metric)
        baseline = self.evaluation.best(baselines, steps, metric)
        pair = learned, baseline, steps, metric
        fewer, more = sorted((len(self.learned), len(baselines)))
        comparisons = more // fewer
        return {
            "metric": metric.words(steps, self.evaluation.num_steps),
            "learned": learned,
            "baseline": baseline,
            "relative_improvement": self.evaluation.improvement(
                *pair, comparisons=comparisons
            ).as_json(),
            "difference": self.evaluation.difference(*pair, comparisons=comparisons).as_json(),
            "comparisons": comparisons,
            "larger_is_better": metric.maximize,
            "others_win": self._won_by_others(learned),
        }

    def _won_by_others(self, learned: str) -> dict[str, str]:
        """By column, the optimizer that is better there than the one of the headline."""
        found, steps = self.evaluation, self.metric_steps
        names = tuple(found.optimizers)
        columns = {
            f"mean training loss over {steps} steps": Metric("train"),
            "final training loss": Metric("final"),
        }
        if all(one.validation for one in found.optimizers.values()):
            columns["validation loss"] = Metric("validation")
        best = {column: found.best(names, steps, metric) for column, metric in columns.items()}
        seconds = {name: one.seconds_per_step for name, one in found.optimizers.items()}
        best["time per step"] = min(names, key=lambda name: seconds[name])
        return {column: name for column, name in best.items() if name != learned}

    def results(self) -> dict[str, Any]:
        """The content of `results.json`."""
        optimizers = self.evaluation.as_json()
        for name, entry in optimizers.items():
            search = self.searches.get(name)
            best = search.best if search else {}
            place = best.pop(SCHEDULE, None)
            entry["hyperparameters"] = best
            entry["schedule"] = None if place is None else SCHEDULES[int(place)]
            entry["warnings"] = list(search.warnings) if search else []
            entry["trials"] = len(search.score) if search else 0
            entry["tuning_seconds"] = search.seconds if search else 0.0
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
            "metric": dataclasses.asdict(self.metric)
            | {"target": self.metric.target if self.metric.name == "target" else None},
            "metric_steps": self.metric_steps,
            "optimizers": optimizers,
            "comparison": self.headline(),
        }

    def __repr__(self) -> str:
        """The headline and the table of results."""
        from optoscope import report

        lines = repr(report.table(self.results())).splitlines()
        sentence = textwrap.shorten(self._sentence(), 200, placeholder=" …")
        return "\n".join([sentence, *lines[: MOST_LINES - 1]])

    def _repr_html_(self) -> str:
        """The same for a notebook."""
        from optoscope import report

        table = report.table(self.results())._repr_html_()
        return f"<p><b>{html.escape(self._sentence())}</b></p>{table}"

    def _sentence(self) -> str:
        from optoscope import report

        return report.sentence(report.Results.from_json(self.results()))

    def write(self, directory: str | Path, *, draw: bool = True) -> Path:
        """Writes a run directory: configuration, results, records, figures and a page.

        `Comparison.read` and `optoscope plot` read it again.

        Args:
            directory: it is made if need be; a config.json that is there already is kept.
            draw: whether to draw the figures and write the page.

        Returns:
            The page, or the directory where none was drawn.

        Raises:
            RunDirectoryError: the directory cannot be written.
        """
        from optoscope import report

        directory = with_home(str(directory), "the run directory")
        _write_records(directory, self)
        write_json(directory / "results.json", self.results())
        if not (directory / "config.json").exists():
            arguments = {"task": dict(self.task), **self.settings}
            config = {"command": COMMAND, "arguments": arguments}
            write_json(directory / "config.json", config | {"versions": versions()})
        return report.render(directory) if draw else directory

    @classmethod
    def read(cls, directory: str | Path) -> "Comparison":
        """The comparison that `write`, `optoscope evaluate` or `optoscope demo` has written.

        What probes measured comes back by the place of each array in their records.

        Raises:
            RunDirectoryError: no run directory, or one without these records.
            FileFormatError: it is damaged.
        """
        from optoscope import report

        directory = with_home(str(directory), "the run directory")
        # What can be damaged is checked where the page is made.
        run = report.read_run(directory)
        content = read_json(directory / "results.json")
        records = directory / "records"
        arrays = read_arrays(records / "runs.npz") | read_arrays(records / "evaluation.npz")
        if run.results is None or "metric" not in content:
            raise FileFormatError(
                f"{directory} holds no comparison that can be read again: it was written by an "
                "earlier version. Run it again."
            )
        try:
            return _read(cls, run, content, arrays)
        except (KeyError, TypeError, ValueError) as error:
            raise FileFormatError(f"{directory} is damaged: {error!r}.") from None


def search_arrays(searches: Mapping[str, SearchResult]) -> dict[str, np.ndarray]:
    """For each search its scores and the values tried, as `records/search.npz` holds them."""
    arrays = {}
    for name, search in searches.items():
        arrays[f"{name}/score"] = search.score
        arrays |= {f"{name}/{key}": values for key, values in search.hyperparameters.items()}
    return arrays


def _write_records(directory: Path, found: Comparison) -> None:
    measured = found.evaluation.optimizers
    losses = {f"losses/{name}": one.losses for name, one in measured.items()}
    save_records(directory, "evaluation", losses)
    if found.searches:
        save_records(directory, "search", search_arrays(found.searches))
    # What is in no figure, but needed to read the comparison again.
    rest = {f"scores/{name}": search.scores for name, search in found.searches.items()}
    rest["num_runs"] = np.asarray(found.evaluation.num_runs)
    for name, one in measured.items():
        if one.test_accuracy is not None:
            rest[f"test_accuracy/{name}"] = one.test_accuracy
        rest |= {f"validation/{name}/{key}": value for key, value in one.validation.items()}
    save_records(directory, "runs", rest)
    probes = {
        f"{name}/{probe}{jax.tree_util.keystr(path)}": np.asarray(leaf)
        for name, one in measured.items()
        for probe, record in one.records.items()
        for path, leaf in jax.tree_util.tree_leaves_with_path(record)
    }
    steps = {
        f"{name}/{probe}/steps": np.asarray(taken)
        for name, one in measured.items()
        for probe, taken in one.measured_steps.items()
    }
    if probes:
        save_records(directory, "probes", probes | steps)
        texts = {
            name: (probe if isinstance(probe, ProbeText) else probe.text).as_json()
            for name, probe in found.probes.items()
        }
        content = {"format": DRAWINGS_FORMAT, "version": DRAWINGS_VERSION, "probes": texts}
        write_json(directory / "records" / "probes.json", content)


class _ByPlace(dict):
    """A record that was read: arrays by their places, as `jax.tree_util.keystr` writes them."""


@dataclass(frozen=True)
class _Place:
    text: str

    def __str__(self) -> str:
        return self.text


jax.tree_util.register_pytree_with_keys(
    _ByPlace,
    lambda record: ([(_Place(place), leaf) for place, leaf in record.items()], tuple(record)),
    lambda places, leaves: _ByPlace(zip(places, leaves, strict=True)),
)


def _read(
    kind: type[Comparison], run: Any, content: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
) -> Comparison:
    """A comparison from what its run directory holds."""
    results, evaluated, searches = run.results, {}, {}
    for name, one in results.optimizers.items():
        validation = {key: arrays[f"validation/{name}/{key}"] for key in one.validation}
        records, steps = _probed(run, name)
        evaluated[name] = OptimizerEvaluation(
            arrays[f"losses/{name}"],
            arrays.get(f"test_accuracy/{name}"),
            one.seconds_per_step,
            records,
            steps,
            validation,
        )
        if one.trials:
            scores, values = arrays[f"scores/{name}"], dict(run.search[name].hyperparameters)
            searches[name] = SearchResult(values, scores, one.warnings, one.tuning_seconds)
    metric = dict(content["metric"])
    metric["target"] = math.nan if metric["target"] is None else metric["target"]
    settings = dict(run.config.get("arguments", {}))
    settings.pop("task", None)
    return kind(
        evaluation=Evaluation(evaluated, results.num_steps, results.num_runs),
        searches=searches,
        learned=results.learned,
        metric_steps=content["metric_steps"],
        task=dict(results.task),
        seed=content["seed"],
        seconds=results.seconds,
        horizons={n: one.horizon for n, one in results.optimizers.items() if one.horizon},
        probes=run.probe_texts,
        metric=Metric(**metric),
        settings=settings,
    )


def _probed(run: Any, name: str) -> tuple[dict[str, Any], dict[str, tuple[int, ...]]]:
    """What the probes measured of one optimizer, and when."""
    records, steps = {}, {}
    for probe in run.probe_texts:
        start = f"{name}/{probe}"
        found = _ByPlace()
        for key, array in run.probes.items():
            place = key.removeprefix(start)
            # A place begins with a bracket or a dot: another probe's longer name does not.
            if key.startswith(start) and (not place or place[0] in "[."):
                found[place] = array
        records[probe] = found
        steps[probe] = tuple(int(step) for step in run.probes[f"{start}/steps"])
    return records, steps
