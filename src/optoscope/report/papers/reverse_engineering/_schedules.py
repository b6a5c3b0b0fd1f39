"""Figures 5 and 11: what the state does without a gradient, and the schedule it makes."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from optoscope.report._style import INK, style
from optoscope.report.papers._figure import Arrays, Records
from optoscope.report.papers._marks import color_bar, limits
from optoscope.report.papers.reverse_engineering._marks import (
    SINGLE,
    TIME,
    WIDTH,
    best_of,
    by_task,
    landmark_legend,
    landmarks,
    look,
    plain_numbers,
    project,
    rate_axis,
    row_label,
    state_axes,
    step_axis,
    task_grid,
)


def schedules(records: Records) -> Figure:
    """The autonomous path, the effective learning rate along it, and its angle to the readout."""
    parts = by_task(records, "schedule")
    last = max(part["states"].shape[1] for part in parts.values()) - 1
    steps = Normalize(0, max(last, 1))
    with style():
        figure = Figure(figsize=(WIDTH, 10.2), layout="constrained")
        paths, rates, updates, angles = task_grid(figure, 4, heights=(1.15, 1, 0.75, 0.75))
        for task, part in parts.items():
            _path(paths[task], part, records[f"fixed-points-{task}"], steps)
            tuned = records[f"tuned-{task}"]["momentum/best/learning_rate"]
            _along(rates[task], part, "rates")
            tuned_rate(rates[task], float(tuned))
            rate_axis(rates[task], part["rates"][best_of(part)], float(tuned))
            _along(updates[task], part, "updates", part["update_scale"])
            updates[task].axhline(0, color=INK, linewidth=0.8)
            _along(angles[task], part, "alignment")
            angles[task].axhline(float(part["chance"]), color=INK, linestyle=":", linewidth=1.2)
            angles[task].set_ylim(0, 1)
            step_axis(angles[task], "step without a gradient")
        row_label(rates, "effective learning rate")
        row_label(updates, "Δ(0) / typical update")
        row_label(angles, "|cos| to the readout")
        color_bar(figure, list(paths.values()), steps, TIME, "step without a gradient")
        handles, _ = rates["regression"].get_legend_handles_labels()
        landmark_legend(figure, *(h for h in handles if isinstance(h, Line2D)))
    return figure


def _path(axes: Axes, part: Arrays, fixed: Arrays, steps: Normalize) -> None:
    path = project(fixed, part["states"][best_of(part)])[:, :2]
    landmarks(axes, fixed)
    axes.plot(*path.T, color="#BBBBBB", linewidth=1, zorder=2)
    axes.scatter(*path.T, c=np.arange(len(path)), norm=steps, cmap=TIME, s=14, zorder=3)
    place = project(fixed, fixed["convergence"][best_of(fixed)])
    for index, set_limits in enumerate((axes.set_xlim, axes.set_ylim)):
        set_limits(*limits(path[:, index], place[index : index + 1], margin=0.12))
    state_axes(axes, fixed)


def _along(axes: Axes, part: Arrays, key: str, scales: np.ndarray | None = None) -> None:
    """One line for each meta-seed, in units of its own scale."""
    seed = best_of(part)
    curves = np.asarray(part[key], float)
    curves = curves if scales is None else curves / scales[:, None]
    for index, values in enumerate(curves):
        axes.plot(values, color=SINGLE if index == seed else "#C9C9C9",
                  linewidth=2.2 if index == seed else 1.0,
                  zorder=3 if index == seed else 2)  # fmt: skip
    step_axis(axes, "")
    axes.set_xlim(0, max(curves.shape[1] - 1, 1))
    if key == "rates" and part["used_secant"][best_of(part)].any():
        axes.text(0.97, 0.95, "by a secant", transform=axes.transAxes, ha="right", va="top",
                  fontsize=9.5)  # fmt: skip
    plain_numbers(axes, "y")


def tuned_rate(axes: Axes, rate: float) -> None:
    """The learning rate of the best momentum found, to compare with."""
    axes.axhline(rate, color=look()["momentum"].color, linestyle="--", linewidth=1.5,
                 label="tuned momentum's learning rate")  # fmt: skip
