"""Reading a run directory: what was saved becomes typed records, or one clear message."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from optoscope._core.arrays import read_arrays
from optoscope._core.drawings import ProbeText
from optoscope._core.errors import FileFormatError, RunDirectoryError
from optoscope._core.estimates import Estimate
from optoscope._core.files import read_json, read_lines
from optoscope._core.showing import shown
from optoscope.report._checks import (
    as_estimate,
    as_format,
    as_integer,
    as_mapping,
    as_number,
    as_real,
    as_sequence,
)
from optoscope.report._claims import Claim, claims_from_json
from optoscope.report._explanation import Explanation
from optoscope.report._findings import Panel, names_of, read_panels
from optoscope.report._manifest import Manifest
from optoscope.report._probe_figures import panels, probe_texts
from optoscope.report._reading import optional, parsed
from optoscope.report._suite import SuiteRecord, with_curves

RESULTS_FORMAT = "optoscope/results"
RESULTS_VERSION = 2


@shown
@dataclass(frozen=True)
class OptimizerResult:
    """The measurements of one optimizer in the evaluation.

    Args:
        hyperparameters: the tuned values by name; empty for a learned optimizer.
        warnings: what the search said, such as a best value at the edge of its grid.
        mean_loss: mean training loss over the first so many steps, by that number of steps.
        final_loss: training loss at the last step.
        test_accuracy: a fraction in [0, 1], or None for a task without an accuracy.
        seconds_per_step: time of one inner step; NaN when not measured.
        diverged: how many runs left the finite numbers.
        diverged_at: the step at which the first of them did.
        given_back: the regression from the best loss, as a share of the decrease to it; None in
            older files.
        horizon: steps it was meta-trained for, if that is known.
        schedule: the schedule that a search chose, or None where none was searched.
        trials: how many configurations were tried to tune it.
        tuning_seconds: what that took.
        validation: what was measured on validation data at the end of the runs, by name.

    """

    hyperparameters: Mapping[str, float]
    warnings: tuple[str, ...]
    mean_loss: Mapping[int, Estimate]
    final_loss: Estimate
    test_accuracy: Estimate | None
    seconds_per_step: float
    diverged: int
    diverged_at: int | None = None
    given_back: Estimate | None = None
    horizon: int | None = None
    schedule: str | None = None
    trials: int = 0
    tuning_seconds: float = 0.0
    validation: Mapping[str, Estimate] = field(default_factory=dict)


@dataclass(frozen=True)
class Comparison:
    """The paired comparison of a learned optimizer with the best tuned baseline.

    Args:
        metric: what is compared, in words.
        learned: the learned optimizer's name.
        baseline: the baseline's name.
        relative_improvement: 1 - learned / baseline, a fraction; positive is better. Without a
            value where losses are not positive.
        difference: learned - baseline; None in older files.
        larger_is_better: of the metric.
        others_win: by column, the optimizer that is better there than the learned one.
        comparisons: among how many the two were chosen, as far as the interval allows for it.

    """

    metric: str
    learned: str
    baseline: str
    relative_improvement: Estimate
    difference: Estimate | None = None
    larger_is_better: bool = False
    others_win: Mapping[str, str] = field(default_factory=dict)
    comparisons: int = 1


@shown
@dataclass(frozen=True)
class Results:
    """The content of `results.json`; `metric` is empty in files of earlier versions."""

    task: Mapping[str, Any]
    seeds: tuple[int, ...]
    num_steps: int
    num_runs: int
    seconds: float
    learned: tuple[str, ...]
    optimizers: Mapping[str, OptimizerResult]
    comparison: Comparison | None
    metric: str = ""
    maximized: bool = False

    @property
    def horizons(self) -> tuple[int, ...]:
        """The numbers of steps that mean losses are given for, ascending."""
        return tuple(sorted({steps for o in self.optimizers.values() for steps in o.mean_loss}))

    @classmethod
    def from_json(cls, value: Any) -> "Results":
        """Checks and converts the content of `results.json`.

        Raises:
            FileFormatError: it is not a results file, is from a newer version, or is damaged.

        """
        fields = as_format(value, RESULTS_FORMAT, RESULTS_VERSION)
        optimizers = as_mapping(fields.get("optimizers"), "'optimizers'")
        if not optimizers:
            raise FileFormatError("'optimizers' is empty")
        comparison = fields.get("comparison")
        metric = as_mapping(fields.get("metric") or {}, "'metric'")
        return cls(
            task=as_mapping(fields.get("task", {}), "'task'"),
            seeds=tuple(
                as_integer(s, "a seed") for s in as_sequence(fields.get("seeds", []), "'seeds'")
            ),
            num_steps=as_integer(fields.get("num_steps"), "'num_steps'"),
            num_runs=as_integer(fields.get("num_runs"), "'num_runs'"),
            seconds=as_number(fields.get("seconds"), "'seconds'"),
            learned=tuple(str(n) for n in as_sequence(fields.get("learned", []), "'learned'")),
            optimizers={name: _optimizer(name, entry) for name, entry in optimizers.items()},
            comparison=None if comparison is None else _comparison(comparison),
            metric=str(metric.get("name", "")),
            maximized=metric.get("maximize") is True,
        )


@shown
@dataclass(frozen=True, eq=False)
class MetaTraining:
    """The lines of `metrics.jsonl` as columns; NaN where a line has no number.

    When a resumed run reported a step twice, the later report is the one kept.
    """

    step: Float[np.ndarray, " reports"]
    meta_loss: Float[np.ndarray, " reports"]
    gradient_norm: Float[np.ndarray, " reports"]
    skipped: Float[np.ndarray, " reports"]
    non_finite_tasks: Float[np.ndarray, " reports"]
    seconds: Float[np.ndarray, " reports"]
    evaluation_loss: Float[np.ndarray, " reports"]


@shown
@dataclass(frozen=True, eq=False)
class SearchRecord:
    """Every configuration a baseline was tried with, and its score (lower is better)."""

    score: Float[np.ndarray, " configurations"]
    hyperparameters: Mapping[str, Float[np.ndarray, " configurations"]]


@shown
@dataclass(frozen=True, eq=False)
class Run:
    """The records of a run directory; one that does not exist is None or empty."""

    directory: Path
    config: Mapping[str, Any]
    metrics: MetaTraining | None = None
    results: Results | None = None
    losses: Mapping[str, Float[np.ndarray, "runs steps"]] = field(default_factory=dict)
    search: Mapping[str, SearchRecord] = field(default_factory=dict)
    claims: tuple[Claim, ...] = ()
    probes: Mapping[str, np.ndarray] = field(default_factory=dict)
    probe_texts: Mapping[str, ProbeText] = field(default_factory=dict)
    explanation: Explanation | None = None
    manifest: Manifest | None = None
    panels: tuple[Panel, ...] = ()
    suite: SuiteRecord | None = None

    @property
    def learned(self) -> tuple[str, ...]:
        """Names of the learned optimizers."""
        return self.results.learned if self.results else ()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all optimizers in any record, so that each keeps one color everywhere."""
        known = self.results.optimizers if self.results else {}
        probed = [key.partition("/")[0] for key in self.probes]
        looked = names_of([panel.findings for panel in self.panels])
        return tuple(dict.fromkeys([*known, *self.losses, *self.search, *probed, *looked]))

    @property
    def rate_search(self) -> Mapping[str, SearchRecord]:
        """The searches that varied a learning rate."""
        return {n: r for n, r in self.search.items() if "learning_rate" in r.hyperparameters}

    @property
    def drawn_probes(self) -> bool:
        """Whether a probe measured what it says how to draw."""
        return bool(panels(self.probes, self.probe_texts))


