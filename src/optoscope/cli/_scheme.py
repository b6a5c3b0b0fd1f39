"""What a command meta-trains: the trainers that its settings describe, and the order of stages."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optoscope._core.errors import InvalidValueError, check_count
from optoscope.cli._judging import check, evaluation, prepare
from optoscope.cli._meta_training import MetaTraining

if TYPE_CHECKING:
    from optoscope.meta import Estimator, MetaTrainingResult, Report, Trainer


def _estimator_on(settings: MetaTraining, problems: Any, horizon: int) -> "Estimator":
    """The estimator on the problems of one shape."""
    from optoscope import meta, tasks
    from optoscope.tasks._contract import metadata_of

    entry = meta.ESTIMATORS[settings.estimator]
    maximum = None
    if not entry.needs_derivatives:
        # Of a classifier: what guessing costs, and half more.
        guessing = metadata_of(problems).get("guessing_loss")
        maximum = None if guessing is None else 1.5 * guessing
    weights = meta.end_weights(horizon, settings.end_share) if settings.end_share else None
    if settings.rescale > 1:
        problems = tasks.reparametrized(problems, 1 / settings.rescale, settings.rescale)
    given = {
        "num_tasks": settings.num_tasks,
        "num_particles": settings.num_tasks,
        "horizon": horizon,
        "objective": meta.Objective(settings.objective, weights, maximum=maximum),
        "truncation": settings.truncation,
        "stagger": settings.stagger,
        "std": settings.std,
        "second_order": settings.second_order,
        "backward_clip": settings.backward_clip or None,
        "devices": settings.devices,
    }
    options = {name: given[name] for name in entry.options if name in given}
    estimator = entry.create(problems, **options)
    if not settings.imitate:
        return estimator
    decay = settings.imitation_steps or max(1, settings.meta_steps // 4)
    # Its weight falls over all stages of a curriculum, not anew in each.
    before = _stage(settings, horizon) * settings.stage_steps
    if before >= decay:
        return estimator
    teachers = [_teacher(text) for text in settings.imitate]
    return meta.Imitation(estimator, teachers, settings.imitation_weight, decay, before)


def _stage(settings: MetaTraining, horizon: int) -> int:
    """Which stage of a curriculum has that horizon; 0 without one."""
    return settings.horizons.index(horizon) if settings.curriculum else 0


def _estimator(
    settings: MetaTraining, problems: Sequence[Any], horizon: int, made_for: int | None
) -> "Estimator":
    from optoscope import meta

    lengths = settings.task_horizons or [horizon] * len(problems)
    groups = [
        _estimator_on(settings, one, length) for one, length in zip(problems, lengths, strict=True)
    ]
    # A mixture tells each group's horizon to an optimizer that was made for another length.
    alone = len(groups) == 1 and made_for in (None, horizon)
    return groups[0] if alone else meta.Mixture(groups)


def _teacher(text: str) -> Any:
    """The optimizer that NAME=RATE names."""
    from optoscope import optimizers

    name, _, rate = text.partition("=")
    try:
        learning_rate = float(rate)
    except ValueError:
        raise InvalidValueError(
            f"--imitate has {text!r}; write an optimizer and its learning rate: adam=0.01"
        ) from None
    return optimizers.get(name, learning_rate=learning_rate)


def make_trainer(
    settings: MetaTraining,
    problems: Sequence[Any],
    seed: int,
    *,
    judges: Sequence[Any] = (),
    horizon: int | None = None,
    validated: int | None = None,
    made_for: int | None = None,
    directory: Path | None = None,
) -> "Trainer":
    """The trainer that the settings describe; raises before anything is written or compiled.

    Args:
        settings: of meta-training.
        problems: tasks or distributions; those of one shape are one entry.
        seed: of the runs that the optimizer is judged on.
        judges: the tasks that it is judged on, if not those that it is trained on.
        horizon: in place of the settings' own, for a stage of a curriculum.
        validated: inner steps of the runs that it is judged on.
        made_for: the length of training that the optimizer knows, if it knows one.
        directory: of the run; what it is judged against is kept there.
    """
    import optax

    from optoscope import meta, tasks

    horizon = settings.horizon if horizon is None else horizon
    distributions = [tasks.as_distribution(one) for one in problems]
    rate = settings.meta_learning_rate
    schedules = {
        "constant": rate,
        "cosine": optax.cosine_decay_schedule(rate, settings.stage_steps),
    }
    meta_optimizer = optax.adam(schedules[settings.schedule])
    if settings.clip:
        meta_optimizer = optax.chain(optax.clip_by_global_norm(settings.clip), meta_optimizer)
    judging = [tasks.as_distribution(one) for one in judges] or distributions
    num_steps = settings.validation_steps or validated or horizon
    lengths = [num_steps] * len(judging)
    if settings.task_horizons and not (judges or settings.validation_steps):
        lengths = settings.task_horizons
    return meta.Trainer(
        _estimator(settings, distributions, horizon, made_for),
        meta_optimizer,
        evaluation=evaluation(settings, judging, lengths, seed, directory),
        evaluate_every=settings.evaluate_every,
        checkpoint_every=settings.checkpoint_every,
        averaging=settings.averaging,
    )


class _OverStarts:
    """Passes reports on with the meta-steps of all starts, which are trained in turn.

    Args:
        on_report: called with each report.
    """

    def __init__(self, on_report: "Callable[[Report], None]"):
        self._on_report = on_report
        self._done: dict[int, int] = {}

    def __call__(self, start: int, report: "Report") -> None:
        """Takes a report of a start, or of what follows them all under a number of its own."""
        self._done[start] = report.step
        self._on_report(dataclasses.replace(report, step=sum(self._done.values())))


@dataclass(frozen=True)
class Scheme:
    """What one command meta-trains: where it starts, on what, and in which stages.

    Making it raises what is wrong with the settings, before anything is written or compiled.

    Args:
        settings: of meta-training.
        problems: tasks or distributions of tasks.
        judges: the tasks that it is judged on, if not those that it is trained on.
        starts: untrained optimizers, of which the best goes on.
        seed: of everything random.
    """

    settings: MetaTraining
    problems: Sequence[Any]
    judges: Sequence[Any]
    starts: Sequence[Any]
    seed: int

    def __post_init__(self):
        own = self.settings.task_horizons
        if own and len(own) != len(self.problems):
            raise InvalidValueError(
                f"--task-horizons has {len(own)} numbers for {len(self.problems)} tasks; give one "
                "for each, in the order of --task."
            )
        if own and self.settings.curriculum:
            raise InvalidValueError(
                "--task-horizons and --curriculum both say how long episodes are; give one of them."
            )
        for length in own:
            check_count("task_horizons", length, minimum=1)
        check(self.settings)
        for trainer in [self.trainer(horizon, horizon) for horizon in self.settings.horizons]:
            trainer.check_memory(self.starts[0])
        if self.settings.curriculum:
            self._curriculum(self.settings.horizons)

    @property
    def judged_steps(self) -> int:
        """Most inner steps of the runs by which the last stage is judged."""
        longest = max(self.settings.task_horizons, default=self.settings.horizons[-1])
        return self.settings.validation_steps or longest

    def trainer(self, horizon: int, validated: int, directory: Path | None = None) -> "Trainer":
        """The trainer of a stage; see `make_trainer`."""
        return make_trainer(
            self.settings,
            self.problems,
            self.seed,
            judges=self.judges,
            horizon=horizon,
            validated=validated,
            made_for=getattr(self.starts[0], "num_steps", None),
            directory=directory,
        )

    @property
    def planned_steps(self) -> int:
        """The meta-steps of all starts and stages, if none ends early."""
        from optoscope.meta._halving import halving_steps

        steps, stages = self.settings.stage_steps, len(self.settings.horizons)
        return halving_steps(len(self.starts), steps) + (stages - 1) * steps

    def _curriculum(self, horizons: Sequence[int], directory: Path | None = None) -> Any:
        from optoscope import meta

        def trainer(horizon: int, validated: int) -> "Trainer":
            return self.trainer(horizon, validated, directory)

        return meta.Curriculum(trainer, horizons, self.settings.stage_steps)

    def prepare(self, directory: Path) -> None:
        """Tunes what the optimizer is judged against, unless the run directory has it already."""
        horizons = self.settings.horizons
        # A stage is judged on the next horizon, the last one on its own.
        stages = zip(horizons, (*horizons[1:], horizons[-1]), strict=True)
        prepare([self.trainer(*stage, directory) for stage in stages])

    def run(self, directory: Path, *, key: Any, on_report: Any, stop: Any) -> "MetaTrainingResult":
        """Meta-trains in a run directory, from its newest checkpoints on."""
        from optoscope import meta
        from optoscope._core.processes import is_first

        callbacks = {"on_report": on_report, "stop": stop}
        horizons, steps = self.settings.horizons, self.settings.stage_steps
        if len(self.starts) == 1 and len(horizons) == 1:
            trainer = self.trainer(horizons[0], horizons[0], directory)
            return trainer.run(self.starts[0], steps, key=key, directory=directory, **callbacks)
        if len(self.starts) == 1:
            result = self._curriculum(horizons, directory).run(
                self.starts[0], key=key, directory=directory, **callbacks
            )
        else:
            validated = horizons[min(1, len(horizons) - 1)]
            counted = _OverStarts(on_report)
            result = meta.successive_halving(
                self.trainer(horizons[0], validated, directory),
                self.starts,
                steps,
                key=key,
                directory=directory,
                on_report=counted,
                stop=stop,
            )
            if len(horizons) > 1 and not result.interrupted:
                stages = self._curriculum(horizons[1:], directory)
                further = stages.run(
                    result.best,
                    key=key,
                    directory=directory,
                    on_report=lambda report: counted(-1, report),
                    stop=stop,
                )
                result = further.after(result)
        if is_first():
            meta.join_logs(result.directories, directory / "metrics.jsonl")
        return result
