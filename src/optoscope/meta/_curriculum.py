"""Meta-training on horizons that grow as long as that helps."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
from jaxtyping import PRNGKeyArray

from optoscope._core.errors import InvalidValueError, MetaTrainingDivergedError, check_count
from optoscope._core.keys import as_key
from optoscope.meta._reports import MetaTrainingResult, Report
from optoscope.meta._trainer import Trainer
from optoscope.optimizers import Optimizer


@dataclass(frozen=True)
class Curriculum:
    """Meta-trains stage by stage, each on a longer horizon, from the best of the one before.

    A stage is validated on the *next* horizon, the last one on its own. It ends after
    `steps_per_stage` meta-steps, or earlier where its trainer gives up (`Trainer.give_up_after`).
    A stage that does not improve on the optimizer that it started from ends the curriculum, and
    that optimizer is the result. Where a stage diverges, what it had reached before counts.

    With a directory, stage i is kept in `stage-<i>-horizon-<horizon>/`, each with its own
    checkpoints and `metrics.jsonl`: a run killed at any moment and started again goes on exactly.

    Source: Chen et al. (2020), "Training stronger baselines for learning to optimize", section
    3.1.

    Args:
        make_trainer: the trainer of a stage, from its horizon and the horizon that it is validated
            on. It must have an evaluation.
        horizons: inner steps of the stages, growing.
        steps_per_stage: the most meta-steps of a stage.

    Raises:
        InvalidValueError: no horizon, horizons that do not grow, or fewer than one meta-step.
    """

    make_trainer: Callable[[int, int], Trainer]
    horizons: Sequence[int]
    steps_per_stage: int

    def __post_init__(self):
        check_count("steps_per_stage", self.steps_per_stage, minimum=1)
        for horizon in self.horizons:
            check_count("horizons", horizon, minimum=1)
        growing = all(a < b for a, b in zip(self.horizons, self.horizons[1:], strict=False))
        if not self.horizons or not growing:
            raise InvalidValueError(
                f"horizons is {tuple(self.horizons)}; it must name at least one, each longer than "
                "the one before."
            )

    def trainers(self) -> list[Trainer]:
        """The trainer of every stage.

        Raises:
            InvalidValueError: a trainer without an evaluation.
        """
        validated = [*self.horizons[1:], self.horizons[-1]]
        made = [self.make_trainer(*pair) for pair in zip(self.horizons, validated, strict=True)]
        if any(trainer.evaluation is None for trainer in made):
            raise InvalidValueError("a stage is judged by its evaluation; give each trainer one.")
        return made

    def run(
        self,
        optimizer: Optimizer,
        *,
        key: PRNGKeyArray,
        directory: str | Path | None = None,
        on_report: Callable[[Report], None] | None = None,
        stop: Callable[[], bool] | None = None,
    ) -> MetaTrainingResult:
        """Meta-trains through the stages, going on where an earlier run of them stopped.

        Args:
            optimizer: where to start; its inexact array leaves are trained.
            key: PRNG key; the same for a resume.
            directory: the run directory; without one nothing is written.
            on_report: called with every report; its steps, skips and seconds are counted over all
                stages.
            stop: asked after every call of the compiled program; see `Trainer.run`.

        Raises:
            InvalidValueError, RunDirectoryError, RunInUseError: as `Trainer.run`.
            MetaTrainingDivergedError: the first stage diverged before it was any better than its
                start.
        """
        stages = self.trainers()
        key = as_key(key)
        done = MetaTrainingResult(optimizer, optimizer, None, 0, 0, 0, False, 0.0)
        for index, (horizon, trainer) in enumerate(zip(self.horizons, stages, strict=True)):
            place = None
            if directory is not None:
                place = Path(directory) / f"stage-{index}-horizon-{horizon}"
            assert trainer.evaluation is not None
            start = done.best
            diverged = None
            try:
                result = trainer.run(
                    start,
                    self.steps_per_stage,
                    key=jax.random.fold_in(key, index),
                    directory=place,
                    on_report=None if on_report is None else _shifted(on_report, done),
                    stop=stop,
                )
            except MetaTrainingDivergedError as error:
                diverged, result = error, error.result
            at_start = trainer.evaluation(start)
            improved = result.best_loss is not None and result.best_loss < at_start
            if diverged is not None and index == 0 and not improved:
                raise diverged
            kept = result if improved or result.interrupted else done
            done = dataclasses.replace(
                result.after(done),
                optimizer=kept.optimizer,
                best=kept.best,
                best_loss=result.best_loss if improved else at_start,
                gave_up=kept.gave_up,
            )
            if result.interrupted or not improved:
                break
        return done


def _shifted(
    on_report: Callable[[Report], None], done: MetaTrainingResult
) -> Callable[[Report], None]:
    """Reports of a stage, counted from the beginning of the first."""
    return lambda report: on_report(report.after(done))
