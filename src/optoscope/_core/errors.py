"""Errors that say what was got, why that is wrong, and what to write instead."""

import difflib
import math
import operator
from collections.abc import Iterable
from typing import Any

# A key has 32 bits of the seed on every setting of JAX: what lies outside would fall together with
# another seed.
MAX_SEED = 2**32 - 1

_MOST_LISTED = 20
# Of what there may be more of, what `optoscope list` calls it.
_LISTED = {"task": "tasks", "optimizer": "optimizers"}


class OptoscopeError(Exception):
    """Base of every error this library raises on purpose.

    The command line prints it as one message and exits with status 2.
    """


class InvalidValueError(OptoscopeError, ValueError):
    """An argument has a value that cannot work."""


class UnknownNameError(OptoscopeError, LookupError):
    """A name is not in a registry; the message suggests the nearest ones.

    Args:
        kind: what was named.
        name: as it was written.
        known: what there is; more than a screen can hold is not listed.
        listed: of `optoscope list`, the words that show all of them.
        more: a sentence on what else could have been written.
    """

    def __init__(
        self, kind: str, name: str, known: Iterable[str], *, listed: str = "", more: str = ""
    ):
        known = sorted(set(known))
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        hint = f"Did you mean {' or '.join(repr(n) for n in near)}?" if near else ""
        parts = [f"unknown {kind} {name!r}.", hint, _what_there_is(kind, known, near, listed), more]
        super().__init__(" ".join(filter(None, parts)))
        self.name = name
        self.suggestions = near


def _what_there_is(kind: str, known: list[str], near: list[str], listed: str) -> str:
    listed = listed or _LISTED.get(kind, "")
    if len(known) <= _MOST_LISTED:
        return f"Known: {', '.join(known)}." if known else ""
    if listed:
        return f"`optoscope list {listed}` shows what there is."
    if near:
        return ""
    return f"Known: {', '.join(known[:_MOST_LISTED])} and {len(known) - _MOST_LISTED} more."


class DataError(OptoscopeError):
    """A dataset is missing, damaged or cannot be fetched."""


class FileFormatError(OptoscopeError):
    """A saved file does not hold what it should."""


class RunDirectoryError(OptoscopeError):
    """A run directory is missing, incomplete or cannot be written."""


class RunInUseError(RunDirectoryError):
    """Another process is running in a directory that only one may write."""

    def __init__(self, directory: object, holder: str):
        super().__init__(
            f"{directory} is in use by {holder}. Wait until it has ended, stop it, or choose "
            "another directory."
        )
        self.directory = directory
        self.holder = holder


class MetaTrainingDivergedError(OptoscopeError):
    """Meta-training cannot recover; the message says what was seen and what to try.

    Args:
        message: that message.
        result: the `MetaTrainingResult` of what was reached before, with the best optimizer.
    """

    def __init__(self, message: str, result: Any = None):
        super().__init__(message)
        self.result = result


class ProcessLostError(OptoscopeError):
    """Another process of the same run died or cannot be reached."""


def check_number(
    name: str,
    value: float | int,
    *,
    minimum: float | int = -math.inf,
    maximum: float | int = math.inf,
    exclusive_minimum: bool = False,
) -> None:
    """Raises InvalidValueError unless `value` is a finite number inside the stated range."""
    low_ok = value > minimum if exclusive_minimum else value >= minimum
    try:
        finite = math.isfinite(value)
    except OverflowError:  # an integer beyond the largest float
        finite = False
    if finite and low_ok and value <= maximum:
        return
    bounds = []
    if minimum > -math.inf:
        bounds.append(f"{'above' if exclusive_minimum else 'at least'} {minimum:g}")
    if maximum < math.inf:
        bounds.append(f"at most {maximum:g}")
    raise InvalidValueError(f"{name} is {value!r}; it must be {' and '.join(bounds) or 'finite'}.")


def check_count(
    name: str, value: Any, *, minimum: int = 1, maximum: float | int = math.inf
) -> None:
    """Raises InvalidValueError unless `value` is a whole number inside the stated range.

    Example:
        >>> check_count("num_steps", 2.5)
        Traceback (most recent call last):
        optoscope._core.errors.InvalidValueError: num_steps is 2.5; it must be a whole number.
    """
    try:
        whole = operator.index(value)
    except TypeError:
        whole = None
    if whole is None or isinstance(value, bool):
        raise InvalidValueError(f"{name} is {value!r}; it must be a whole number.")
    check_number(name, whole, minimum=minimum, maximum=maximum)


def check_seed(seed: Any, name: str = "seed") -> int:
    """The seed as an integer.

    Raises:
        InvalidValueError: it is no whole number from 0 to 2³² − 1.

    Example:
        >>> check_seed(7)
        7
    """
    try:
        number = operator.index(seed)
    except TypeError:
        number = -1
    if isinstance(seed, bool) or not 0 <= number <= MAX_SEED:
        raise InvalidValueError(
            f"{name} is {seed!r}; it must be a whole number from 0 to {MAX_SEED} (2**32 - 1): any "
            "other would give the random numbers of one of these."
        )
    return number
