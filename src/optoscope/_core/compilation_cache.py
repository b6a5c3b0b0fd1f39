"""Compiled programs, kept on disk between processes."""

import hashlib
import os
import platform
import stat
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import platformdirs

from optoscope._core.cores import num_cores

VARIABLE = "OPTOSCOPE_CACHE"
_FOLDER = "programs"
_ENTRY, _TEMPORARY = ".program", ".part"
# What all entries may take together. The commands of the README leave some 20 MB.
_MOST_BYTES = 2**29
# A file takes a block of the disk, however short it is.
_BLOCK = 4096
_SECONDS_PER_HOUR = 3600
_DIGEST_BYTES = hashlib.sha256().digest_size

OnProblem = Callable[[str], None]


class ProgramStore:
    """A folder of compiled programs that several processes may use at once.

    An entry is a digest and what it is the digest of. It is written beside and renamed, so that
    no reader meets half an entry; one that does not match its digest is deleted and counts as
    absent. When the entries take more than `most_bytes`, those that were used longest ago are
    deleted. Nothing here raises: a folder that cannot be read or written is a store that keeps
    nothing.

    Args:
        directory: where the entries are; it must exist.
        machine: a description of the machine; programs of other machines are not used.
        most_bytes: the size that all entries together may reach.
        on_problem: called with one sentence, once, when something cannot be read or written.
    """

    def __init__(
        self,
        directory: Path,
        machine: str,
        most_bytes: int = _MOST_BYTES,
        on_problem: OnProblem | None = None,
    ) -> None:
        """Keeps the settings; the folder is read at the first look-up."""
        self._path = directory  # the name that JAX logs
        self._machine = machine
        self._most_bytes = most_bytes
        self._on_problem = on_problem
        self._bytes: int | None = None

    def get(self, key: str) -> bytes | None:
        """The program stored under a key, or None where it is missing or damaged."""
        place = self._place(key)
        try:
            content = _read_regular_file(place, self._most_bytes)
            if content is None:
                return None
            digest, value = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
            if digest != self._digest(key, value):
                place.unlink(missing_ok=True)
                return None
            os.utime(place)
        except FileNotFoundError:
            return None
        except OSError as error:
            self._problem(error)
            return None
        return value

    def put(self, key: str, value: bytes) -> None:
        """Stores a program under a key and replaces an earlier one."""
        size = _on_disk(_DIGEST_BYTES + len(value))
        if size > self._most_bytes:
            return
        temporary = None
        try:
            if self._bytes is None or self._bytes + size > self._most_bytes:
                self._bytes = self._make_room(size)
            handle, name = tempfile.mkstemp(dir=self._path, suffix=_TEMPORARY)
            temporary = Path(name)
            with os.fdopen(handle, "wb") as file:
                file.write(self._digest(key, value) + value)
            temporary.replace(self._place(key))
            self._bytes += size
        except OSError as error:
            if temporary is not None:
                _unlink_quietly(temporary)
            self._problem(error)

    def _place(self, key: str) -> Path:
        name = hashlib.sha256(f"{self._machine}\n{key}".encode()).hexdigest()
        return self._path / f"{name}{_ENTRY}"

    def _digest(self, key: str, value: bytes) -> bytes:
        return hashlib.sha256(key.encode() + b"\n" + value).digest()

    def _make_room(self, size: int) -> int:
        """Deletes the entries used longest ago; returns the bytes of those that stay.

        A fifth more than is needed goes, so that not every entry needs a look at all of them.
        """
        entries, total = [], 0
        with os.scandir(self._path) as found:
            for entry in found:
                try:
                    info = entry.stat(follow_symlinks=False)
                except OSError:  # another process has deleted it
                    continue
                if entry.name.endswith(_ENTRY):
                    entries.append((info.st_mtime, entry.path, _on_disk(info.st_size)))
                    total += _on_disk(info.st_size)
                elif info.st_mtime < time.time() - _SECONDS_PER_HOUR:
                    _unlink_quietly(Path(entry.path))  # left behind by a process that was killed
        if total + size > self._most_bytes:
            for _, path, entry_size in sorted(entries):
                if total + size <= 0.8 * self._most_bytes or not total:
                    break
                _unlink_quietly(Path(path))
                total -= entry_size
        return total

    def _problem(self, error: OSError) -> None:
        if self._on_problem is not None:
            self._on_problem(
                f"compiled programs cannot be kept in {self._path}: {error.strerror or error}."
            )
            self._on_problem = None