def read_run(directory: str | Path) -> Run:
    """Reads whatever records a run directory holds.

    Args:
        directory: the run directory; it must hold `config.json`, all else may be missing.

    Returns:
        The records found.

    Raises:
        RunDirectoryError: there is no run there, or a file is damaged; the message names it.

    """
    directory = Path(directory)
    if not directory.is_dir():
        raise RunDirectoryError(
            f"{directory} is not a directory. Give the folder that a run wrote."
        )
    config_path = directory / "config.json"
    if not config_path.is_file():
        raise RunDirectoryError(
            f"{directory} is not a run directory: it has no config.json. "
            "Give the folder that `optoscope train`, `evaluate` or `demo` wrote with --out."
        )
    suite = optional(directory / "suite.json", read_json, SuiteRecord.from_json)
    curves = directory / "records" / "suite.npz"
    if suite is not None:
        suite = parsed(curves, read_arrays, partial(with_curves, suite))
    return Run(
        suite=suite,
        directory=directory,
        config=parsed(config_path, read_json, lambda v: as_mapping(v, "the content")),
        metrics=optional(directory / "metrics.jsonl", read_lines, _meta_training),
        results=optional(directory / "results.json", read_json, Results.from_json),
        losses=optional(directory / "records" / "evaluation.npz", read_arrays, _losses) or {},
        search=optional(directory / "records" / "search.npz", read_arrays, _search) or {},
        claims=optional(directory / "claims.json", read_json, claims_from_json) or (),
        probes=optional(directory / "records" / "probes.npz", read_arrays, dict) or {},
        probe_texts=optional(directory / "records" / "probes.json", read_json, probe_texts) or {},
        explanation=optional(directory / "explanation.json", read_json, Explanation.from_json),
        manifest=optional(directory / "manifest.json", read_json, Manifest.from_json),
        panels=read_panels(directory),
    )


