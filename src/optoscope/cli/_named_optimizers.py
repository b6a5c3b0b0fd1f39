"""Optimizers as the command line names them: registered, saved, Optax's, or a person's own."""

import functools
import inspect
from collections.abc import Mapping
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


def load_saved(place: str, trust: str, num_steps: int) -> Any:
    """A saved optimizer; one of a person's own class if they have typed where that class is.

    Args:
        place: a folder or a name, as `optimizers.load` takes it.
        trust: what `--trust` says.
        num_steps: the length of the run, for optimizers that are made for one.

    Raises:
        UnknownNameError: neither a folder nor a name.
        FileFormatError: it cannot be read, or is of a class that is not trusted.
    """
    from optoscope import optimizers

    module, is_own, name = optimizers.read_description(place)["class"].partition(":")
    if not is_own:
        return optimizers.load(place, num_steps=num_steps)
    trusted = trusted_classes(trust).get(name)
    if trusted is not None:
        return optimizers.load(place, trust=trusted, num_steps=num_steps)
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


def contestant(
    text: str, settings: Mapping[str, Any], num_steps: int, trust: str = ""
) -> "Contestant":
    """What is tuned under a name of `--against`.

    A registered optimizer is tuned over its own search space; a function, of Optax or a file,
    over its `learning_rate`; a saved optimizer, or one that is given as it is, over a factor of
    its updates.

    Args:
        text: a registered name, a saved optimizer, optax.NAME, FILE.py:NAME or MODULE:NAME.
        settings: keyword arguments for a function, from `--set`.
        num_steps: the length of the run, for saved optimizers that are made for one.
        trust: what `--trust` says.

    Raises:
        UnknownNameError: there is nothing of that name.
        FileFormatError: a saved optimizer of a class that is not trusted.
        InvalidValueError: it is no optimizer, or does not take the settings.
    """
    from optoscope import optimizers
    from optoscope.bench import Contestant
    from optoscope.bench._contestants import LEARNING_RATES, given, named

    if is_own_or_optax(text):
        function = _function(text)
        if _is_function(function) and "learning_rate" in inspect.signature(function).parameters:
            create = functools.partial(function, **settings)
            # An unknown setting is refused now, not when the search is traced.
            made(function, text, {"learning_rate": LEARNING_RATES[0], **settings}, _METHODS)
            return Contestant(label_of(text), create, {"learning_rate": LEARNING_RATES})
        return given(label_of(text), made(function, text, settings, _METHODS))
    if is_made_here(text, settings):
        return named(text)
    try:
        return given(text, load_saved(text, trust, num_steps))
    except UnknownNameError:
        raise UnknownNameError("optimizer", text, optimizers.names()) from None


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
    needs = optimizers.entry(text).takes_num_steps
    return optimizers.get(text, **({"num_steps": num_steps} if needs else {}), **settings)


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


def is_made_here(text: str, settings: Mapping[str, Any] | None = None) -> bool:
    """Whether a text names an optimizer that is made, and not a saved one that is loaded.

    A name that a registered optimizer shares with one that comes trained means the trained one,
    unless there are settings to make another one of.

    Args:
        text: the optimizer as it was typed.
        settings: its own, from `--set`.
    """
    from optoscope import optimizers

    if not settings and text in optimizers.pretrained_names():
        return False
    return is_own_or_optax(text) or _is_registered(text)


def _is_registered(text: str) -> bool:
    from optoscope import optimizers
    from optoscope.optimizers._scheduled import split_schedule

    return text in optimizers.REGISTRY or split_schedule(text)[0] in optimizers.REGISTRY


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
        raise UnknownNameError(f"optimizer of {place}", name, dir(found))
    return getattr(found, name)