def enable_compilation_cache(
    directory: str | Path | None = None, *, on_problem: OnProblem | None = None
) -> bool:
    """Keeps compiled programs on disk, so that the next process need not compile them again.

    The command line calls this; a program of your own does so before its first computation. All
    programs of the process are kept, not only those of this library. Results are the same to the
    last bit with and without it. Entries are told apart by JAX's version, the processor, the
    number of cores and devices and the compiler's options: code of another machine is never run.

    A cache that you have configured in JAX itself (`jax_compilation_cache_dir`) stays as it is.

    Args:
        directory: where to keep them; if not given, `$OPTOSCOPE_CACHE`, else the user's cache
            folder. "off" in either place keeps nothing.
        on_problem: called with one sentence when the programs cannot be kept or read; then
            everything works without.

    Returns:
        Whether programs are kept from now on.

    Example:
        >>> enable_compilation_cache("off")
        False
    """

    def without(reason: str) -> bool:
        if on_problem is not None:
            on_problem(f"compiled programs are not kept: {reason}.")
        return False

    wanted = directory if directory is not None else os.environ.get(VARIABLE) or None
    if wanted is not None and str(wanted).lower() == "off":
        return False
    try:
        from jax import config
        from jax._src import compilation_cache

        if getattr(config, "jax_compilation_cache_dir", None) is not None:
            return True
        place = (_user_folder() if wanted is None else Path(wanted).expanduser()) / _FOLDER
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        if reason := _unsafe(place):
            return without(reason)
        store = ProgramStore(place, machine_description(), on_problem=on_problem)
        config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        # JAX has a public setting for a folder, but none for what is done with the files in it:
        # its own cache can leave half an entry behind and keeps a damaged one for ever.
        compilation_cache.reset_cache()
        compilation_cache._cache = store  # type: ignore[assignment]
        compilation_cache._cache_initialized = True
    except OSError as error:
        return without(f"{error.strerror or error} ({error.filename})")
    except (ImportError, AttributeError, RuntimeError) as error:
        return without(f"{type(error).__name__}: {error}")
    return True


def machine_description() -> str:
    """A description of the machine, for which a compiled program is made.

    XLA compiles for the processor's instructions and divides loops among the cores there are.
    """
    # XLA takes the number of its threads from these.
    threads = [os.environ.get(name, "") for name in ("NPROC", "PJRT_NPROC")]
    return "\n".join(
        [platform.system(), platform.machine(), _processor(), str(num_cores()), *threads]
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux
        return platform.processor()
    fields = ("model name", "flags", "Features", "CPU part")
    first = {}
    for line in lines:
        name = line.split(":")[0].strip()
        if name in fields:
            first.setdefault(name, line)
    return "\n".join(first.values())


def _user_folder() -> Path:
    """The user's cache folder.

    Raises:
        OSError: there is no home for it.
    """
    place = Path(platformdirs.user_cache_path("optoscope"))
    home = Path("~").expanduser()
    if not place.is_absolute() or (place.is_relative_to(home) and not home.is_dir()):
        raise FileNotFoundError(2, "there is no home directory", str(home))
    return place


def _unsafe(place: Path) -> str:
    """Why code that lies there may not be trusted; empty where it may."""
    if not hasattr(os, "getuid"):
        return ""
    info = place.stat()
    if info.st_uid != os.getuid() or info.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"others may write to {place}, and what lies there is run"
    return ""


def _read_regular_file(place: Path, most_bytes: int) -> bytes | None:
    """A file's content; None, and no such file any more, where it cannot be an entry."""
    # Opening a named pipe would wait for a writer.
    handle = os.open(place, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(handle, "rb") as file:
        info = os.fstat(handle)
        if stat.S_ISREG(info.st_mode) and info.st_size <= most_bytes:
            return file.read()
    place.unlink(missing_ok=True)
    return None


def _on_disk(size: int) -> int:
    return max(_BLOCK, size)


def _unlink_quietly(place: Path) -> None:
    try:
        place.unlink(missing_ok=True)
    except OSError:
        return
