"""Pictures of what is inside: sizes of updates, update functions, modes, stable curvatures."""

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from optoscope.report._style import MUTED, style, title
from optoscope.report.papers._figure import Records
from optoscope.report.papers._marks import color_bar
from optoscope.report.papers.published import _quantities as quantities
from optoscope.report.papers.published._looks import LOOKS, families_of, key, listed, names_of

# What of a memory in steps is drawn at most, and of a drift at least.
_LONGEST, _LEAST = 1e6, 1e-9
# From this change per step on, a state is not at rest.
_STILL = 1e-3
# Distances from the minimum, as decades of the start, between which colors change.
_NEAR, _FAR = -6.0, 1.0


def driven(records: Records) -> Figure:
    """Sizes of updates over sizes of gradients, and over steps; a column for each family."""
    families = families_of(names_of(records, "driven-"))
    with style():
        figure = Figure(figsize=(3.6 * len(families) + 0.6, 7.6), layout="constrained")
        panels = figure.subplots(2, len(families), sharey="row", squeeze=False)
        for (family, names), (above, below) in zip(families.items(), panels.T, strict=True):
            for name in names:
                part, mark = records[f"driven-{name}"], LOOKS[name]
                lines = {"color": mark.color, "linestyle": mark.dashes, "linewidth": 2.2}
                sizes, steps = part["sizes"], quantities.sizes_of_steps(part)
                ordinary = int(np.argmin(np.abs(np.log10(sizes) + 3)))
                above.plot(
                    sizes, steps / steps[ordinary], label=records.labels.get(name, name), **lines
                )
                course = part["updates"][ordinary].mean(axis=0)
                count = len(course)
                course = course / course[count // 10 : max(count // 5, count // 10 + 1)].mean()
                below.plot(np.arange(1, count + 1), course, **lines)
            above.set_xscale("log")
            above.set_yscale("log")
            below.set_yscale("log")
            title(above, family)
            above.legend(fontsize=9.5, frameon=False, loc="upper left")
            above.set_xlabel("size of gradients")
            below.set_xlabel("step")
        above, below = panels[:, 0]
        above.set_ylabel("size of updates, over\nthat at gradients of 0.001")
        below.set_ylabel("size of updates, over\nthat in the second tenth")
        # Room for the legend.
        low, high = above.get_ylim()
        above.set_ylim(low, high * (high / low) ** 0.6)
    return figure


def inside(records: Records) -> Figure:
    """Update functions before and after silence; modes, unrest and drift after it."""
    names = names_of(records, "inside-")
    with style():
        figure = Figure(figsize=(13.0, 10.6), layout="constrained")
        panels = figure.subplots(2, 6)
        grid = panels[0, 0].get_gridspec()
        for axes in panels.ravel():
            axes.remove()
        late, silent = (figure.add_subplot(grid[0, place]) for place in (slice(0, 3), slice(3, 6)))
        below = [figure.add_subplot(grid[1, 2 * place : 2 * place + 2]) for place in range(3)]
        for row, name in enumerate(names):
            part, mark = records[f"inside-{name}"], LOOKS[name]
            for axes, updates in ((late, part["late_updates"]), (silent, part["updates"])):
                axes.plot(part["grid"], updates, color=mark.color, linestyle=mark.dashes,
                          linewidth=2)  # fmt: skip
            _draw_modes(below[1], part, row, mark.color)
            for axes, value in ((below[0], quantities.unrest(part)),
                                (below[2], quantities.drift(part))):  # fmt: skip
                axes.plot([10**value], [row], "o", color=mark.color, markersize=10)
        _name_functions(late, silent)
        _name_rows(below, names, records)
        key(figure, names, records)
    return figure


def _name_functions(late: Axes, silent: Axes) -> None:
    for axes in (late, silent):
        axes.axhline(0, color=MUTED, linewidth=0.8)
        axes.axvline(0, color=MUTED, linewidth=0.8)
        axes.set_yscale("symlog", linthresh=1e-4)
        axes.set_xticks([-1e-3, 0, 1e-3], ["−0.001", "0", "0.001"])
        axes.set_xlabel("gradient")
    limit = max(np.abs(axes.get_ylim()).max() for axes in (late, silent))
    for axes in (late, silent):
        axes.set_ylim(-limit, limit)
    late.set_ylabel("update")
    title(late, "Update function at a visited state", "late in runs at home")
    title(
        silent, "The same after 2,000 steps of silence", "through (0, 0): no move without gradient"
    )


def _name_rows(below: list[Axes], names: tuple[str, ...], records: Records) -> None:
    unrest, modes, drifts = below
    listed(unrest, names, records)
    for axes in (modes, drifts):
        axes.set_yticks(range(len(names)), [""] * len(names))
        axes.set_ylim(len(names) - 0.5, -0.5)
    unrest.set_xlim(_LEAST / 3, 30)
    unrest.set_xlabel("change of the state per step")
    title(unrest, "Unrest in silence", f"at the left edge: {_LEAST:g} or less")
    modes.set_xlim(0.7, 3 * _LONGEST)
    modes.set_xlabel("memory of a mode, 1/(1 − |β|), steps")
    title(modes, "Modes there", "area: share of the response; hollow: not at rest")
    drifts.set_xlim(_LEAST / 3, 30)
    drifts.set_xlabel("update, over the response to 0.001")
    title(drifts, "Drift there", "without a gradient")
    for axes in below:
        axes.set_xscale("log")


def _draw_modes(axes: Axes, part: quantities.Arrays, row: int, color: str) -> None:
    """A dot a mode; hollow where the state still changes."""
    known = np.isfinite(part["timescales"]) & (np.nan_to_num(part["shares"]) > 0.005)
    memory = np.minimum(1 / np.maximum(1 - part["timescales"][known], 1e-9), _LONGEST)
    at_rest = float(part["unrest"]) < _STILL
    axes.scatter(
        memory,
        np.full(memory.shape, row),
        s=25 + 380 * part["shares"][known],
        alpha=0.65,
        facecolor=color if at_rest else "none",
        edgecolor=color,
        linewidth=0 if at_rest else 1.6,
    )


def curvature(records: Records) -> Figure:
    """How near runs on quadratics come, curvature by curvature, and what is linearly stable."""
    names = names_of(records, "curvature-")
    colors, norm = colormaps["viridis_r"], Normalize(_NEAR, _FAR)
    with style():
        figure = Figure(figsize=(11.0, 1.9 + 0.42 * len(names)), layout="constrained")
        axes = figure.subplots()
        for row, name in enumerate(names):
            part = records[f"curvature-{name}"]
            decades = np.log10(np.clip(part["final_sizes"], 10**_NEAR, 1e30))
            gone = part["outcomes"] == "diverges"
            places = part["curvatures"], np.full(decades.shape, row)
            axes.scatter(*places, c=decades, marker="s", s=85, cmap=colors, norm=norm)
            axes.plot(places[0][gone], places[1][gone], "x", color="white", markersize=7)
            low, high = part["curvatures"][[0, -1]]
            for start, end in part["intervals"]:
                ends = max(start, low), min(end, high)
                axes.plot(ends, [row + 0.37] * 2, color="#222222", linewidth=1.8)
        axes.set_xscale("log")
        listed(axes, names, records)
        axes.set_xlabel("curvature λ of ½λφ²; line: linearly stable, cross: diverges")
        label = "|φ| at the end of the run, over the start"
        ends = {_NEAR: "1e-6", -4.0: "1e-4", -2.0: "0.01", 0.0: "1", _FAR: "10"}
        color_bar(figure, axes, norm, colors, label, ends=ends)
    return figure
