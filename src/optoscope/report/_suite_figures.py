"""The pictures of a suite: scores with intervals, performance profiles, curves on every task."""

import dataclasses
import math
from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from optoscope._core.estimates import Estimate
from optoscope.report._figures import FigureKind, FigureText
from optoscope.report._records import Run
from optoscope.report._style import MUTED, Looks, label_ends, logarithmic, looks, plain, style
from optoscope.report._suite import MOST_SHOWN, SCORES, SuiteRecord
from optoscope.report._summary import format_number

_MOST_COLUMNS = 4
# A curve above the first loss by more than this factor has failed; how far says nothing.
_ABOVE_START = 1.2


def suite_looks(record: SuiteRecord) -> Looks:
    """The colors of a suite's optimizers."""
    return looks(record.optimizers, record.given)


def _with_lines(record: SuiteRecord) -> SuiteRecord:
    """The record of those whose lines are drawn."""
    best = record.best
    kept = {label: one for label, one in record.optimizers.items() if label in best}
    return dataclasses.replace(record, optimizers=kept)


def suite_scores(record: SuiteRecord) -> Figure:
    """A panel for each score, with everyone's value and interval, the best on top."""
    look, count = suite_looks(record), len(record.optimizers)
    with style():
        figure = Figure(figsize=(13.6, 2.2 + 0.56 * count), layout="constrained")
        axes = figure.subplots(2, 2, squeeze=False).ravel()
        for panel, score in zip(axes, SCORES, strict=True):
            labels = record.ranked(score.key)
            values = {label: record.optimizers[label].scores[score.key] for label in labels}
            ranks = {label: record.rank(label, score.key) for label in labels}
            _dots(panel, ranks, values, look)
            panel.set_title(score.title, fontsize=12, pad=8)
            panel.set_xlabel(f"{score.unit} (higher is better)", fontsize=9.5)
    return figure


def _dots(
    axes: Axes, ranks: Mapping[str, int], values: Mapping[str, Estimate], look: Looks
) -> None:
    labels = list(ranks)
    for row, label in enumerate(labels):
        value, mark = values[label], look[label]
        axes.axhline(row, color="#EDEDED", linewidth=1, zorder=0)
        if not value.known:
            axes.text(0.5, row, "no value", transform=axes.get_yaxis_transform(), ha="center",
                      va="center", color=MUTED, fontsize=9, style="italic")  # fmt: skip
            continue
        if value.has_ends:
            axes.plot([value.low, value.high], [row, row], color=mark.color, alpha=0.5,
                      linewidth=2 * mark.width, solid_capstyle="butt")  # fmt: skip
        axes.plot([value.value], [row], "o", color=mark.color, markersize=7,
                  markeredgecolor="white", zorder=5)  # fmt: skip
    known = [value.value for value in values.values() if value.known]
    if known:
        # An interval of few runs can be wider than all there is; it leaves through the side.
        width = (max(known) - min(0.0, *known)) or 1.0
        axes.set_xlim(min(0.0, *known) - 0.05 * width, max(known) + 0.35 * width)
    axes.set_yticks(range(len(labels)), [plain(f"{ranks[n]}  {n}") for n in labels])
    for text, label in zip(axes.get_yticklabels(), labels, strict=True):
        text.set(color=look[label].ink, fontweight=look[label].weight, fontsize=9)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.grid(False, axis="y")
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)


def suite_profiles(record: SuiteRecord) -> Figure:
    """The performance profiles."""
    record = _with_lines(record)
    look = suite_looks(record)
    with style():
        figure = Figure(figsize=(8.8, 5.4), layout="constrained")
        axes = figure.subplots()
        axes.set_xlim(1, 4)
        axes.set_ylim(-0.02, 1.02)
        ends = {}
        for label, one in record.optimizers.items():
            factors, mark = np.linspace(1, 4, len(one.shares)), look[label]
            axes.plot(factors, one.shares, color=mark.color, linestyle=mark.dashes,
                      linewidth=mark.width, zorder=mark.order)  # fmt: skip
            ends[label] = (4.0, float(one.shares[-1]))
        axes.set_xlabel("steps to the target, as a multiple of the fastest optimizer's")
        axes.set_ylabel("share of tasks and runs")
        label_ends(axes, ends, look, {})
    return figure


