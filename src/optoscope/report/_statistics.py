"""The few statistics that the figures need, on plain arrays."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True, eq=False)
class Spread:
    """The middle of several runs at every step: median and quartiles.

    Args:
        middle: the median over runs; NaN where half of the runs or more are not finite.
        low: the lower quartile; NaN where the middle is.
        high: the upper quartile; infinite where a quarter of the runs or more are not finite.
        runs: the number of runs.
        diverged: the number of runs with a value that is not finite.

    """

    middle: Float[np.ndarray, " steps"]
    low: Float[np.ndarray, " steps"]
    high: Float[np.ndarray, " steps"]
    runs: int
    diverged: int


def spread(losses: Float[np.ndarray, "runs steps"]) -> Spread:
    """Median and quartiles over runs, a value that is not finite counting as infinitely bad.

    Dropping diverged runs would make an unstable optimizer look better than it is.

    >>> spread(np.array([[1.0], [2.0], [np.nan]])).middle
    array([2.])
    """
    losses = np.asarray(losses, dtype=float)
    finite = np.isfinite(losses)
    worst = np.where(finite, losses, np.inf)
    ranked = np.sort(worst, axis=0)
    low, middle, high = (_quantile(ranked, share) for share in (0.25, 0.5, 0.75))
    known = np.isfinite(middle)
    return Spread(
        middle=np.where(known, middle, np.nan),
        low=np.where(known, low, np.nan),
        high=np.where(known, high, np.nan),
        runs=losses.shape[0],
        diverged=int(np.sum(~finite.all(axis=1))),
    )


def _quantile(ranked: np.ndarray, share: float) -> np.ndarray:
    """Linear interpolation along the first axis; unlike NumPy's, right beside infinities."""
    position = share * (ranked.shape[0] - 1)
    below = int(position)
    weight = position - below
    if weight == 0:
        return ranked[below]
    return (1 - weight) * ranked[below] + weight * ranked[below + 1]


def smooth(
    values: Float[np.ndarray, "*rows steps"], window: int
) -> Float[np.ndarray, "*rows steps"]:
    """A centered running mean along the last axis.

    At the ends the window is cut, not padded. Values that are not finite are left out of their
    neighbors' means and stay NaN themselves, so a smoothed curve has the gaps of the raw one.

    Args:
        values: the curves.
        window: an odd number of steps; 1 changes nothing.

    >>> smooth(np.array([0.0, 3.0, 6.0, 3.0]), 3)
    array([1.5, 3. , 4. , 4.5])

    """
    values = np.asarray(values, dtype=float)
    finite = np.isfinite(values)
    begin = np.arange(values.shape[-1])
    end = begin + window - 1

    def window_sum(terms: np.ndarray) -> np.ndarray:
        # A window is the end of one block and the beginning of the next. Differences of sums over
        # the whole curve would lose what is small beside its start.
        around = (window // 2, window // 2 + -(terms.shape[-1] - 1) % window)
        terms = np.pad(terms, [(0, 0)] * (terms.ndim - 1) + [around])
        blocks = terms.reshape(*terms.shape[:-1], -1, window)
        beginnings = np.cumsum(blocks, axis=-1).reshape(terms.shape)
        endings = np.cumsum(blocks[..., ::-1], axis=-1)[..., ::-1].reshape(terms.shape)
        return beginnings[..., end] + np.where(begin % window, endings[..., begin], 0.0)

    total = window_sum(np.where(finite, values, 0.0))
    count = window_sum(finite.astype(float))
    return np.where(finite, total / np.maximum(count, 1.0), np.nan)


@dataclass(frozen=True, eq=False)
class Envelope:
    """The best score at each value of one hyper-parameter, ascending in it."""

    value: Float[np.ndarray, " points"]
    score: Float[np.ndarray, " points"]


def lower_envelope(
    values: Float[np.ndarray, " configurations"],
    scores: Float[np.ndarray, " configurations"],
    *,
    max_points: int = 25,
) -> Envelope:
    """The lowest score at each positive value, minimized over all other hyper-parameters.

    With more than `max_points` different values (a random search) neighbors on a logarithmic
    scale are put together and the best of each group stands for it.

    >>> lower_envelope(np.array([1.0, 1.0, 10.0]), np.array([3.0, 2.0, np.inf])).score
    array([2.])
    """
    values, scores = np.asarray(values, dtype=float), np.asarray(scores, dtype=float)
    usable = np.isfinite(scores) & (values > 0) & np.isfinite(values)
    values, scores = values[usable], scores[usable]
    if not values.size:
        return Envelope(values, scores)
    # A grid saved in float32 can hold one rate with two last digits.
    groups = np.round(np.log(values), 5)
    if np.unique(groups).size > max_points:
        width = (groups.max() - groups.min()) / max_points
        groups = np.minimum((groups - groups.min()) // width, max_points - 1)
    best = [
        members[np.argmin(scores[members])]
        for members in (np.flatnonzero(groups == group) for group in np.unique(groups))
    ]
    return Envelope(values[best], scores[best])
