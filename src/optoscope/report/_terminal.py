"""The table of results for the terminal, laid out by the width that there is."""

import io
import textwrap
from collections.abc import Callable, Sequence

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from optoscope._core.showing import MOST_LINES, Bold, html_table
from optoscope.report._suite import SuiteRecord
from optoscope.report._suite_words import score_table
from optoscope.report._summary import Cell, Summary

# Where there is less room, longer names are broken, at a hyphen or a space.
_NAME_WIDTH = 11
_NAME_LINES = 2
_TEXT_WIDTH = 100


def _fits(table: Table, console: Console, options: ConsoleOptions) -> bool:
    """Whether the true width of the content has room, not what is left when it is squeezed."""
    unbounded = options.update(max_width=10_000)
    return Measurement.get(console, unbounded, table).maximum <= options.max_width


class RankingTable:
    """A rich renderable: a suite's scores, as many columns as have room, and at least the first."""

    def __init__(self, record: SuiteRecord):
        self.record = record

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yields the widest table that fits."""
        headings, rows = score_table(self.record, stacked=True)

        def first(columns: int) -> Table:
            table = Table(*headings[:columns], box=None, pad_edge=False)
            for row in rows:
                table.add_row(*map(Text, row[:columns]))
            return table

        wider = range(len(headings), 2, -1)
        yield first(next((n for n in wider if _fits(first(n), console, options)), 2))


class ResultsTable:
    """A rich renderable: one line for each optimizer, or two where there is less room.

    Columns that have no room even then follow below the others. Rich alone would break a narrow
    cell inside its brackets and words.
    """

    def __init__(self, summary: Summary):
        self.summary = summary

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yields the widest layout that fits, and what is to be said under it."""

        def fits(table: Table) -> bool:
            return _fits(table, console, options)

        wide = self._layout(range(len(self.summary.headings)), stacked=False)
        if fits(wide):
            yield wide
        else:
            yield from self._blocks(fits)
        yield Text("mean [95% interval]; best in bold", style="dim")
        for note in self.summary.notes:
            yield Text(note, style="dim")

    def __repr__(self) -> str:
        """The table as plain text, cut where it would fill a screen."""
        console = Console(file=io.StringIO(), width=_TEXT_WIDTH, color_system=None, soft_wrap=True)
        with console.capture() as capture:
            console.print(self)
        lines = [line.rstrip() for line in capture.get().rstrip().splitlines()]
        if len(lines) > MOST_LINES:
            kept = lines[: MOST_LINES - 1]
            lines = [*kept, f"… and {len(lines) - len(kept)} lines more"]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """The table for a notebook."""
        headings = [heading.replace("\n", " ") for heading in self.summary.headings]
        rows = [
            (
                Bold(row.name) if row.learned else row.name,
                ", ".join(row.hyperparameters),
                *(Bold(str(cell)) if cell.best else str(cell) for cell in row.cells),
            )
            for row in self.summary.rows
        ]
        notes = ("mean [95% interval]; best in bold", *self.summary.notes)
        return html_table(headings, rows, note=" ".join(notes))

    def _blocks(self, fits: Callable[[Table], bool]) -> list[RenderableType]:
        """Tables below each other, each with as many columns as fit."""
        blocks: list[list[int]] = []
        current = [0, 1]
        for position in range(2, len(self.summary.headings)):
            if not fits(self._layout([*current, position], stacked=True)) and current != [0, 1]:
                blocks.append(current)
                current = [0]
            current.append(position)
        tables: list[RenderableType] = []
        for block in (*blocks, current):
            tables += [*([""] if tables else []), self._layout(block, stacked=True)]
        return tables

    def _layout(self, columns: Sequence[int], *, stacked: bool) -> Table:
        drawn = Table(
            box=box.SIMPLE_HEAD,
            show_edge=False,
            pad_edge=False,
            padding=(0, 0, 0, 0) if stacked else (0, 1, 0, 0),
        )
        for position in columns:
            heading = self.summary.headings[position]
            text = heading if stacked else heading.replace("\n", " ")
            justify = "left" if position < 2 else "right"
            # Text objects and not strings: a name with square brackets is no markup.
            drawn.add_column(Text(text), justify=justify, vertical="bottom", overflow="fold")
        separator = "\n" if stacked else ", "
        for row in self.summary.rows:
            name = _broken(row.name) if stacked else row.name
            texts = [
                Text(name, style="bold" if row.learned else ""),
                Text(separator.join(row.hyperparameters)),
                *(_cell_text(cell, stacked) for cell in row.cells),
            ]
            drawn.add_row(*(texts[position] for position in columns))
        return drawn


def _broken(name: str) -> str:
    r"""The name in at most two lines, as narrow as can be without breaking a word.

    >>> _broken("star-small-mnist-mlp (tuned)")
    'star-small-mnist-\nmlp (tuned)'
    """
    for width in range(_NAME_WIDTH, len(name)):
        lines = textwrap.wrap(name, width, break_long_words=False)
        if len(lines) <= _NAME_LINES:
            return "\n".join(lines)
    return name


def _cell_text(cell: Cell, stacked: bool) -> Text:
    text = f"{cell.mean}\n{cell.ends}" if stacked and cell.ends else str(cell)
    return Text(text, style="bold" if cell.best else "")
