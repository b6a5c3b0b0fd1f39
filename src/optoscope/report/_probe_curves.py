"""What probes measured, against the inner step."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from optoscope.report._style import INK, Looks, style, title


@dataclass(frozen=True)
class _Quantity:
    """One panel: a probe's array, how it is called, and the array to compare it with, dotted."""

    probe: str
    ending: str
    words: str
    reference: str | None = None
    logarithmic: bool = True


_QUANTITIES = (
    _Quantity("symmetry", ".cosine", "cosine", ".isotropic"),
    _Quantity(
        "tail_index", "['gradient']['alpha']", "α of gradient noise",
        "['gradient']['surrogate_alpha']", logarithmic=False,
    ),
    _Quantity(
        "tail_index", "['update']['alpha']", "α of update noise",
        "['update']['surrogate_alpha']", logarithmic=False,
    ),
    _Quantity("covariance", "['top']", "top covariance eigenvalue"),
    _Quantity("covariance", "['trace_share']", "its share of the trace", logarithmic=False),
    _Quantity("norms", "['updates']", "norm of the update"),
    _Quantity("norms", "['grads']", "norm of the gradient"),
)  # fmt: skip


def drawable(probes: Mapping[str, np.ndarray]) -> bool:
    """Whether there is anything that `probe_curves` can draw."""
    return bool(_panels(probes))


def _panels(probes: Mapping[str, np.ndarray]) -> list[tuple[str, _Quantity]]:
    """(the key between the optimizer's name and the ending, quantity) of every panel."""
    keys = dict.fromkeys(key.partition("/")[2] for key in probes)
    return [
        (key.removesuffix(quantity.ending), quantity)
        for quantity in _QUANTITIES
        for key in keys
        if key.startswith(quantity.probe) and key.endswith(quantity.ending)
    ]


def probe_curves(probes: Mapping[str, np.ndarray], *, look: Looks) -> Figure:
    """Every scalar that a probe measured: the median over runs, the middle half as a band.

    Args:
        probes: the arrays of `records/probes.npz`.
        look: colours by the optimizers' names.
    """
    panels = _panels(probes)
    columns = min(3, len(panels))
    rows = math.ceil(len(panels) / columns)
    with style():
        figure = Figure(figsize=(4.4 * columns, 0.7 + 3.4 * rows), layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False)
        for axes in grid.flat[len(panels) :]:
            axes.set_visible(False)
        for axes, (prefix, quantity) in zip(grid.flat, panels, strict=False):
            _draw(axes, probes, prefix, quantity, look)
        title(grid[0][0], "Probes", "line: median of runs; band: middle half")
        handles, labels = grid[0][0].get_legend_handles_labels()
        names = figure.legend(
            handles, labels, loc="outside lower center", ncols=5, frameon=False
        ).get_texts()
        for text in names:
            text.set_color(look[text.get_text()].ink)
    return figure


def _draw(
    axes: Axes, probes: Mapping[str, np.ndarray], prefix: str, quantity: _Quantity, look: Looks
) -> None:
    positive = False
    for name, mark in look.items():
        values = probes.get(f"{name}/{prefix}{quantity.ending}")
        steps = probes.get(f"{name}/{quantity.probe}/steps")
        if values is None or steps is None:
            continue
        values = np.where(np.isfinite(values), values, np.nan)
        low, middle, high = np.nanquantile(values, (0.25, 0.5, 0.75), axis=0)
        axes.plot(steps, middle, mark.dashes, color=mark.colour, linewidth=mark.width, label=name)
        axes.fill_between(steps, low, high, color=mark.colour, alpha=0.15, linewidth=0)
        positive |= bool(np.nanmax(middle, initial=0) > 0)
        if quantity.reference:
            level = np.nanmedian(probes[f"{name}/{prefix}{quantity.reference}"], axis=0)
            shared = quantity.reference == ".isotropic"
            axes.plot(steps, level, ":", color=INK if shared else mark.colour, linewidth=1.2)
    if quantity.logarithmic and positive:
        axes.set_yscale("log")
    inside = prefix.removeprefix(quantity.probe).strip("[]'\"")
    axes.set_ylabel(f"{quantity.words}: {inside}" if inside else quantity.words)
    axes.set_xlabel("inner step")
