"""What a suite's `suite.json` and `records/suite.npz` hold."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float

from optoscope._core.errors import FileFormatError
from optoscope._core.estimates import Estimate
from optoscope._core.showing import shown
from optoscope.report._checks import (
    as_estimate,
    as_format,
    as_integer,
    as_mapping,
    as_number,
    as_real,
    as_sequence,
    as_text,
)

SUITE_FORMAT = "optoscope/suite"
SUITE_VERSION = 1


@dataclass(frozen=True)
class Score:
    """One of the scores that a suite ranks by; higher is better in all of them.

    Args:
        key: in `suite.json`.
        title: a short heading.
        unit: what its axis says.
        meaning: what it is, in a sentence.
    """

    key: str
    title: str
    unit: str
    meaning: str


SCORES: tuple[Score, ...] = (
    Score(
        "profile",
        "AlgoPerf score",
        "mean of the performance profile, 0 to 1",
        "For each task and run the steps to the task's target over those of the fastest; the mean "
        "share of tasks, over all factors from 1 to 4, that are done within the factor.",
    ),
    Score(
        "final_ratio",
        "Final ratio",
        "final loss of the reference over one's own",
        "Celo's: the interquartile mean, over tasks and runs, of the final loss of the reference "
        "over one's own.",
    ),
    Score(
        "speed_up",
        "Speed-up",
        "steps of the reference over one's own",
        "Celo's: the interquartile mean of all steps over the steps that it takes to reach the "
        "reference's final loss; 0 where it is never reached.",
    ),
    Score(
        "equivalent_steps",
        "Equivalent steps",
        "share of the run that the baselines take",
        "VeLO's: the interquartile mean of the share of the run that the lower envelope of all "
        "baselines with all their rates takes to get as low. At most 1: the baselines do not run "
        "longer.",
    ),
)


# More lines than colors cannot be told apart.
MOST_SHOWN = 10
# Beside each other in ratios: the end, the way, and what was not trained on.
MEASURES = ("final", "mean", "validation")


@shown
@dataclass(frozen=True)
class SuiteOptimizer:
    """One optimizer of a suite.

    Args:
        baseline: whether it is a baseline, tuned by its learning rate.
        tuned: whether it was tuned at all.
        scores: by the keys of `SCORES`.
        shares: the performance profile at factors evenly spaced from 1 to 4.
        reached: in what share of tasks and runs the target was reached.
        geometric_speed_up: over the reference, where both reached the target; NaN if never.
        beyond: in what share of tasks and runs it ended below all baselines.
        diverged: runs.
        final_loss: by task.
        trials: by task the trial that most runs have, in words.
        milliseconds: a step and run, by task.
        validation_loss: at the end of the runs, for the tasks that hold data out; none in records
            of earlier versions.
        relative: by another one's label and by `MEASURES`, how many times that one's losses one's
            own are, as geometric means over the tasks.
        ratios: by task and by `MEASURES`, how many times the reference's losses one's own are.
    """

    baseline: bool
    tuned: bool
    scores: Mapping[str, Estimate]
    shares: Float[np.ndarray, " factors"]
    reached: float
    geometric_speed_up: float
    beyond: float
    diverged: int
    final_loss: Mapping[str, Estimate]
    trials: Mapping[str, str]
    milliseconds: Mapping[str, float]
    validation_loss: Mapping[str, Estimate] = field(default_factory=dict)
    relative: Mapping[str, Mapping[str, Estimate]] = field(default_factory=dict)
    ratios: Mapping[str, Mapping[str, Estimate]] = field(default_factory=dict)


@shown
@dataclass(frozen=True)
class SuiteRecord:
    """The content of `suite.json`, and the curves that belong to it.

    Args:
        tasks: names.
        num_steps: steps a run.
        num_runs: paired runs.
        num_trials: trials of everyone.
        reference: whom Celo's scores compare with.
        targets: AlgoPerf's, by task.
        optimizers: by label.
        notes: what has to be said beside the scores.
        descriptions: a line for each task, where it is one of a suite.
        steps: where the curves were kept.
        curves: smoothed losses by label and task, (runs, places).
    """

    tasks: tuple[str, ...]
    num_steps: int
    num_runs: int
    num_trials: int
    reference: str
    targets: Mapping[str, float]
    optimizers: Mapping[str, SuiteOptimizer]
    notes: tuple[str, ...]
    descriptions: Mapping[str, str] = field(default_factory=dict)
    steps: Float[np.ndarray, " places"] = field(default_factory=lambda: np.zeros(0))
    curves: Mapping[str, Mapping[str, Float[np.ndarray, "runs places"]]] = field(
        default_factory=dict
    )

    @classmethod
    def from_json(cls, value: Any) -> "SuiteRecord":
        """Checks and converts the content of `suite.json`.

        Raises:
            FileFormatError: it is none, is from a newer version, or is damaged.
        """
        fields = as_format(value, SUITE_FORMAT, SUITE_VERSION)
        tasks = tuple(as_text(t, "a task") for t in as_sequence(fields.get("tasks"), "'tasks'"))
        optimizers = as_mapping(fields.get("optimizers"), "'optimizers'")
        if not optimizers or not tasks:
            raise FileFormatError("it has no optimizers or no tasks")
        return cls(
            tasks=tasks,
            num_steps=as_integer(fields.get("num_steps"), "'num_steps'"),
            num_runs=as_integer(fields.get("num_runs"), "'num_runs'"),
            num_trials=as_integer(fields.get("num_trials"), "'num_trials'"),
            reference=as_text(fields.get("reference"), "'reference'"),
            targets=_numbers(fields.get("targets"), tasks, "'targets'"),
            optimizers={name: _optimizer(name, one, tasks) for name, one in optimizers.items()},
            notes=tuple(str(n) for n in as_sequence(fields.get("notes", []), "'notes'")),
            descriptions={
                name: str(text)
                for name, text in as_mapping(
                    fields.get("descriptions", {}), "'descriptions'"
                ).items()
            },
        )

    def ranked(self, score: str) -> tuple[str, ...]:
        """The labels, the best by that score first; what has no value last."""

        def place(label: str) -> tuple[float, str]:
            value = self.optimizers[label].scores[score].value
            return (-value if math.isfinite(value) else math.inf), label

        return tuple(sorted(self.optimizers, key=place))

    def rank(self, label: str, score: str) -> int:
        """One more than the number of those that are better by that score; equals share it."""
        values = [one.scores[score].value for one in self.optimizers.values()]
        own = self.optimizers[label].scores[score].value
        known = [value for value in values if math.isfinite(value)]
        return 1 + (sum(value > own for value in known) if math.isfinite(own) else len(known))

    @property
    def best(self) -> tuple[str, ...]:
        """The labels that pictures and pairwise comparisons have room for, the best first."""
        return self.ranked(SCORES[0].key)[:MOST_SHOWN]

    @property
    def validated(self) -> tuple[str, ...]:
        """The tasks that hold out data on which the runs were measured."""
        known = {task for one in self.optimizers.values() for task in one.validation_loss}
        return tuple(task for task in self.tasks if task in known)

    @property
    def has_ratios(self) -> bool:
        """Whether there are losses relative to the reference's; earlier versions wrote none."""
        return all(one.ratios for one in self.optimizers.values())

    @property
    def given(self) -> tuple[str, ...]:
        """The labels of who is no baseline."""
        return tuple(label for label, one in self.optimizers.items() if not one.baseline)


