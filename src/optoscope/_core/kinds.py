"""Values against the types that a signature gives them, whoever wrote the values."""

import math
import numbers
import types
import typing
from pathlib import Path
from typing import Annotated, Any, Literal

from optoscope._core.errors import MAX_SEED, InvalidValueError

_MOST_ENTRIES = 1_000
_WORDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    Path: "a path",
    type(None): "nothing",
}


def check_kind(name: str, value: Any, hint: Any) -> None:
    """Raises InvalidValueError unless the value is of the type.

    Args:
        name: what the value is called.
        value: any object.
        hint: a type as in a signature: `int`, `float`, `bool`, `str`, `Path`, `None`, a `Literal`,
            a tuple of one of them, or several joined by `|`. Types of arrays, and whatever else
            is not checked here, allow everything.

    Example:
        >>> check_kind("hidden", [20, 10], tuple[int, ...])
        >>> check_kind("hidden", "x", tuple[int, ...])
        Traceback (most recent call last):
        optoscope._core.errors.InvalidValueError: hidden is 'x'; it must be whole numbers in a list.
    """
    if not _is_a(value, hint):
        raise InvalidValueError(f"{name} is {_shown(value)}; it must be {in_words(hint)}.")
    # A name that no file system and no terminal can hold.
    if isinstance(value, str | Path) and "\0" in str(value):
        raise InvalidValueError(f"{name} is {str(value)!r}; it must not hold a null character.")


def check_size(name: str, value: Any) -> None:
    """Raises InvalidValueError for numbers that nothing can be made of, alone or in a list.

    Example:
        >>> check_size("l2", float("nan"))
        Traceback (most recent call last):
        optoscope._core.errors.InvalidValueError: l2 is nan; it must be finite.
    """
    for one in value if isinstance(value, list | tuple) else (value,):
        # Of everything that is counted here, seeds go furthest.
        if isinstance(one, numbers.Integral) and abs(int(one)) > MAX_SEED:
            raise InvalidValueError(
                f"{name} is {_shown(value)}; it must be a whole number between -{MAX_SEED} and "
                f"{MAX_SEED}."
            )
        if isinstance(one, numbers.Real) and not math.isfinite(one):
            raise InvalidValueError(f"{name} is {_shown(value)}; it must be finite.")


def _shown(value: Any) -> str:
    try:
        text = repr(value)
    except ValueError:  # an integer of more digits than Python prints
        text = "a whole number of thousands of digits"
    return text if len(text) <= 60 else f"{text[:57]}..."


def _is_a(value: Any, hint: Any) -> bool:
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return _is_a(value, inner[0])
    if origin is Literal:
        return isinstance(value, str) and value in inner
    if origin in (types.UnionType, typing.Union):
        return any(_is_a(value, one) for one in inner)
    if origin is tuple:
        fits = isinstance(value, list | tuple) and len(value) <= _MOST_ENTRIES
        return fits and all(_is_a(one, inner[0]) for one in value)
    if hint in (int, float):
        kind = numbers.Integral if hint is int else numbers.Real
        # Arrays of no dimension are numbers, too: JAX' own, and those that it traces.
        is_number = isinstance(value, kind) or (hint is float and _is_scalar_array(value))
        return is_number and not isinstance(value, bool)
    if hint is None:
        return value is None
    return isinstance(value, hint) if hint in _WORDS else True


def _is_scalar_array(value: Any) -> bool:
    return getattr(value, "shape", None) == () and hasattr(value, "dtype")


def in_words(hint: Any) -> str:
    """What a type allows, as `check_kind` says it.

    Example:
        >>> in_words(int | None)
        'a whole number or nothing'
    """
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return in_words(inner[0])
    if origin is Literal:
        return "one of " + ", ".join(repr(one) for one in inner)
    if origin in (types.UnionType, typing.Union):
        words = dict.fromkeys(in_words(one) for one in inner)
        if "a number" in words:  # of which a whole one is one
            words.pop("a whole number", None)
        return " or ".join(words)
    if origin is tuple:
        return f"{in_words(inner[0]).removeprefix('a ')}s in a list"
    return _WORDS.get(type(None) if hint is None else hint, str(hint))
