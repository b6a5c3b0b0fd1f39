"""How the command line meta-trains: settings, the trainer that they describe, and its progress."""

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from optoscope._core.errors import InvalidValueError, check_count
from optoscope.cli._console import steps
from optoscope.cli._judging import JudgeBy, check, evaluation, prepare
from optoscope.cli._options import (
    Count,
    CountOrZero,
    Positive,
    PositiveOrZero,
    ShareOrZero,
    Stretch,
)
from optoscope.cli._signals import stop_on_signals

if TYPE_CHECKING:
    from optoscope.meta import Estimator, MetaTrainingResult, Report, Trainer


@dataclass(frozen=True, kw_only=True)
class MetaTraining:
    """How to meta-train; the defaults are paper A's.

    Args:
        estimator: of meta-gradients, as `optoscope list estimators` shows it: backpropagation
            through truncated or whole unrolls, or evolution strategies (persistent, truncated,
            whole), which need no derivative and stand long horizons.
        meta_steps: updates of the optimizer's weights.
        num_tasks: problems (of evolution strategies: antithetic pairs) side by side, whose
            meta-gradients are averaged.
        truncation: inner steps per unroll; whole ones take the horizon.
        horizon: inner steps before a problem is started afresh.
        task_horizons: the horizon of each task of a mixture, in their order; empty: `horizon` for
            all. An optimizer that knows the length of training is told them.
        std: of the perturbations of evolution strategies.
        objective: how the losses of an unroll are reduced to a meta-loss.
        meta_learning_rate: of Adam on the optimizer's weights.
        schedule: of the meta learning rate: constant, or a cosine down to zero.
        clip: largest norm of the meta-gradient; 0 does not clip.
        backward_clip: of backpropagation: largest norm of what flows back from a step to the one
            before it, against meta-gradients that explode; 0 does not clip.
        second_order: whether the gradient flows through the optimizer's input too.
        stagger: start the problems at different places in the horizon.
        rescale: multiplies each problem's parameters by a random number from 1/S to S, so that
            gradients have any size; 1 does not.
        imitate: optimizers to learn from at first, each with its learning rate: adam=0.01. Part
            of the meta-loss is then the distance to the updates that they would make.
        imitation_weight: of that distance, at the first meta-step.
        imitation_steps: meta-steps after which its weight is zero; 0: a quarter of them all.
        starts: untrained optimizers to start from; by their held-out loss the worse half is
            dropped time after time.
        curriculum: horizons that follow `horizon`, each longer than the one before, as long as
            the held-out loss improves. Each takes as many meta-steps.
        averaging: decay of a moving average of the optimizer's weights, which is evaluated beside
            them; 0 keeps none.
        validate_on: tasks that the optimizer is judged on while it is meta-trained, by the
            geometric mean of its losses there; those it is trained on, if none is named.
        validation_steps: inner steps of those runs; 0: the horizon.
        judge_by: what the best optimizer is chosen by: its mean loss on these tasks, or a score
            against a tuned optimizer on the same runs. Final ratio: that one's final loss over
            one's own (Celo's); speed-up: all steps over those that it takes to get as low; or
            equivalent steps: the share of the run that the tuned one takes to get as low (VeLO's).
        judge_against: the optimizer of the scores, which is tuned once, at the start.
        judge_rates: learning rates that it is tuned by.
        evaluate_every: meta-steps between evaluations; the best optimizer seen is kept.
        checkpoint_every: meta-steps between checkpoints.
        devices: local devices (on a CPU: cores) to spread the problems over; 0: as many as fit.
    """

    estimator: str = "truncated-backprop"
    meta_steps: Count = 10_000
    num_tasks: Count = 1
    truncation: Count = 20
    horizon: Count = 200
    task_horizons: tuple[int, ...] = ()
    std: Positive = 0.01
    objective: Literal["mean", "sum", "log_sum", "mean_log", "last"] = "sum"
    meta_learning_rate: Positive = 1e-3
    schedule: Literal["constant", "cosine"] = "constant"
    clip: PositiveOrZero = 0.0
    backward_clip: PositiveOrZero = 0.0
    second_order: bool = False
    stagger: bool = False
    rescale: Stretch = 1.0
    imitate: tuple[str, ...] = ()
    imitation_weight: Positive = 1.0
    imitation_steps: CountOrZero = 0
    starts: Count = 1
    curriculum: tuple[int, ...] = ()
    averaging: ShareOrZero = 0.0
    validate_on: tuple[str, ...] = ()
    validation_steps: CountOrZero = 0
    judge_by: JudgeBy = "loss"
    judge_against: str = "adamw-cosine"
    judge_rates: Count = 5
    evaluate_every: Count = 200
    checkpoint_every: Count = 200
    devices: CountOrZero = 0

    @property
    def horizons(self) -> tuple[int, ...]:
        """The horizon of every stage."""
        return (self.horizon, *self.curriculum)

    @property
    def stage_steps(self) -> int:
        """Meta-steps of every stage."""
        return max(1, self.meta_steps // len(self.horizons))


def _estimator_on(settings: MetaTraining, problems: Any, horizon: int) -> "Estimator":
    """The estimator on the problems of one shape."""
    from optoscope import meta, tasks

    entry = meta.ESTIMATORS[settings.estimator]
    maximum = None
    if not entry.needs_derivatives:
        # Of a classifier: what guessing costs, and half more.
        guessing = problems.metadata.get("guessing_loss")
        maximum = None if guessing is None else 1.5 * guessing
    if settings.rescale > 1:
        problems = tasks.reparametrized(problems, 1 / settings.rescale, settings.rescale)
    given = {
        "num_tasks": settings.num_tasks,
        "num_particles": settings.num_tasks,
        "horizon": horizon,
        "objective": meta.Objective(settings.objective, maximum=maximum),
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
    teachers = [_teacher(text) for text in settings.imitate]
    return meta.Imitation(estimator, teachers, settings.imitation_weight, decay)


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
            result = meta.successive_halving(
                self.trainer(horizons[0], validated, directory),
                self.starts,
                steps,
                key=key,
                directory=directory,
                on_report=lambda _, report: on_report(report),
                stop=stop,
            )
            if len(horizons) > 1 and not result.interrupted:
                first = result
                result = self._curriculum(horizons[1:], directory).run(
                    first.best, key=key, directory=directory, **callbacks
                )
                result = dataclasses.replace(
                    result,
                    step=first.step + result.step,
                    skipped=first.skipped + result.skipped,
                    non_finite_tasks=first.non_finite_tasks + result.non_finite_tasks,
                    seconds=first.seconds + result.seconds,
                    evaluation_seconds=first.evaluation_seconds + result.evaluation_seconds,
                    directories=first.directories + result.directories,
                )
        if is_first():
            meta.join_logs(result.directories, directory / "metrics.jsonl")
        return result


def meta_train(
    run: Callable[..., "MetaTrainingResult"],
    meta_steps: int,
    seed: int,
    extra_report: Any = None,
) -> "MetaTrainingResult":
    """Meta-trains, stops when asked to, and shows how far it is.

    Args:
        run: takes `key`, `on_report` and `stop`, as `Trainer.run` does.
        meta_steps: meta-steps in all.
        seed: of everything random.
        extra_report: called with each report too.
    """
    from optoscope._core.keys import stream

    with steps() as show, stop_on_signals() as stop:

        def on_report(report: "Report") -> None:
            detail = f"inner loss {report.inner_loss:.3f}"
            if report.skipped:
                detail += f", {report.skipped} skipped" + f" ({report.skips})" * bool(report.skips)
            if report.non_finite_tasks:
                detail += f", {report.non_finite_tasks} problems left out"
            show("meta-training", min(report.step, meta_steps), meta_steps, detail)
            if extra_report is not None:
                extra_report(report)

        show("meta-training", 0, meta_steps, "compiling")
        return run(key=stream(seed, "meta-training"), on_report=on_report, stop=stop)


def export(
    directory: Path,
    result: "MetaTrainingResult",
    problems: Sequence[Any],
    name: str,
    settings: MetaTraining,
    seed: int,
    task_settings: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Writes the best optimizer and its provenance to `optimizer/`.

    Args:
        directory: of the run.
        result: of meta-training.
        problems: tasks or distributions that it was meta-trained on.
        name: of the optimizer.
        settings: of meta-training.
        seed: of everything random.
        task_settings: the options of each task, from `--set`.
    """
    from optoscope import optimizers
    from optoscope.optimizers._scheduled import Scheduled

    tasks = [
        {**one.metadata, "options": _lasting(own)}
        for one, own in zip(problems, task_settings or itertools.repeat({}), strict=False)
    ]
    provenance = {
        "optimizer": name,
        "task": tasks[0],
        "tasks": tasks,
        "meta_training": {
            f.name: getattr(settings, f.name) for f in dataclasses.fields(MetaTraining)
        },
        "seed": seed,
        "meta_steps_done": result.step,
        "evaluation_loss": result.best_loss,
        "skipped": result.skipped,
        "non_finite_tasks": result.non_finite_tasks,
    }
    best: Any = result.best
    # A schedule belongs to the lengths that were trained on; what is learned goes without it.
    best = best.optimizer if isinstance(best, Scheduled) else best
    optimizers.save(directory / "optimizer", best, provenance)


def _lasting(options: Mapping[str, Any]) -> dict[str, Any]:
    """A task's options but where data lie and whether they are checked, which a machine decides."""
    return {name: value for name, value in options.items() if name not in ("data_dir", "verify")}
