"""Figure 13 and its question to published optimizers: lines of nearly fixed points."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from optoscope.report._style import style
from optoscope.report.papers._figure import Records
from optoscope.report.papers._marks import color_bar, limits
from optoscope.report.papers.reverse_engineering._marks import (
    LEVEL,
    best_of,
    colored,
    eigenvalues,
    landmark_legend,
    landmarks,
    project,
    state_axes,
    update_functions,
)


def manifold(records: Records) -> Figure:
    """Figure 13: where runs of the CNN's optimizer come to rest."""
    part, fixed = records["manifold-cnn"], records["fixed-points-cnn"]
    seed = best_of(part)
    rates = part["rates"][seed]
    least = 0.01 * abs(float(np.mean(rates)))
    norm = Normalize(*limits(rates, margin=0.0, least=least))
    colors = np.array(colored(rates, norm, LEVEL))
    # Of points that are all one, rounding is nothing to look at.
    visited = np.sqrt(part["places"][seed].var() / max(float(part["spread"][seed]), 1e-300))
    with style():
        figure = Figure(figsize=(10.4, 8.0), layout="constrained")
        (where, functions), (along, speed) = figure.subplots(2, 2)
        landmarks(where, fixed)
        places = project(fixed, part["points"][seed])[:, :2]
        where.scatter(*places.T, c=colors, s=34, zorder=4)
        known = project(fixed, fixed["initial"][seed])[:2]
        where.set_xlim(*limits(places[:, 0], known[:1], margin=0.1))
        where.set_ylim(*limits(places[:, 1], known[1:], margin=0.1))
        state_axes(where, fixed)
        where.set_title("(a) States where runs came to rest", fontsize=12)
        shown = np.unique(np.linspace(0, len(rates) - 1, min(12, len(rates))).astype(int))
        update_functions(
            functions, part["grid"][seed], part["updates"][seed][shown], list(colors[shown])
        )
        functions.set_ylabel("update Δ")
        functions.set_title("(b) Update functions there", fontsize=12)
        for axes, values, words in (
            (along, rates, "effective learning rate"),
            (speed, part["speeds"][seed], "speed ‖F(h, 0) − h‖"),
        ):
            axes.scatter(part["places"][seed], values, c=colors, s=34)
            axes.set_xlabel("place along the points' first direction")
            axes.set_xlim(*limits(part["places"][seed], margin=0.1, least=0.02 * visited))
            axes.locator_params("x", nbins=5)
            axes.set_ylabel(words)
        along.set_ylim(*limits(rates, margin=0.05, least=least))
        if (part["speeds"][seed] > 0).any():
            speed.set_yscale("log")
        line = f"one direction holds {100 * part['explained'][seed]:.0f}% of the points' variance"
        along.set_title(f"(c) {line}", fontsize=10.5)
        spread = f"they spread over {100 * part['spread'][seed]:.2g}% of the visited variance"
        speed.set_title(f"(d) {spread}", fontsize=10.5)
        color_bar(figure, [where, functions], norm, LEVEL, "effective learning rate")
        landmark_legend(figure)
    return figure


def lines(records: Records) -> Figure:
    """What figure 13 looks for, in optimizers that others trained: a column for each."""
    parts = {name.removeprefix("line-"): part for name, part in records.items()}
    with style():
        figure = Figure(figsize=(4.2 * len(parts), 7.6), layout="constrained")
        along, around = figure.subplots(2, len(parts), squeeze=False)
        for axes, (name, part) in zip(along, parts.items(), strict=True):
            axes.scatter(part["places"], part["rates"], s=26)
            axes.set_xlabel("place along the first direction")
            axes.set_ylabel("effective learning rate")
            axes.locator_params("x", nbins=5)
            share, spread = 100 * part["explained"], 100 * part["spread"]
            axes.set_title(
                f"{records.labels.get(name, name)}\none direction: {share:.0f}% of the points' "
                f"variance,\n{spread:.2g}% of the visited one", fontsize=10.5,
            )  # fmt: skip
        for axes, part in zip(around, parts.values(), strict=True):
            _nearest_to_one(axes, part["eigenvalues"])
    return figure


def _nearest_to_one(axes: Axes, values: np.ndarray) -> None:
    eigenvalues(axes, values, np.ones(len(values)), Normalize(0, 2))
    axes.set_ylabel("Im λ")
    distance = np.abs(values - 1)
    known = distance[np.isfinite(distance)]
    axes.set_title(f"least |1 − λ|: {known.min():.2g}" if known.size else "no derivative",
                   fontsize=10.5)  # fmt: skip
