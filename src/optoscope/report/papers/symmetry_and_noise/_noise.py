"""Figures 8, 9 and 11 to 14: noise, covariance and sizes of updates."""

from collections.abc import Callable

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from optoscope.report._style import INK, Looks, style
from optoscope.report.papers._figure import Arrays, Records
from optoscope.report.papers._marks import legend
from optoscope.report.papers.symmetry_and_noise._marks import NAMES, SHOWN, look


def _measured(
    axes: Axes, part: Arrays, key: str, *, dashes: str = "-", labels: bool = True
) -> None:
    looks = look(NAMES)
    for name in NAMES:
        mark, steps = looks[name], part[f"{name}/steps"][0]
        label = SHOWN[name] if labels else None
        for index, values in enumerate(part[f"{name}/{key}"]):
            axes.plot(
                steps, values, dashes, color=mark.color, linewidth=1.6, marker="o", markersize=3,
                label=label if index == 0 else None,
            )  # fmt: skip
    axes.set_xlabel("inner step")


def noise(variant: str, words: str) -> Callable[[Records], Figure]:
    def draw(records: Records) -> Figure:
        part = records[f"noise-{variant}"]
        standardized = f"noise-{variant}-standardized" in records
        with style():
            figure = Figure(figsize=(12.6, 8.0), layout="constrained")
            grid = figure.subplots(2, 3)
            for row, quantity in zip(grid, ("update", "gradient"), strict=True):
                for axes, protocol in zip(row[:2], ("paper", "corrected"), strict=True):
                    _measured(axes, part, f"{quantity}/{protocol}/alpha")
                    surrogate = f"{quantity}/{protocol}/surrogate_alpha"
                    _measured(axes, part, surrogate, dashes=":", labels=False)
                    if standardized and quantity == "gradient":
                        other = records[f"noise-{variant}-standardized"]
                        _measured(axes, other, f"{quantity}/{protocol}/alpha", dashes="--",
                                  labels=False)  # fmt: skip
                    axes.axhline(2, color=INK, linewidth=0.8)
                    # The paper's estimate has no upper bound; above 4 it says nothing more.
                    axes.set_ylim(top=min(axes.get_ylim()[1], 4.0))
                    axes.set_ylabel(f"α of {quantity} noise")
                    axes.set_title(f"{protocol} protocol", fontsize=11)
            for axes, key, name in (
                (grid[0][2], "top", "top eigenvalue"),
                (grid[1][2], "relative_top", "top eigenvalue / ‖mean update‖²"),
            ):
                _measured(axes, part, f"covariance/{key}")
                axes.set_yscale("log")
                axes.set_ylabel(name)
            words_of_lines = "solid: the run; dotted: Gaussian noise of equal covariance"
            words_of_lines += "; dashed: standardized pixels" if standardized else ""
            figure.suptitle(f"{words} ({words_of_lines})", fontsize=12, x=0.01, ha="left")
            legend(figure, grid[0][2])
        return figure

    return draw


def histograms(variant: str, words: str) -> Callable[[Records], Figure]:
    def draw(records: Records) -> Figure:
        part, looks = records[f"histograms-{variant}"], look(NAMES)
        steps = part["lstm/steps"][0]
        columns = min(3, len(steps))
        rows = -(-len(steps) // columns)
        with style():
            figure = Figure(figsize=(4.2 * columns, 0.9 + 2.9 * rows), layout="constrained")
            grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
            for index, axes in enumerate(grid.flat):
                axes.set_visible(index < len(steps))
                if index < len(steps):
                    _histogram(axes, part, looks, index)
                    axes.set_title(f"update {steps[index]}", fontsize=11)
            for axes in grid[-1]:
                axes.set_xlabel("|u|")
            for axes in grid[:, 0]:
                axes.set_ylabel("share of coordinates")
            figure.suptitle(words, fontweight="bold", x=0.01, ha="left")
            legend(figure, grid[0][0])
        return figure

    return draw


def _histogram(axes: Axes, part: Arrays, looks: Looks, index: int) -> None:
    for name in NAMES:
        counts = part[f"{name}/counts"][:, index].sum(axis=0)
        underflow = part[f"{name}/underflow"][:, index].sum()
        edges, total = part[f"{name}/edges"][0], max(counts.sum() + underflow, 1)
        mark = looks[name]
        axes.stairs(
            counts / total, edges, color=mark.color, linewidth=mark.width, label=SHOWN[name]
        )
        # What is too small for the bins is a bar of its own, left of them.
        axes.plot([edges[0] / 3], [underflow / total], "<", color=mark.color, markersize=6)
    axes.set_xscale("log")


def group_size(records: Records) -> Figure:
    """α against the group size m, with the same estimate for Gaussian noise."""
    part, looks = records["group-size-leaky-relu"], look(("momentum", "lstm"))
    with style():
        figure = Figure(figsize=(9.6, 7.4), layout="constrained")
        grid = figure.subplots(2, 2, sharex=True)
        for row, quantity in zip(grid, ("gradient", "update"), strict=True):
            for axes, protocol in zip(row, ("paper", "corrected"), strict=True):
                for name, mark in looks.items():
                    curve = f"{name}/{quantity}/{protocol}"
                    sizes = part[f"{curve}/group_sizes"]
                    axes.plot(sizes, part[f"{curve}/alpha"], color=mark.color, marker="o",
                              markersize=3, label=f"{SHOWN[name]}: the noise")  # fmt: skip
                    axes.plot(sizes, part[f"{curve}/surrogate_alpha"], ":", color=mark.color,
                              label=f"{SHOWN[name]}: Gaussian")  # fmt: skip
                axes.axhline(2, color=INK, linewidth=0.8)
                axes.set_xscale("log")
                axes.set_ylim(0.5, 3.0)
                axes.set_ylabel(f"α of {quantity} noise")
                axes.set_title(f"{protocol} protocol", fontsize=11)
        for axes in grid[-1]:
            axes.set_xlabel("group size m")
        legend(figure, grid[0][0])
    return figure
