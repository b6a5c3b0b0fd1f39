"""Coordinates that are silent in some batches: which they are, and what is measured beside them."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float64

Measured = Literal[
    "every sample", "coordinates that are never silent", "samples that are not silent", "nothing"
]

# With fewer batches a coordinate's scale is too uncertain to divide by.
MINIMUM_BATCHES_TO_STANDARDIZE = 20
# With fewer samples beside the silent ones there is no tail to measure: 20 groups of 20.
_MINIMUM_SAMPLES = 400
# From this share of the coordinates on, those that are never silent speak for all.
_MINIMUM_SHARE = 0.1


@dataclass(frozen=True)
class Repetitions:
    """Which samples are repeated exactly within their coordinate.

    Noise with a density never repeats a value. What is repeated is an atom: most often the value
    of the batches in which the coordinate was silent (a dead pixel, a unit that was off), and
    with sign-like updates (Lion) every value. An atom has no tail.

    Args:
        repeated: samples whose value occurs at least twice in their coordinate.
        silent: samples that have the most frequent value of their coordinate, if it occurs at
            least twice. Silent batches have it after centering as well, which turns their zeros
            into one number, minus the mean.
    """

    repeated: Bool[np.ndarray, "batches coordinates"]
    silent: Bool[np.ndarray, "batches coordinates"]


def repetitions(samples: Float64[np.ndarray, "batches coordinates"]) -> Repetitions:
    """Finds the values that are repeated exactly within a coordinate; NumPy alone."""
    columns = np.ascontiguousarray(samples.T)
    ordered = np.sort(columns, axis=1)
    tied = (ordered[:, 1:] == ordered[:, :-1]).any(axis=1)
    repeated, silent = np.zeros(columns.shape, bool), np.zeros(columns.shape, bool)
    for index in np.flatnonzero(tied):
        _, which, counts = np.unique(columns[index], return_inverse=True, return_counts=True)
        repeated[index] = counts[which] > 1
        silent[index] = which == counts.argmax()
    return Repetitions(repeated.T, silent.T)


def selected(found: Repetitions, standardize: bool) -> tuple[np.ndarray, Measured]:
    """The samples that the corrected protocol measures, and what they are in words.

    Those of the coordinates that are never silent, where there are enough of them. Else the
    samples that are not silent, without coordinates that repeat all their values or are silent in
    all batches but one, which have no tail, and without those that have too few samples to know
    their scale, where that is divided by. None, where that leaves next to nothing: noise of a few
    values (one-hot vectors, the two values of Lion's updates) is bounded, and has no tail.
    """
    heard = ~found.silent
    never = heard.all(axis=0)
    if never.all():
        return heard, "every sample"
    kept = heard & never
    if kept.sum() >= _MINIMUM_SAMPLES and never.mean() >= _MINIMUM_SHARE:
        return kept, "coordinates that are never silent"
    tailed = (~found.repeated).any(axis=0) & (heard.sum(axis=0) > 1)
    if standardize:
        tailed &= heard.sum(axis=0) >= MINIMUM_BATCHES_TO_STANDARDIZE
    kept = heard & (tailed | never)
    if kept.sum() >= _MINIMUM_SAMPLES:
        return kept, "samples that are not silent"
    return np.zeros_like(kept), "nothing"


def recentered(values: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Coordinates of which samples were left out, less the mean of what was kept of them."""
    some = ~kept.all(axis=0) & kept.any(axis=0)
    mean = np.where(kept, values, 0.0).sum(axis=0) / np.maximum(kept.sum(axis=0), 1)
    return values - np.where(some, mean, 0.0)
