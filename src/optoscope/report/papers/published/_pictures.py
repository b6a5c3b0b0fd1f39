"""The pictures of the published optimizers."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from optoscope.report._style import MUTED, Looks, logarithmic, looks, style, title
from optoscope.report.papers._figure import Records

_BASELINES = ("adam", "lion", "muon")
_COLUMNS = 4
# What of a memory in steps is drawn at most.
_LONGEST = 1e6


def _names(records: Records, kind: str) -> tuple[str, ...]:
    return tuple(name.removeprefix(kind) for name in records if name.startswith(kind))


def _looks(records: Records) -> Looks:
    """The same colors in every figure, whoever is missing."""
    known = tuple(name for name in records.labels if name not in _TASKS)
    return looks(known, [name for name in known if name not in _BASELINES])


_TASKS = ("home", "leaky-relu", "batch-norm", "deep")


def _key(figure: Figure, names: tuple[str, ...], look: Looks, labels: Mapping[str, str]) -> None:
    marks = [
        Line2D([], [], color=look[name].color, linestyle=look[name].dashes, linewidth=2,
               label=labels.get(name, name))
        for name in names
    ]  # fmt: skip
    figure.legend(
        handles=marks, loc="outside lower center", ncols=min(len(marks), 5), fontsize=9.5,
        frameon=False,
    )  # fmt: skip


def _positive(axes: Axes, which: str, values: np.ndarray) -> None:
    values = values[np.isfinite(values) & (values > 0)]
    if values.size and values.max() > values.min():
        logarithmic(axes, which, float(values.min()), float(values.max()))


def driven(records: Records) -> Figure:
    """Sizes of updates over sizes of gradients, and over steps."""
    names, look = _names(records, "driven-"), _looks(records)
    with style():
        figure = Figure(figsize=(11.5, 5.8), layout="constrained")
        left, right = figure.subplots(1, 2)
        seen, courses = [], []
        for name in names:
            part, mark = records[f"driven-{name}"], look[name]
            updates, steps = part["updates"], part["updates"].shape[-1]
            last = updates[..., -max(1, steps // 10) :].mean(axis=(1, 2))
            left.plot(part["sizes"], last, color=mark.color, linestyle=mark.dashes, linewidth=2)
            course = updates[len(part["sizes"]) // 2].mean(axis=0)
            course = course / course[steps // 10 : max(steps // 5, steps // 10 + 1)].mean()
            right.plot(np.arange(1, steps + 1), course, color=mark.color, linestyle=mark.dashes,
                       linewidth=1.6)  # fmt: skip
            seen.append(last)
            courses.append(course[steps // 20 :])
        _positive(left, "x", records[f"driven-{names[0]}"]["sizes"])
        _positive(left, "y", np.concatenate(seen))
        _positive(right, "y", np.concatenate(courses))
        left.set_xlabel("size of gradients")
        left.set_ylabel("size of updates at the end")
        title(left, "Adaptation", "root mean squares; a flat line does not see the size")
        right.set_xlabel("step")
        right.set_ylabel("size of updates, over that in the second tenth")
        title(right, "Schedule", "gradients of one size; 1 is a constant step")
        _key(figure, names, look, records.labels)
    return figure


def inside(records: Records) -> Figure:
    """Update functions at rest, memories, drift, and the rise at home beside it."""
    names, look = _names(records, "inside-"), _looks(records)
    with style():
        figure = Figure(figsize=(12.5, 10.0), layout="constrained")
        functions, modes, drifts, foretold = figure.subplots(2, 2).ravel()
        for row, name in enumerate(names):
            part, mark = records[f"inside-{name}"], look[name]
            scale = np.abs(part["updates"]).max() or 1.0
            functions.plot(part["grid"] / np.abs(part["grid"]).max(), part["updates"] / scale,
                           color=mark.color, linestyle=mark.dashes, linewidth=1.8)  # fmt: skip
            known = np.isfinite(part["timescales"]) & (part["shares"] > 0)
            memory = np.minimum(1 / np.maximum(1 - part["timescales"][known], 1e-9), _LONGEST)
            modes.scatter(memory, np.full(memory.shape, row), s=20 + 380 * part["shares"][known],
                          color=mark.color, alpha=0.6, linewidth=0)  # fmt: skip
            drift = max(abs(float(part["drift"])) / max(float(part["response"]), 1e-300), 1e-6)
            drifts.plot([drift], [row], "o", color=mark.color, markersize=9)
            run = records.get(f"long-home-{name}")
            if run is not None:
                rose = np.median(np.log10(run["last"] / run["least"]))
                if np.isfinite(rose):
                    foretold.plot([drift], [rose], "o", color=mark.color, markersize=9)
        for axes in (modes, drifts):
            axes.set_yticks(range(len(names)), [records.labels.get(n, n) for n in names],
                            fontsize=9.5)  # fmt: skip
            axes.set_ylim(len(names) - 0.5, -0.5)
            axes.set_xscale("log")
        foretold.set_xscale("log")
        functions.set_xlabel("gradient, over the 95% quantile of those met")
        functions.set_ylabel("update, over its largest")
        title(functions, "Update function at rest", "through (0, 0) is no drift")
        modes.set_xlabel("memory of a mode, 1/(1 − |β|), steps")
        title(modes, "Modes at rest", "area: the share of the impulse response")
        drifts.set_xlabel("update without a gradient, over the response to a typical one")
        title(drifts, "Drift at rest")
        foretold.set_xlabel("drift")
        foretold.set_ylabel("decades from the least to the last loss")
        title(foretold, "Is it foretold?", "at home, the median over runs")
        _key(figure, names, look, records.labels)
    return figure


def probed(records: Records) -> Figure:
    """Deviations from the rescaling symmetry and tail indices."""
    names, look = _names(records, "probed-"), _looks(records)
    with style():
        figure = Figure(figsize=(12.0, 2.2 + 0.42 * len(names)), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        for row, name in enumerate(names):
            part, color = records[f"probed-{name}"], look[name].color
            broken = np.abs(part["cosine"] / part["isotropic"]).mean(axis=1)
            left.plot(np.maximum(broken, 1e-8), np.full(broken.shape, row), "o", color=color)
            right.plot(np.nanmean(part["alpha"], axis=1), np.full(broken.shape, row), "o",
                       color=color)  # fmt: skip
            right.plot(np.nanmean(part["surrogate"], axis=1), np.full(broken.shape, row), "|",
                       color=MUTED, markersize=12)  # fmt: skip
            right.plot(np.nanmean(part["gradient_alpha"], axis=1), np.full(broken.shape, row),
                       "x", color=color)  # fmt: skip
        left.set_yticks(range(len(names)), [records.labels.get(n, n) for n in names], fontsize=9.5)
        left.set_ylim(len(names) - 0.5, -0.5)
        left.set_xscale("log")
        left.axvline(1, color=MUTED, linestyle=":", linewidth=1)
        left.set_xlabel("cosine to the symmetry, over that of a direction that knows nothing")
        title(left, "Rescaling symmetry", "left: kept, as gradients keep it")
        right.axvline(2, color=MUTED, linestyle=":", linewidth=1)
        right.set_xlabel("tail index α (2: Gaussian)")
        title(right, "Tails of noise", "dot: updates; cross: gradients; stroke: Gaussian surrogate")
    return figure


_OUTCOMES = {
    "converges": ("#009E73", "converges"),
    "stalls": ("#999933", "stalls"),
    "limit cycle": ("#56B4E9", "limit cycle"),
    "diverges": ("#D55E00", "diverges"),
}


def curvature(records: Records) -> Figure:
    """What runs on quadratics do, curvature by curvature."""
    names = _names(records, "curvature-")
    with style():
        figure = Figure(figsize=(9.5, 1.9 + 0.42 * len(names)), layout="constrained")
        axes = figure.subplots()
        for row, name in enumerate(names):
            part = records[f"curvature-{name}"]
            for outcome, (color, _) in _OUTCOMES.items():
                at = part["curvatures"][part["outcomes"] == outcome]
                axes.plot(at, np.full(at.shape, row), "s", color=color, markersize=7)
        axes.set_xscale("log")
        axes.set_yticks(range(len(names)), [records.labels.get(n, n) for n in names], fontsize=9.5)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_xlabel("curvature λ of ½λφ²")
        marks = [
            Line2D([], [], color=color, marker="s", linestyle="", label=words)
            for color, words in _OUTCOMES.values()
        ]
        figure.legend(handles=marks, loc="outside lower center", ncols=4, frameon=False)
    return figure


def long_runs(records: Records) -> Figure:
    """A panel for each task."""
    look, known = (
        _looks(records),
        [t for t in _TASKS if any(n.startswith(f"long-{t}-") for n in records)],
    )
    names = _names(records, f"long-{known[0]}-")
    with style():
        figure = Figure(figsize=(12.5, 9.6), layout="constrained")
        panels = figure.subplots(2, 2).ravel()
        for panel in panels[len(known) :]:
            panel.set_axis_off()
        for panel, task in zip(panels, known, strict=False):
            middles = []
            for name in names:
                part, mark = records[f"long-{task}-{name}"], look[name]
                middle = np.median(part["smoothed"], axis=0)
                panel.plot(part["steps"], middle, color=mark.color, linestyle=mark.dashes,
                           linewidth=1.9)  # fmt: skip
                start = float(np.median(part["first"]))
                middles.append(middle[np.isfinite(middle) & (middle <= 1.3 * start)])
            panel.set_xscale("log")
            values = np.concatenate(middles)
            _positive(panel, "y", values)
            if values.size:
                panel.set_ylim(values[values > 0].min() / 1.1, values.max() * 1.1)
            title(panel, records.labels.get(task, task))
            panel.set_xlabel("step")
            panel.set_ylabel("training loss, smoothed")
        _key(figure, names, look, records.labels)
    return figure
