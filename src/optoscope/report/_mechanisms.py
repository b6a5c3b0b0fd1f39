"""The results of `optoscope explain` in words, as tables and as a figure."""

import math
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from optoscope.report._explanation import Explanation, Worth
from optoscope.report._style import INK, MUTED, looks, style, title
from optoscope.report._summary import format_number

if TYPE_CHECKING:
    from rich.table import Table


# Parts that are switched off in the optimizer itself.
_OWN = ("learned correction", "nominal term")
_WHERE = {
    "early": "in the first third",
    "middle": "in the second",
    "late": "in the last",
    "small gradients": "where gradients are small",
    "large gradients": "where they are large",
}


def in_words(explanation: Explanation) -> str:
    """What is kept of the gain, and by what; only parts that were measured to matter are named."""
    parts, established = _parts(explanation), explanation.established
    modes = "one mode" if explanation.num_modes == 1 else f"{explanation.num_modes} modes"
    of_modes = {"momentum": f"momentum with {modes}"} if explanation.num_modes else {}
    named = [of_modes.get(name, name) for name in parts
             if established is None or name in established]  # fmt: skip
    *first, last = named or ["the distilled program" if parts else "a rate of a fixed size"]
    listed = f"{', '.join(first)} and {last}" if first else last
    enough = "" if explanation.sufficient else ", which is less than was asked for"
    kept = explanation.gains["distilled"]
    ends = _ends_of_share(explanation, kept)
    decimals = _decimals(ends)
    interval = "" if ends is None or kept.kept is None else (
        f" (95% interval {100 * ends[0]:.{decimals}f}% to {100 * ends[1]:.{decimals}f}%)"
    )  # fmt: skip
    sentence = (
        f"{listed[0].upper()}{listed[1:]} keep{'' if first else 's'} "
        f"{100 * kept.share:.{decimals}f}%{interval} of what {explanation.optimizer} gains over "
        f"{explanation.baseline_name} on {explanation.task}{enough}."
    )
    if max(kept.share, ends[1] if interval and ends else 0.0) > 1:
        sentence += " Over 100% means that the program is better than the optimizer."
    return " ".join([sentence, *_more_words(explanation)])


def _parts(explanation: Explanation) -> list[str]:
    """The parts of the program, momentum first."""
    has_momentum = explanation.num_modes > 0 or "momentum" in explanation.mechanisms
    others = [name for name in explanation.mechanisms if name != "momentum"]
    return ["momentum", *others] if has_momentum else others


def _decimals(ends: tuple[float, float] | None) -> int:
    """The decimals in percent that tell the ends of an interval apart: none, or one."""
    return int(ends is not None and f"{100 * ends[0]:.0f}" == f"{100 * ends[1]:.0f}")


def _more_words(explanation: Explanation) -> list[str]:
    words = []
    established = explanation.established
    if established is not None:
        idle = [
            name for name in _parts(explanation)
            if name in explanation.costs and name not in established
        ]  # fmt: skip
        if idle:
            words.append(
                f"With {explanation.num_runs} problems the cost of switching off "
                f"{' or '.join(idle)} alone is not told from nothing."
            )
    for name in ("nominal term", "learned correction"):
        cost = explanation.costs.get(name)
        without = explanation.gains.get(f"without {name}")
        if cost is not None and without is not None:
            told = "" if cost.has_ends and cost.low > 0 else ", which is not told from nothing"
            words.append(
                f"Without its {name} the optimizer keeps {100 * without.share:.0f}%{told}."
            )
    if not explanation.sufficient and explanation.remaining:
        rest = dict(explanation.remaining)
        whole = rest.pop("all", math.nan)
        places = ", ".join(f"{_left(share)} {_WHERE[name]}" for name, share in rest.items())
        words.append(
            f"What remains, on the optimizer's own runs: {_left(whole)} of its squared updates "
            f"({places})."
        )
        if not max(explanation.remaining.values()) <= 1:
            words.append("Over 100% is where the program moves and the optimizer hardly does.")
    if explanation.formula:
        words.append(
            f"A formula of its inputs explains {100 * explanation.explained:.0f}% of its squared "
            "updates on runs that it was not fitted on."
        )
    return words


def _left(share: float) -> str:
    """A share in percent; what is far above all of it, or not finite, has no number to read."""
    return f"{100 * share:.0f}%" if share <= 1 else "over 100%"


def named(explanation: Explanation) -> dict[str, Worth]:
    """The rows of the table: as they are to be read, the whole first."""
    labels = {
        "learned": "the optimizer itself",
        "everything": "all modes and mechanisms, as a program",
        "distilled": "distilled",
        "baseline": explanation.baseline_name,
    }
    without = {
        name: f"itself {name}" if name.removeprefix("without ") in _OWN else f"distilled {name}"
        for name in explanation.gains
        if name.startswith("without")
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
        decimals = _decimals(ends)
        interval = "" if ends is None else (
            f" [{100 * ends[0]:.{decimals}f}, {100 * ends[1]:.{decimals}f}]"
        )  # fmt: skip
        share = f"{100 * worth.share:.{decimals}f}" if math.isfinite(worth.share) else "–"
        rows.append((name, format_number(worth.loss), f"{share}{interval}"))
    return rows


def _ends_of_share(explanation: Explanation, worth: Worth) -> tuple[float, float] | None:
    """The interval of a gain, as shares of the learned optimizer's."""
    if worth.kept is not None:
        return (worth.kept.low, worth.kept.high) if worth.kept.has_ends else None
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
        axes.set_xlabel(f"share of the optimizer's gain over {explanation.baseline_name}, %")
        title(axes, "What each mechanism is worth",
              f"{explanation.num_runs} fresh problems of {explanation.task}; "
              "bars: 95% intervals")  # fmt: skip
    return figure
