"""The results of `optoscope explain` in words, as tables and as a figure."""

import math
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from optoscope.report._explanation import Explanation, Worth
from optoscope.report._style import INK, MUTED, looks, style, title
from optoscope.report._summary import format_number

if TYPE_CHECKING:
    from rich.table import Table


def in_words(explanation: Explanation) -> str:
    """One sentence: what is kept of the gain, and by what."""
    kept = explanation.gains["distilled"]
    modes = "one mode" if explanation.num_modes == 1 else f"{explanation.num_modes} modes"
    parts = ["momentum with " + modes, *explanation.mechanisms]
    *first, last = parts
    listed = f"{', '.join(first)} and {last}" if first else last
    enough = "" if explanation.sufficient else ", which is less than was asked for"
    return (
        f"{listed[0].upper()}{listed[1:]} keep{'' if first else 's'} {100 * kept.share:.0f}% of "
        f"what {explanation.optimizer} gains over tuned momentum on {explanation.task}{enough}."
    )


def named(explanation: Explanation) -> dict[str, Worth]:
    """The rows of the table: as they are to be read, the whole first."""
    labels = {
        "learned": "the learned optimizer",
        "everything": "all modes and mechanisms, as a program",
        "distilled": "distilled",
        "baseline": "tuned momentum",
    }
    without = {
        name: f"distilled {name}" for name in explanation.gains if name.startswith("without")
    }
    order = ("learned", "everything", "distilled", *without, "baseline")
    return {
        (labels | without)[name]: explanation.gains[name]
        for name in order
        if name in explanation.gains
    }


def _complex(value: complex) -> str:
    # A real mode's rate is a product of complex eigenvectors, and real to rounding.
    if abs(value.imag) <= 1e-9 * abs(value):
        return format_number(value.real)
    return f"{format_number(value.real)} ± {format_number(abs(value.imag))}i"


def mode_rows(explanation: Explanation, most: int = 4) -> list[tuple[str, str, str]]:
    """Timescale, learning rate and share of the largest modes, a conjugate pair once."""
    single = [mode for mode in explanation.modes if mode.timescale.imag >= 0]
    return [
        (_complex(mode.timescale), _complex(mode.learning_rate),
         f"{100 * mode.share * (1 if mode.timescale.imag == 0 else 2):.0f}%")
        for mode in single[:most]
    ]  # fmt: skip


def worth_rows(explanation: Explanation) -> list[tuple[str, str, str]]:
    """Name, mean loss, and share of the gain with its interval, in percent."""
    rows = []
    for name, worth in named(explanation).items():
        ends = _ends_of_share(explanation, worth)
        interval = "" if ends is None else f" [{100 * ends[0]:.0f}, {100 * ends[1]:.0f}]"
        share = f"{100 * worth.share:.0f}" if math.isfinite(worth.share) else "–"
        rows.append((name, format_number(worth.loss), f"{share}{interval}"))
    return rows


def _ends_of_share(explanation: Explanation, worth: Worth) -> tuple[float, float] | None:
    """The interval of a gain, as shares of the learned optimizer's."""
    whole = explanation.gains["learned"].gain.value
    if not worth.gain.has_ends or not whole:
        return None
    ends = sorted((worth.gain.low / whole, worth.gain.high / whole))
    return ends[0], ends[1]


def explanation_tables(explanation: Explanation) -> "tuple[Table, Table]":
    """Tables of each mechanism's gain and of the modes, for the terminal."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    tables = []
    for headings, rows in (
        (("mechanisms", "mean loss", "share of the gain, %"), worth_rows(explanation)),
        (("mode's timescale", "learning rate", "share"), mode_rows(explanation)),
    ):
        drawn = Table(*headings, box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
        for name, *numbers in rows:
            drawn.add_row(Text(name), *numbers)
        tables.append(drawn)
    return tables[0], tables[1]


def mechanisms(explanation: Explanation) -> Figure:
    """The share of the gain that each program keeps, among them the one without each part.

    Args:
        explanation: what was found.

    Returns:
        The figure: a dot a row, with its 95% interval.

    """
    rows = named(explanation)
    color = looks(["learned"], ["learned"])["learned"].color
    with style():
        figure = Figure(figsize=(8.4, 1.6 + 0.45 * len(rows)), layout="constrained")
        axes = figure.subplots()
        low = min(-0.1, *(max(worth.share, -1.0) for worth in rows.values())) - 0.1
        axes.set_xlim(100 * low, 150)
        for place, worth in enumerate(rows.values()):
            shown = 100 * max(worth.share, -1.0)
            ends = _ends_of_share(explanation, worth)
            if ends is not None and worth.share >= -1:
                axes.plot([100 * end for end in ends], [place, place], color=color, linewidth=2)
            axes.plot(
                shown, place, marker="o" if worth.share >= -1 else "<", color=color, markersize=8
            )
        axes.axvline(0, color=MUTED, linewidth=1, linestyle=":")
        axes.axvline(100, color=MUTED, linewidth=1, linestyle=":")
        axes.set_yticks(range(len(rows)), list(rows), color=INK)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlabel("share of the learned optimizer's gain over tuned momentum, %")
        title(axes, "What each mechanism is worth",
              f"{explanation.num_runs} fresh problems of {explanation.task}; "
              "bars: 95% intervals")  # fmt: skip
    return figure
