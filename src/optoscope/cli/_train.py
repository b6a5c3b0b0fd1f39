"""optoscope train: meta-train a learned optimizer."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import tyro

from optoscope._core.errors import InvalidValueError, RunDirectoryError, check_number
from optoscope.cli._command import RunCommand, get_task, read_arguments, use_devices
from optoscope.cli._console import console, steps

if TYPE_CHECKING:
    from optoscope.meta import MetaTrainingResult, Report, Trainer


@dataclass(frozen=True, kw_only=True)
class MetaTraining:
    """How to meta-train by truncated backpropagation; the defaults are paper A's.

    Args:
        meta_steps: updates of the optimizer's weights.
        num_tasks: problems side by side, whose meta-gradients are averaged.
        truncation: inner steps an unroll.
        horizon: inner steps before a problem is started afresh.
        objective: what an unroll of losses is worth.
        meta_learning_rate: of Adam on the optimizer's weights.
        schedule: of the meta learning rate: constant, or a cosine down to zero.
        clip: largest norm of the meta-gradient; 0 does not clip.
        second_order: whether the gradient flows through the optimizer's input too.
        stagger: start the problems at different places in the horizon.
        evaluate_every: meta-steps between evaluations; the best optimizer seen is kept.
        checkpoint_every: meta-steps between checkpoints.
        devices: local devices (on a CPU: cores) to spread the problems over; 0: as many as fit.
    """

    meta_steps: int = 10_000
    num_tasks: int = 1
    truncation: int = 20
    horizon: int = 200
    objective: Literal["mean", "sum", "log_sum", "last"] = "sum"
    meta_learning_rate: float = 1e-3
    schedule: Literal["constant", "cosine"] = "constant"
    clip: float = 0.0
    second_order: bool = False
    stagger: bool = False
    evaluate_every: int = 200
    checkpoint_every: int = 200
    devices: int = 0


def make_trainer(settings: MetaTraining, task: Any, seed: int) -> "Trainer":
    """The trainer that the settings describe; raises before anything is written or compiled."""
    import optax

    from optoscope import meta, tasks
    from optoscope._core.keys import stream

    check_number("--meta-steps", settings.meta_steps, minimum=1)
    rate = settings.meta_learning_rate
    check_number("--meta-learning-rate", rate, minimum=0, exclusive_minimum=True)
    check_number("--clip", settings.clip, minimum=0)
    distribution = tasks.as_distribution(task)
    estimator = meta.TruncatedBackprop(
        distribution,
        num_tasks=settings.num_tasks,
        truncation=settings.truncation,
        horizon=settings.horizon,
        objective=meta.Objective(settings.objective),
        second_order=settings.second_order,
        stagger=settings.stagger,
        devices=settings.devices,
    )
    schedules = {
        "constant": rate,
        "cosine": optax.cosine_decay_schedule(rate, settings.meta_steps),
    }
    meta_optimizer = optax.adam(schedules[settings.schedule])
    if settings.clip:
        meta_optimizer = optax.chain(optax.clip_by_global_norm(settings.clip), meta_optimizer)
    evaluation_key = stream(seed, "held-out loss")
    return meta.Trainer(
        estimator,
        meta_optimizer,
        evaluation=meta.HeldOutLoss(distribution, settings.horizon, 4, evaluation_key),
        evaluate_every=settings.evaluate_every,
        checkpoint_every=settings.checkpoint_every,
    )


def meta_train(
    trainer: "Trainer",
    optimizer: Any,
    meta_steps: int,
    directory: Path,
    seed: int,
    extra_report: Any = None,
) -> "MetaTrainingResult":
    """Meta-trains in a run directory, from its newest checkpoint on, and shows how far it is."""
    from optoscope._core.keys import stream

    with steps() as show:

        def on_report(report: "Report") -> None:
            detail = f"inner loss {report.inner_loss:.3f}"
            if report.skipped:
                detail += f", {report.skipped} skipped"
            show("meta-training", report.step, meta_steps, detail)
            if extra_report is not None:
                extra_report(report)

        show("meta-training", 0, meta_steps, "compiling")
        return trainer.run(
            optimizer,
            meta_steps,
            key=stream(seed, "meta-training"),
            directory=directory,
            on_report=on_report,
        )


def export(
    directory: Path,
    result: "MetaTrainingResult",
    task: Any,
    name: str,
    settings: MetaTraining,
    seed: int,
) -> None:
    """Writes the best optimizer and its provenance to `optimizer/`."""
    from optoscope import optimizers

    provenance = {
        "optimizer": name,
        "task": task.metadata,
        "meta_training": {
            f.name: getattr(settings, f.name) for f in dataclasses.fields(MetaTraining)
        },
        "seed": seed,
        "meta_steps_done": result.step,
        "evaluation_loss": result.best_loss,
        "skipped": result.skipped,
    }
    optimizers.save(directory / "optimizer", result.best, provenance)


@dataclass(frozen=True, kw_only=True)
class Train(RunCommand, MetaTraining):
    """Meta-train a learned optimizer on a task.

    Writes a run directory with metrics, checkpoints, the best optimizer and a page. Stop it with
    Ctrl-C and go on with --resume; even a killed run resumes exactly.

    Args:
        optimizer: what to meta-train, as `optoscope list optimizers` shows it.
        task: what to meta-train on, as `optoscope list tasks` shows it.
        resume: go on with the run in this directory.
        tensorboard: also write TensorBoard events (needs the extra `tensorboard`).
    """

    name: ClassVar[str] = "train"

    optimizer: Annotated[tyro.conf.Positional[str | None], tyro.conf.arg(metavar="[OPTIMIZER]")] = (
        None
    )
    task: str = "digits-mlp-sigmoid"
    resume: Path | None = None
    tensorboard: bool = False

    def run(self) -> int:
        """Meta-trains, exports and draws."""
        if self.resume is not None:
            return self._resumed()._work(self.resume)
        configured = self.configured()
        if configured.optimizer is None:
            raise InvalidValueError(
                "which optimizer? For example: optoscope train lstm --task digits-mlp-sigmoid"
            )
        devices = use_devices(configured.devices, configured.num_tasks)
        return dataclasses.replace(configured, devices=devices)._work(None)

    def _resumed(self) -> "Train":
        assert self.resume is not None
        if not self.resume.is_dir():
            raise RunDirectoryError(f"{self.resume} does not exist; there is nothing to resume.")
        if self.optimizer is not None or self.config is not None or self.out is not None:
            raise InvalidValueError("--resume takes everything from the run's own config.json.")
        arguments = read_arguments(self.resume / "config.json", self.name)
        resumed = self.with_arguments(arguments)
        use_devices(resumed.devices, resumed.num_tasks)
        return resumed

    def _work(self, directory: Path | None) -> int:
        from optoscope import meta, optimizers, report
        from optoscope._core.keys import stream

        assert self.optimizer is not None
        optimizer = optimizers.get(self.optimizer, key=stream(self.seed, "untrained weights"))
        task = get_task(self.task, **self.task_options())
        trainer = make_trainer(self, task, self.seed)
        if directory is None:
            directory = self.new_directory(f"train-{self.optimizer}-{self.task}")
        board = meta.TensorBoard(directory / "tensorboard") if self.tensorboard else None
        result = meta_train(trainer, optimizer, self.meta_steps, directory, self.seed, board)
        if result.interrupted:
            console.print(
                f"Stopped after {result.step} of {self.meta_steps} meta-steps. "
                f"Go on with: optoscope train --resume {directory}"
            )
            return 130
        export(directory, result, task, self.optimizer, self, self.seed)
        page = report.render(directory)
        best = f"{result.best_loss:.4f}" if result.best_loss is not None else "not measured"
        console.print(f"Best held-out training loss over {self.horizon} steps: {best}.")
        if result.skipped:
            console.print(f"{result.skipped} meta-gradients were not finite and were skipped.")
        console.print(f"Optimizer: {directory / 'optimizer'}")
        console.print(f"Page:      {page}")
        console.print(f"Compare it: optoscope evaluate {directory} --task {self.task}")
        return 0
