"""optoscope train: meta-train a learned optimizer."""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import tyro

from optoscope._core.errors import InvalidValueError, RunDirectoryError
from optoscope._core.locks import locked
from optoscope.cli._command import RunCommand, get_task, read_config, task_label, use_devices
from optoscope.cli._console import command_line, console, steps
from optoscope.cli._directories import CONFIG
from optoscope.cli._options import Count, CountOrZero, Positive, PositiveOrZero
from optoscope.cli._processes import Processes
from optoscope.cli._signals import stop_on_signals
from optoscope.cli._user_code import task_settings

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
        std: of the perturbations of evolution strategies.
        objective: how the losses of an unroll are reduced to a meta-loss.
        meta_learning_rate: of Adam on the optimizer's weights.
        schedule: of the meta learning rate: constant, or a cosine down to zero.
        clip: largest norm of the meta-gradient; 0 does not clip.
        backward_clip: of backpropagation: largest norm of what flows back from a step to the one
            before it, against meta-gradients that explode; 0 does not clip.
        second_order: whether the gradient flows through the optimizer's input too.
        stagger: start the problems at different places in the horizon.
        evaluate_every: meta-steps between evaluations; the best optimizer seen is kept.
        checkpoint_every: meta-steps between checkpoints.
        devices: local devices (on a CPU: cores) to spread the problems over; 0: as many as fit.
    """

    estimator: str = "truncated-backprop"
    meta_steps: Count = 10_000
    num_tasks: Count = 1
    truncation: Count = 20
    horizon: Count = 200
    std: Positive = 0.01
    objective: Literal["mean", "sum", "log_sum", "last"] = "sum"
    meta_learning_rate: Positive = 1e-3
    schedule: Literal["constant", "cosine"] = "constant"
    clip: PositiveOrZero = 0.0
    backward_clip: PositiveOrZero = 0.0
    second_order: bool = False
    stagger: bool = False
    evaluate_every: Count = 200
    checkpoint_every: Count = 200
    devices: CountOrZero = 0


def _make_estimator(settings: MetaTraining, distribution: Any) -> "Estimator":
    from optoscope import meta

    entry = meta.ESTIMATORS[settings.estimator]
    maximum = None
    if not entry.needs_derivatives:
        # Of a classifier: what guessing costs, and half more.
        guessing = distribution.metadata.get("guessing_loss")
        maximum = None if guessing is None else 1.5 * guessing
    given = {
        "num_tasks": settings.num_tasks,
        "num_particles": settings.num_tasks,
        "horizon": settings.horizon,
        "objective": meta.Objective(settings.objective, maximum=maximum),
        "truncation": settings.truncation,
        "stagger": settings.stagger,
        "std": settings.std,
        "second_order": settings.second_order,
        "backward_clip": settings.backward_clip or None,
        "devices": settings.devices,
    }
    options = {name: given[name] for name in entry.options if name in given}
    return entry.create(distribution, **options)


def make_trainer(settings: MetaTraining, task: Any, seed: int) -> "Trainer":
    """The trainer that the settings describe; raises before anything is written or compiled."""
    import optax

    from optoscope import meta, tasks
    from optoscope._core.keys import stream

    rate = settings.meta_learning_rate
    distribution = tasks.as_distribution(task)
    estimator = _make_estimator(settings, distribution)
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

    with steps() as show, stop_on_signals() as stop:

        def on_report(report: "Report") -> None:
            detail = f"inner loss {report.inner_loss:.3f}"
            if report.skipped:
                detail += f", {report.skipped} skipped" + f" ({report.skips})" * bool(report.skips)
            if report.non_finite_tasks:
                detail += f", {report.non_finite_tasks} problems left out"
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
            stop=stop,
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
        "non_finite_tasks": result.non_finite_tasks,
    }
    optimizers.save(directory / "optimizer", result.best, provenance)


@dataclass(frozen=True, kw_only=True)
class Train(RunCommand, MetaTraining, Processes):
    """Meta-train a learned optimizer on a task.

    Writes a run directory with metrics, checkpoints, the best optimizer and a page. Stop it with
    Ctrl-C and go on with --resume; even a killed run resumes exactly.

    Started several times with --coordinator, on one machine or many, it is one run whose
    problems are spread over all of them; docs/guide/scaling.md has the lines for Slurm and
    Kubernetes.

    Args:
        optimizer: what to meta-train, as `optoscope list optimizers` shows it.
        task: what to meta-train on, as `optoscope list tasks` shows it, or your own, FILE.py:NAME
            or MODULE:NAME: a task, a distribution of tasks, or a function that makes one.
        set: options of the task: --set hidden=64
        resume: go on with the run in this directory.
        tensorboard: also write TensorBoard events (needs the extra `tensorboard`).
    """

    name: ClassVar[str] = "train"

    optimizer: Annotated[tyro.conf.Positional[str | None], tyro.conf.arg(metavar="[OPTIMIZER]")] = (
        None
    )
    task: str = "digits-mlp-sigmoid"
    set: tuple[str, ...] = ()
    resume: Path | None = None
    tensorboard: bool = False

    def _beside_a_full_one(self) -> str:
        return f"{super()._beside_a_full_one()} To go on with what it holds: --resume {{}}."

    def run(self) -> int:
        """Meta-trains, exports the best optimizer and draws the page."""
        if self.resume is not None:
            return self._resumed()._work()
        configured = self.configured()
        if configured.optimizer is None:
            raise InvalidValueError(
                "which optimizer? For example: optoscope train lstm --task digits-mlp-sigmoid"
            )
        return configured._prepared()._work()

    def _resumed(self) -> "Train":
        assert self.resume is not None
        if not self.resume.is_dir():
            raise RunDirectoryError(f"{self.resume} does not exist; there is nothing to resume.")
        if self.optimizer is not None or self.config is not None or self.out is not None:
            raise InvalidValueError("--resume takes everything from the run's own config.json.")
        if not (self.resume / CONFIG).exists():
            raise RunDirectoryError(
                f"{self.resume} has no config.json, so no run has begun there; start it with --out."
            )
        config = read_config(self.resume, self.name)
        typed = {name: getattr(self, name) for name in Processes.__dataclass_fields__}
        resumed = dataclasses.replace(self.with_arguments(config["arguments"]), **typed)
        if self.coordinator:
            devices = self._devices_each(resumed.devices, config.get("processes"))
            return dataclasses.replace(resumed, devices=devices)._prepared()
        use_devices(resumed.devices, resumed.num_tasks)
        return resumed

    def _devices_each(self, devices: int, before: Any) -> int:
        """The share of this process in the devices of a run, which are those of all processes.

        Args:
            devices: how many there were in all.
            before: how many processes there were, as config.json says it.
        """
        if self.processes > 0 and devices % self.processes == 0:
            return devices // self.processes
        if not isinstance(before, int) or before < 1:
            before = max(1, self.processes)
        return devices // before

    def _prepared(self) -> "Train":
        """The command with the number of devices it uses, those of other processes included."""
        if self.coordinator and self.out is None and self.resume is None:
            raise InvalidValueError(
                "several processes need one run directory that all of them see: give --out."
            )
        devices = self.join(self.devices, self.num_tasks)
        return dataclasses.replace(self, devices=devices)

    def described(self) -> dict[str, Any]:
        """The content of config.json: with the number of processes that `devices` is shared by."""
        import jax

        return super().described() | {"processes": jax.process_count()}

    def _work(self) -> int:
        from optoscope import meta, optimizers
        from optoscope._core.keys import stream

        assert self.optimizer is not None
        optimizer = optimizers.get(self.optimizer, key=stream(self.seed, "untrained weights"))
        task = get_task(self.task, task_settings(self.set), **self.task_options())
        trainer = make_trainer(self, task, self.seed)
        trainer.check_memory(optimizer)
        if self.tensorboard:
            meta.TensorBoard.check_installed()
        with self._directory() as directory:
            return self._meta_train(directory, optimizer, task, trainer)

    @contextmanager
    def _directory(self) -> Iterator[Path]:
        """The run's own directory, held by the first process while the block runs."""
        if self.resume is None:
            name = f"train-{self.optimizer}-{task_label(self.task)}"
            with self.shared_directory(self, name) as directory:
                yield directory
            return
        with self.held_by_the_first(locked(self.resume), self.resume):
            yield self.resume

    def _meta_train(self, directory: Path, optimizer: Any, task: Any, trainer: "Trainer") -> int:
        from optoscope import meta, report
        from optoscope._core.processes import is_first

        assert self.optimizer is not None
        log_events = self.tensorboard and is_first()
        board = meta.TensorBoard(directory / "tensorboard") if log_events else None
        result = meta_train(trainer, optimizer, self.meta_steps, directory, self.seed, board)
        if result.interrupted:
            console.print(
                f"Stopped after {result.step} of {self.meta_steps} meta-steps. "
                f"Go on with: {command_line('train', '--resume', directory)}"
            )
            return 130
        if not is_first():
            return 0
        export(directory, result, task, self.optimizer, self, self.seed)
        page = report.render(directory)
        # `train` always evaluates: without a best loss there was none that was finite.
        best = "infinite every time" if result.best_loss is None else f"{result.best_loss:.4f}"
        console.print(f"Best held-out training loss over {self.horizon} steps: {best}.")
        if result.skipped:
            console.print(
                f"{result.skipped} meta-steps were skipped because something in them was not "
                "finite; metrics.jsonl says what."
            )
        if result.non_finite_tasks:
            console.print(
                f"{result.non_finite_tasks} of {self.num_tasks * result.step} problems were not "
                "finite and were left out of their meta-gradient."
            )
        console.print(f"Optimizer: {directory / 'optimizer'}")
        console.print(f"Page:      {page}")
        again = command_line("evaluate", directory, "--task", self.task)
        console.print(f"Compare it: {again}")
        return 0
