"""Reading one file of a run directory: what it holds, or one clear message."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from optoscope._core.errors import FileFormatError, RunDirectoryError

_Parsed = TypeVar("_Parsed")


def parsed(path: Path, read: Callable[[Path], Any], parse: Callable[[Any], _Parsed]) -> _Parsed:
    """What the file holds, parsed; damage is one message that names the file."""
    content = read(path)
    try:
        return parse(content)
    # Numbers too large for a float or an int's text are damage as well.
    except (FileFormatError, OverflowError, ValueError) as error:
        raise RunDirectoryError(f"{path} does not hold what it should: {error}.") from None


def optional(
    path: Path, read: Callable[[Path], Any], parse: Callable[[Any], _Parsed]
) -> _Parsed | None:
    """The same, or None where there is no such file."""
    return parsed(path, read, parse) if path.exists() else None


def read_lines(path: Path) -> list[Any]:
    """The values of a file of JSON lines."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise RunDirectoryError(f"{path} cannot be read as text: {error}.") from None
    values = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            values.append(json.loads(line))
        except json.JSONDecodeError as error:
            # A run killed while it wrote leaves a last line without its end; that is no damage.
            if number == len(lines):
                break
            raise RunDirectoryError(f"{path} line {number} is not JSON: {error}.") from None
    return values


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a NumPy archive."""
    try:
        # Pickled objects could run code on loading, and no record needs them.
        with np.load(path, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
    # Damage shows up as errors of the archive, of the compression, of the parser that reads an
    # array's header, or as a lone array that is no archive: there is no list of them all.
    except Exception as error:
        raise RunDirectoryError(f"{path} cannot be read as a NumPy archive: {error}.") from None
