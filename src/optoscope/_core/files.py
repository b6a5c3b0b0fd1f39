"""Files are written beside and renamed: a reader sees the old content or the new, never half."""

import errno
import io
import json
import math
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from optoscope._core.errors import InvalidValueError, RunDirectoryError

# A run's own files have a hundredth of it: what is larger is damaged, or means harm.
_MOST_JSON_BYTES = 8_000_000
MOST_LINES_BYTES = 64_000_000
_MOST_DEPTH = 64


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary path in the same folder, renamed to `path` when the block succeeds.

    Raises:
        RunDirectoryError: the folder cannot be written or the disk is full.
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # The suffix is kept: writers such as numpy.savez and matplotlib choose by it.
        handle, name = tempfile.mkstemp(
            dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix
        )
        os.close(handle)
        temporary = Path(name)
        yield temporary
        # mkstemp makes private files; what a run leaves behind should obey the user's umask.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    except OSError as error:
        raise RunDirectoryError(
            f"cannot write {path}: {error.strerror or error}. "
            "Check the space and the permissions there, or choose another place with --out."
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def delete(path: Path) -> None:
    """Deletes a file, if there is one.

    Raises:
        RunDirectoryError: it cannot be deleted, or a folder is in its place.
    """
    try:
        Path(path).unlink(missing_ok=True)
    except OSError as error:
        raise RunDirectoryError(
            f"cannot replace {path}: {error.strerror or error}. Move it away."
        ) from error


def write_text(path: Path, text: str) -> None:
    """Writes `text` as UTF-8, atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Writes `value` as indented JSON, atomically; refuses NaN and infinity."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_bytes(path: Path, *, most: int, error: type[Exception] = RunDirectoryError) -> bytes:
    """The content of a regular file of at most `most` bytes.

    Whatever else lies in its place is refused before anything is read: a fifo or a device could
    keep us waiting for ever, and a file with a hole can be as large as it likes.

    Args:
        path: the file; links are followed.
        most: bytes that such a file may have.
        error: the class of what is raised, with a message that names the file.
    """
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            content = file.read(most + 1) if size <= most else b""
    except FileNotFoundError:
        raise error(f"{path} does not exist.") from None
    except OSError as problem:
        raise error(f"{path} cannot be read: {problem.strerror or problem}.") from None
    # Both are asked for: a file can grow, and those of /proc say that they are empty.
    if size > most or len(content) > most:
        raise error(
            f"{path} has {max(size, len(content)):,} bytes, and such a file has at most "
            f"{most:,}: it is damaged or another kind of file."
        )
    return content


def with_home(path: str | os.PathLike[str], name: str) -> Path:
    """The path with a `~` at its beginning spelled out.

    Args:
        path: that a user gave.
        name: how messages call it.

    Raises:
        InvalidValueError: there is no such home.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise InvalidValueError(
            f"{name} is {os.fspath(path)!r}: {error} Write the whole path."
        ) from None


def open_regular(path: Path) -> io.BufferedReader:
    """Opens a regular file for reading; anything else is an OSError, at once."""
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    handle = os.open(path, flags)
    try:
        mode = os.fstat(handle).st_mode
        if not stat.S_ISREG(mode):
            kind = "a folder" if stat.S_ISDIR(mode) else "a pipe, a socket or a device"
            raise OSError(errno.EINVAL, f"it is {kind}, not a file")
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def read_json(path: Path, error: type[Exception] = RunDirectoryError) -> Any:
    """Reads a JSON file; raises `error` with a message that names it."""
    content = read_bytes(path, most=_MOST_JSON_BYTES, error=error)
    try:
        return parse_json(content)
    except ValueError as problem:
        raise error(f"{path} cannot be read as JSON: {problem}.") from None


def parse_json(content: str | bytes) -> Any:
    """The value of a JSON text, of moderate depth and with numbers that are finite.

    Raises:
        ValueError: it is no such text.
    """
    try:
        text = content if isinstance(content, str) else content.decode("utf-8")
        value = json.loads(text, parse_constant=_refuse_constant, parse_float=_finite)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    _check_depth_and_text(value)
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:20]} is too large for a number")
    return number


def _check_depth_and_text(value: Any) -> None:
    """Refuses values that are nested too deeply or hold text that cannot be written."""
    waiting = [(value, 1)]
    while waiting:
        inner, depth = waiting.pop()
        if depth > _MOST_DEPTH:
            raise ValueError("it is nested too deep")
        if isinstance(inner, str):
            inner.encode("utf-8")  # half a surrogate pair can be written nowhere
        elif isinstance(inner, dict):
            waiting += [(one, depth + 1) for pair in inner.items() for one in pair]
        elif isinstance(inner, list):
            waiting += [(one, depth + 1) for one in inner]


def read_lines(path: Path, error: type[Exception] = RunDirectoryError) -> list[Any]:
    """The values of a file of JSON lines, without a last line that a kill has cut off."""
    content = read_bytes(path, most=MOST_LINES_BYTES, error=error)
    try:
        lines = content.decode("utf-8").split("\n")
    except UnicodeDecodeError as problem:
        raise error(f"{path} cannot be read as text: {problem}.") from None
    values = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            values.append(parse_json(line))
        except ValueError as problem:
            # A run killed while it wrote leaves a last line without its end; that is no damage.
            if number == len(lines):
                break
            raise error(f"{path} line {number} is not JSON: {problem}.") from None
    return values
