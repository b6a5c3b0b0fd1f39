"""Figures 4 and appendix 5 and 6: tasks that were never seen in meta-training."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from optoscope.report._style import MUTED, Looks, style, title
from optoscope.report.papers._figure import Arrays, Records
from optoscope.report.papers.stability._marks import (
    Runs,
    corner_notes,
    draw_runs,
    guessing,
    inner_steps,
    key_below,
    looks_of,
    loss_axis,
)

_TUNED = ("adam", "nadamw")
_COLUMNS = 4
_PANEL = (3.2, 2.9)


def unseen(records: Records) -> Figure:
    """A panel for each task."""
    found = {name.removeprefix("unseen-"): part for name, part in records.items()}
    words = records.labels
    looks = looks_of(_contestants(*found.values()), words)
    columns = min(_COLUMNS, len(found))
    rows = -(-len(found) // columns)
    width, height = _PANEL
    with style():
        # The key below has the width of more than one panel.
        size = (max(width * columns, 8.2), 0.5 + height * rows)
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False)
        for axes in grid.flat[len(found) :]:
            axes.set_visible(False)
        for axes, (name, part) in zip(grid.flat, found.items(), strict=False):
            _panel(axes, part, looks, words)
            title(axes, words[name], f"{int(part['num_params']):,} parameters")
        for axes in grid[:, 0]:
            axes.set_ylabel("loss, smoothed")
        key_below(figure, _key(looks, words))
    return figure


def _contestants(*parts: Arrays) -> tuple[str, ...]:
    """Who was measured; the baselines first, so that what is learned lies on top."""
    end = "/smoothed"
    names = dict.fromkeys(
        key.removesuffix(end) for part in parts for key in part if key.endswith(end)
    )
    return tuple(sorted(names, key=lambda name: name not in _TUNED))


def _panel(axes: Axes, part: Arrays, looks: Looks, words: Mapping[str, str]) -> None:
    runs = {name: Runs.of(part, f"{name}/") for name in _contestants(part)}
    starts = [float(start) for start in np.ravel(part["initial"])]
    loss_axis(axes, [found.losses for found in runs.values()], starts)
    inner_steps(axes, float(part["steps"][-1]) + 1)
    guessing(axes, float(part["guess"]))
    for name, found in runs.items():
        draw_runs(axes, part["steps"], found, looks[name])
    lost = {f"{words[n]}: {found.note}": looks[n].ink for n, found in runs.items() if found.note}
    corner_notes(axes, lost, float(np.median(starts)))


def _key(looks: Looks, words: Mapping[str, str]) -> list[Line2D]:
    labels = {name: words[name] + (", tuned" if name in _TUNED else "") for name in looks}
    marks = [
        Line2D([], [], color=look.color, linewidth=look.width, label=labels[name])
        for name, look in looks.items()
    ]
    marks.append(Line2D([], [], color=MUTED, linestyle=":", label="guessing"))
    marks.append(
        Line2D([], [], color=MUTED, marker="x", linestyle="", markersize=7, label="a run diverges")
    )
    return marks
