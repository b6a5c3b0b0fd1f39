"""Figures 2 to 7 and 10: symmetry deviations, and training under their penalty."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from optoscope.report._style import INK, MUTED, looks, style, title
from optoscope.report.papers._figure import Arrays, Records
from optoscope.report.papers._marks import band, flat, legend, log_axis, strengths
from optoscope.report.papers.symmetry_and_noise._marks import AGGREGATES, NAMES, SHOWN, look


def _deviation_panel(axes: Axes, part: Arrays, aggregate: str) -> None:
    looks = look(NAMES)
    for name in NAMES:
        mark = looks[name]
        values = flat(part[f"{name}/{aggregate}"])
        band(axes, values, color=mark.color, label=SHOWN[name], width=mark.width, order=mark.order)
    if aggregate == "cosine":
        level = float(part["lstm/isotropic"].flat[0])
        axes.axhline(level, color=INK, linestyle=":", linewidth=1.2, label="random direction")
    log_axis(axes)
    axes.set_xlabel("inner step")
    axes.set_ylabel(AGGREGATES[aggregate])


def deviations(variants: Mapping[str, str]) -> Callable[[Records], Figure]:
    def draw(records: Records) -> Figure:
        rows = len(variants)
        with style():
            figure = Figure(figsize=(9.6, 3.9 * rows), layout="constrained")
            grid = figure.subplots(rows, 2, squeeze=False)
            for row, (variant, words) in zip(grid, variants.items(), strict=True):
                for axes, aggregate in zip(row, AGGREGATES, strict=True):
                    _deviation_panel(axes, records[f"deviations-{variant}"], aggregate)
                title(row[0], words, "line: median of runs and meta-seeds; band: middle half")
            legend(figure, grid[0][1])
        return figure

    return draw


def _penalty_losses(axes: Axes, part: Arrays) -> None:
    betas = part["betas"]
    for beta, color, losses in zip(betas, strengths(betas), part["losses"], strict=True):
        band(axes, flat(losses), color=color, label=f"β = {beta:g}")
    axes.set_xlabel("inner step")
    axes.set_ylabel("training loss")
    start = float(np.median(part["losses"][..., 0]))
    axes.set_ylim(0, 1.5 * start)


def _penalty_row(row: Sequence[Axes], part: Arrays, words: str) -> None:
    _penalty_losses(row[0], part)
    title(row[0], words, "line: median of runs and meta-seeds; band: middle half")
    betas = part["betas"]
    for axes, aggregate in zip(row[1:], AGGREGATES, strict=True):
        for beta, color, values in zip(betas, strengths(betas), part[aggregate], strict=True):
            band(axes, flat(values), color=color, label=f"β = {beta:g}")
        if aggregate == "cosine":
            axes.axhline(float(part["isotropic"].flat[0]), color=INK, linestyle=":", linewidth=1.2)
        log_axis(axes)
        axes.set_xlabel("inner step")
        axes.set_ylabel(AGGREGATES[aggregate])


def penalties(records: Records) -> Figure:
    variants = {"leaky-relu": "Rescale, leaky ReLU", "batch-norm": "Scale, batch norm"}
    with style():
        figure = Figure(figsize=(12.6, 7.8), layout="constrained")
        grid = figure.subplots(2, 3)
        for row, (variant, words) in zip(grid, variants.items(), strict=True):
            _penalty_row(list(row), records[f"penalty-{variant}"], words)
        legend(figure, grid[0][0])
    return figure


def released_penalty(records: Records) -> Figure:
    with style():
        figure = Figure(figsize=(12.6, 4.4), layout="constrained")
        row = figure.subplots(1, 3)
        _penalty_row(list(row), records["penalty-released"], "Released protocol, leaky ReLU")
        row[0].legend(frameon=False, fontsize=9)
    return figure


def translation(records: Records) -> Figure:
    with style():
        figure = Figure(figsize=(12.6, 8.2), layout="constrained")
        above, below = figure.subfigures(2, 1, squeeze=False)[:, 0]
        panels = above.subplots(1, 2)
        for axes, aggregate in zip(panels, AGGREGATES, strict=True):
            _deviation_panel(axes, records["deviations-sigmoid"], aggregate)
        title(panels[0], "Translation, sigmoid", "line: median; band: middle half")
        handles, labels = panels[1].get_legend_handles_labels()
        above.legend(handles, labels, loc="outside lower center", ncols=5, frameon=False)
        row = below.subplots(1, 3)
        _penalty_row(list(row), records["penalty-sigmoid"], "Under the penalty")
        row[0].legend(frameon=False, fontsize=9)
    return figure


TRANSFERS = {
    "transfer-leaky-relu-to-sigmoid": "leaky ReLU → wider, deeper sigmoid",
    "transfer-leaky-relu-to-batch-norm": "leaky ReLU → batch norm",
    "transfer-sigmoid-to-batch-norm": "sigmoid → batch norm",
}


def transfers(records: Records) -> Figure:
    with style():
        figure = Figure(figsize=(12.6, 4.4), layout="constrained")
        grid = figure.subplots(1, 3)
        for axes, (part, words) in zip(grid, TRANSFERS.items(), strict=True):
            _penalty_losses(axes, records[part])
            axes.set_title(words, fontsize=11)
            axes.legend(frameon=False, fontsize=9)
    return figure


def sweep_beta(records: Records) -> Figure:
    part = records["sweep-beta"]
    betas, places = part["betas"], np.arange(len(part["betas"]))
    panels = {"losses": "mean training loss", **AGGREGATES}
    with style():
        figure = Figure(figsize=(12.6, 4.2), layout="constrained")
        grid = figure.subplots(1, 3)
        for axes, (key, words) in zip(grid, panels.items(), strict=True):
            means = part[key].mean(axis=(2, 3))
            for seed in range(means.shape[1]):
                axes.plot(places, means[:, seed], "o", color=MUTED, markersize=4, alpha=0.8)
            axes.plot(places, np.median(means, axis=1), color="#D55E00", linewidth=2)
            axes.set_xticks(places, [f"{beta:g}" for beta in betas])
            axes.set_xlabel("strength β of the penalty")
            axes.set_ylabel(words)
            if key != "losses":
                log_axis(axes)
        title(grid[0], "Is there a sweet spot?", "dot: one meta-seed; line: their median")
    return figure


def lion_sgd(records: Records) -> Figure:
    part = records["lion-sgd"]
    weights = part["weights"]
    panels = {**AGGREGATES, "losses": "training loss"}
    with style():
        figure = Figure(figsize=(12.6, 4.4), layout="constrained")
        grid = figure.subplots(1, 3)
        for axes, (key, words) in zip(grid, panels.items(), strict=True):
            colors = strengths(weights)[::-1]
            for weight, color, values in zip(weights, colors, part[key], strict=True):
                band(axes, values, color=color, label=f"λ = {weight:g}")
            if key != "losses":
                log_axis(axes)
            axes.set_xlabel("inner step")
            axes.set_ylabel(words)
        level = float(part["isotropic"].flat[0])
        grid[1].axhline(level, color=INK, linestyle=":", linewidth=1.2)
        title(grid[0], "λ·Lion + (1 − λ)·SGD", "line: median of runs; band: middle half")
        legend(figure, grid[0])
    return figure


def illustration(records: Records) -> Figure:
    part = records["illustration"]
    names = ("sgd", "adam", "lion")
    colors = looks(names)
    with style():
        figure = Figure(figsize=(9.6, 4.6), layout="constrained")
        plane, along = figure.subplots(1, 2)
        x, y = np.meshgrid(np.linspace(-0.3, 1.2, 11), np.linspace(-0.3, 0.8, 8))
        fine = np.meshgrid(np.linspace(-0.35, 1.25, 80), np.linspace(-0.35, 0.85, 80))
        plane.contour(*fine, fine[0] ** 2 + fine[1] ** 2, levels=8, colors="#DDDDDD")
        plane.quiver(x, y, -y, x, color="#BBBBBB", width=0.003)
        for name in names:
            position, mark = part[f"{name}/position"], colors[name]
            plane.plot(*position.T, color=mark.color, marker=".", label=SHOWN[name])
            along.plot(part[f"{name}/deviation"], color=mark.color, label=SHOWN[name])
        plane.set_aspect("equal")
        plane.set_xlabel("x")
        plane.set_ylabel("y")
        along.set_xlabel("step")
        along.set_ylabel("deviation ⟨u, ξ⟩")
        title(plane, "x² + y²", "arrows: the field ξ of rotations")
        legend(figure, plane)
    return figure
