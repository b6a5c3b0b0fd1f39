"""Tasks and optimizers of a person's own, named on the command line: FILE.py:NAME, MODULE:NAME."""

import ast
import hashlib
import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from optoscope._core.errors import InvalidValueError, OptoscopeError, UnknownNameError


@dataclass(frozen=True)
class Source:
    """Where a person's object came from.

    Args:
        named: as it was typed.
        path: of the file, whole.
        sha256: of its content.
    """

    named: str
    path: str
    sha256: str

    def as_json(self) -> dict[str, str]:
        """Its content for config.json."""
        return {"named": self.named, "path": self.path, "sha256": self.sha256}


_MOST_NAMES = 20
# One process runs one command.
_LOADED: dict[str, Source] = {}


def names_code(text: str) -> bool:
    """Whether a text names an object in a file or a module, and not something registered.

    >>> names_code("my_problem.py:task"), names_code("package.module:task"), names_code("adam")
    (True, True, False)

    Raises:
        InvalidValueError: it names a file of Python, and nothing in it.
    """
    place, _, name = text.rpartition(":")
    file = text.rstrip(":")
    if file.endswith(".py") and not Path(file).is_dir():
        raise _nothing_in(file)
    return bool(place) and name.isidentifier()


def _nothing_in(file: str) -> InvalidValueError:
    path = Path(file).expanduser()
    if not path.is_file():
        return InvalidValueError(f"there is no file {file}.")
    names = _defined(path)
    if not names:
        return InvalidValueError(f"{file} is a file; name what in it is meant: {file}:NAME.")
    return InvalidValueError(
        f"{file} is a file; name what in it is meant: {file}:{names[-1]}. "
        f"It defines {', '.join(names[-_MOST_NAMES:])}."
    )


def _defined(path: Path) -> list[str]:
    """The names that a file defines, without running it."""
    try:
        body = ast.parse(path.read_bytes()).body
    except (OSError, ValueError, SyntaxError):
        return []
    names = []
    for one in body:
        if isinstance(one, ast.FunctionDef | ast.ClassDef):
            names.append(one.name)
        elif isinstance(one, ast.Assign):
            names += [target.id for target in one.targets if isinstance(target, ast.Name)]
    return [name for name in dict.fromkeys(names) if not name.startswith("_")]


def load_object(text: str) -> tuple[Any, Source]:
    """The object that FILE.py:NAME or MODULE:NAME stands for.

    This runs the file. Call it only for what a person has typed on the command line.

    Raises:
        InvalidValueError: there is no such file or module, or running it failed.
        UnknownNameError: it has nothing of that name.
    """
    place, _, name = text.rpartition(":")
    module = _run_file(place) if place.endswith(".py") else _import(place)
    if not hasattr(module, name):
        public = [n for n in vars(module) if not n.startswith("_")]
        raise UnknownNameError(f"name in {place}", name, public)
    path = Path(getattr(module, "__file__", None) or place).resolve()
    digest = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
    source = Source(text, str(path), digest)
    _LOADED[text] = source
    return getattr(module, name), source


def forget_sources() -> None:
    """Begins a command: what the ones before it in this process have loaded is not its own."""
    _LOADED.clear()


def loaded_sources() -> list[dict[str, str]]:
    """Where everything that this command has loaded came from, for config.json."""
    return [source.as_json() for source in _LOADED.values()]


def _run_file(place: str) -> ModuleType:
    path = Path(place).expanduser().resolve()
    if not path.is_file():
        raise InvalidValueError(f"there is no file {place}.")
    name = f"optoscope_user_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    specification = importlib.util.spec_from_file_location(name, path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    # As for a script: what lies beside the file can be imported, and classes find their module.
    sys.path.insert(0, str(path.parent))
    sys.modules[name] = module
    try:
        specification.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise _failed(place, error) from error
    return module


def _import(place: str) -> ModuleType:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(place)
    except Exception as error:
        raise _failed(place, error) from error


