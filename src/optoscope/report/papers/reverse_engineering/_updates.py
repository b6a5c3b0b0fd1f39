"""Figures 2, 4 and 10: update functions of known optimizers, and saturation of learned ones."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from optoscope.report._style import INK, MUTED, style
from optoscope.report.papers._figure import Arrays, Records
from optoscope.report.papers._marks import legend, limits
from optoscope.report.papers.reverse_engineering._marks import (
    LEVEL,
    SIGNED,
    SINGLE,
    WIDTH,
    best_of,
    by_task,
    colored,
    others,
    row_label,
    signed_norm,
    task_grid,
    update_functions,
)


def known_updates(records: Records) -> Figure:
    """Figure 2: the update functions of known optimizers."""
    part = records["known-updates"]
    velocities, squares = part["momentum_states"], part["rmsprop_states"]
    logs = np.log(np.maximum(squares, 1e-300))
    panels = (
        ("(a) Gradient descent", part["sgd"][None], [INK], None),
        ("(b) Clipping", part["clipping"][None], [INK], None),
        (
            "(c) Momentum",
            part["momentum"],
            colored(velocities, signed_norm(velocities), SIGNED),
            [f"v = {velocity:.2g}" for velocity in velocities],
        ),
        (
            "(d) RMSProp",
            part["rmsprop"],
            # Dark is a steep one, as for learning rates everywhere else.
            colored(-logs, Normalize(*limits(-logs, margin=0.0)), LEVEL),
            [f"s = {square:.2g}" for square in squares],
        ),
    )
    with style():
        figure = Figure(figsize=(WIDTH, 3.5), layout="constrained")
        row = figure.subplots(1, len(panels))
        for axes, (words, curves, colors, labels) in zip(row, panels, strict=True):
            update_functions(axes, part["grid"], curves, colors, labels)
            axes.set_title(words, fontsize=12)
            if labels:
                axes.legend(frameon=False, fontsize=9, loc="upper right", handlelength=1.2,
                            labelspacing=0.25)  # fmt: skip
        row[0].set_ylabel("update Δ")
    return figure


def clipping(records: Records) -> Figure:
    """Figures 4 and 10: the update function at the initial state over the gradients met."""
    with style():
        figure = Figure(figsize=(WIDTH, 6.2), layout="constrained")
        above, below = task_grid(figure, 2)
        for task, part in by_task(records, "clipping").items():
            _saturation(above[task], part)
            _density(below[task], part)
            below[task].set_xlim(above[task].get_xlim())
        row_label(above, "update Δ")
        row_label(below, "density of met gradients")
        legend(figure, above["regression"])
    return figure


def _saturation(axes: Axes, part: Arrays) -> None:
    seed = best_of(part)
    grid, curve = part["grid"][seed], part["initial_updates"][seed]
    tangent = np.interp(0.0, grid, curve) - part["linear_rate"][seed] * grid
    axes.plot(grid, tangent, "--", color=MUTED, linewidth=1.3, label="its tangent at g = 0")
    if others(part, "initial_updates"):
        for other, values in zip(others(part, "grid"), others(part, "initial_updates"),
                                 strict=True):  # fmt: skip
            axes.plot(other, values, color=SINGLE, alpha=0.25, linewidth=1)
    axes.plot(grid, part["convergence_updates"][seed], color="#0072B2", linewidth=1.4,
              label="at the convergence point")  # fmt: skip
    update_functions(axes, grid, curve[None], [SINGLE], ["at the initial state"])
    axes.set_ylim(*limits(curve, part["convergence_updates"][seed]))
    axes.set_xlabel("")
    axes.tick_params(labelbottom=False)
    _threshold(axes, part)


def _threshold(axes: Axes, part: Arrays) -> None:
    """The shaded part is where clipping acts."""
    seed = best_of(part)
    threshold, (low, high) = float(part["threshold"][seed]), axes.get_xlim()
    if np.isfinite(threshold) and threshold < high:
        axes.axvspan(threshold, high, color="#E69F00", alpha=0.13, linewidth=0)
        axes.axvspan(low, -threshold, color="#E69F00", alpha=0.13, linewidth=0)


def _density(axes: Axes, part: Arrays) -> None:
    seed = best_of(part)
    edges, counts = part["gradient_edges"], np.asarray(part["gradient_counts"][seed], float)
    density = counts / max(float(counts.sum()), 1.0) / np.diff(edges)
    axes.stairs(density, edges, fill=True, color="#0072B2", alpha=0.6)
    _threshold(axes, part)
    if (density > 0).any():
        axes.set_yscale("log")
        seen = density[density > 0]
        axes.set_ylim(seen.min() / 2, seen.max() * 6)
    share = float(part["saturated"][seed])
    words = f"{100 * share:.2g}% beyond" if np.isfinite(share) else "no threshold"
    axes.text(0.97, 0.96, words, transform=axes.transAxes, ha="right", va="top", fontsize=10.5)
    axes.set_xlabel("gradient g")
    axes.locator_params(axis="x", nbins=5)
