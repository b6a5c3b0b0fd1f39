"""optoscope train: meta-train a learned optimizer."""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import tyro

from optoscope._core.errors import (
    InvalidValueError,
    MetaTrainingDivergedError,
    RunDirectoryError,
)
from optoscope._core.locks import locked
from optoscope._core.own_code import recorded_sources
from optoscope.cli._command import RunCommand, get_task, read_config, task_label, use_devices
from optoscope.cli._console import command_line, console
from optoscope.cli._directories import CONFIG
from optoscope.cli._judging import best_in_words, time_in_words
from optoscope.cli._meta_training import MetaTraining, export, meta_train
from optoscope.cli._processes import Processes
from optoscope.cli._scheme import Scheme
from optoscope.cli._user_code import check_owners, check_sources, names_code, parse_settings

if TYPE_CHECKING:
    from optoscope.meta import TensorBoard

_WIDE = "jax_enable_x64"


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
            or MODULE:NAME: a task, a distribution of tasks, or a function that makes one. Several,
            with commas between, are a mixture: each meta-step takes problems of all of them.
        set: options of all tasks, --set hidden=64, of one, --set digits-cnn.batch_size=64, and of
            the optimizer, --set rnnprop.decay=0.9
        recipe: settings that are known to work, as `optoscope list recipes` shows them, or a file
            of your own like them. What is typed beside it counts.
        resume: go on with the run in this directory.
        tensorboard: also write TensorBoard events (needs the extra `tensorboard`).
    """

    name: ClassVar[str] = "train"

    optimizer: Annotated[tyro.conf.Positional[str | None], tyro.conf.arg(metavar="[OPTIMIZER]")] = (
        None
    )
    task: str = "digits-mlp-sigmoid"
    set: tuple[str, ...] = ()
    recipe: str | None = None
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
        _use_precision(config.get(_WIDE))
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
        """The content of config.json: with what a resumed run must find as it was.

        That is the number of processes that `devices` is shared by, and JAX's precision.
        """
        import jax

        wide = bool(getattr(jax.config, _WIDE))
        return super().described() | {"processes": jax.process_count(), _WIDE: wide}

    def _work(self) -> int:
        from optoscope import meta

        scheme = self._scheme()
        if self.resume is not None:
            check_sources(recorded_sources(read_config(self.resume, self.name)))
        if self.tensorboard:
            meta.TensorBoard.check_installed()
        with self._directory() as directory:
            return self._meta_train(directory, scheme)

    def _scheme(self) -> Scheme:
        """Everything that is meta-trained, checked before anything is written or compiled."""
        from optoscope import optimizers
        from optoscope._core.keys import stream

        assert self.optimizer is not None
        settings = parse_settings(self.set)
        check_owners(settings, (self.optimizer, *map(task_label, self._tasks)))
        key = stream(self.seed, "untrained weights")
        own = settings.get(self.optimizer, {})
        # One that knows the length of training is made for that of its own runs.
        if optimizers.entry(self.optimizer).takes_num_steps:
            own = {"num_steps": self.horizon, **own}
        starts = [optimizers.get(self.optimizer, key=key, **own)]
        for number in range(1, self.starts):
            key = stream(self.seed, f"untrained weights {number}")
            starts.append(optimizers.get(self.optimizer, key=key, **own))
        options = self.task_options()
        problems = [get_task(t, self._of_task(t), **options) for t in self._tasks]
        judges = [get_task(t, **options) for t in self.validate_on]
        return Scheme(self, problems, judges, starts, self.seed)

    @property
    def _tasks(self) -> list[str]:
        """The tasks, as they were typed."""
        return self.task.split(",")

    def _of_task(self, task: str) -> dict[str, Any]:
        """A task's own options: those of all tasks, and those that name it."""
        settings = parse_settings(self.set)
        return {**settings.get("", {}), **settings.get(task_label(task), {})}

    @contextmanager
    def _directory(self) -> Iterator[Path]:
        """The run's own directory, held by the first process while the block runs."""
        if self.resume is None:
            name = f"train-{self.optimizer}-{task_label(self._tasks[0])}"
            with self.shared_directory(self, name) as directory:
                yield directory
            return
        with self.held_by_the_first(locked(self.resume), self.resume):
            yield self.resume

    def _meta_train(self, directory: Path, scheme: Scheme) -> int:
        from optoscope import meta
        from optoscope._core.processes import is_first

        log_events = self.tensorboard and is_first()
        board = meta.TensorBoard(directory / "tensorboard") if log_events else None
        try:
            result = self._run(directory, scheme, board)
        except MetaTrainingDivergedError as error:
            raise self._rescued(directory, scheme, error) from error
        if result.interrupted:
            console.print(
                f"Stopped after {result.step} of {self.meta_steps} meta-steps. "
                f"Go on with: {command_line('train', '--resume', directory, *self.typed_again())}"
            )
            return 130
        if is_first():
            self._tell(directory, scheme, result)
        return 0

    def _rescued(
        self, directory: Path, scheme: Scheme, error: MetaTrainingDivergedError
    ) -> MetaTrainingDivergedError:
        """The error with the place of the best optimizer that there was before, which is kept."""
        from optoscope._core.processes import is_first

        best = None if error.result is None else error.result.best_loss
        if best is None or not is_first():
            return error
        self._export(directory, scheme, error.result)
        return MetaTrainingDivergedError(
            f"{error} The best optimizer before that, with a held-out loss of {best:.4g}, is kept "
            f"in {directory / 'optimizer'}.",
            error.result,
        )

    def _export(self, directory: Path, scheme: Scheme, result: Any) -> None:
        assert self.optimizer is not None
        own = [self._of_task(task) for task in self._tasks]
        export(directory, result, scheme.problems, self.optimizer, self, self.seed, own)

    def _run(self, directory: Path, scheme: Scheme, board: "TensorBoard | None") -> Any:
        def run(**callbacks: Any) -> Any:
            return scheme.run(directory, **callbacks)

        scheme.prepare(directory)
        return meta_train(run, scheme.planned_steps, self.seed, board)

    def _tell(self, directory: Path, scheme: Scheme, result: Any) -> None:
        """Writes the optimizer and the page, and says what came out."""
        from optoscope import report

        self._export(directory, scheme, result)
        page = report.render(directory)
        # `train` always evaluates: without a best loss there was none that was finite.
        judged = len(scheme.judges or scheme.problems)
        console.print(best_in_words(self, result.best_loss, judged, scheme.judged_steps))
        console.print(time_in_words(self, result.seconds, result.evaluation_seconds))
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
        console.print(f"Compare it: {self.comparison(directory)}")

    def comparison(self, directory: Path) -> str:
        """The command that compares the optimizer on the first of its tasks, as it was set here.

        A run of one registered task tells `evaluate` itself what it was trained on.
        """
        task = self._tasks[0]
        if len(self._tasks) == 1 and not names_code(task):
            return command_line("evaluate", directory)
        own = [f"{name}={value!r}" for name, value in self._of_task(task).items()]
        settings = ["--set", *own] if own else []
        return command_line("evaluate", directory, "--task", task, *settings)


def _use_precision(wide: Any) -> None:
    """Computes in the precision that a run was begun with, whatever this process was told.

    Args:
        wide: whether JAX's 64 bits were on, as config.json says it; a run of an earlier version
            does not say it.
    """
    import jax

    if not isinstance(wide, bool) or wide == getattr(jax.config, _WIDE):
        return
    jax.config.update(_WIDE, wide)
    console.print(f"This run was begun with JAX_ENABLE_X64={int(wide)} and goes on with it.")
