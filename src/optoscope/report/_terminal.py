"""The table of results for the terminal, laid out by the width that there is."""

import io
import textwrap

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from optoscope._core.showing import MOST_LINES, Bold, html_table
from optoscope.report._summary import Cell, Summary

# Where there is less room, longer names are broken, at a hyphen if they have one.
_NAME_WIDTH = 11
_TEXT_WIDTH = 100


class ResultsTable:
    """A rich renderable: one line for each optimizer, or several where there is less room.

    Rich alone would break a narrow cell inside its brackets.
    """

    def __init__(self, summary: Summary):
        self.summary = summary

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yields the widest layout that fits, and what is to be said under it."""
        wide = self._layout(stacked=False)
        # The true width of the content, not what is left when it is squeezed.
        needed = Measurement.get(console, options.update(max_width=10_000), wide).maximum
        yield wide if needed <= options.max_width else self._layout(stacked=True)
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

    def _layout(self, *, stacked: bool) -> Table:
        drawn = Table(
            box=box.SIMPLE_HEAD,
            show_edge=False,
            pad_edge=False,
            padding=(0, 0, 0, 0) if stacked else (0, 1, 0, 0),
        )
        for position, heading in enumerate(self.summary.headings):
            text = heading if stacked else heading.replace("\n", " ")
            justify = "left" if position < 2 else "right"
            # Text objects and not strings: a name with square brackets is no markup.
            drawn.add_column(Text(text), justify=justify, vertical="bottom", overflow="fold")
        separator = "\n" if stacked else ", "
        for row in self.summary.rows:
            drawn.add_row(
                Text(
                    _broken(row.name) if stacked else row.name, style="bold" if row.learned else ""
                ),
                Text(separator.join(row.hyperparameters)),
                *(_cell_text(cell, stacked) for cell in row.cells),
            )
        return drawn


def _broken(name: str) -> str:
    return "\n".join(textwrap.wrap(name, _NAME_WIDTH))


def _cell_text(cell: Cell, stacked: bool) -> Text:
    text = f"{cell.mean}\n{cell.ends}" if stacked and cell.ends else str(cell)
    return Text(text, style="bold" if cell.best else "")
