"""Optimizers as the command line names them: registered, saved, Optax's, or a person's own."""

import dataclasses
import functools
import inspect
import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optoscope._core.errors import FileFormatError, InvalidValueError, UnknownNameError
from optoscope.cli._user_code import load_object, made, names_code

if TYPE_CHECKING:
    from optoscope.bench import Contestant

_METHODS = ("init", "update")


def trusted_classes(trust: str) -> dict[str, Any]:
    """The classes that `--trust` names, by their own names. This runs the files that define them.

    Args:
        trust: FILE.py:CLASS or MODULE:CLASS, separated by commas.

    Raises:
        InvalidValueError: it is written otherwise, is no class of optimizers, or cannot be run.
        UnknownNameError: the file or module has nothing of that name.
    """
    from optoscope.optimizers import OptimizerModule

    classes: dict[str, Any] = {}
    for text in filter(None, map(str.strip, trust.split(","))):
        if not names_code(text):
            raise InvalidValueError(
                f"--trust has {text!r}; write where the class is: FILE.py:CLASS or MODULE:CLASS."
            )
        found, _ = load_object(text)
        if not (isinstance(found, type) and issubclass(found, OptimizerModule)):
            raise InvalidValueError(
                f"--trust names {text}, which is no class of optimizers (optimizers."
                "OptimizerModule); name the class of a saved optimizer."
            )
        classes[found.__qualname__] = found
    return classes


def description_of(place: str) -> dict[str, Any]:
    """What a saved optimizer says of itself.

    Raises:
        UnknownNameError: there is no optimizer of that name, saved or not.
        FileFormatError: it cannot be read.
    """
    from optoscope import optimizers

    try:
        return optimizers.read_description(place)
    except UnknownNameError:
        raise _unknown(place) from None


def load_saved(
    place: str, trust: str, num_steps: int, settings: Mapping[str, Any] | None = None
) -> Any:
    """A saved optimizer; one of a person's own class if they have typed where that class is.

    Args:
        place: a folder or a name, as `optimizers.load` takes it.
        trust: what `--trust` says.
        num_steps: the length of the run, for optimizers that are made for one.
        settings: from `--set`; `num_steps` among them is the length that the optimizer is told.

    Raises:
        UnknownNameError: neither a folder nor a name.
        FileFormatError: it cannot be read, or is of a class that is not trusted.
        InvalidValueError: a setting that training has fixed.
    """
    from optoscope import optimizers
    from optoscope.bench._contestants import has_own_schedule

    description = description_of(place)
    for setting in settings or {}:
        if setting != "num_steps":
            raise _fixed(place, setting)
    length = {"num_steps": num_steps} | dict(settings or {})
    module, is_own, name = description["class"].partition(":")
    trusted = trusted_classes(trust).get(name) if is_own else None
    if trusted is not None or not is_own:
        found = optimizers.load(place, trust=trusted, **length)
        if settings and not has_own_schedule(found):
            raise InvalidValueError(
                f"--set {place}.num_steps=…: {place} is the same for every length. Leave it out."
            )
        return found
    # A file that was run by its path, or as a program, is no module that could be imported.
    is_file = module == "__main__" or module.startswith("optoscope_user_")
    where = "" if is_file else f"--trust {module}:{name}, or "
    raise FileFormatError(
        f"{place} is an optimizer of the class {name} of {module}, which is not registered. "
        "Loading it runs that class, and no file decides this. If you trust it, type where it is: "
        f"{where}--trust FILE.py:{name} with the file that defines it."
    )


def is_own_or_optax(text: str) -> bool:
    """Whether a text names Optax's optimizer or a person's own, not a registered or saved one."""
    return text.startswith("optax.") or names_code(text)


def label_of(text: str) -> str:
    """What reports call an optimizer that is named so.

    >>> label_of("my_problem.py:optimizer"), label_of("optax.contrib.prodigy"), label_of("adam")
    ('optimizer', 'optax.contrib.prodigy', 'adam')
    """
    return text.rpartition(":")[2] if names_code(text) else text


def saved_at(place: str) -> Path:
    """The folder that stands for a saved optimizer: for `run/optimizer` the run directory.

    >>> saved_at("runs/lstm/optimizer").name, saved_at("runs/lstm").name
    ('lstm', 'lstm')
    """
    path = Path(place).resolve()
    return path.parent if path.name == "optimizer" else path


def contestant(
    text: str, settings: Mapping[str, Any], num_steps: int, trust: str = ""
) -> "Contestant":
    """What is tuned under a name of `--against`.

    A registered optimizer is tuned over its own search space; a function, of Optax or a file,
    over its `learning_rate`; a saved optimizer, or one that is given as it is, over a factor of
    its updates. What `--set` says is not searched.

    Args:
        text: a registered name, a saved optimizer, optax.NAME, FILE.py:NAME or MODULE:NAME.
        settings: keyword arguments, from `--set`.
        num_steps: the length of the run, for optimizers that are made for one.
        trust: what `--trust` says.

    Raises:
        UnknownNameError: there is nothing of that name.
        FileFormatError: a saved optimizer of a class that is not trusted.
        InvalidValueError: it is no optimizer, or does not take the settings.
    """
    from optoscope.bench import Contestant
    from optoscope.bench._contestants import LEARNING_RATES, given, named

    if not is_made_here(text):
        return given(text, load_saved(text, trust, num_steps, settings))
    if is_own_or_optax(text):
        function = _function(text)
        if not (_is_function(function) and _takes(function, "learning_rate")):
            return given(label_of(text), made(function, text, settings, _METHODS))
        found = Contestant(label_of(text), function, {"learning_rate": LEARNING_RATES})
    else:
        found = named(text)
        if not settings:
            return found
    search = {name: bounds for name, bounds in found.search.items() if name not in settings}
    lowest = {name: low for name, (low, _) in search.items()}
    # An unknown setting is refused now, not when the search is traced.
    example = as_shipped(text, lowest | dict(settings), num_steps)
    if not search:
        return given(found.label, example)
    return dataclasses.replace(
        found,
        create=functools.partial(found.create, **settings),
        search=search,
        takes_num_steps=found.takes_num_steps and "num_steps" not in settings,
    )