def with_curves(record: SuiteRecord, arrays: Mapping[str, np.ndarray]) -> SuiteRecord:
    """The record with its curves.

    Raises:
        FileFormatError: a curve is missing or has another length.
    """
    if "steps" not in arrays:
        raise FileFormatError("it has no 'steps'")
    steps = as_real(arrays["steps"], "steps", 1)
    curves: dict[str, dict[str, np.ndarray]] = {}
    for label in record.optimizers:
        curves[label] = {}
        for task in record.tasks:
            key = f"{label}/{task}"
            if key not in arrays or arrays[key].shape[-1:] != steps.shape:
                raise FileFormatError(f"it has no {key!r} with {len(steps)} places")
            curves[label][task] = as_real(arrays[key], key, 2)
    return dataclasses.replace(record, steps=steps, curves=curves)


def _numbers(value: Any, tasks: tuple[str, ...], what: str) -> dict[str, float]:
    fields = as_mapping(value, what)
    return {task: as_number(fields.get(task), f"{task!r} of {what}") for task in tasks}


def _optimizer(name: str, value: Any, tasks: tuple[str, ...]) -> SuiteOptimizer:
    fields = as_mapping(value, f"the entry of {name!r}")
    scores = as_mapping(fields.get("scores"), "'scores'")
    shares = as_sequence(scores.get("shares"), "'shares'")
    final = as_mapping(fields.get("final_loss"), "'final_loss'")
    trials = as_mapping(fields.get("trials"), "'trials'")
    return SuiteOptimizer(
        baseline=fields.get("baseline") is True,
        tuned=fields.get("tuned") is True,
        scores={score.key: as_estimate(scores.get(score.key), score.key) for score in SCORES},
        shares=as_real(np.asarray([as_number(s, "a share") for s in shares]), "shares", 1),
        reached=as_number(scores.get("reached"), "'reached'"),
        geometric_speed_up=as_number(scores.get("geometric_speed_up"), "'geometric_speed_up'"),
        beyond=as_number(scores.get("beyond"), "'beyond'"),
        diverged=as_integer(scores.get("diverged"), "'diverged'"),
        final_loss={task: as_estimate(final.get(task), "'final_loss'") for task in tasks},
        trials={task: str(trials.get(task, "")) for task in tasks},
        milliseconds=_numbers(
            fields.get("milliseconds_per_step"), tasks, "'milliseconds_per_step'"
        ),
        validation_loss=_estimates(fields.get("validation_loss", {}), "'validation_loss'"),
        relative=_by_measure(fields.get("relative", {}), "'relative'"),
        ratios=_by_measure(fields.get("ratios", {}), "'ratios'"),
    )


def _estimates(value: Any, what: str) -> dict[str, Estimate]:
    fields = as_mapping(value, what)
    return {name: as_estimate(one, f"{name!r} of {what}") for name, one in fields.items()}


def _by_measure(value: Any, what: str) -> dict[str, dict[str, Estimate]]:
    fields = as_mapping(value, what)
    return {name: _estimates(one, f"{name!r} of {what}") for name, one in fields.items()}
