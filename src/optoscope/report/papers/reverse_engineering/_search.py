"""Figures 18 to 21: how the baselines were tuned, as heat maps over two hyper-parameters each."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LogNorm, Normalize
from matplotlib.figure import Figure

from optoscope.report._style import MUTED, style
from optoscope.report.papers._figure import Arrays, Records
from optoscope.report.papers._marks import color_bar
from optoscope.report.papers.reverse_engineering._marks import SHOWN, TASKS, WIDTH

_PANELS = (
    ("momentum", "learning_rate", "momentum"),
    ("rmsprop", "learning_rate", "decay"),
    ("adam", "learning_rate", "b1"),
    ("adam", "learning_rate", "b2"),
    ("adam", "b1", "b2"),
)
_WORDS = {
    "learning_rate": "learning rate α",
    "momentum": "momentum β",
    "decay": "decay γ",
    "b1": "β₁",
    "b2": "β₂",
}
_MOST_CELLS = 32
# Beyond this factor of the best a configuration has failed; how far does not matter.
_WORST = 30.0


def searches(task: str) -> Callable[[Records], Figure]:
    """The picture of one task's search."""

    def draw(records: Records) -> Figure:
        part = records[f"tuned-{task}"]
        norm, colors = _scores_norm(part), _colors()
        with style():
            figure = Figure(figsize=(WIDTH, 7.6), layout="constrained")
            grid = list(figure.subplots(2, 3).flat)
            for axes, panel in zip(grid, _PANELS, strict=False):
                _heat_map(axes, part, panel, norm)
            _best_values(grid[-1], part)
            color_bar(figure, grid, norm, colors, "meta-objective (mean loss of a run)")
            figure.suptitle(TASKS[task], fontweight="bold", x=0.01, ha="left")
        return figure

    return draw


def _colors() -> Colormap:
    return colormaps["viridis"].with_extremes(bad="#FFFFFF", over="#DDDDDD")


def _scores_norm(part: Arrays) -> Normalize:
    """One scale for all baselines of a task, so that they can be compared."""
    names = sorted({name for name, _, _ in _PANELS})
    scores = np.concatenate([part[f"{name}/score"] for name in names])
    scores = scores[np.isfinite(scores)]
    if not scores.size:
        return Normalize(0, 1)
    low, high = float(scores.min()), float(scores.max())
    if low <= 0:
        return Normalize(low, max(high, low + 1e-12))
    return LogNorm(low, max(min(high, _WORST * low), 1.01 * low))


def _cells(values: Float[np.ndarray, " n"]) -> tuple[np.ndarray, np.ndarray]:
    """(the cell of each value, the value that stands for each cell).

    The cells of a grid are its values. A search without a grid has cells with equally many.
    """
    # A grid saved in float32 can hold one value with two last digits; near 1 it is 1 − β that
    # is spaced, so digits are counted after the point.
    rounded = np.array([float(f"{value:.6g}") for value in values])
    levels, index = np.unique(rounded, return_inverse=True)
    if len(levels) <= _MOST_CELLS:
        return index, levels
    edges = np.quantile(rounded, np.linspace(0, 1, _MOST_CELLS + 1)[1:-1])
    index = np.searchsorted(edges, rounded, side="right")
    return index, np.array([np.median(rounded[index == i]) if (index == i).any() else np.nan
                            for i in range(_MOST_CELLS)])  # fmt: skip


def _heat_map(axes: Axes, part: Arrays, panel: tuple[str, str, str], norm: Normalize) -> None:
    name, across, up = panel
    score = np.asarray(part[f"{name}/score"], float)
    columns, across_levels = _cells(part[f"{name}/{across}"])
    rows, up_levels = _cells(part[f"{name}/{up}"])
    table = np.full((len(up_levels), len(across_levels)), np.nan)
    # The best over everything else; infinite only where all that was tried diverged.
    for row, column, value in zip(rows, columns, np.where(np.isnan(score), np.inf, score),
                                  strict=True):  # fmt: skip
        table[row, column] = np.fmin(table[row, column], value)
    diverged = np.isinf(table)
    axes.pcolormesh(np.where(diverged, np.inf, table), norm=norm, cmap=_colors())
    axes.plot(*(np.argwhere(diverged).T[::-1] + 0.5), "x", color="#888888", markersize=3.5)
    taken = _taken(part, panel)
    axes.plot(columns[taken] + 0.5, rows[taken] + 0.5, "*", color="#FF7F3F", markersize=17,
              markeredgecolor="white", markeredgewidth=1.2)  # fmt: skip
    axes.grid(False)
    _ticks(axes, "x", across_levels)
    _ticks(axes, "y", up_levels)
    axes.set_xlabel(_WORDS[across])
    axes.set_ylabel(_WORDS[up])
    edge = ", on an edge" if bool(part[f"{name}/on_edge"]) else ""
    axes.set_title(f"{SHOWN[name]}{edge}", fontsize=12)


def _taken(part: Arrays, panel: tuple[str, str, str]) -> Int[np.ndarray, " found"]:
    """The place of a configuration that was taken, if any was.

    It need not be the best one here, since the best can have run again on further problems.
    """
    name, *both = panel
    same = [np.isclose(part[f"{name}/{h}"], part[f"{name}/best/{h}"], atol=0) for h in both]
    return np.flatnonzero(same[0] & same[1] & np.isfinite(part[f"{name}/score"]))[:1]


def _ticks(axes: Axes, which: str, levels: np.ndarray) -> None:
    shown = np.unique(np.linspace(0, len(levels) - 1, min(6, len(levels))).round().astype(int))
    # Two digits of a rate, but what 1 − β is of a decay.
    words = [f"{level:.2g}" if level < 0.5 else f"{level:.4g}" for level in levels[shown]]
    (axes.set_xticks if which == "x" else axes.set_yticks)(shown + 0.5, words)
    axes.tick_params(labelsize=9)


def _best_values(axes: Axes, part: Arrays) -> None:
    """The chosen settings, in words, where the sixth panel would be."""
    axes.set_axis_off()
    lines = []
    for name in dict.fromkeys(name for name, _, _ in _PANELS):
        hypers = dict.fromkeys(h for n, *both in _PANELS if n == name for h in both)
        scores = part[f"{name}/score"]
        lost = int(np.sum(~np.isfinite(scores)))
        chosen = "\n".join(
            f"    {_WORDS[h]} = {float(part[f'{name}/best/{h}']):.4g}" for h in hypers
        )
        lines.append(
            f"{SHOWN[name]}: {float(part[f'{name}/best_score']):.4g}\n{chosen}\n"
            f"    {lost} of {len(scores)} diverged"
        )
    axes.text(0.02, 1.0, "\n".join(lines), transform=axes.transAxes, va="top", fontsize=10,
              linespacing=1.3)  # fmt: skip
    axes.text(0.02, -0.08, "star: taken; cross: all that was tried diverged;\nwhite: not tried; "
              "gray: over 30 times the best", transform=axes.transAxes, va="top", fontsize=9.5,
              color=MUTED)  # fmt: skip
