"""The measurements of probes against the inner step, drawn as each probe states."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from optoscope._core.drawings import (
    DRAWINGS_FORMAT,
    DRAWINGS_VERSION,
    KINDS,
    Drawing,
    ProbeText,
)
from optoscope._core.errors import FileFormatError
from optoscope.report._checks import as_format, as_mapping, as_sequence
from optoscope.report._style import Looks, style, title

Arrays = Mapping[str, np.ndarray]

# Of a network with very many arrays the first are drawn; all of them are in the records.
_MOST_PANELS = 24
# The axes of runs and measurements, and for what has several numbers per measurement one more.
_LEAST_AXES = {"curve": 2, "spread": 3, "histogram": 3}
_OUTER = (0.05, 0.95)


@dataclass(frozen=True)
class Panel:
    """One picture: which array of which probe, and of which optimizer if it is one's alone."""

    probe: str
    inside: str
    drawing: Drawing
    optimizer: str | None = None

    def array(self, probes: Arrays, optimizer: str, ending: str) -> np.ndarray | None:
        """An array of this panel's place in the record."""
        return probes.get(f"{optimizer}/{self.probe}{self.inside}{ending}")

    @property
    def label(self) -> str:
        """The label of the upright axis."""
        inside = self.inside.strip(".[]'\"").replace("']['", " ")
        return f"{self.drawing.axis_label}: {inside}" if inside else self.drawing.axis_label


def probe_texts(content: Any) -> dict[str, ProbeText]:
    """The texts of the probes in `records/probes.json`, by name."""
    fields = as_format(content, DRAWINGS_FORMAT, DRAWINGS_VERSION)
    probes = as_mapping(fields.get("probes"), "'probes'")
    return {name: _probe_text(entry, name) for name, entry in probes.items()}


def _probe_text(entry: Any, name: str) -> ProbeText:
    fields = as_mapping(entry, f"the entry of {name!r}")
    drawings = as_sequence(fields.get("drawings"), f"the drawings of {name!r}")
    return ProbeText(
        str(fields.get("how_to_read", "")),
        str(fields.get("what_it_does_not_show", "")),
        tuple(_drawing(one, name) for one in drawings),
    )


def _drawing(entry: Any, name: str) -> Drawing:
    fields = as_mapping(entry, f"a drawing of {name!r}")
    kind = fields.get("kind")
    if kind not in KINDS:
        raise FileFormatError(f"{name!r} is drawn as {kind!r}, which is none of {', '.join(KINDS)}")

    def place(key: str) -> str | None:
        return None if fields.get(key) is None else str(fields[key])

    return Drawing(
        kind,
        place("array") or "",
        place("label") or "",
        place("unit") or "",
        bool(fields.get("logarithmic")),
        place("reference"),
        place("edges"),
    )


def panels(probes: Arrays, texts: Mapping[str, ProbeText]) -> list[Panel]:
    """All pictures that there is something to draw for, in the order that the probes say."""
    found = dict.fromkeys(
        panel
        for probe, text in texts.items()
        for drawing in text.drawings
        for panel in _panels_of(probes, probe, drawing)
    )
    return list(found)


def _panels_of(probes: Arrays, probe: str, drawing: Drawing) -> Iterator[Panel]:
    for key, values in probes.items():
        optimizer, _, place = key.partition("/")
        rest = place.removeprefix(probe)
        of_this_probe = place.startswith(probe) and rest[:1] in ("", ".", "[")
        if not of_this_probe or not rest.endswith(drawing.array):
            continue
        axes = values.ndim if values.dtype.kind in "fiu" else 0
        fits = axes == 2 if drawing.kind == "curve" else axes >= _LEAST_AXES[drawing.kind]
        if fits and values.size:
            alone = optimizer if drawing.kind == "histogram" else None
            yield Panel(probe, rest.removesuffix(drawing.array), drawing, alone)


