"""Reading one file of a run directory: what it holds, or one clear message."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from optoscope._core.errors import FileFormatError, RunDirectoryError

_Parsed = TypeVar("_Parsed")


def parsed(path: Path, read: Callable[[Path], Any], parse: Callable[[Any], _Parsed]) -> _Parsed:
    """The parsed content of the file; damage raises one message that names the file."""
    content = read(path)
    try:
        return parse(content)
    # Numbers too large for a float or an int's text are damage as well.
    except (FileFormatError, OverflowError, ValueError) as error:
        raise RunDirectoryError(f"{path} does not hold what it should: {error}.") from None


def optional(
    path: Path, read: Callable[[Path], Any], parse: Callable[[Any], _Parsed]
) -> _Parsed | None:
    """The parsed content of the file, or None where there is no such file."""
    return parsed(path, read, parse) if path.exists() else None
