"""Progress with time left: a live bar on a terminal, a plain line now and then elsewhere."""

import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

# What is printed may come from a user: brackets are no styles, colons no emoji, and a path or a
# command stays in one piece however narrow the output is. Styles are given beside the text.
console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)

_SECONDS_BETWEEN_LINES = 10.0


class Steps:
    """Shows how far several named activities are."""

    def __init__(self, progress: Progress | None):
        self._progress = progress
        self._tasks: dict[str, object] = {}
        # Of each activity its total, and how much was done when that was first said, and when.
        self._since: dict[str, tuple[int, int, float]] = {}
        self._last_line = 0.0

    def __call__(self, name: str, done: int, total: int, detail: str = "") -> None:
        """Says that `done` of `total` are done; `detail` is shown beside it."""
        if self._progress is not None:
            if name not in self._tasks:
                self._tasks[name] = self._progress.add_task(name, total=total, detail="")
            task = self._tasks[name]
            self._progress.update(task, completed=done, total=total, detail=detail)  # type: ignore
            return
        now = time.monotonic()
        # What an earlier run has done, and compiling, say nothing of the time that is left: it is
        # reckoned from the first word with this total that something is done.
        before = self._since.get(name, (-1, 0, now))
        if before[0] != total or before[1] == 0 < done:
            self._since[name] = (total, done, now)
        if done < total and now - self._last_line < _SECONDS_BETWEEN_LINES:
            return
        self._last_line = now
        _, first, started = self._since[name]
        rate = (done - first) / max(now - started, 1e-9)
        left = f", {(total - done) / rate:.0f} s left" if rate > 0 and done < total else ""
        console.print(f"{name}: {done}/{total}{left} {detail}".rstrip())


def show_table(table: RenderableType) -> None:
    """Prints a table in the width that there is."""
    console.print(table, soft_wrap=False)


def command_line(*words: object) -> str:
    """A command of this program, to be copied into a shell whatever its words hold."""
    return shlex.join(["optoscope", *map(str, words)])


@contextmanager
def steps() -> Iterator[Steps]:
    """Shows progress while the block runs."""
    if not console.is_terminal:
        yield Steps(None)
        return
    columns = (
        TextColumn("{task.description:<22}", markup=False),
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[detail]}", markup=False),
    )
    with Progress(*columns, console=console) as progress:
        yield Steps(progress)
