"""The common part of all commands: fields, the run directory, config.json, devices."""

import contextlib
import dataclasses
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from optoscope._core.cores import num_cores
from optoscope._core.errors import (
    FileFormatError,
    InvalidValueError,
    RunDirectoryError,
    UnknownNameError,
)
from optoscope._core.files import read_json, write_json
from optoscope._core.own_code import argument_values, argument_words
from optoscope._core.versions import versions
from optoscope.cli._directories import CONFIG, claimed
from optoscope.cli._named_optimizers import is_made_here
from optoscope.cli._options import Seed, check_values
from optoscope.cli._user_code import (
    blamed_on,
    load_object,
    loaded_sources,
    made,
    names_code,
)

# Fields that say how or where a command runs, not what it computes.
_NOT_CONFIGURATION = (
    "out", "config", "resume", "debug", "tensorboard", "coordinator", "processes", "process",
)  # fmt: skip


# Arguments that may name a file of Python.
_MAY_NAME_CODE = ("task", "validate_on", "optimizer", "optimizers", "against", "panels", "trust")

# On a CPU a device is a thread pool; more than there are cores serve tests alone.
_MOST_DEVICES = 64

# Not `Self`, which the tests' type checker only knows inside classes that it checks whole.
_RunCommand = TypeVar("_RunCommand", bound="RunCommand")


@dataclass(frozen=True, kw_only=True)
class Command:
    """Base of every command.

    Args:
        debug: show a traceback instead of one message when something goes wrong.
    """

    name: ClassVar[str] = ""

    debug: bool = False

    def run(self) -> int:
        """Runs the command; returns the exit code."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class RunCommand(Command):
    """Base of the commands that write a run directory.

    Args:
        out: the run directory; by default a new one under runs/.
        config: repeat the run that this config.json describes; only --out may be given with it.
        seed: of everything random.
        data_dir: where datasets lie (default: $OPTOSCOPE_DATA, else the user's cache).
    """

    out: Path | None = None
    config: Path | None = None
    seed: Seed = 0
    data_dir: Path | None = None

    def configured(self: _RunCommand) -> _RunCommand:
        """The command itself, or the one that `config` describes."""
        if self.config is None:
            return self
        arguments = read_arguments(self.config, self.name)
        changed = [
            f.name
            for f in dataclasses.fields(self)
            if f.name not in _NOT_CONFIGURATION
            and f.name != "data_dir"
            and getattr(self, f.name) not in (_default(f), arguments.get(f.name))
        ]
        if changed:
            raise InvalidValueError(
                f"{changed[0]} is given together with --config, which has its own. "
                "Edit a copy of the config.json instead."
            )
        return self.with_arguments(arguments)

    def check_beside(self, typed: Collection[str]) -> None:
        """Refuses what is typed beside --config or --resume and says otherwise than that run.

        Only the words tell that a default was typed.

        Args:
            typed: the names of the options that were typed.

        Raises:
            InvalidValueError: the run's config.json has another value.
        """
        option = "--config" if self.config is not None else "--resume"
        place = self.config if self.config is not None else getattr(self, "resume", None)
        # Whoever reads it says what is wrong with one that is not there.
        if place is None or not (place.is_file() or (place / CONFIG).is_file()):
            return
        theirs, own = read_arguments(place, self.name), self.arguments()
        for name in sorted((set(typed) & own.keys()) - {"data_dir"}):
            value = list(own[name]) if isinstance(own[name], tuple) else own[name]
            if name in theirs and value != theirs[name]:
                raise InvalidValueError(
                    f"--{name.replace('_', '-')} {value} is given together with {option}, and the "
                    f"run there has {theirs[name]!r}. Leave it out, or edit a copy of the "
                    "config.json and begin a new run with --config."
                )

    def with_arguments(self: _RunCommand, arguments: dict[str, Any]) -> _RunCommand:
        """The command with the values of a config.json."""
        known = {f.name: f for f in dataclasses.fields(self)}
        values = {}
        for name, value in arguments.items():
            if name not in known:
                raise UnknownNameError(f"argument of {self.name} in its config.json", name, known)
            values[name] = tuple(value) if isinstance(value, list) else value
        if isinstance(values.get("data_dir"), str):
            values["data_dir"] = Path(values["data_dir"])
        if self.data_dir is not None:
            values["data_dir"] = self.data_dir
        self._check_code(values)
        check_values(type(self), values, "the config.json")
        return dataclasses.replace(self, **values)

    def _check_code(self, values: dict[str, Any]) -> None:
        """Raises InvalidValueError for a person's code that a file names and nobody has typed."""
        for name, words in _own_code(values).items():
            if getattr(self, name, None) != values[name]:
                raise InvalidValueError(
                    f"this run's {name} is code of yours: {words[-1]}. Code is run only when you "
                    f"name it yourself: repeat it behind the command, {' '.join(words)}"
                )

    def typed_again(self) -> list[str]:
        """The words that name a person's code, without which the run cannot go on."""
        return [word for words in _own_code(self.arguments()).values() for word in words]

    def arguments(self) -> dict[str, Any]:
        """The arguments that determine the results, as config.json holds them."""
        return {
            f.name: str(value) if isinstance(value := getattr(self, f.name), Path) else value
            for f in dataclasses.fields(self)
            if f.name not in _NOT_CONFIGURATION
        }

    @contextmanager
    def new_directory(self, default: str) -> Iterator[Path]:
        """A run directory with its config.json, held while the block runs.

        Everything that can be known must have been checked before: what is refused later leaves
        a directory that the corrected line cannot take.

        Args:
            default: its name under runs/ where --out gives none.

        Raises:
            RunDirectoryError: it holds something already, cannot be written, or is in use.
        """
        with claimed(self.out, default, self._beside_a_full_one()) as directory:
            write_json(directory / CONFIG, self.described())
            yield directory

    def described(self) -> dict[str, Any]:
        """The content of config.json."""
        described = {"command": self.name, "arguments": self.arguments(), "versions": versions()}
        sources = loaded_sources()
        return described | ({"sources": sources} if sources else {})

    def _beside_a_full_one(self) -> str:
        return "Choose another --out."

    def task_options(self) -> dict[str, Any]:
        """The options for `tasks.get`."""
        return {} if self.data_dir is None else {"data_dir": self.data_dir}


def _own_code(arguments: Mapping[str, Any]) -> dict[str, list[str]]:
    """The words that name a person's code on the command line, by the argument that they are of."""
    return {
        name: argument_words(name, arguments[name])
        for name in _MAY_NAME_CODE
        if name in arguments
        and any(
            names_code(piece)
            for one in argument_values(arguments[name])
            for piece in one.split(",")
        )
    }


def _default(f: dataclasses.Field) -> Any:
    if f.default is not dataclasses.MISSING:
        return f.default
    return f.default_factory() if f.default_factory is not dataclasses.MISSING else None


def read_arguments(path: Path, command: str) -> dict[str, Any]:
    """The arguments in a config.json of the given command; see `read_config`."""
    return read_config(path, command)["arguments"]


def read_config(path: Path, command: str) -> dict[str, Any]:
    """The content of a config.json of the given command.

    Raises:
        RunDirectoryError: missing, damaged, or of another command.
    """
    if path.is_dir():
        path = path / CONFIG
    content = read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get("arguments"), dict):
        raise RunDirectoryError(f"{path} is not a config.json of optoscope.")
    if content.get("command") != command:
        raise RunDirectoryError(
            f"{path} is of `optoscope {content.get('command')}`, not of `optoscope {command}`."
        )
    return content


