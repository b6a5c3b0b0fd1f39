"""Verdicts: the criterion that an estimate is compared with, judged by its interval."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from optoscope._core.errors import InvalidValueError
from optoscope._core.estimates import COVERAGE, Estimate

Verdict = Literal["holds", "does not hold", "inconclusive"]
Relation = Literal["above", "below", "within a factor of"]


@dataclass(frozen=True)
class Criterion:
    """The condition that an estimate is compared with.

    Args:
        relation: "above", "below", or "within a factor of" for ratios: between 1 / bound and bound.
        bound: the number.

    Example:
        >>> from optoscope._core.inference import proportion
        >>> Criterion("above", 0.5).verdict(proportion(np.array([True] * 10)))
        'holds'
        >>> Criterion("below", 0.1).verdict(proportion(np.array([False] * 10)))
        'inconclusive'
    """

    relation: Relation
    bound: float

    @property
    def range(self) -> tuple[float, float]:
        """The open range that the quantity is to lie in."""
        if self.relation == "above":
            return self.bound, math.inf
        return (-math.inf if self.relation == "below" else 1 / self.bound), self.bound

    def __str__(self) -> str:
        return f"{self.relation} {self.bound:g}"

    def met(self, values: Float[np.ndarray, " units"]) -> Bool[np.ndarray, " units"]:
        """Which of the values are in the range."""
        low, high = self.range
        return (values > low) & (values < high)

    def verdict(self, estimate: Estimate) -> Verdict:
        """Holds if the whole interval is in the range, does not hold if all of it is outside.

        Without an interval nothing is concluded.
        """
        if not estimate.has_ends:
            return "inconclusive"
        low, high = self.range
        if estimate.low > low and estimate.high < high:
            return "holds"
        outside = estimate.high < low or estimate.low > high
        return "does not hold" if outside else "inconclusive"

    def verdict_of_every(self, values: Float[np.ndarray, " units"]) -> Verdict:
        """For units that were chosen: holds if all meet it, does not hold if none does.

        Units that somebody chose (networks, momenta) stand for themselves and for no others, so
        that an interval over them would say nothing.
        """
        if len(values) == 0 or not np.isfinite(values).all():
            return "inconclusive"
        met = self.met(values)
        if met.all():
            return "holds"
        return "inconclusive" if met.any() else "does not hold"


def above(bound: float) -> Criterion:
    """The quantity is to lie above the bound."""
    return Criterion("above", bound)


def below(bound: float) -> Criterion:
    """The quantity is to lie below the bound."""
    return Criterion("below", bound)


def within_factor(factor: float) -> Criterion:
    """A ratio is to lie between 1 / factor and factor.

    Raises:
        InvalidValueError: a factor of 1 or less, which no ratio is within.
    """
    if not factor > 1:
        raise InvalidValueError(f"within a factor of {factor:g} is nothing; give one above 1.")
    return Criterion("within a factor of", factor)


def expected_false_holds(count: int) -> float:
    """How many of so many claims hold by chance, at most, if not one of them is true.

    A claim whose quantity lies just at its bound holds whenever the interval misses it on that
    side: in half of the 5% in which it misses.

    Example:
        >>> round(expected_false_holds(80), 3)
        2.0
    """
    return count * (1 - COVERAGE) / 2