def suite_curves(record: SuiteRecord) -> Figure:
    """A panel for each task with the median smoothed losses."""
    record = _with_lines(record)
    look = suite_looks(record)
    columns = min(_MOST_COLUMNS, len(record.tasks))
    rows = -(-len(record.tasks) // columns)
    with style():
        figure = Figure(figsize=(3.9 * columns, 3.2 * rows + 1.4), layout="constrained")
        panels = figure.subplots(rows, columns, squeeze=False).ravel()
        for panel in panels[len(record.tasks) :]:
            panel.set_axis_off()
        for panel, task in zip(panels, record.tasks, strict=False):
            _curves(panel, record, task, look)
        handles = [
            panels[0].plot([], [], color=look[label].color, linestyle=look[label].dashes,
                           linewidth=look[label].width, label=plain(label))[0]
            for label in record.ranked(SCORES[0].key)
        ]  # fmt: skip
        figure.legend(handles=handles, loc="outside lower center", ncols=columns, fontsize=9,
                      frameon=False)  # fmt: skip
    return figure


def _curves(axes: Axes, record: SuiteRecord, task: str, look: Looks) -> None:
    middles = {label: np.median(record.curves[label][task], axis=0) for label in record.optimizers}
    finite = np.concatenate([m[np.isfinite(m)] for m in middles.values()])
    starts = [m[0] for m in middles.values() if math.isfinite(m[0])]
    if finite.size and starts:
        low, high = float(finite.min()), float(min(finite.max(), _ABOVE_START * max(starts)))
        if low > 0 and high > 3 * low:
            logarithmic(axes, "y", low, high)
            axes.set_ylim(low / 1.1, high * 1.1)
        else:
            margin = 0.05 * ((high - low) or 1.0)
            axes.set_ylim(low - margin, high + margin)
    for label, middle in middles.items():
        mark = look[label]
        axes.plot(record.steps, middle, color=mark.color, linestyle=mark.dashes,
                  linewidth=0.7 * mark.width, zorder=mark.order)  # fmt: skip
    target = record.targets[task]
    if math.isfinite(target):
        axes.axhline(target, color=MUTED, linewidth=0.9, linestyle=":", zorder=2)
        # On the left, where the curves are still far above it.
        axes.annotate(f"target {format_number(target)}", (0, target), xytext=(3, 3),
                      textcoords="offset points", fontsize=8, color=MUTED)  # fmt: skip
    axes.set_title(plain(task), fontsize=11, pad=6)
    axes.set_xlim(0, record.num_steps)
    axes.tick_params(labelsize=8)
    axes.set_xlabel("step", fontsize=9)


def _suite(run: Run) -> SuiteRecord:
    assert run.suite is not None  # the registry asks for it
    return run.suite


_LINES = f"Of more than {MOST_SHOWN} optimizers those with the best AlgoPerf scores are drawn."

SUITE_FIGURES: tuple[FigureKind, ...] = (
    FigureKind(
        "suite_scores",
        ("suite",),
        lambda run: suite_scores(_suite(run)),
        FigureText(
            "Scores",
            "A panel for each score, with its own order and rank; right is better in all of them. "
            "The dot is the score, the bar its 95% interval over runs. "
            + " ".join(f"{score.title}: {score.meaning}" for score in SCORES),
            "How an optimizer does on other tasks: the tasks were chosen, and intervals are over "
            "runs of these tasks alone. Nor whether two optimizers differ: runs are paired, so "
            "two can differ clearly although their bars overlap. AlgoPerf's score depends on "
            "who else takes part, and the interquartile means leave out the tasks on which an "
            "optimizer is best and worst.",
        ),
    ),
    FigureKind(
        "suite_profiles",
        ("suite",),
        lambda run: suite_profiles(_suite(run)),
        FigureText(
            "Performance profiles",
            "Of all tasks and runs the share in which an optimizer reached the task's target in at "
            "most so many times the steps of the fastest. At the left edge: how often it is the "
            "fastest itself; at the right edge: how often it gets there within four times the "
            "steps. The area under a curve is AlgoPerf's score. A task's target is the smoothed "
            f"loss that the best baseline has after three quarters of its run. {_LINES}",
            "Seconds: a step of a learned optimizer can cost many times that of a baseline. And "
            "whoever never reaches a target is not told from who nearly did.",
        ),
    ),
    FigureKind(
        "suite_curves",
        ("suite",),
        lambda run: suite_curves(_suite(run)),
        FigureText(
            "Training on each task",
            "The median over runs of the moving average (0.9) of the training loss, each run with "
            "the trial that was best on the other runs. Thick warm lines are optimizers that were "
            "given, as they are and tuned; thin cool ones are baselines. The dotted line is the "
            "target of AlgoPerf's score. What rises far above its start leaves through the top. "
            + _LINES,
            "Generalization: these are losses of training batches. And the spread over runs, for "
            "which the table of final losses has intervals.",
        ),
    ),
)