def get_task(name: str, settings: Mapping[str, Any] | None = None, **options: Any) -> Any:
    """The task of a name, or the one that FILE.py:NAME or MODULE:NAME gives.

    Args:
        name: as it was typed.
        settings: the task's own options, from `--set`.
        options: data options; those that a registered task does not have are left out.
    """
    from optoscope import tasks
    from optoscope.tasks._contract import check_task

    settings = dict(settings or {})
    if names_code(name):
        task = made(load_object(name)[0], name, settings, ("loss", "sample"))
        with blamed_on(name):
            tasks.as_distribution(task)  # says what a task must give where it is none
            check_task(task)
        return task
    return tasks.get(name, **tasks.REGISTRY[name].known(options) | settings)


def task_label(name: str) -> str:
    """What a task is called in the names of run directories.

    >>> task_label("problems/mine.py:task"), task_label("quadratic")
    ('task', 'quadratic')
    """
    return name.rpartition(":")[2] if names_code(name) else name


def get_task_or_own(
    name: str | None, place: str, settings: Mapping[str, Any] | None = None, **options: Any
) -> tuple[str, Any]:
    """A task and its name; without a name the one that a saved optimizer was trained on.

    That is built with the options it had there, as far as they are known.

    Args:
        name: of the task, or None.
        place: of the optimizer, as it was typed.
        settings: the task's own options, from `--set`.
        options: data options.

    Raises:
        InvalidValueError: neither says which task.
        FileFormatError: the optimizer says one that cannot be.
    """
    if name is not None:
        return task_label(name), get_task(name, settings, **options)
    from optoscope import optimizers

    if is_made_here(place):
        raise InvalidValueError(
            f"which task? {place} was trained on none. Name one: --task digits-mlp-relu, another "
            "of `optoscope list tasks`, or your own as FILE.py:NAME."
        )

    task = optimizers.read_description(place)["metadata"].get("task")
    if not isinstance(task, dict) or "name" not in task:
        raise InvalidValueError("which task? Name it with --task; see `optoscope list tasks`.")
    name, own = str(task["name"]), task.get("options")
    own = own if isinstance(own, dict) else {}
    try:
        if names_code(name):
            raise InvalidValueError(f"{name!r} names code, which no file makes us run.")
        # Where data lie here, and whether they are checked, no file has to say.
        for option in {"data_dir", "verify"} & set(own):
            raise InvalidValueError(f"{option} is {own[option]!r}, which a file does not decide.")
        return name, get_task(name, settings, **own | options)
    except (InvalidValueError, UnknownNameError) as error:
        raise FileFormatError(
            f"the task that {place} was trained on cannot be built as it says there: {error} "
            "Name a task with --task."
        ) from None


def use_devices(requested: int, num_tasks: int) -> int:
    """Sets up the local devices and returns how many to use.

    On a CPU, JAX shows one device however many cores there are; several let tasks that run side
    by side have a core each. Must be called before JAX computes anything.

    Args:
        requested: how many, or 0 for as many as there are, dividing `num_tasks`.
        num_tasks: tasks to spread.
    """
    import jax

    cores = num_cores()
    if requested > (most := max(_MOST_DEVICES, cores)):
        raise InvalidValueError(f"--devices is {requested}; it must be at most {most}.")
    wanted = requested or max(1, min(cores, num_tasks))
    # A program that has computed something keeps the devices it has; so do accelerators.
    with contextlib.suppress(RuntimeError):
        jax.config.update("jax_num_cpu_devices", wanted)
    available = len(jax.local_devices())
    if requested > available:
        raise InvalidValueError(f"--devices is {requested}; there are {available}.")
    if requested:
        return requested
    return max(n for n in range(1, available + 1) if num_tasks % n == 0)
