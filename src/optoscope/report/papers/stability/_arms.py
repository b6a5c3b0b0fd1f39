"""Figures 3 and appendix 1 to 4: meta-training of the arms, and runs far past its horizon."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from optoscope.report._statistics import smooth
from optoscope.report._style import MUTED, Look, Looks, label_ends, style, title
from optoscope.report.papers._figure import Arrays, Records
from optoscope.report.papers._marks import strengths
from optoscope.report.papers.stability._marks import (
    BEHIND,
    WIDTH,
    Runs,
    corner_notes,
    draw_runs,
    guessing,
    inner_steps,
    is_free_below,
    key_below,
    looks_of,
    loss_axis,
)

# A uniform guess costs ln C, and losses are clipped at 1.5 ln C.
_CLIPPED_AT = 1.5
_MOST_REPORTS = 400

# By arm: meta-training, and runs past its horizon.
_Parts = dict[str, tuple[Arrays, Arrays]]


def _by_task(records: Records) -> dict[str, _Parts]:
    """For each task both parts of every arm, in the order of the records."""
    found: dict[str, _Parts] = {}
    for name in records:
        kind, task, arm = name.split("-", 2)
        if kind == "training":
            found.setdefault(task, {})[arm] = (records[name], records[f"far-{task}-{arm}"])
    return found


def compared(records: Records) -> Figure:
    """Figure 3, appendix 2 to 4: one row per task, meta-training beside runs past the horizon."""
    tasks, words = _by_task(records), records.labels
    with style():
        figure = Figure(figsize=(WIDTH, 4.7 * len(tasks)), layout="constrained")
        grid = figure.subplots(len(tasks), 2, squeeze=False)
        for row, (task, parts) in zip(grid, tasks.items(), strict=True):
            looks = looks_of(parts, words)
            _meta_training(row[0], _of_kind(parts, 0), looks)
            title(row[0], f"Meta-training, {words[task]}", "held-out runs; mean ± one "
                  "standard error; faint: each meta-seed")  # fmt: skip
            _past_the_horizon(row[1], _of_kind(parts, 1), looks, words)
            title(row[1], f"Far past the horizon, {words[task]}", "median over runs; faint: "
                  "each run; ×: where a diverged run leaves")  # fmt: skip
        if records.left_out:
            missing = "; ".join(words[arm] for arm in records.left_out)
            figure.suptitle(f"not measured: {missing}", x=0.01, ha="left",
                            fontsize=10.5, color=MUTED)  # fmt: skip
    return figure


def _of_kind(parts: _Parts, kind: int) -> dict[str, Arrays]:
    return {arm: both[kind] for arm, both in parts.items()}


def _meta_training(axes: Axes, parts: Mapping[str, Arrays], looks: Looks) -> None:
    curves = [np.asarray(part["held_out"], float) for part in parts.values()]
    loss_axis(axes, curves, [float(np.nanmax(curve[:, 0], initial=0)) for curve in curves])
    longest = max(float(part["steps"][-1]) for part in parts.values())
    for (arm, part), values in zip(parts.items(), curves, strict=True):
        _mean_over_seeds(axes, part["steps"], values, looks[arm])
    _meta_steps(axes, longest)
    axes.set_ylabel("mean normalized loss over the horizon")
    guessing(axes, float(next(iter(parts.values()))["maximum"]) / _CLIPPED_AT)


def _mean_over_seeds(axes: Axes, steps: np.ndarray, values: np.ndarray, look: Look) -> None:
    marker = "o" if len(steps) < 4 else ""
    # A seed without a number leaves the mean without one: without it the arm would look better.
    mean = values.mean(axis=0)
    axes.plot(steps, mean, look.dashes, color=look.color, linewidth=look.width,
              marker=marker, markersize=5, zorder=look.order + (look.dashes != "-"))  # fmt: skip
    if len(values) > 1:
        error = values.std(axis=0, ddof=1) / len(values) ** 0.5
        axes.fill_between(steps, mean - error, mean + error, color=look.color, alpha=0.18,
                          linewidth=0, zorder=look.order - 2)  # fmt: skip
        for curve in values:
            axes.plot(steps, curve, color=look.color, alpha=0.3, linewidth=0.8,
                      zorder=look.order - 1)  # fmt: skip


def _meta_steps(axes: Axes, last: float) -> None:
    axes.set_xlim(0, last)
    axes.set_xlabel("meta-step")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5, steps=[1, 2, 5, 10]))


def _past_the_horizon(
    axes: Axes, parts: Mapping[str, Arrays], looks: Looks, words: Mapping[str, str]
) -> None:
    runs = {arm: Runs.of(part) for arm, part in parts.items()}
    last = _far_axes(axes, parts, runs)
    ends = {}
    for arm, found in runs.items():
        steps = parts[arm]["steps"]
        draw_runs(axes, steps, found, looks[arm])
        seen = np.flatnonzero(np.isfinite(found.middle))
        end = seen[-1] if seen.size else 0
        low, high = axes.get_ylim()
        height = found.middle[end] if seen.size else high
        ends[words[arm]] = (min(float(steps[end]) + 1, last), float(np.clip(height, low, high)))
    axes.set_ylabel("inner loss, smoothed")
    marks = {words[arm]: looks[arm] for arm in parts}
    label_ends(axes, ends, marks, {words[arm]: found.note for arm, found in runs.items()})


def _far_axes(axes: Axes, parts: Mapping[str, Arrays], runs: Mapping[str, Runs]) -> float:
    """Makes both axes logarithmic and marks the horizon and its multiples; gives the last step."""
    starts = np.concatenate([found.start.ravel() for found in runs.values()])
    loss_axis(axes, [found.losses for found in runs.values()], list(starts), always_log=True)
    last = max(float(part["steps"][-1]) + 1 for part in parts.values())
    inner_steps(axes, last)
    part, below = next(iter(parts.values())), is_free_below(axes, float(np.median(starts)))
    horizon = float(part["horizon"])
    axes.axvline(horizon, color=MUTED, linestyle="--", linewidth=1.2, zorder=2)
    _upright(axes, horizon, "horizon", below)
    for multiple in part["multiples"]:
        if multiple * horizon < 0.99 * last:
            axes.axvline(multiple * horizon, color=MUTED, linestyle=":", linewidth=1, zorder=2)
            _upright(axes, multiple * horizon, f"{multiple}×", below)
    return last


def _upright(axes: Axes, step: float, words: str, below: bool) -> None:
    """Words along an upright line, at its foot or its head."""
    axes.annotate(
        words, (step, 0.02 if below else 0.98), xycoords=("data", "axes fraction"),
        xytext=(-3, 0), textcoords="offset points", rotation=90, ha="right",
        va="bottom" if below else "top", color=MUTED, fontsize=9.5, zorder=6,
        bbox=BEHIND,
    )  # fmt: skip


def single_seeds(records: Records) -> Figure:
    """Appendix 1: one column per arm, two rows per task, one color per meta-seed."""
    tasks, words = _by_task(records), records.labels
    arms = tuple(next(iter(tasks.values())))
    seeds = max(
        len(training["held_out"]) for parts in tasks.values() for training, _ in parts.values()
    )
    colors = strengths(range(seeds))
    with style():
        figure = Figure(figsize=(WIDTH, 0.5 + 5.8 * len(tasks)), layout="constrained")
        grid = figure.subplots(2 * len(tasks), len(arms), squeeze=False, sharey="row")
        for axes, arm in zip(grid[0], arms, strict=True):
            axes.set_title(words[arm], fontsize=12)
        for above, below, task in zip(grid[::2], grid[1::2], tasks, strict=True):
            _seeds_of_training(list(above), _of_kind(tasks[task], 0), colors)
            _seeds_past_the_horizon(list(below), _of_kind(tasks[task], 1), colors)
            above[0].set_ylabel(f"{words[task]}: normalized loss")
            below[0].set_ylabel(f"{words[task]}: inner loss, smoothed")
        _key_of_seeds(figure, colors)
    return figure


def _seeds_of_training(
    row: Sequence[Axes], parts: Mapping[str, Arrays], colors: Sequence[str]
) -> None:
    curves = [np.asarray(part["held_out"], float) for part in parts.values()]
    loss_axis(row[0], curves, [float(np.nanmax(curve[:, 0], initial=0)) for curve in curves])
    for axes, part, values in zip(row, parts.values(), curves, strict=True):
        steps, reports = part["steps"], part["report_steps"]
        # As many as are legible, each a mean over what lies between.
        thin = max(1, len(reports) // _MOST_REPORTS)
        seen = smooth(part["meta_loss"], 2 * (thin // 2) + 1)[:, ::thin]
        for seed, (held_out, reported) in enumerate(zip(values, seen, strict=True)):
            axes.plot(reports[::thin], reported, color=colors[seed], alpha=0.3, linewidth=0.7)
            axes.plot(steps, held_out, color=colors[seed], linewidth=1.6, zorder=3)
            kept = steps == part["best_step"][seed]
            axes.plot(steps[kept], held_out[kept], "o", color=colors[seed], markersize=6,
                      markeredgecolor="white", zorder=4, clip_on=False)  # fmt: skip
        _meta_steps(axes, float(steps[-1]))
        guessing(axes, float(part["maximum"]) / _CLIPPED_AT)


def _seeds_past_the_horizon(
    row: Sequence[Axes], parts: Mapping[str, Arrays], colors: Sequence[str]
) -> None:
    runs = {arm: Runs.of(part) for arm, part in parts.items()}
    for axes, (arm, found) in zip(row, runs.items(), strict=True):
        # The row shares one axis, so that each panel's limits are those of all arms.
        _far_axes(axes, parts, runs)
        for seed in range(len(found.losses)):
            one = found.of_seed(seed)
            draw_runs(axes, parts[arm]["steps"], one, Look(colors[seed], "-", learned=False))
        if found.note:
            corner_notes(axes, {found.note: MUTED}, float(np.median(found.start)))


def _key_of_seeds(figure: Figure, colors: Sequence[str]) -> None:
    marks = [
        Line2D([], [], color=color, linewidth=2, label=f"meta-seed {seed}")
        for seed, color in enumerate(colors)
    ]
    for marker, words in (("o", "the one kept"), ("x", "a diverged run leaves")):
        marks.append(
            Line2D([], [], marker=marker, color=MUTED, linestyle="", markersize=7, label=words)
        )
    key_below(figure, marks)
