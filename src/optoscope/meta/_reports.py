"""What meta-training tells while it runs, and what it returns."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from optoscope._core.non_finite import CAUSES, describe
from optoscope._core.showing import shown

# What reports and results count from the beginning of a run.
_COUNTED = ("step", "skipped", "non_finite_tasks", "seconds", "evaluation_seconds")


@dataclass(frozen=True)
class Report:
    """Measurements after one call of the compiled program; one line of `metrics.jsonl`.

    Args:
        step: meta-steps done.
        meta_loss: mean over the meta-steps since the last report; NaN if none was finite.
        inner_loss: the mean inner training loss, averaged in the same way.
        gradient_norm: the norm of the meta-gradient before clipping, averaged in the same way.
        skipped: meta-steps skipped so far because something in them was not finite.
        non_finite_tasks: tasks left out of a mean so far.
        seconds: time spent so far, that before a resume included.
        evaluation_loss: the evaluation's result, when it was due.
        skipped_for_loss: of the meta-steps since the last report, those left out because no
            inner loss was finite.
        skipped_for_gradient: those left out because of the meta-gradient, with finite losses.
        skipped_for_state: those left out because a finite meta-gradient was so large that the
            meta-optimizer's state or step would not have been finite.
        evaluation_seconds: what evaluations took of `seconds`.
    """

    step: int
    meta_loss: float
    inner_loss: float
    gradient_norm: float
    skipped: int
    non_finite_tasks: int
    seconds: float
    evaluation_loss: float | None = None
    skipped_for_loss: int = 0
    skipped_for_gradient: int = 0
    skipped_for_state: int = 0
    evaluation_seconds: float = 0.0

    @property
    def skips(self) -> str:
        """Why meta-steps were left out since the last report, in words; empty if none was."""
        return describe({name: getattr(self, f"skipped_for_{name}") for name in CAUSES})

    def after(self, earlier: "MetaTrainingResult") -> "Report":
        """The report, counted from the beginning of an earlier run that this one goes on from."""
        return _counted_after(self, earlier)


@shown
@dataclass(frozen=True)
class MetaTrainingResult:
    """The result of meta-training.

    Args:
        optimizer: the optimizer after the last meta-step.
        best: the one with the least evaluation loss; `optimizer` where nothing was evaluated.
        best_loss: that loss, or None.
        step: meta-steps done.
        skipped: meta-steps skipped because something in them was not finite.
        non_finite_tasks: tasks left out of a mean because they were not finite.
        interrupted: whether it was asked to stop early; resume to go on.
        seconds: time spent, that before a resume included.
        gave_up: whether it ended before its last meta-step, by `Trainer.give_up_after`.
        directories: where the metrics are that led to it, one after the other.
        evaluation_seconds: what evaluations took of `seconds`.
    """

    optimizer: Any
    best: Any
    best_loss: float | None
    step: int
    skipped: int
    non_finite_tasks: int
    interrupted: bool
    seconds: float
    gave_up: bool = False
    directories: tuple[Path, ...] = ()
    evaluation_seconds: float = 0.0

    def after(self, earlier: "MetaTrainingResult") -> "MetaTrainingResult":
        """The result, counted from the beginning of an earlier run that this one went on from."""
        both = earlier.directories + self.directories
        return dataclasses.replace(_counted_after(self, earlier), directories=both)


_Counting = TypeVar("_Counting", Report, MetaTrainingResult)


def _counted_after(one: _Counting, earlier: MetaTrainingResult) -> _Counting:
    sums = {name: getattr(earlier, name) + getattr(one, name) for name in _COUNTED}
    return dataclasses.replace(one, **sums)
