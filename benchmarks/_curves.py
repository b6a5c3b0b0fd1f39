"""How times grow: curves with their slopes and bends, as JSON, as tables and as a figure."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from _results import BenchmarkError, Revision, read_document, write_document

FORMAT, VERSION = "optoscope/benchmark-growth", 1
_LEAST_BEND = 0.2


@dataclass(frozen=True)
class Curve:
    """The times of one thing.

    Args:
        label: what it is.
        sizes: where it was measured, increasing.
        seconds: for each size the time of an inner step in every round.
    """

    label: str
    sizes: tuple[float, ...]
    seconds: tuple[tuple[float, ...], ...]

    @property
    def medians(self) -> np.ndarray:
        """The median time at each size."""
        return np.asarray([statistics.median(rounds) for rounds in self.seconds])


@dataclass(frozen=True)
class Panel:
    """Curves over one quantity."""

    name: str
    quantity: str
    curves: tuple[Curve, ...]


@dataclass(frozen=True)
class Growth:
    """All panels, and where they were measured."""

    machine: Mapping[str, Any]
    revision: Revision
    date: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Fit:
    """One line or two that meet, in logarithms.

    Args:
        before: the slope up to the bend; that of everything without one.
        after: the slope after it.
        bend: where they meet, one of the sizes; None for one line.
    """

    before: float
    after: float
    bend: float | None

    def __str__(self) -> str:
        """The slopes in words."""
        return _slope(self.before) + ("" if self.bend is None else f", then {_slope(self.after)}")


def _slope(value: float) -> str:
    # A slope that is nothing after rounding has no sign either.
    return f"{round(value, 2) + 0.0:.2f}"


def fitted(sizes: Sequence[float] | np.ndarray, times: Sequence[float] | np.ndarray) -> Fit:
    """The best pair of lines that meet at one of the inner sizes, or one line if they are alike."""
    x, y = np.log(np.asarray(sizes, float)), np.log(np.asarray(times, float))
    best: tuple[float, Fit] | None = None
    for place in range(1, len(x) - 1):
        beyond = np.maximum(x - x[place], 0.0)
        columns = np.stack([np.ones_like(x), x, beyond], axis=1)
        solution = np.linalg.lstsq(columns, y, rcond=None)[0]
        error = float(np.sum((columns @ solution - y) ** 2))
        before, after = float(solution[1]), float(solution[1] + solution[2])
        if best is None or error < best[0]:
            best = error, Fit(before, after, float(np.asarray(sizes)[place]))
    if best is not None and abs(best[1].after - best[1].before) >= _LEAST_BEND:
        return best[1]
    slope = float(np.polyfit(x, y, 1)[0])
    return Fit(slope, slope, None)


def write_growth(path: Path, growth: Growth) -> None:
    """Writes the panels as JSON."""
    write_document(path, {"format": FORMAT, "version": VERSION, **asdict(growth)})


def read_growth(path: Path) -> Growth:
    """Reads what `write_growth` wrote.

    Raises:
        BenchmarkError: the file cannot be read, or is no such file.
    """
    document = read_document(path, FORMAT, VERSION)
    try:
        panels = tuple(
            Panel(
                panel["name"],
                panel["quantity"],
                tuple(
                    Curve(
                        curve["label"],
                        tuple(curve["sizes"]),
                        tuple(tuple(rounds) for rounds in curve["seconds"]),
                    )
                    for curve in panel["curves"]
                ),
            )
            for panel in document["panels"]
        )
        revision = Revision(**document["revision"])
        return Growth(document["machine"], revision, document["date"], panels)
    except (KeyError, TypeError) as error:
        raise BenchmarkError(f"{path} is damaged: {error!r}") from None


def _times(curve: Curve, size: float) -> str:
    """The median and the spread at a size, in milliseconds."""
    rounds = [1e3 * seconds for seconds in curve.seconds[curve.sizes.index(size)]]
    return f"{statistics.median(rounds):.3g} ({min(rounds):.3g} … {max(rounds):.3g})"


def panel_table(panel: Panel) -> str:
    """A Markdown table: milliseconds of one inner step, the median and the spread of the rounds."""
    lines = [
        f"| {panel.quantity} | " + " | ".join(f"{c.label}, ms" for c in panel.curves) + " |",
        "| ---: |" + " --- |" * len(panel.curves),
    ]
    for size in panel.curves[0].sizes:
        cells = " | ".join(_times(curve, size) for curve in panel.curves)
        lines.append(f"| {size:,.0f} | {cells} |")
    return "\n".join(lines)


def slope_table(growth: Growth) -> str:
    """A Markdown table of the slopes and bends of all curves."""
    lines = [
        "| with | of | slope | bends at | slope after that |",
        "| --- | --- | ---: | ---: | ---: |",
    ]
    for panel in growth.panels:
        for curve in panel.curves:
            fit = fitted(curve.sizes, curve.medians)
            cells = [panel.quantity, curve.label, _slope(fit.before)]
            cells += ["–", "–"] if fit.bend is None else [f"{fit.bend:,.0f}", _slope(fit.after)]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _draw_curve(axes: Any, curve: Curve, look: Any) -> None:
    middle = 1e3 * curve.medians
    low, high = (
        np.abs(1e3 * np.asarray([end(rounds) for rounds in curve.seconds]) - middle)
        for end in (min, max)
    )
    fit = fitted(curve.sizes, curve.medians)
    if fit.bend is not None:
        at = curve.sizes.index(fit.bend)
        axes.plot(fit.bend, middle[at], "o", ms=13, mfc="none", mec=look.color, mew=1.2)
    axes.errorbar(
        curve.sizes, middle, (low, high), marker="o", ms=4.5, capsize=2.5, color=look.color,
        linewidth=look.width, elinewidth=1.0, linestyle=look.dashes,
        label=f"{curve.label}\nslope {fit}",
    )  # fmt: skip


def _size_axis(axes: Any, sizes: Sequence[float]) -> None:
    """A logarithmic axis with every size on it, or every power of ten where these are many."""
    axes.set_xscale("log")
    decades = range(round(math.log10(sizes[0])), round(math.log10(sizes[-1])) + 1)
    if len(decades) > 2 and sizes[0] >= 100:
        raised = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
        axes.set_xticks(
            [10.0**power for power in decades],
            [f"10{str(power).translate(raised)}" for power in decades],
        )
    else:
        axes.set_xticks(sizes, [f"{size:g}" for size in sizes])
        axes.minorticks_off()


def draw(growth: Growth, path: Path) -> None:
    """Draws a panel beside the other; a circle is a bend, a bar the spread of the rounds."""
    from matplotlib.figure import Figure

    from optoscope._core.files import replacing
    from optoscope.report._style import DOTS_PER_INCH, logarithmic, looks, style, title

    with style():
        figure = Figure(figsize=(5.2 * len(growth.panels), 4.9), layout="constrained")
        all_axes = np.atleast_1d(figure.subplots(1, len(growth.panels)))
        for axes, panel in zip(all_axes, growth.panels, strict=True):
            # Known optimizers have the colors that they have in every figure of the library.
            names = [curve.label.partition(",")[0].lower() for curve in panel.curves]
            look = looks(names, [name for name in names if name not in ("sgd", "adam")])
            for name, curve in zip(names, panel.curves, strict=True):
                _draw_curve(axes, curve, look[name])
            medians = np.concatenate([1e3 * curve.medians for curve in panel.curves])
            _size_axis(axes, panel.curves[0].sizes)
            logarithmic(axes, "y", medians.min(), medians.max())
            axes.margins(x=0.06, y=0.08)
            axes.set_xlabel(panel.quantity)
            axes.set_ylabel("ms for one inner step")
            title(axes, f"Time against {panel.name}", "medians and spread; a circle is a bend")
            axes.legend(frameon=False, fontsize=9.5)
        with replacing(path) as temporary:
            figure.savefig(temporary, dpi=DOTS_PER_INCH, metadata={"Software": None})