def as_shipped(text: str, settings: Mapping[str, Any], num_steps: int) -> Any:
    """The optimizer of a name as it is, with nothing tuned.

    Args:
        text: a registered name, optax.NAME, FILE.py:NAME or MODULE:NAME.
        settings: keyword arguments, from `--set`.
        num_steps: the length of the run, for optimizers with a schedule.

    Raises:
        UnknownNameError: there is nothing of that name.
        InvalidValueError: it is no optimizer, or does not take the settings.
    """
    from optoscope import optimizers

    if is_own_or_optax(text):
        return made(_function(text), text, settings, _METHODS)
    configuration: dict[str, Any] = dict(settings)
    if optimizers.entry(text).takes_num_steps:
        configuration.setdefault("num_steps", num_steps)
    try:
        return optimizers.get(text, **configuration)
    except (TypeError, OverflowError) as error:
        written = ", ".join(f"{name}={reprlib.repr(value)}" for name, value in settings.items())
        raise InvalidValueError(f"{text} cannot be made of {written}: {error}.") from None


def tuned_or_as_it_is(text: str, settings: Mapping[str, Any], num_steps: int) -> Any:
    """What is looked at under a name: with a learning rate to search where it has one.

    Args:
        text: a registered name, with a schedule or without, optax.NAME, FILE.py:NAME or
            MODULE:NAME.
        settings: keyword arguments, from `--set`; a registered optimizer that has some is taken
            as it is.
        num_steps: the length of the run, for optimizers with a schedule.

    Returns:
        A `Contestant`, or the optimizer as it is where there is no learning rate to search.

    Raises:
        UnknownNameError: there is nothing of that name.
        InvalidValueError: it is no optimizer, or does not take the settings.
    """
    from optoscope import optimizers

    if not is_own_or_optax(text):
        searched = optimizers.entry(text).search and not settings
        return (
            contestant(text, settings, num_steps)
            if searched
            else as_shipped(text, settings, num_steps)
        )
    found = contestant(text, settings, num_steps)
    return found if "learning_rate" in found.search else as_shipped(text, settings, num_steps)


def is_made_here(text: str) -> bool:
    """Whether a text names an optimizer that is made, and not a saved one that is loaded.

    A name that a registered optimizer shares with one that comes trained means the trained one.
    """
    from optoscope import optimizers

    if text in optimizers.pretrained_names():
        return False
    return is_own_or_optax(text) or _is_registered(text)


def _is_registered(text: str) -> bool:
    from optoscope import optimizers
    from optoscope.optimizers._scheduled import split_schedule

    return text in optimizers.REGISTRY or split_schedule(text)[0] in optimizers.REGISTRY


def _fixed(place: str, setting: str) -> InvalidValueError:
    """Says why a saved optimizer does not take a setting, and where there is one that does."""
    from optoscope import optimizers

    name = description_of(place)["class"]
    said = f"{place} comes trained; --set {place}.{setting}=… would make an untrained one."
    if name not in optimizers.REGISTRY or setting not in optimizers.entry(name).arguments:
        return InvalidValueError(f"{said} Leave it out.")
    return InvalidValueError(
        f"{said} Leave it out, or name a function of yours that makes one, FILE.py:NAME, with "
        f"optimizers.get({name!r}, {setting}=…) in it."
    )


def _unknown(text: str) -> UnknownNameError:
    from optoscope import optimizers

    known = [*optimizers.names(), *optimizers.pretrained_names(), *_optax_names()]
    # Every name with every schedule would crowd out the nearest ones.
    if "-" in text:
        known += [f"{name}-{s}" for name in optimizers.names() for s in optimizers.SCHEDULES[1:]]
    more = (
        "optax.NAME, FILE.py:NAME, MODULE:NAME and a folder with a saved optimizer are taken too; "
        "there is no such folder."
    )
    return UnknownNameError("optimizer", text, known, more=more)


def _optax_names() -> list[str]:
    import optax
    import optax.contrib

    return [
        f"{module.__name__}.{name}"
        for module in (optax, optax.contrib)
        for name, one in vars(module).items()
        if inspect.isfunction(one) and _takes(one, "learning_rate")
    ]


def _takes(function: Any, name: str) -> bool:
    return name in inspect.signature(function).parameters


def _is_function(thing: Any) -> bool:
    return callable(thing) and not all(hasattr(thing, name) for name in _METHODS)


def _function(text: str) -> Any:
    """What the text names, not called yet."""
    if names_code(text):
        return load_object(text)[0]
    import optax
    import optax.contrib

    place, _, name = text.rpartition(".")
    found: Any = {"optax": optax, "optax.contrib": optax.contrib}.get(place)
    if found is None:
        raise InvalidValueError(f"{text!r}: write optax.NAME or optax.contrib.NAME.")
    if not callable(getattr(found, name, None)):
        raise _unknown(text)
    return getattr(found, name)
