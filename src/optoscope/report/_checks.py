"""Checks of values read from files: each returns the value or says what it got instead."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from optoscope._core.errors import FileFormatError
from optoscope._core.estimates import Estimate


def as_mapping(value: Any, what: str) -> Mapping[str, Any]:
    """The value, if it is a JSON object."""
    if not isinstance(value, Mapping):
        raise FileFormatError(f"{what} is {_short(value)}, not an object")
    return value


def as_format(value: Any, name: str, newest: int) -> Mapping[str, Any]:
    """The content of a file of that format, if its version is not above the newest known."""
    fields = as_mapping(value, "the content")
    if fields.get("format") != name:
        raise FileFormatError(f"'format' is {fields.get('format')!r}, but {name!r} is wanted")
    version = as_integer(fields.get("version"), "'version'")
    if version > newest:
        raise FileFormatError(
            f"it has format version {version} and this optoscope reads up to {newest}; "
            "upgrade optoscope to read it"
        )
    return fields


def as_sequence(value: Any, what: str) -> list[Any] | tuple[Any, ...]:
    """The value, if it is a list."""
    if not isinstance(value, list | tuple):
        raise FileFormatError(f"{what} is {_short(value)}, not a list")
    return value


def as_number(value: Any, what: str) -> float:
    """The value as a float, null as NaN; strings and booleans are no numbers."""
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise FileFormatError(f"{what} is {_short(value)}, not a number")
    return float(value)


def as_integer(value: Any, what: str) -> int:
    """The value, if it is a whole number."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise FileFormatError(f"{what} is {_short(value)}, not a whole number")
    return value


def as_estimate(content: Any, what: str) -> Estimate:
    """The content as an estimate: its JSON form, or the one of results before format version 2."""
    fields = as_mapping(content, what)
    old = "value" not in fields and "mean" in fields
    names = ("mean", "low", "high") if old else ("value", "low", "high")
    value, low, high = (as_number(fields.get(name), f"{name!r} of {what}") for name in names)
    count = "runs" if old else "count"
    method = "mean, percentile bootstrap" if old else str(fields.get("method", ""))
    return Estimate(
        value, low, high, as_integer(fields.get(count, 0), f"{count!r} of {what}"), method
    )


def as_text(value: Any, what: str) -> str:
    """The value, if it is text."""
    if not isinstance(value, str):
        raise FileFormatError(f"{what} is {_short(value)}, not text")
    return value


def as_real(array: np.ndarray, key: str, dimensions: int) -> np.ndarray:
    """The array as float64, if it holds real numbers in so many dimensions and is not empty."""
    is_real = array.dtype.kind in "fiu"
    if not is_real or array.ndim != dimensions or array.size == 0:
        raise FileFormatError(
            f"{key!r} has dtype {array.dtype} and shape {array.shape}; "
            f"real numbers with {dimensions} dimension{'s' if dimensions > 1 else ''} are wanted"
        )
    return array.astype(float)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
