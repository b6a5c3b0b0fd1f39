"""Pictures of runs on networks: symmetry and tails, long runs, and what foretells them."""

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from optoscope.report._style import MUTED, logarithmic, style, title
from optoscope.report.papers._figure import Records
from optoscope.report.papers.published import _quantities as quantities
from optoscope.report.papers.published._looks import (
    BASELINES,
    LOOKS,
    by_coordinate,
    families_of,
    key,
    listed,
    marker_of,
    names_of,
    tasks_of,
)


def probed(records: Records) -> Figure:
    """Deviations from the rescaling symmetry and tail indices."""
    names = names_of(records, "probed-")
    with style():
        figure = Figure(figsize=(12.0, 1.9 + 0.34 * len(names)), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        for row, name in enumerate(names):
            part, color = records[f"probed-{name}"], LOOKS[name].color
            broken = quantities.deviation(part)
            rows = np.full(broken.shape, row)
            left.plot(broken, rows, "o", color=color)
            right.plot(quantities.known_mean(part["alpha"]), rows, "o", color=color)
            right.plot(
                quantities.known_mean(part["surrogate"]), rows, "|", color=MUTED, markersize=13
            )
            right.plot(quantities.known_mean(part["gradient_alpha"]), rows, "x", color=color)
        listed(left, names, records)
        left.set_xlim(0, None)
        left.axvline(1, color=MUTED, linestyle=":", linewidth=1)
        left.set_xlabel("cosine to the symmetry, over that of any direction;\ngradients have 0")
        title(left, "Rescaling symmetry")
        right.axvline(2, color=MUTED, linestyle=":", linewidth=1)
        right.set_xlabel(
            "tail index α; dot: updates, cross: gradients,\nstroke: Gaussian surrogate"
        )
        title(right, "Tails of noise")
    return figure


def long_runs(records: Records) -> Figure:
    """A row for each family, a column for each task."""
    tasks = tasks_of(records)
    names = names_of(records, f"long-{tasks[0]}-")
    families = families_of(names)
    families.pop("hand-designed", None)
    beside = tuple(name for name in BASELINES if name in names)
    rows = families or {"hand-designed": ()}
    with style():
        size = (3.6 * len(tasks) + 0.5, 3.2 * len(rows) + 0.9)
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(len(rows), len(tasks), sharey="col", sharex=True, squeeze=False)
        for column, task in enumerate(tasks):
            drawn = []
            for row, (family, members) in enumerate(rows.items()):
                axes = panels[row, column]
                for name in (*beside, *members):
                    drawn.append(_draw_losses(axes, records, task, name))
                if row == 0:
                    title(axes, records.labels.get(task, task))
                if column == 0:
                    axes.set_ylabel(f"{family}\ntraining loss, smoothed")
                if row == len(rows) - 1:
                    axes.set_xlabel("step")
            _limit(panels[:, column], drawn)
        key(figure, names, records)
    return figure


def _draw_losses(axes: Axes, records: Records, task: str, name: str) -> np.ndarray:
    """The median over runs; what of it is no higher than the start."""
    part, mark = records[f"long-{task}-{name}"], LOOKS[name]
    middle = np.median(part["smoothed"], axis=0)
    width = 2.2 if mark.learned else 1.2
    axes.plot(part["steps"], middle, color=mark.color, linestyle=mark.dashes, linewidth=width)
    start = float(np.median(part["first"]))
    return middle[np.isfinite(middle) & (middle > 0) & (middle <= 1.3 * start)]


def _limit(column: np.ndarray, drawn: list[np.ndarray]) -> None:
    """The axes of one task; what falls below ten decades leaves through the bottom."""
    values = np.concatenate(drawn)
    values = values[values > 1e-10 * values.max(initial=0.0)]
    for axes in column:
        axes.set_xscale("log")
        if values.size and values.max() > values.min():
            logarithmic(axes, "y", float(values.min()), float(values.max()))
            axes.set_ylim(values.min() / 1.2, values.max() * 1.2)


def foretold(records: Records) -> Figure:
    """What each measure says of an optimizer, against what its long runs gave back."""
    tasks = tasks_of(records)
    learned = tuple(n for n in names_of(records, f"long-{tasks[0]}-") if n not in BASELINES)
    with style():
        figure = Figure(figsize=(12.8, 8.4), layout="constrained")
        panels = figure.subplots(2, 3).ravel()
        for axes, (measure, known) in zip(panels, quantities.MEASURES.items(), strict=False):
            for name in learned:
                found = [
                    quantities.pairs_of(records, measure, task, [name]).get(name) for task in tasks
                ]
                pairs = [pair for pair in found if pair is not None]
                if pairs:
                    given_back = float(np.mean([pair[1] for pair in pairs]))
                    axes.plot([pairs[0][0]], [given_back], marker_of(name), markersize=10,
                              color=LOOKS[name].color)  # fmt: skip
            axes.set_yscale("symlog", linthresh=0.01)
            axes.set_ylim(-0.001, 1.5)
            axes.set_yticks([0, 0.01, 0.1, 1], ["0", "0.01", "0.1", "1"])
            axes.set_xlabel(known.unit)
            axes.margins(x=0.1)
            title(axes, measure.capitalize(), known.words)
        for axes in panels[::3]:
            axes.set_ylabel("share of the decrease given back,\nmean over tasks")
        _correlations(panels[-1], records, tasks)
        key(figure, learned, records, dots=True)
    return figure


def _correlations(axes: Axes, records: Records, tasks: tuple[str, ...]) -> None:
    """The rank correlations as a table, colored by their size."""
    looked = by_coordinate(records)
    values = np.array(
        [
            [quantities.correlation(records, measure, task, looked) for task in tasks]
            for measure in quantities.MEASURES
        ]
    )
    axes.imshow(values, cmap=colormaps["PuOr_r"], norm=Normalize(-1, 1), aspect="auto")
    for row, column in np.ndindex(values.shape):
        value = values[row, column]
        text = "–" if np.isnan(value) else f"{value:+.2f}"
        color = "white" if abs(np.nan_to_num(value)) > 0.75 else "#222222"
        axes.text(column, row, text, ha="center", va="center", fontsize=10.5, color=color)
    axes.grid(visible=False)
    axes.set_xticks(range(len(tasks)), tasks)
    axes.set_yticks(range(len(values)), list(quantities.MEASURES), fontsize=10)
    title(axes, "Rank correlation", f"of both, over the {len(looked)} by coordinate")
