"""Figures 6 and 12: S-curves of fixed points over gradients."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, SymLogNorm
from matplotlib.figure import Figure

from optoscope.report._style import MUTED, style
from optoscope.report.papers._figure import Arrays, Records
from optoscope.report.papers._marks import color_bar, legend, limits
from optoscope.report.papers.reverse_engineering._marks import (
    SIGNED,
    WIDTH,
    best_of,
    by_task,
    colored,
    landmarks,
    project,
    rate_axis,
    row_label,
    state_axes,
    task_grid,
    update_functions,
)
from optoscope.report.papers.reverse_engineering._schedules import tuned_rate

_ARMS = ((1, "g* > 0", "-", None), (-1, "g* < 0", "--", "white"))


def adaptation(records: Records) -> Figure:
    """Figures 6 and 12: fixed points against the gradient, and the rates along their arms."""
    with style():
        figure = Figure(figsize=(WIDTH, 10.2), layout="constrained")
        curves, updates, rates = task_grid(figure, 3)
        for task, part in by_task(records, "adaptation").items():
            norm = _gradient_norm(part["gradients"])
            fixed = records[f"fixed-points-{task}"]
            _s_curve(curves[task], part, fixed, norm)
            _along_arm(updates[task], part, norm)
            _slopes(rates[task], part, norm)
            tuned = records[f"tuned-{task}"]["momentum/best/learning_rate"]
            tuned_rate(rates[task], float(tuned))
            rate_axis(rates[task], part["rates"][best_of(part)], float(tuned))
        row_label(updates, "Δ(g) − Δ(0)")
        row_label(rates, "effective learning rate")
        bar = Normalize(-1, 1)
        words, ends = "held gradient g*", {-1.0: "−", 0.0: "0", 1.0: "+"}
        color_bar(figure, list(curves.values()), bar, SIGNED, words, ends=ends)
        color_bar(figure, list(updates.values()), bar, SIGNED, words, ends=ends)
        legend(figure, rates["regression"])
    return figure


def _gradient_norm(gradients: np.ndarray) -> Normalize:
    """Colors by the logarithm of |g*|, for arms are log-spaced."""
    sizes = np.abs(gradients[np.isfinite(gradients) & (gradients != 0)])
    if not sizes.size:
        return Normalize(-1, 1)
    return SymLogNorm(float(sizes.min()), vmin=-float(sizes.max()), vmax=float(sizes.max()))


def _s_curve(axes: Axes, part: Arrays, fixed: Arrays, norm: Normalize) -> None:
    seed = best_of(part)
    places = project(fixed, part["points"][seed])[:, :2]
    landmarks(axes, fixed, points=False)
    axes.plot(*places.T, color="#CCCCCC", linewidth=1, zorder=2)
    colors = np.array(colored(part["gradients"], norm, SIGNED))
    stable = part["stable"][seed].astype(bool)
    axes.scatter(*places[stable].T, s=34, c=colors[stable], zorder=4)
    axes.scatter(
        *places[~stable].T, s=34, facecolors="white", edgecolors=list(colors[~stable]),
        linewidths=1.4, zorder=4,
    )  # fmt: skip
    several = part["met"][seed] > 1
    if several.any():
        words = f"{int(several.sum())} g* met more than once"
        axes.text(0.03, 0.97, words, transform=axes.transAxes, va="top", color=MUTED, fontsize=9.5)
    known = np.stack([project(fixed, fixed[key][seed])[:2] for key in ("initial", "convergence")])
    axes.set_xlim(*limits(places[:, 0], known[:, 0], margin=0.1))
    axes.set_ylim(*limits(places[:, 1], known[:, 1], margin=0.1))
    state_axes(axes, fixed)


def _along_arm(axes: Axes, part: Arrays, norm: Normalize) -> None:
    """Curves less their value at 0, since a constant gradient shifts them and hides slopes."""
    seed = best_of(part)
    gradients = part["gradients"][part["arm_index"].astype(int)]
    grid, curves = part["grid"][seed], part["arm_updates"][seed]
    middle = int(np.argmin(np.abs(grid)))
    update_functions(axes, grid, curves - curves[:, middle, None], colored(gradients, norm, SIGNED))


def _slopes(axes: Axes, part: Arrays, norm: Normalize) -> None:
    gradients, rates = part["gradients"], part["rates"][best_of(part)]
    for sign, words, dashes, face in _ARMS:
        arm = sign * gradients > 0
        color = colored(np.array([sign * np.abs(gradients).max()]), norm, SIGNED)[0]
        # Arms that are mirror images lie on each other: both have to be seen.
        axes.plot(np.abs(gradients[arm]), rates[arm], dashes, marker="o", color=color,
                  markerfacecolor=face or color, markersize=4.5 if face else 6.5,
                  linewidth=1.8, label=words)  # fmt: skip
    axes.set_xscale("log")
    axes.set_xlabel("size of the gradient |g*|")
