"""Optimizers as the command line names them: registered, saved, Optax's, or a person's own."""

import functools
import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from optoscope._core.errors import InvalidValueError, UnknownNameError
from optoscope.cli._user_code import load_object, made, names_code

if TYPE_CHECKING:
    from optoscope.bench import Contestant

_METHODS = ("init", "update")


def is_own_or_optax(text: str) -> bool:
    """Whether a text names Optax's optimizer or a person's own, not a registered or saved one."""
    return text.startswith("optax.") or names_code(text)


def label_of(text: str) -> str:
    """What reports call an optimizer that is named so.

    >>> label_of("my_problem.py:optimizer"), label_of("optax.contrib.prodigy"), label_of("adam")
    ('optimizer', 'optax.contrib.prodigy', 'adam')
    """
    return text.rpartition(":")[2] if names_code(text) else text


def contestant(text: str, settings: Mapping[str, Any]) -> "Contestant":
    """What is tuned under a name of `--against`.

    A registered optimizer is tuned over its own search space; a function, of Optax or a file,
    over its `learning_rate`; a saved optimizer, or one that is given as it is, over a factor of
    its updates.

    Args:
        text: a registered name, a saved optimizer, optax.NAME, FILE.py:NAME or MODULE:NAME.
        settings: keyword arguments for a function, from `--set`.

    Raises:
        UnknownNameError: there is nothing of that name.
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
    if _is_registered(text):
        return named(text)
    try:
        return given(text, optimizers.load(text))
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

    if _is_registered(text):
        searched = optimizers.entry(text).search and not settings
        return contestant(text, settings) if searched else as_shipped(text, settings, num_steps)
    found = contestant(text, settings)
    return found if "learning_rate" in found.search else as_shipped(text, settings, num_steps)


def is_made_here(text: str) -> bool:
    """Whether a text names an optimizer that is made, and not a saved one that is loaded."""
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
