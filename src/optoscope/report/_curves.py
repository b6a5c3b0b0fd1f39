"""Losses against steps: the inner steps of training and the meta-steps of meta-training."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from optoscope.report._records import MetaTraining
from optoscope.report._statistics import Spread, smooth, spread
from optoscope.report._style import Look, Looks, label_ends, logarithmic, looks, style, title


def loss_curves(
    losses: Mapping[str, Float[np.ndarray, "runs steps"]],
    *,
    learned: Sequence[str] = (),
    look: Looks | None = None,
) -> Figure:
    """Training loss against the inner step: median over runs, with the quartiles as a band.

    The loss axis is logarithmic when the medians span more than a factor of ten, and long runs
    are smoothed; both are said on the axis. Values that are not finite count as infinitely bad.

    Args:
        losses: for each optimizer the loss of every run at every step.
        learned: names of the learned optimizers, which are emphasized.
        look: colors by name; chosen from the names when not given.

    Returns:
        The figure.

    """
    longest = max(curve.shape[1] for curve in losses.values())
    # About one part in 200: short runs stay as measured, long ones stay legible.
    window = 2 * (longest // 400) + 1
    spreads = {name: spread(smooth(curve, window)) for name, curve in losses.items()}
    with style():
        figure = Figure(figsize=(8.4, 4.9), layout="constrained")
        axes = figure.subplots()
        smoothed = f" (running mean of {window} steps)" if window > 1 else ""
        _draw_losses(axes, spreads, look or looks(losses, learned), allow_log=True, note=smoothed)
        title(axes, "Training loss", _runs_text(spreads))
    return figure


def early_losses(
    losses: Mapping[str, Float[np.ndarray, "runs steps"]],
    *,
    learned: Sequence[str] = (),
    look: Looks | None = None,
    steps: int = 100,
) -> Figure:
    """The first steps of training, on linear axes and unsmoothed.

    Args:
        losses: for each optimizer the loss of every run at every step.
        learned: names of the learned optimizers, which are emphasized.
        look: colors by name; chosen from the names when not given.
        steps: how many steps to show.

    Returns:
        The figure.

    """
    spreads = {name: spread(curve[:, :steps]) for name, curve in losses.items()}
    shown = max(s.middle.size for s in spreads.values())
    with style():
        figure = Figure(figsize=(8.4, 4.9), layout="constrained")
        axes = figure.subplots()
        _draw_losses(axes, spreads, look or looks(losses, learned), allow_log=False, note="")
        title(axes, f"The first {shown} steps", _runs_text(spreads))
    return figure


def _runs_text(spreads: Mapping[str, Spread]) -> str:
    counts = sorted({s.runs for s in spreads.values()})
    if counts == [1]:
        return "one run of each optimizer"
    runs = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return f"line: median of {runs} runs; band: middle half of the runs"


def _draw_losses(
    axes: Axes, spreads: Mapping[str, Spread], look: Looks, *, allow_log: bool, note: str
) -> None:
    low, high, is_log = _loss_limits(spreads, allow_log)
    if is_log:
        logarithmic(axes, "y", low, high)
    axes.set_ylim(low, high)
    longest = max(s.middle.size for s in spreads.values())
    axes.set_xlim(0, longest)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, steps=[1, 2, 2.5, 5, 10]))
    axes.set_xlabel("inner step")
    scale = ", logarithmic" if is_log else ""
    axes.set_ylabel(f"training loss{scale}{note}")
    ends, notes = {}, {}
    for name, curve in spreads.items():
        step = np.arange(1, curve.middle.size + 1)
        mark = look[name]
        if curve.runs > 1:
            # An infinite quartile is drawn up to the edge, not left out.
            upper = np.where(np.isinf(curve.high), 10 * abs(high), curve.high)
            axes.fill_between(
                step, curve.low, upper, color=mark.color, alpha=0.16, linewidth=0,
                zorder=mark.order - 2,
            )  # fmt: skip
        axes.plot(
            step, curve.middle, color=mark.color, linestyle=mark.dashes, linewidth=mark.width,
            zorder=mark.order,
        )  # fmt: skip
        finite = np.flatnonzero(np.isfinite(curve.middle))
        ends[name] = _end_of(step, curve.middle, low, high) if finite.size else (1.0, high)
        if finite.size and finite[-1] + 1 < step.size:
            # A line that merely stops could be read as a shorter run.
            axes.plot(*ends[name], "x", color=mark.color, markersize=9, markeredgewidth=2.2,
                      zorder=mark.order + 1)  # fmt: skip
        if curve.diverged:
            notes[name] = f"{curve.diverged} of {curve.runs} diverged"
    label_ends(axes, ends, look, notes)


def _end_of(step: np.ndarray, values: np.ndarray, low: float, high: float) -> tuple[float, float]:
    """The last point of a curve inside the axes, at which its label points."""
    seen = np.flatnonzero(np.isfinite(values) & (values <= high))
    last = seen[-1] if seen.size else 0
    # The last minibatch is noisy; the label may point at the middle of the last few.
    return float(step[last]), float(np.clip(np.nan_to_num(values[last], nan=high), low, high))


def _loss_limits(spreads: Mapping[str, Spread], allow_log: bool) -> tuple[float, float, bool]:
    middles = [s.middle[np.isfinite(s.middle)] for s in spreads.values()]
    starts = [m[0] for m in middles if m.size]
    if not starts:
        return 0.0, 1.0, False
    edges = [e[np.isfinite(e)] for s in spreads.values() for e in (s.low, s.middle, s.high)]
    everything = np.concatenate(edges)
    low, high = float(everything.min()), float(everything.max())
    middle = np.concatenate(middles)
    positive = everything[everything > 0]
    # A loss that is zero in float32 leaves through the bottom.
    is_log = bool(allow_log and low >= 0 and positive.size and middle.max() > 10 * middle.min())
    if is_log:
        low = float(positive.min())
    start = float(max(starts))
    fallen = start - min(low, 0.0)
    if fallen > 0:
        # What is far above an untrained network's loss has failed; how far must not flatten the
        # curves that did not. Its line leaves through the top. Losses that may be negative have
        # no zero to measure from, but the least loss that was reached.
        high = min(high, 10 * start if is_log else start + 0.6 * fallen)
    if is_log:
        return low / 1.15, high * 1.15, True
    margin = 0.04 * ((high - low) or abs(high) or 1.0)
    low = 0.0 if 0 <= low < 0.5 * high else low - margin
    return low, high + margin, False


def meta_training(metrics: MetaTraining) -> Figure:
    """Meta-loss against the meta-step, a smoothed line over the raw reports.

    Args:
        metrics: the columns of `metrics.jsonl`.

    Returns:
        The figure, with the evaluation loss where it was measured.

    """
    step, raw = metrics.step, metrics.meta_loss
    window = 2 * (step.size // 40) + 1
    evaluated = np.isfinite(metrics.evaluation_loss)
    color, evaluation_color = "#D55E00", "#0072B2"
    curve = smooth(raw, window)
    spreads = {
        name: spread(values[None])
        for name, values in (("raw", raw), ("evaluation", metrics.evaluation_loss[evaluated]))
        if values.size
    }
    low, high, is_log = _loss_limits(spreads, allow_log=True)
    with style():
        figure = Figure(figsize=(8.4, 4.6), layout="constrained")
        axes = figure.subplots()
        if is_log:
            logarithmic(axes, "y", low, high)
        axes.set_ylim(low, high)
        axes.plot(step, raw, color=color, alpha=0.3, linewidth=1.0)
        axes.plot(step, curve, color=color, linewidth=2.6, zorder=4)
        look = {"meta-loss": Look(color, "-", True)}
        seen = np.flatnonzero(np.isfinite(curve))
        ends = {"meta-loss": _end_of(step, curve, low, high) if seen.size else (0.0, high)}
        if evaluated.any():
            at, values = step[evaluated], metrics.evaluation_loss[evaluated]
            axes.plot(at, values, "o-", color=evaluation_color, linewidth=1.6, markersize=5.5,
                      markeredgecolor="white", markeredgewidth=0.7, zorder=5)  # fmt: skip
            look["evaluation"] = Look(evaluation_color, "-", False)
            ends["evaluation"] = _end_of(at, values, low, high)
        axes.set_xlim(0, float(step[-1]) * 1.01 + 1e-9)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, steps=[1, 2, 2.5, 5, 10]))
        label_ends(axes, ends, look, {})
        axes.set_xlabel("meta-step")
        axes.set_ylabel("meta-loss" + (", logarithmic" if is_log else ""))
        title(axes, "Meta-training", _meta_text(metrics, window))
    return figure


def _meta_text(metrics: MetaTraining, window: int) -> str:
    parts = ["thin: each report"]
    if window > 1:
        parts.append(f"thick: running mean of {window} reports")
    lost = int(np.sum(~np.isfinite(metrics.meta_loss)))
    if lost:
        parts.append(f"{lost} report{'s' if lost > 1 else ''} not finite")
    return "; ".join(parts + left_out(metrics))


def left_out(metrics: MetaTraining) -> list[str]:
    """The number of tasks and meta-steps that meta-training left out as not finite, in words."""
    counted = (
        (metrics.skipped, "meta-gradients skipped as not finite"),
        (metrics.non_finite_tasks, "problems left out of a meta-gradient as not finite"),
    )
    most = [(values[values > 0].max(initial=0), what) for values, what in counted]
    return [f"{count:.0f} {what}" for count, what in most if count]
