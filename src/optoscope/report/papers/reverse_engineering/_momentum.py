"""Figures 3, 8 and 9: convergence, the shift along the slow mode, and eigenvalues."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from optoscope.report._style import MUTED, logarithmic, style
from optoscope.report.papers._figure import Arrays, Records
from optoscope.report.papers._marks import color_bar, limits
from optoscope.report.papers.reverse_engineering._marks import (
    LEVEL,
    MODE_ENDS,
    SIGNED,
    SINGLE,
    TASKS,
    WIDTH,
    best_of,
    by_task,
    colored,
    eigenvalues,
    landmark_legend,
    landmarks,
    look,
    project,
    row_label,
    signed_norm,
    state_axes,
    step_axis,
    task_grid,
    update_functions,
)

_TRAJECTORIES = 40
_ROUNDING = 1e-12
SHARES = Normalize(0.0, 1.0)


def momentum(records: Records) -> Figure:
    """Four rows for every task, and the CNN's first modes below."""
    green = look()["momentum"].color
    with style():
        figure = Figure(figsize=(WIDTH, 17.2), layout="constrained")
        rows = task_grid(figure, 5, heights=(1, 0.62, 1, 1, 1))
        for task, fixed in by_task(records, "fixed-points").items():
            states(rows[0][task], records[f"states-{task}"], fixed)
            variance(rows[1][task], fixed)
            shifted(rows[2][task], fixed, 0)
            rows[2][task].set_title(_mode_words(fixed, 0), fontsize=9.5, fontweight="normal")
            chosen = best_of(fixed)
            timescales, shares = fixed["timescales"][chosen], fixed["shares"][chosen]
            eigenvalues(rows[3][task], timescales, shares, SHARES)
            beta = float(records[f"tuned-{task}"]["momentum/best/momentum"])
            # A mark on the axis itself would hide the mode it is compared with.
            rows[3][task].axvline(beta, color=green, linestyle="--", linewidth=1.5, zorder=2)
        row_label(rows[1], "variance of states")
        row_label(rows[2], "update Δ")
        row_label(rows[3], "Im λ")
        _more_modes(list(rows[4].values()), records["fixed-points-cnn"])
        offsets = Normalize(-1, 1)
        color_bar(figure, list(rows[2].values()), offsets, SIGNED, "along the mode", ends=MODE_ENDS)
        color_bar(figure, list(rows[3].values()), SHARES, LEVEL, "the mode's share")
        color_bar(figure, list(rows[4].values()), offsets, SIGNED, "along the mode", ends=MODE_ENDS)
        landmark_legend(figure, Line2D([], [], color=green, linestyle="--", linewidth=1.5,
                                       label="tuned momentum's β"))  # fmt: skip
    return figure


def states(axes: Axes, visited: Arrays, fixed: Arrays) -> None:
    """Trajectories toward the convergence point, and the line of the slow mode through it."""
    seed = best_of(fixed)
    places = project(fixed, visited["states"][seed])[..., :2]
    paths = np.moveaxis(places, 1, 2).reshape(-1, places.shape[1], 2)
    paths = paths[np.isfinite(paths).all(axis=(1, 2))]
    chosen = np.unique(np.linspace(0, len(paths) - 1, min(_TRAJECTORIES, len(paths))).astype(int))
    axes.add_collection(
        LineCollection(list(paths[chosen]), colors="#7A8899", linewidths=0.8, alpha=0.4)
    )
    slow = project(fixed, fixed["mode_states"][seed, 0])[:, :2]
    offsets = fixed["mode_offsets"][seed, 0]
    axes.plot(*slow.T, color=MUTED, linewidth=1)
    axes.scatter(
        *slow.T, s=42, c=colored(offsets, signed_norm(offsets), SIGNED), edgecolors="white",
        linewidths=0.6, zorder=6,
    )  # fmt: skip
    landmarks(axes, fixed)
    known = project(fixed, fixed["initial"][seed]), project(fixed, fixed["convergence"][seed])
    for index, set_limits in enumerate((axes.set_xlim, axes.set_ylim)):
        low, high = limits(paths[..., index], share=0.005, margin=0.0)
        # The slow mode may be drawn far beyond what was visited; then it leaves the panel.
        ends = np.array([low, high, *(place[index] for place in known)])
        set_limits(*limits(ends, margin=0.12))
    state_axes(axes, fixed)


def variance(axes: Axes, fixed: Arrays) -> None:
    """The total variance of states over problems."""
    values = np.where(np.isfinite(fixed["variance"]), fixed["variance"], np.nan)
    # All start in one state, whose variance is rounding and has no place on a logarithmic axis.
    values = np.where(values > _ROUNDING * np.nanmax(values, initial=0.0), values, np.nan)
    for seed, curve in enumerate(values):
        chosen = seed == best_of(fixed)
        axes.plot(fixed["steps"], curve, color=SINGLE if chosen else "#C9C9C9",
                  linewidth=2.0 if chosen else 1.0, zorder=3 if chosen else 2)  # fmt: skip
    seen = values[np.isfinite(values)]
    if seen.size:
        logarithmic(axes, "y", float(seen.min()), float(seen.max()))
        axes.set_ylim(seen.min() / 1.5, seen.max() * 1.5)
    step_axis(axes, "inner step")


def shifted(axes: Axes, fixed: Arrays, mode: int) -> None:
    """Update functions at places along one mode."""
    seed = best_of(fixed)
    offsets = fixed["mode_offsets"][seed, mode]
    colors = colored(offsets, signed_norm(offsets), SIGNED)
    update_functions(axes, fixed["grid"][seed], fixed["mode_updates"][seed, mode], colors)


def _mode_words(fixed: Arrays, mode: int) -> str:
    seed = best_of(fixed)
    index = fixed["mode_index"][seed, mode]
    if not np.isfinite(index) or index < 0:
        return "no further mode"
    timescale = fixed["timescales"][seed, int(index)]
    share, pair = fixed["shares"][seed, int(index)], ""
    if abs(timescale.imag) > 1e-9 * abs(timescale):
        share, pair = 2 * share, " (pair)"
    return f"|λ| = {abs(timescale):.4g}{pair}, share {100 * share:.0f}%"


def _more_modes(row: list[Axes], fixed: Arrays) -> None:
    """Figure 9 (b): the CNN's first modes."""
    count = fixed["mode_states"].shape[1]
    for mode, axes in enumerate(row):
        axes.set_visible(mode < count)
        if mode < count:
            shifted(axes, fixed, mode)
            words = f"{TASKS['cnn']}, mode {mode + 1}\n{_mode_words(fixed, mode)}"
            axes.set_title(words, fontsize=9.5, fontweight="normal")
    row[0].set_ylabel("update Δ")
