"""Run directories: claimed by one process, held by it as long as it runs."""

import contextlib
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from optoscope._core.errors import RunDirectoryError, RunInUseError
from optoscope._core.locks import LOCK, locked

CONFIG = "config.json"
_LONGEST_NAME = 100


@contextmanager
def claimed(out: Path | None, default: str, advice: str = "") -> Iterator[Path]:
    """An empty run directory that is this process's own while the block runs.

    What a process left that was killed before it wrote its config.json counts as empty.

    Args:
        out: the directory; None for a new one under runs/.
        default: its name there, with a number where that is taken.
        advice: a sentence, with the directory's name in place of "{}", on what else can be done
            with one that is full.

    Raises:
        RunDirectoryError: it holds something already, or cannot be written.
        RunInUseError: another process runs in it.
    """
    with contextlib.ExitStack() as held:
        if out is None:
            directory = _new_one(default[:_LONGEST_NAME], held)
        else:
            directory = out
            # Looked at before, so that nothing is written into a folder of someone else's, and
            # under the lock, so that no other process can have begun in between.
            check_empty(directory, advice)
            held.enter_context(locked(directory))
            check_empty(directory, advice)
        for leftover in directory.glob(_leftovers()):
            leftover.unlink(missing_ok=True)
        yield directory


def _new_one(name: str, held: contextlib.ExitStack) -> Path:
    parent = Path("runs")
    numbers = itertools.count(2)
    directory = parent / name
    while True:
        try:
            parent.mkdir(exist_ok=True)
            # The one of several processes that makes it has it.
            directory.mkdir()
            held.enter_context(locked(directory))
            return directory
        except (FileExistsError, RunInUseError):
            if not parent.is_dir():
                raise RunDirectoryError(f"{parent} is a file; give another place: --out.") from None
            directory = parent / f"{name}-{next(numbers)}"
        except OSError as error:
            raise RunDirectoryError(
                f"cannot write {directory}: {error.strerror or error}. "
                "Check the space and the permissions there, or choose another place with --out."
            ) from error


def check_empty(directory: Path, advice: str = "", *, in_use: bool = False) -> None:
    """Raises RunDirectoryError where a run cannot begin.

    Args:
        directory: that of the run.
        advice: see `claimed`.
        in_use: whether a directory that another process is just making will do.

    Raises:
        RunInUseError: another process runs there.
    """
    if not directory.exists():
        return
    if directory.is_dir() and not [
        path.name for path in directory.iterdir() if not _is_leftover(path)
    ]:
        return
    if (directory / LOCK).exists():
        if in_use:
            return
        with locked(directory):  # says who runs there
            pass
    advice = f" {advice.replace('{}', str(directory))}" if advice else ""
    raise RunDirectoryError(f"{directory} exists and is not an empty folder.{advice}")


def _leftovers() -> str:
    # As `_core.files.replacing` names what it writes before it is renamed.
    return f".{Path(CONFIG).stem}-*{Path(CONFIG).suffix}"


def _is_leftover(path: Path) -> bool:
    return path.name == LOCK or path.match(_leftovers())
