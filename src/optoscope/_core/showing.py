"""How results show themselves: a few lines of text, and a table in a notebook."""

import dataclasses
import html
import math
import textwrap
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import numpy as np

# Nothing that is shown is longer, whatever it holds.
MOST_LINES = 20
_WIDTH = 88
_FEW = 4
# Larger arrays are not looked through only to be shown.
_MOST_NUMBERS = 2_000_000

_Kind = TypeVar("_Kind", bound=type)


def shown(kind: _Kind) -> _Kind:
    """Class decorator: a line for each field, as text and as HTML.

    Stands above `@dataclass`.

    Example:
        >>> @shown
        ... @dataclasses.dataclass(frozen=True)
        ... class Pair:
        ...     name: str
        ...     values: np.ndarray
        >>> Pair("both", np.arange(6.0).reshape(2, 3))
        Pair
          name    'both'
          values  float64 (2, 3), from 0 to 5
    """
    kind.__repr__ = as_text  # pyright: ignore[reportAttributeAccessIssue]
    kind._repr_html_ = as_html  # pyright: ignore[reportAttributeAccessIssue]
    return kind


def rows(value: Any) -> list[tuple[str, str]]:
    """Each field of a dataclass with what it holds, in words; the last ones are only counted."""
    found = [
        (one.name, brief(getattr(value, one.name))) for one in dataclasses.fields(value) if one.repr
    ]
    most = MOST_LINES - 1
    if len(found) > most:
        found = [*found[: most - 1], ("…", f"and {len(found) - most + 1} more")]
    return found


def as_text(value: Any) -> str:
    """The name of the class, and below it a line for each field."""
    found = rows(value)
    width = max((len(name) for name, _ in found), default=0)
    lines = [f"  {name:{width}}  {text}" for name, text in found]
    return "\n".join([type(value).__name__, *lines])


def as_html(value: Any) -> str:
    """The same as a table."""
    return html_table(("", ""), rows(value), title=type(value).__name__)


class Bold(str):
    """A text that a table shows in bold."""

    __slots__ = ()


def html_table(
    headings: Iterable[str], lines: Iterable[Iterable[str]], *, title: str = "", note: str = ""
) -> str:
    """An HTML table; its first column is of headings. Whatever is shown is escaped."""

    def cell(text: str) -> str:
        inner = html.escape(text)
        return f"<b>{inner}</b>" if isinstance(text, Bold) else inner

    headings = [html.escape(one) for one in headings]
    head = "".join(f"<th>{one}</th>" for one in headings) if any(headings) else ""
    body = []
    for line in lines:
        first, *others = map(cell, line)
        cells = "".join(f'<td style="text-align:left">{one}</td>' for one in others)
        body.append(f'<tr><th style="text-align:left">{first}</th>{cells}</tr>')
    caption = f"<caption>{html.escape(title)}</caption>" if title else ""
    below = f"<p>{html.escape(note)}</p>" if note else ""
    whole = f"{caption}<thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody>"
    return f"<table>{whole}</table>{below}"


def brief(value: Any) -> str:
    """What a value is, in one short line.

    >>> brief({"adam": 0.1, "lion": 0.25}), brief((1, 2, 3)), brief(1 / 3)
    ('adam 0.1, lion 0.25', '1, 2, 3', '0.3333')
    """
    return textwrap.shorten(_brief(value), _WIDTH, placeholder=" …")


def _brief(value: Any) -> str:
    if isinstance(value, bool | str | type(None)):
        return repr(value)
    if isinstance(value, complex | float):
        return f"{value:.4g}"
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return _array(value)
    if hasattr(value, "low") and hasattr(value, "high") and hasattr(value, "value"):
        return f"{value.value:.4g} [{value.low:.4g}, {value.high:.4g}]"
    if isinstance(value, Mapping):
        return _mapping(value)
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        if all(isinstance(one, str) for one in value):
            return ", ".join(value) or "none"
        if len(value) > 2 * _FEW and all(isinstance(one, int | float) for one in value):
            return f"{len(value)} numbers, {value[0]:.4g} to {value[-1]:.4g}"
        return ", ".join(map(_brief, value[: 2 * _FEW])) or "none"
    if isinstance(value, int):
        return str(value)
    return _tree(value)


def _mapping(value: Mapping[Any, Any]) -> str:
    if not value:
        return "none"
    if all(isinstance(one, int | float | str) for one in value.values()):
        return ", ".join(f"{name} {_brief(one)}" for name, one in value.items())
    return ", ".join(map(str, value))


def _array(value: Any) -> str:
    kind = f"{value.dtype} {tuple(value.shape)}"
    try:
        numbers = np.asarray(value) if math.prod(value.shape) <= _MOST_NUMBERS else None
    except Exception:  # traced, deleted, or random keys: it has no numbers to show
        numbers = None
    if numbers is None or not numbers.size or numbers.dtype.kind not in "fiub":
        # bfloat16 and the like are no numbers of NumPy's own.
        return kind
    if numbers.ndim < 2 and numbers.size <= _FEW:
        return ", ".join(
            f"{one:.4g}" if numbers.dtype.kind == "f" else str(one)
            for one in numbers.ravel().tolist()
        )
    finite = numbers[np.isfinite(numbers)]
    if not finite.size:
        return f"{kind}, none finite"
    lost = numbers.size - finite.size
    more = f", {lost} not finite" if lost else ""
    return f"{kind}, from {finite.min():.4g} to {finite.max():.4g}{more}"


def _tree(value: Any) -> str:
    """Arrays in any structure, counted; anything else by its class."""
    leaves = _leaves(value, 0)
    arrays = [leaf for leaf in leaves if hasattr(leaf, "shape")]
    name = type(value).__name__
    if not arrays:
        return name
    total = sum(math.prod(leaf.shape) for leaf in arrays)
    return f"{name}: {len(arrays)} arrays, {total:,} numbers"


def _leaves(value: Any, depth: int) -> list[Any]:
    if depth > 20 or hasattr(value, "shape"):
        return [value]
    if isinstance(value, Mapping):
        parts = list(value.values())
    elif isinstance(value, list | tuple):
        parts = list(value)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        parts = [getattr(value, one.name) for one in dataclasses.fields(value)]
    else:
        return [value]
    return [leaf for part in parts for leaf in _leaves(part, depth + 1)]