def _meta_training(lines: list[Any]) -> MetaTraining | None:
    by_step: dict[float, Mapping[str, Any]] = {}
    for line in lines:
        fields = as_mapping(line, "a line")
        by_step[as_integer(fields.get("step"), "'step'")] = fields
    if not by_step:
        return None
    ordered = sorted(by_step)

    def column(name: str) -> np.ndarray:
        return np.array([as_number(by_step[step].get(name), repr(name)) for step in ordered])

    return MetaTraining(
        step=np.array(ordered, dtype=float),
        meta_loss=column("meta_loss"),
        gradient_norm=column("gradient_norm"),
        skipped=column("skipped"),
        non_finite_tasks=column("non_finite_tasks"),
        seconds=column("seconds"),
        evaluation_loss=column("evaluation_loss"),
    )


def _losses(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    prefix = "losses/"
    return {
        key.removeprefix(prefix): as_real(array, key, 2)
        for key, array in arrays.items()
        if key.startswith(prefix)
    }


def _search(arrays: Mapping[str, np.ndarray]) -> dict[str, SearchRecord]:
    columns: dict[str, dict[str, np.ndarray]] = {}
    for key, array in arrays.items():
        name, slash, column = key.rpartition("/")
        if slash:
            columns.setdefault(name, {})[column] = as_real(array, key, 1)
    records = {}
    for name, found in columns.items():
        if "score" not in found:
            raise FileFormatError(f"it has hyper-parameters of {name!r} but no '{name}/score'")
        sizes = {column: array.size for column, array in found.items()}
        if len(set(sizes.values())) > 1:
            raise FileFormatError(f"the columns of {name!r} have different lengths: {sizes}")
        score = found.pop("score")
        records[name] = SearchRecord(score=score, hyperparameters=found)
    return records


def _optimizer(name: str, entry: Any) -> OptimizerResult:
    fields = as_mapping(entry, f"the entry of {name!r}")
    accuracy = fields.get("test_accuracy")
    hyperparameters = as_mapping(fields.get("hyperparameters", {}), "'hyperparameters'")
    horizons = as_mapping(fields.get("mean_loss", {}), "'mean_loss'")
    given_back = fields.get("given_back")
    for steps in horizons:
        if not (str(steps).isascii() and str(steps).isdigit()):
            raise FileFormatError(f"'mean_loss' has the key {steps!r}, not a number of steps")
    return OptimizerResult(
        hyperparameters={k: as_number(v, repr(k)) for k, v in hyperparameters.items()},
        warnings=tuple(str(w) for w in as_sequence(fields.get("warnings", []), "'warnings'")),
        mean_loss={int(k): as_estimate(v, "'mean_loss'") for k, v in horizons.items()},
        final_loss=as_estimate(fields.get("final_loss"), "'final_loss'"),
        test_accuracy=None if accuracy is None else as_estimate(accuracy, "'test_accuracy'"),
        seconds_per_step=as_number(fields.get("seconds_per_step"), "'seconds_per_step'"),
        diverged=as_integer(fields.get("diverged", 0), "'diverged'"),
        diverged_at=_integer_or_none(fields, "diverged_at"),
        given_back=None if given_back is None else as_estimate(given_back, "'given_back'"),
        horizon=_integer_or_none(fields, "horizon"),
        schedule=None if fields.get("schedule") is None else str(fields["schedule"]),
        trials=as_integer(fields.get("trials", 0), "'trials'"),
        tuning_seconds=as_number(fields.get("tuning_seconds", 0.0), "'tuning_seconds'"),
        validation={
            name: as_estimate(v, "'validation'")
            for name, v in as_mapping(fields.get("validation", {}), "'validation'").items()
        },
    )


def _integer_or_none(fields: Mapping[str, Any], name: str) -> int | None:
    value = fields.get(name)
    return None if value is None else as_integer(value, repr(name))


def _comparison(value: Any) -> Comparison:
    fields = as_mapping(value, "'comparison'")
    difference = fields.get("difference")
    return Comparison(
        metric=str(fields.get("metric", "")),
        learned=str(fields.get("learned", "")),
        baseline=str(fields.get("baseline", "")),
        relative_improvement=as_estimate(
            fields.get("relative_improvement"), "'relative_improvement'"
        ),
        difference=None if difference is None else as_estimate(difference, "'difference'"),
        larger_is_better=fields.get("larger_is_better") is True,
        others_win={
            column: str(name)
            for column, name in as_mapping(fields.get("others_win", {}), "'others_win'").items()
        },
        comparisons=as_integer(fields.get("comparisons", 1), "'comparisons'"),
    )