def probe_figures(probes: Arrays, texts: Mapping[str, ProbeText], *, look: Looks) -> Figure:
    """Everything that the probes of a run measured.

    Args:
        probes: the arrays of `records/probes.npz`.
        texts: of each probe how it is drawn.
        look: colors by the optimizers' names.
    """
    chosen = panels(probes, texts)
    left_out = len(chosen) - _MOST_PANELS
    chosen = chosen[:_MOST_PANELS]
    columns = min(3, len(chosen))
    rows = math.ceil(len(chosen) / columns)
    with style():
        figure = Figure(figsize=(4.4 * columns, 0.7 + 3.4 * rows), layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False)
        for axes in grid.flat[len(chosen) :]:
            axes.set_visible(False)
        for axes, panel in zip(grid.flat, chosen, strict=False):
            _draw(axes, probes, panel, look)
        more = f"; {left_out} more are in the records" if left_out > 0 else ""
        title(grid[0][0], "Probes", f"line: median; band: middle half{more}")
        names: dict[str, Any] = {}
        for axes in grid.flat:
            handles, labels = axes.get_legend_handles_labels()
            names |= dict(zip(labels, handles, strict=True))
        if names:
            legend = figure.legend(
                list(names.values()), list(names), loc="outside lower center", ncols=5,
                frameon=False,
            )  # fmt: skip
            for text in legend.get_texts():
                text.set_color(look[text.get_text()].ink)
    return figure


def _draw(axes: Axes, probes: Arrays, panel: Panel, look: Looks) -> None:
    if panel.optimizer is None:
        _draw_curves(axes, probes, panel, look)
    else:
        _draw_histogram(axes, probes, panel, panel.optimizer, look)
    axes.set_ylabel(panel.label)
    axes.set_xlabel("inner step")


def _draw_curves(axes: Axes, probes: Arrays, panel: Panel, look: Looks) -> None:
    drawing, positive = panel.drawing, False
    for name, mark in look.items():
        values = panel.array(probes, name, drawing.array)
        steps = probes.get(f"{name}/{panel.probe}/steps")
        if values is None or steps is None:
            continue
        values = np.moveaxis(np.where(np.isfinite(values), values, np.nan), 1, 0)
        values = values.reshape(len(steps), -1)
        low, middle, high = np.nanquantile(values, (0.25, 0.5, 0.75), axis=1)
        axes.plot(steps, middle, mark.dashes, color=mark.color, linewidth=mark.width, label=name)
        axes.fill_between(steps, low, high, color=mark.color, alpha=0.15, linewidth=0)
        if drawing.kind == "spread":
            for outer in np.nanquantile(values, _OUTER, axis=1):
                axes.plot(steps, outer, color=mark.color, linewidth=0.6, alpha=0.6)
        positive |= bool(np.nanmax(middle, initial=0) > 0)
        reference = (
            None if drawing.reference is None else panel.array(probes, name, drawing.reference)
        )
        if reference is not None:
            level = np.nanmedian(reference, axis=0)
            axes.plot(steps, level, ":", color=mark.color, linewidth=1.2)
    if drawing.logarithmic and positive:
        axes.set_yscale("log")


def _draw_histogram(axes: Axes, probes: Arrays, panel: Panel, optimizer: str, look: Looks) -> None:
    """The share of everything counted in each bin, over all runs."""
    drawing = panel.drawing
    counts = panel.array(probes, optimizer, drawing.array)
    edges = None if drawing.edges is None else panel.array(probes, optimizer, drawing.edges)
    steps = probes.get(f"{optimizer}/{panel.probe}/steps")
    assert counts is not None  # a panel is made for arrays that are there
    if edges is None or steps is None:
        raise FileFormatError(f"the histogram of {panel.probe!r} has no edges or no steps")
    bins = counts.shape[-1]
    counts = np.moveaxis(counts, 1, 0).reshape(len(steps), -1, bins).sum(axis=1)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    # Every measurement reaches half of the way to its neighbors.
    gaps = np.diff(steps) / 2 if len(steps) > 1 else np.ones(1)
    ends = [steps[0] - gaps[0], *(steps[:-1] + gaps[: len(steps) - 1]), steps[-1] + gaps[-1]]
    # As dark as the usual measurement's fullest bin: one of a single bin must not make all pale.
    darkest = float(np.median(shares.max(axis=1))) or 1.0
    axes.pcolormesh(
        np.asarray(ends, float),
        edges.reshape(-1, bins + 1)[0],
        shares.T,
        cmap="Greys",
        vmin=0,
        vmax=darkest,
    )
    if drawing.logarithmic:
        axes.set_yscale("log")
    axes.text(
        0.02, 0.97, optimizer, transform=axes.transAxes, va="top", color=look[optimizer].ink,
    )  # fmt: skip
