"""Figures 14 and 15: the optimizer that recovers momentum, and its way there."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from optoscope.report._style import INK, MUTED, Look, style
from optoscope.report.papers._figure import Arrays, Records
from optoscope.report.papers._marks import color_bar, limits
from optoscope.report.papers.reverse_engineering._marks import (
    LEVEL,
    SINGLE,
    TIME,
    WIDTH,
    best_of,
    eigenvalues,
    landmark_legend,
    look,
    memory,
    star,
    timescale_axis,
)
from optoscope.report.papers.reverse_engineering._momentum import SHARES, shifted, states, variance
from optoscope.report.papers.reverse_engineering._performance import draw_losses

_CURVES = {
    "momentum": "momentum, tuned",
    "heavy-ball": "heavy ball, closed form",
    "learned": "learned",
    "linearized": "linearized",
    "two-modes": "its two first modes",
    "one-mode": "its first mode alone",
}
_LOOKS = {
    "momentum": Look("#009E73", "-", learned=False),
    "heavy-ball": Look("#5A5A5A", "-", learned=False),
    "learned": Look(SINGLE, "-", learned=True),
    "linearized": Look("#CC79A7", "--", learned=False),
    "two-modes": Look("#332288", "-.", learned=False),
    "one-mode": Look("#0072B2", ":", learned=False),
}
_OPTIMUM = "#A80030"
# Below this overlap the mode at the next checkpoint may be another one.
_GUESS = 0.5


def recovered(records: Records) -> Figure:
    """Figure 14: inside the optimizer that recovers momentum."""
    fixed, tuned = records["fixed-points-recovered"], records["tuned-recovered"]
    seed = best_of(fixed)
    with style():
        figure = Figure(figsize=(WIDTH, 8.4), layout="constrained")
        (where, spread, shift), (plane, modes, losses) = figure.subplots(2, 3)
        states(where, records["states-recovered"], fixed)
        variance(spread, fixed)
        spread.set_ylabel("variance of states over problems")
        shifted(shift, fixed, 0)
        shift.set_ylabel("update Δ")
        eigenvalues(plane, fixed["timescales"][seed], fixed["shares"][seed], SHARES)
        plane.set_ylabel("Im λ")
        _modes(modes, fixed, tuned)
        draw_losses(losses, records["performance-recovered"], _LOOKS, _CURVES, relative=True)
        losses.set_ylabel("loss / first loss")
        losses.legend(frameon=False, fontsize=9, loc="best", labelspacing=0.3)
        words = ("States", "Do they converge?", "Along the first mode", "Eigenvalues",
                 "As rates and timescales", "One mode alone")  # fmt: skip
        panels = (where, spread, shift, plane, modes, losses)
        for axes, letter, text in zip(panels, "abcdef", words, strict=True):
            axes.set_title(f"({letter}) {text}", fontsize=12)
        color_bar(figure, [plane, modes], SHARES, LEVEL, "the mode's share")
        landmark_legend(figure)
    return figure


def _modes(axes: Axes, fixed: Arrays, tuned: Arrays) -> None:
    seed = best_of(fixed)
    shares, rates = fixed["shares"][seed], fixed["learning_rates"][seed]
    _mode_places(axes, fixed["timescales"][seed], rates, shares)
    _settings(axes, tuned, tuned["optimum"])
    _rate_axis(axes, np.abs(rates), tuned)
    timescale_axis(axes, "x", fixed["timescales"][seed], *_reference_timescales(tuned))
    axes.set_xlabel("timescale |β|")
    axes.set_ylabel("learning rate |α|")
    axes.legend(frameon=False, fontsize=9, loc="lower right")


def _reference_timescales(tuned: Arrays) -> tuple[np.ndarray, ...]:
    return np.atleast_1d(tuned["momentum/best/momentum"]), np.atleast_1d(tuned["optimum"][1])


def _mode_places(axes: Axes, timescales: np.ndarray, rates: np.ndarray, shares: np.ndarray) -> None:
    """Marks the modes; a hollow mark is a negative rate, a mode that moves up the gradient."""
    sizes, downhill = np.maximum(np.abs(rates), 1e-300), np.real(rates) >= 0
    place = memory(timescales)
    for index in np.argsort(np.nan_to_num(shares)):
        share = float(np.nan_to_num(shares[index]))
        color = LEVEL(SHARES(share))
        axes.plot(
            place[index], sizes[index], "o", color=color if downhill[index] else "white",
            markeredgecolor=INK if downhill[index] else color, markersize=6 + 6 * share,
            markeredgewidth=0.8, zorder=4,
        )  # fmt: skip


def _settings(axes: Axes, tuned: Arrays, optimum: np.ndarray) -> None:
    best = [float(tuned[f"momentum/best/{key}"]) for key in ("momentum", "learning_rate")]
    star(axes, float(memory(np.array(best[0]))), best[1], look()["momentum"].color,
         "momentum, tuned")  # fmt: skip
    alpha, beta = (float(value) for value in optimum)
    star(axes, float(memory(np.array(beta))), alpha, _OPTIMUM, "heavy ball, closed form")


def _rate_axis(axes: Axes, sizes: np.ndarray, tuned: Arrays) -> None:
    """An axis over four decades below the largest rate; smaller rates have no visible effect."""
    largest = np.append(sizes[np.isfinite(sizes)], tuned["optimum"][0])
    largest = float(np.append(largest, tuned["momentum/best/learning_rate"]).max()) or 1.0
    axes.set_yscale("log")
    axes.set_ylim(largest * 1e-4, largest * 3)


def meta_training(records: Records) -> Figure:
    """Figure 15: how momentum appears in the course of meta-training."""
    part, tuned = records["meta-training-recovered"], records["tuned-recovered"]
    steps, seed = part["steps"], best_of(part)
    norm = Normalize(float(np.min(steps)), max(float(np.max(steps)), float(np.min(steps)) + 1))
    with style():
        figure = Figure(figsize=(WIDTH, 6.6), layout="constrained")
        left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=(1.15, 1))[0]
        axes = left.subplots()
        _tracks(axes, part, norm)
        _settings(axes, tuned, part["optimum"])
        _rate_axis(axes, np.abs(part["learning_rates"][seed]).ravel(), tuned)
        timescale_axis(axes, "x", part["timescales"][seed], *_reference_timescales(tuned))
        axes.set_xlabel("timescale |β|")
        axes.set_ylabel("learning rate |α|")
        axes.set_title("(a) Modes over meta-training", fontsize=12)
        axes.legend(frameon=False, fontsize=9.5, loc="lower right")
        color_bar(left, axes, norm, TIME, "meta-step")
        _top_mode(list(right.subplots(3, 1, sharex=True)), part)
    return figure


def _tracks(axes: Axes, part: Arrays, norm: Normalize) -> None:
    seed = best_of(part)
    places = memory(part["timescales"][seed])
    sizes = np.maximum(np.abs(part["learning_rates"][seed]), 1e-300)
    for mode in reversed(range(places.shape[1])):
        axes.plot(places[:, mode], sizes[:, mode], color="#CFCFCF", linewidth=0.8, zorder=1)
        axes.scatter(
            places[:, mode], sizes[:, mode], c=part["steps"], norm=norm, cmap=TIME,
            s=46 if mode == 0 else 14, edgecolors=INK if mode == 0 else "none", linewidths=0.5,
            zorder=4 if mode == 0 else 3,
        )  # fmt: skip


def _top_mode(column: list[Axes], part: Arrays) -> None:
    """The mode that dominates in the end; its rate, its timescale, and the held-out loss."""
    steps, seed = part["steps"], best_of(part)
    alpha, beta = (float(value) for value in part["optimum"])
    timescales = part["timescales"][..., 0]
    overlaps = part["overlaps"][seed, :, 0]
    panels = (
        (np.abs(part["learning_rates"][..., 0]), alpha, "learning rate |α|"),
        (memory(timescales), float(memory(np.array(beta))), "timescale |β|"),
        (part["objective"], None, "held-out loss"),
    )
    titles = ("Rate of the dominant mode", "Its timescale", "What it is trained on")
    for axes, (curves, level, words), letter, text in zip(
        column, panels, "bcd", titles, strict=True
    ):
        for index, values in enumerate(curves):
            if index != seed:
                axes.plot(steps, values, color="#C9C9C9", linewidth=1.0)
        axes.plot(steps, curves[seed], "o-", color=SINGLE, markersize=3.5, linewidth=1.8)
        if level is not None:
            axes.axhline(level, color=_OPTIMUM, linestyle="--", linewidth=1.4)
            for index in np.flatnonzero(overlaps < _GUESS):
                axes.axvline(steps[index + 1], color=MUTED, linestyle=":", linewidth=1)
        axes.set_ylim(*limits(curves[seed], np.array([np.nan if level is None else level]),
                              margin=0.1))  # fmt: skip
        axes.set_ylabel(words)
        axes.set_title(f"({letter}) {text}", fontsize=12)
    timescale_axis(column[1], "y", timescales[seed], np.array([beta]))
    column[-1].set_xlabel("meta-step")
