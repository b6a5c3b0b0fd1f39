"""Means and their intervals as dots and bars, one row for each optimizer."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from optoscope._core.estimates import Estimate
from optoscope.report._records import Results
from optoscope.report._style import INK, MUTED, Looks, logarithmic, looks, plain, style
from optoscope.report._summary import format_number


def comparison(results: Results, *, look: Looks | None = None) -> Figure:
    """Mean training loss at each horizon, and test accuracy, as dots with their 95% intervals.

    Args:
        results: the content of `results.json`.
        look: colors by name; chosen from the names when not given.

    Returns:
        The figure, with the best optimizer of the first panel in the top row.

    """
    optimizers = results.optimizers
    panels: list[tuple[str, str, dict[str, Estimate | None]]] = [
        (
            f"Mean loss, first {steps} steps",
            "training loss (lower is better)",
            {name: o.mean_loss.get(steps) for name, o in optimizers.items()},
        )
        for steps in results.horizons
    ]
    if any(o.test_accuracy for o in optimizers.values()):
        accuracies = {name: _in_percent(o.test_accuracy) for name, o in optimizers.items()}
        panels.append(("Test accuracy", "% of test examples (higher is better)", accuracies))
    if not panels:
        panels = [("Final loss", "training loss (lower is better)",
                   {name: o.final_loss for name, o in optimizers.items()})]  # fmt: skip
    first = panels[0][2]
    names = sorted(optimizers, key=lambda n: (_mean_or_infinity(first[n]), n))
    look = look or looks(names, results.learned)
    with style():
        height = 1.75 + 0.52 * len(names)
        figure = Figure(figsize=(1.4 + 3.1 * len(panels), height), layout="constrained")
        for axes, (heading, unit, values) in zip(
            figure.subplots(1, len(panels), sharey=True, squeeze=False)[0], panels, strict=True
        ):
            _draw_dots(axes, names, values, look)
            axes.set_title(heading, fontsize=11.5, pad=8)
            axes.set_xlabel(unit, fontsize=10)
        left = figure.axes[0]
        left.set_yticks(range(len(names)), [plain(n) for n in names])
        for label, name in zip(left.get_yticklabels(), names, strict=True):
            label.set(color=look[name].ink, fontweight=look[name].weight, fontsize=11)
        left.set_ylim(len(names) - 0.45, -0.75)
        figure.supxlabel(
            "dot: mean over runs; bar: 95% interval", fontsize=9.5, color=MUTED, x=0.01, ha="left"
        )
    return figure


def _mean_or_infinity(value: Estimate | None) -> float:
    return value.value if value and value.known else math.inf


def _label(value: float) -> str:
    return f"{value:.1f}" if 10 <= value <= 100 else format_number(value)


def _in_percent(value: Estimate | None) -> Estimate | None:
    if value is None:
        return None
    return dataclasses.replace(
        value, value=100 * value.value, low=100 * value.low, high=100 * value.high
    )


def _draw_dots(
    axes: Axes, names: Sequence[str], values: Mapping[str, Estimate | None], look: Looks
) -> None:
    known = {n: v for n, v in values.items() if v and v.known}
    numbers = [x for v in known.values() for x in (v.value, v.low, v.high) if math.isfinite(x)]
    if numbers and min(numbers) > 0 and max(numbers) > 20 * min(numbers):
        logarithmic(axes, "x", min(numbers), max(numbers))
        margin = (max(numbers) / min(numbers)) ** 0.12
        axes.set_xlim(min(numbers) / margin, max(numbers) * margin)
    elif numbers:
        # Wide margins: the numbers above the dots are part of the picture.
        width = (max(numbers) - min(numbers)) or abs(max(numbers)) or 1.0
        axes.set_xlim(min(numbers) - 0.14 * width, max(numbers) + 0.14 * width)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=4))
    axes.grid(False, axis="y")
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    for row, name in enumerate(names):
        mark, value = look[name], values[name]
        axes.axhline(row, color="#EDEDED", linewidth=1, zorder=0)
        if name not in known or value is None:
            missing = "not measured" if value is None else "diverged"
            axes.text(0.5, row, missing, transform=axes.get_yaxis_transform(), ha="center",
                      va="center", color=MUTED, fontsize=10, style="italic",
                      bbox={"facecolor": "white", "edgecolor": "none", "pad": 2})  # fmt: skip
            continue
        if value.has_ends:
            axes.plot([value.low, value.high], [row, row], color=mark.color,
                      linewidth=2 * mark.width, alpha=0.5, solid_capstyle="butt")  # fmt: skip
        axes.plot([value.value], [row], "o", color=mark.color, zorder=5,
                  markersize=9 if mark.learned else 7.5, markeredgecolor="white")  # fmt: skip
        axes.annotate(_label(value.value), (value.value, row), xytext=(0, 7),
                      textcoords="offset points", ha="center", va="bottom", fontsize=9.5,
                      color=INK, fontweight=mark.weight)  # fmt: skip
