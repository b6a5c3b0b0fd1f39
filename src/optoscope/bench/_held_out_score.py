"""What an optimizer is judged by while it is meta-trained: a score against a tuned reference."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from optoscope._core.errors import (
    InvalidValueError,
    UnknownNameError,
    check_count,
    check_seed,
)
from optoscope._core.keys import stream
from optoscope.bench._contestants import Contestant
from optoscope.bench._scores import Scores, final_ratios, score
from optoscope.bench._suite import Progress, suite
from optoscope.bench._suite_result import SuiteResult
from optoscope.optimizers import Optimizer
from optoscope.optimizers._files import for_num_steps
from optoscope.tasks import Task, TaskDistribution
from optoscope.training import train

# Those that compare two optimizers alone; AlgoPerf's needs a field of them.
HELD_OUT_SCORES = ("final_ratio", "speed_up", "equivalent_steps")


@dataclass(frozen=True)
class HeldOutScore:
    """An evaluation for `meta.Trainer`: one over a score of `score`, so that less is better.

    The reference is tuned on every task, by learning rates as in `suite`, and its runs are kept:
    they are computed once, by `prepare` or at the first evaluation. The optimizer runs with the
    starts and batches of these runs, told their length if it knows the length of training.

    Use it where the end of training is what counts: a mean loss over a run, as `meta.HeldOutLoss`
    has it, hardly sees the end. It costs as much as that one, and the reference once.

    Math: 1/s with the score s; infinite where every run diverged, whose score is 0.

    Source: Celo's final ratio and speed-up, and VeLO's equivalent steps; see `score`.

    Args:
        tasks: held out, by name.
        num_steps: steps a run, of all tasks or of each.
        score: "final_ratio", "speed_up" or "equivalent_steps".
        reference: whom runs are compared with: a registered optimizer, with "-cosine" behind it
            for that schedule, or a contestant with one range.
        num_rates: learning rates that the reference is tuned by.
        num_runs: paired runs of everyone on each task.
        seed: of the runs.
        directory: where the reference's runs are kept, so that a resumed run finds them.

    Raises:
        UnknownNameError: no such score.
        InvalidValueError: no task, a task without a number of steps, or counts below 1.

    Example:
        >>> from optoscope import optimizers, tasks
        >>> judge = HeldOutScore({"bowl": tasks.get("quadratic")}, 30, reference="sgd", num_rates=3)
        >>> judge(optimizers.sgd(1e-4)) > 1 > judge(optimizers.adam(0.3))
        True
    """

    tasks: Mapping[str, Task | TaskDistribution]
    num_steps: int | Mapping[str, int]
    score: str = "final_ratio"
    reference: str | Contestant = "adamw-cosine"
    num_rates: int = 5
    num_runs: int = 4
    seed: int = 0
    directory: str | Path | None = None

    def __post_init__(self):
        if self.score not in HELD_OUT_SCORES:
            raise UnknownNameError("score", self.score, HELD_OUT_SCORES)
        if not self.tasks:
            raise InvalidValueError("there is no task to judge on; give at least one, by a name.")
        for name, count in (("num_rates", self.num_rates), ("num_runs", self.num_runs)):
            check_count(name, count, minimum=1)
        check_seed(self.seed)
        for name in self.tasks:
            if isinstance(self.num_steps, Mapping) and name not in self.num_steps:
                raise InvalidValueError(f"num_steps has no {name!r}; give one for every task.")
            check_count("num_steps", self._steps(name), minimum=1)

    def prepare(self, on_progress: Progress | None = None) -> None:
        """Tunes the reference on every task, unless its runs are there already.

        Args:
            on_progress: called with (trials done, trials in all, what is being computed) on each
                task in turn.

        Raises:
            UnknownNameError: no such reference.
            InvalidValueError: the reference diverges, or ends at a loss that is not positive.
        """
        for name in self.tasks:
            self._reference_on(name, on_progress)

    @functools.cached_property
    def _references(self) -> dict[str, SuiteResult]:
        return {}

    def _reference_on(self, name: str, on_progress: Progress | None = None) -> SuiteResult:
        if name not in self._references:
            num_steps = self._steps(name)
            place = None if self.directory is None else Path(self.directory) / f"steps-{num_steps}"
            found = suite(
                {},
                {name: self.tasks[name]},
                baselines=[self.reference],
                num_steps=num_steps,
                num_runs=self.num_runs,
                num_rates=self.num_rates,
                directory=place,
                seed=self.seed,
                on_progress=on_progress,
            )
            self._check(name, found)
            self._references[name] = found
        return self._references[name]

    def _check(self, name: str, found: SuiteResult) -> None:
        """Says now, and not in the middle of a long run, that nothing can be compared with."""
        curves = found.curves(found.reference)[name]
        if not np.isfinite(curves).all():
            raise InvalidValueError(
                f"{found.reference} diverges on {name} with the best of {self.num_rates} learning "
                "rates, so that nothing can be compared with it; take more rates, another "
                "reference, or other tasks."
            )
        final_ratios(curves, curves, name)

    def scores(self, optimizer: Optimizer) -> Scores:
        """All scores of an optimizer, over all tasks."""
        losses, reference, targets, trials = {}, {}, {}, {}
        for name, task in self.tasks.items():
            found, num_steps = self._reference_on(name), self._steps(name)
            told = for_num_steps(optimizer, num_steps)
            # The suite's own key: the same starts and batches.
            key = stream(self.seed, "suite")
            run = train(task, told, num_steps, key=key, num_runs=self.num_runs)
            losses[name] = np.asarray(run.losses)
            reference |= found.curves(found.reference)
            targets |= found.targets()
            trials[name] = found.losses[found.reference][name]
        both = {"reference": reference, "optimizer": losses}
        return score(both, "reference", targets=targets, trials=trials)["optimizer"]

    def __call__(self, optimizer: Optimizer) -> float:
        """One over the score; infinite where that is 0 or has no value."""
        value = float(getattr(self.scores(optimizer), self.score).value)
        return 1 / value if value > 0 else float("inf")

    def _steps(self, name: str) -> int:
        return self.num_steps[name] if isinstance(self.num_steps, Mapping) else self.num_steps
