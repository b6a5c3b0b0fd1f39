"""One process at a time: locks on directories, which a crash releases by itself."""

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from optoscope._core.errors import RunDirectoryError, RunInUseError

try:
    import fcntl
except ImportError:  # not on Windows: directories are not locked there
    fcntl = None

LOCK = ".lock"
_SECONDS_BETWEEN_TRIES = 0.5
# Locks of this process, with the thread that holds each.
_held: set[tuple[Path, int]] = set()


@contextmanager
def locked(
    directory: Path, name: str = LOCK, *, on_wait: Callable[[str], None] | None = None
) -> Iterator[None]:
    """Holds a lock while the block runs; a thread that holds it already may take it again.

    The operating system releases the lock when the process ends, however it ends. Inside, a file
    `directory/name` says who holds it.

    Args:
        directory: made if it is not there.
        name: of the lock's file.
        on_wait: where another process holds the lock it is waited for, and this called once,
            with who holds it; without it that is an error.

    Raises:
        RunInUseError: another process, or another thread, holds the lock.
        RunDirectoryError: the directory cannot be written.
    """
    path = Path(directory).resolve() / name
    own = (path, threading.get_ident())
    if own in _held or fcntl is None:
        yield
        return
    file = _taken(path) if on_wait is None else _waited_for(path, on_wait)
    _held.add(own)
    try:
        yield
    finally:
        _held.discard(own)
        # Removed before it is released: who has opened it meanwhile sees that, in `_taken`.
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        os.close(file)


def _waited_for(path: Path, on_wait: Callable[[str], None]) -> int:
    told = False
    while True:
        try:
            return _taken(path)
        except RunInUseError as error:
            if not told:
                on_wait(error.holder)
                told = True
            time.sleep(_SECONDS_BETWEEN_TRIES)


def _taken(path: Path) -> int:
    """The open file of the lock, which is held as long as it is open."""
    assert fcntl is not None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = _holder(file)
                os.close(file)
                raise RunInUseError(path.parent, holder) from None
            except OSError:
                # A file system that has no locks: then nothing is locked.
                return file
            if _is_at(file, path):
                break
            os.close(file)
    except RunDirectoryError:
        raise
    except OSError as error:
        raise RunDirectoryError(
            f"cannot write {path.parent}: {error.strerror or error}. "
            "Check the space and the permissions there, or choose another place with --out."
        ) from error
    with contextlib.suppress(OSError):  # a full disk: the lock holds all the same
        os.ftruncate(file, 0)
        os.write(file, json.dumps(_self()).encode())
    return file


def _is_at(file: int, path: Path) -> bool:
    """Whether the open file is still the one at the path."""
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


def _self() -> dict[str, str | int]:
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    return {"process": os.getpid(), "host": socket.gethostname(), "since": since}


def _holder(file: int) -> str:
    """The process that holds the lock, in words; it may not have written its name yet."""
    for _ in range(10):
        try:
            said = json.loads(os.pread(file, 1000, 0))
            return f"process {said['process']} on {said['host']} since {said['since']}"
        except (ValueError, KeyError, TypeError):
            time.sleep(0.02)
    return "another process"