@contextmanager
def blamed_on(text: str) -> Iterator[None]:
    """Says of whatever a person's code raises in the block, in one message, that it was theirs.

    Args:
        text: FILE.py:NAME or MODULE:NAME, as it was typed.
    """
    try:
        yield
    except OptoscopeError:
        raise
    except Exception as error:
        raise _failed(text.rpartition(":")[0] or text, error) from error


def check_sources(known: Mapping[str, str]) -> None:
    """Raises InvalidValueError where a file has changed that this command has loaded.

    Args:
        known: the sha256 of each when the run was begun, by what it was named; see
            `recorded_sources`.
    """
    for source in _LOADED.values():
        if known.get(source.named, source.sha256) != source.sha256:
            raise InvalidValueError(
                f"{source.path} has changed since this run was begun, so that it cannot go on as "
                "it was. Restore the file, or begin a new run."
            )


def _failed(place: str, error: Exception) -> InvalidValueError:
    own = str(Path(place).expanduser().resolve())
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == own]
    at = f" (line {lines[-1]})" if lines else ""
    return InvalidValueError(
        f"{place} could not be run: {type(error).__name__}: {error}{at}. "
        "With --debug the whole traceback is shown."
    )


def parse_settings(texts: tuple[str, ...] | list[str]) -> dict[str, dict[str, Any]]:
    """Reads "name=value" and "OPTIMIZER.name=value"; by what they are for, "" being the task.

    Values are Python's literals; anything else is text.

    Raises:
        InvalidValueError: a pair is not of that form, or a name is there twice.

    Example:
        >>> parse_settings(("hidden=64", "name=wide", "optax.lamb.b1=0.8"))
        {'': {'hidden': 64, 'name': 'wide'}, 'optax.lamb': {'b1': 0.8}}
    """
    found: dict[str, dict[str, Any]] = {}
    for text in texts:
        whole, sign, value = text.partition("=")
        owner, _, name = whole.strip().rpartition(".")
        if not sign or not name.isidentifier():
            raise InvalidValueError(f"--set has {text!r}; write it as name=value: --set hidden=64.")
        if name in found.setdefault(owner, {}):
            raise InvalidValueError(f"--set gives {whole.strip()!r} twice; give it once.")
        try:
            found[owner][name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            found[owner][name] = value
    return found


def task_settings(texts: tuple[str, ...] | list[str]) -> dict[str, Any]:
    """What `--set` gives, for a command where it can only be for the task.

    Raises:
        InvalidValueError: it is not of the form name=value.
        UnknownNameError: something else than the task is to be set.
    """
    found = parse_settings(texts)
    check_owners(found, ())
    return found.get("", {})


def check_owners(settings: Mapping[str, Any], labels: Collection[str]) -> None:
    """Raises UnknownNameError for settings of an optimizer that is not there."""
    for owner in settings:
        if owner and owner not in labels:
            raise UnknownNameError("optimizer to --set something of", owner, labels)


def made(thing: Any, named: str, settings: Mapping[str, Any], methods: tuple[str, ...]) -> Any:
    """The object itself, or what a function or class of that name makes of the settings.

    Args:
        thing: a task or optimizer, or a function or class that makes one.
        named: as it was typed, for messages.
        settings: keyword arguments for the function.
        methods: what the object itself has; whatever lacks one is called.

    Raises:
        InvalidValueError: settings that the function does not take, or that nothing takes.
    """
    is_made = not isinstance(thing, type) and any(hasattr(thing, name) for name in methods)
    if is_made:
        if settings:
            raise InvalidValueError(
                f"--set {next(iter(settings))}=… needs a function; {named} is no function but "
                "what one makes."
            )
        return thing
    if not callable(thing):
        raise InvalidValueError(
            f"{named} is a {type(thing).__name__}; it must be an object with "
            f"{' and '.join(methods)}, or a function that makes one."
        )
    try:
        inspect.signature(thing).bind(**settings)
    except TypeError as error:
        parameters = ", ".join(inspect.signature(thing).parameters) or "nothing"
        raise InvalidValueError(f"{named} takes {parameters}: {error}.") from None
    with blamed_on(named):
        return thing(**settings)
