"""Figure 7: layers and parameter types of the network follow different paths."""

from collections.abc import Mapping

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from optoscope.report._style import Look, plain, style
from optoscope.report.papers._figure import Arrays, Records
from optoscope.report.papers._marks import legend, limits
from optoscope.report.papers.reverse_engineering._marks import (
    WIDTH,
    best_of,
    landmarks,
    plain_numbers,
    project,
    state_axes,
)

# Weights are blue and solid, biases orange and dashed; a later layer is darker.
_PALETTES = {"weights": ("Blues", "-"), "bias": ("Oranges", "--")}


def _looks(part: Arrays) -> Mapping[str, Look]:
    last = max(int(part["layers"].max()), 1)
    found = {}
    for name, kind, layer in zip(part["names"], part["types"], part["layers"], strict=True):
        palette, dashes = _PALETTES.get(str(kind), ("Grays", ":"))
        color = to_hex(colormaps[palette](0.42 + 0.53 * layer / last))
        found[str(name)] = Look(color, dashes, learned=False)
    return found


def groups(records: Records) -> Figure:
    """States, effective learning rates and sizes of gradients, for each layer and type."""
    part, fixed = records["groups-cnn"], records["fixed-points-cnn"]
    looks, seed = _looks(part), best_of(part)
    layers = [int(layer) for layer in np.unique(part["layers"])]
    with style():
        figure = Figure(figsize=(WIDTH, 5.2), layout="constrained")
        left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=(2.1, 1))[0]
        where, along = left.subplots(1, 2)
        landmarks(where, fixed)
        seen = [project(fixed, fixed[key][seed])[:2] for key in ("initial", "convergence")]
        for index, (name, mark) in enumerate(looks.items()):
            path = project(fixed, part["states"][seed, index])[:, :2]
            seen.extend(path)
            style_of = {"color": mark.color, "linestyle": mark.dashes, "linewidth": 2.0}
            where.plot(*path.T, marker="o", markersize=2.5, label=plain(name), **style_of)
            along.plot(part["steps"], part["rates"][seed, index], **style_of)
        where.set_xlim(*limits(np.stack(seen)[:, 0], margin=0.08))
        where.set_ylim(*limits(np.stack(seen)[:, 1], margin=0.08))
        state_axes(where, fixed)
        where.set_title("(a) Mean states", fontsize=12)
        along.set_xlabel("inner step")
        along.set_ylabel("effective learning rate")
        plain_numbers(along, "y")
        along.set_title("(b) Effective learning rates", fontsize=12)
        column = right.subplots(len(layers), 1, sharex=True, squeeze=False)[:, 0]
        for axes, layer in zip(column, layers, strict=True):
            _sizes(axes, part, looks, layer)
        column[0].set_title("(c) Sizes of gradients", fontsize=12)
        column[-1].set_xlabel("|g|")
        legend(figure, where, columns=4)
    return figure


def _sizes(axes: Axes, part: Arrays, looks: Mapping[str, Look], layer: int) -> None:
    """Histograms of gradient sizes: filled before the first update, a line for all steps."""
    edges, seed = part["gradient_edges"], best_of(part)
    words = ""
    for index in np.flatnonzero(part["layers"] == layer):
        name = str(part["names"][index])
        counts = np.nan_to_num(np.asarray(part["gradient_counts"][seed, index], float))
        first, every = (c / max(float(c.sum()), 1.0) for c in (counts[0], counts.sum(axis=0)))
        axes.stairs(first, edges, fill=True, color=looks[name].color, alpha=0.35)
        axes.stairs(every, edges, color=looks[name].color, linestyle=looks[name].dashes,
                    linewidth=1.3)  # fmt: skip
        words = name.rpartition("/")[0]
    axes.set_xscale("log")
    axes.set_yticks([])
    axes.set_ylabel(plain(words, 12), fontsize=10)
