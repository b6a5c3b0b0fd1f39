"""How each baseline's score depends on its learning rate."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from optoscope.report._records import SearchRecord
from optoscope.report._statistics import Envelope, lower_envelope
from optoscope.report._style import Look, Looks, label_ends, logarithmic, looks, style, title

# Stars that are less than this apart, across and up, as shares of the axes, hide each other.
_STAR_SIZE = np.array([0.03, 0.05])


def search(
    records: Mapping[str, SearchRecord],
    *,
    learned: Sequence[str] = (),
    look: Looks | None = None,
) -> Figure:
    """Score against learning rate for every tuned optimizer, the best configuration marked.

    Args:
        records: every configuration tried and its score; those without a learning rate are
            left out.
        learned: names of the learned optimizers, which are emphasized.
        look: colors by name; chosen from the names when not given.

    Returns:
        The figure. The line is the lower envelope over all further hyper-parameters.

    """
    records = {n: r for n, r in records.items() if "learning_rate" in r.hyperparameters}
    look = look or looks(records, learned)
    rates = {name: r.hyperparameters["learning_rate"] for name, r in records.items()}
    low, high, is_log = _score_limits(records)
    with style():
        figure = Figure(figsize=(8.4, 4.9), layout="constrained")
        axes = figure.subplots()
        everything = np.concatenate([r[r > 0] for r in rates.values()] or [np.ones(1)])
        everything = everything if everything.size else np.ones(1)
        logarithmic(axes, "x", everything.min(), everything.max())
        axes.set_xlim(everything.min() / 1.5, everything.max() * 1.5)
        if is_log:
            logarithmic(axes, "y", low, high)
        axes.set_ylim(low, high)
        ends, notes = {}, {}
        for row, (name, record) in enumerate(records.items()):
            _draw_failures(axes, rates[name], record.score, look[name], row)
            ends[name], notes[name] = _draw_search(axes, rates[name], record.score, look[name])
        _draw_stars(axes, records, look)
        label_ends(axes, ends, look, notes)
        axes.set_xlabel("learning rate, logarithmic")
        axes.set_ylabel(f"score (lower is better{', logarithmic' if is_log else ''})")
        title(axes, "Tuning the baselines",
              "star: best; │: end of the grid; ×: a rate at which a configuration is worse than "
              "shown, or diverged")  # fmt: skip
    return figure


def _score_limits(records: Mapping[str, SearchRecord]) -> tuple[float, float, bool]:
    finite = [r.score[np.isfinite(r.score)] for r in records.values()]
    scores = np.concatenate([*finite, np.zeros(0)])
    if not scores.size:
        return 0.0, 1.0, False
    low, high = float(scores.min()), float(scores.max())
    is_log = low > 0 and high > 10 * low
    if is_log:
        # Beyond this factor a configuration has failed and only says so, at the top.
        high = min(high, 30 * low)
        # Room at the top for the crosses of those.
        return low / 1.2, high * (1.3 * (high / low) ** (0.03 * len(records))), True
    typical = float(np.median(scores))
    if low <= 0 and typical > low:
        # The same where there is no factor to speak of.
        high = min(high, low + 5 * (typical - low))
    margin = 0.08 * ((high - low) or abs(high) or 1.0)
    room = 0.4 * margin * len(records)
    return low - margin, high + margin + room, False


def _shown(axes: Axes, scores: np.ndarray) -> np.ndarray:
    return np.isfinite(scores) & (scores <= axes.get_ylim()[1])


def _draw_failures(axes: Axes, rates: np.ndarray, scores: np.ndarray, mark: Look, row: int) -> None:
    """Crosses above the axes, a row for each optimizer so that none hides another."""
    failed = np.unique(rates[~_shown(axes, scores)])
    height = 0.98 - 0.028 * row
    axes.plot(failed, np.full(failed.size, height), "x", color=mark.color, markersize=4.5,
              transform=axes.get_xaxis_transform())  # fmt: skip


def _envelope(axes: Axes, rates: np.ndarray, scores: np.ndarray) -> Envelope:
    return lower_envelope(rates, np.where(_shown(axes, scores), scores, np.inf))


def _draw_stars(axes: Axes, records: Mapping[str, SearchRecord], look: Looks) -> None:
    """A star for each optimizer; one that would cover another is an outline around it."""
    drawn: list[np.ndarray] = []
    to_axes = axes.transScale + axes.transLimits
    for name, record in records.items():
        envelope = _envelope(axes, record.hyperparameters["learning_rate"], record.score)
        if not envelope.value.size:
            continue
        best = int(np.argmin(envelope.score))
        x, y = float(envelope.value[best]), float(envelope.score[best])
        place = to_axes.transform((x, y))
        covered = sum(bool((abs(place - other) < _STAR_SIZE).all()) for other in drawn)
        drawn.append(place)
        mark = look[name]
        colors = {"markeredgecolor": "white", "markerfacecolor": mark.color, "markeredgewidth": 1.0}
        if covered:
            colors = {"markeredgecolor": mark.color, "markerfacecolor": "none",
                      "markeredgewidth": 1.8}  # fmt: skip
        axes.plot(x, y, "*", markersize=17 + 10 * covered, zorder=mark.order + 2, **colors)


def _at_edge(value: float, edges: tuple[float, float]) -> tuple[bool, bool]:
    """Whether a rate is the lowest or highest tried, within 4% of the range's logarithm.

    A random search has no configuration exactly on its bounds; in a grid of up to 25 rates no
    other rate is so close.
    """
    low, at, high = np.log([edges[0], value, edges[1]])
    near = 0.04 * (high - low) + 1e-6
    return bool(at - low <= near), bool(high - at <= near)


def _draw_search(
    axes: Axes, rates: np.ndarray, scores: np.ndarray, mark: Look
) -> tuple[tuple[float, float], str]:
    """Draws one optimizer's search; returns where its label points, and what the label adds."""
    shown = _shown(axes, scores)
    axes.plot(rates[shown], scores[shown], "o", color=mark.color, alpha=0.3, markersize=4,
              markeredgewidth=0)  # fmt: skip
    envelope = _envelope(axes, rates, scores)
    if not envelope.value.size:
        return (axes.get_xlim()[1], axes.get_ylim()[1]), "nothing finite"
    axes.plot(envelope.value, envelope.score, color=mark.color, linewidth=2.0,
              linestyle=mark.dashes, zorder=mark.order)  # fmt: skip
    edges = (float(rates[rates > 0].min()), float(rates.max()))
    for end in (0, -1):
        if _at_edge(envelope.value[end], edges)[end]:
            axes.plot(envelope.value[end], envelope.score[end], "|", color=mark.color,
                      markersize=17, markeredgewidth=2.4, zorder=mark.order)  # fmt: skip
    best = int(np.argmin(envelope.score))
    note = f"best at {envelope.value[best]:.3g}"
    if any(_at_edge(envelope.value[best], edges)):
        note += ", the edge"
    return (float(envelope.value[-1]), float(envelope.score[-1])), note
