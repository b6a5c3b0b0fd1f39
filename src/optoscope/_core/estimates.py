"""What an estimate from repetitions is, and what all of them have in common."""

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
from scipy import special

COVERAGE = 0.95
# Student's quantile is taken at 97%, so that the interval keeps its promise for data that are not
# normal: at 95% that of three values from a bounded range (uniform data) covers in 92.4% of cases.
_STUDENT_LEVEL = 0.97
# Training is float32: numbers that are closer than its rounding are the same number.
ROUNDING = 4 * float(np.finfo(np.float32).eps)


@dataclass(frozen=True)
class Estimate:
    """A number that was measured by repetition.

    Args:
        value: the number; NaN where there is none.
        low: lower end of its 95% interval; NaN where there is none.
        high: upper end.
        count: repetitions.
        method: how the interval was made, or why there is no value or no interval.
    """

    value: float
    low: float
    high: float
    count: int
    method: str

    @property
    def known(self) -> bool:
        """Whether there is a value."""
        return math.isfinite(self.value)

    @property
    def has_ends(self) -> bool:
        """Whether there is an interval. One without a width is none: nothing is that certain."""
        return math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high

    def as_json(self) -> dict[str, float | int | str | None]:
        """JSON-serializable; what is not finite becomes None."""
        numbers = {"value": self.value, "low": self.low, "high": self.high}
        finite = {name: x if math.isfinite(x) else None for name, x in numbers.items()}
        return {**finite, "count": self.count, "method": self.method}


def turned(estimate: Estimate) -> Estimate:
    """The estimate of the same number with the opposite sign.

    >>> turned(Estimate(1.0, 0.5, 2.0, 3, "")).low
    -2.0
    """
    return dataclasses.replace(
        estimate, value=-estimate.value, low=-estimate.high, high=-estimate.low
    )


def student(count: int, comparisons: int = 1) -> float:
    """Student's quantile for so many repetitions, at the level that all intervals are made at.

    Args:
        count: repetitions.
        comparisons: among how many the one at hand was chosen by the same repetitions; Bonferroni's
            correction divides the chance to miss by it.
    """
    return float(special.stdtrit(count - 1, 1 - (1 - _STUDENT_LEVEL) / (2 * comparisons)))


def for_comparisons(comparisons: int) -> str:
    """What a method says where its level is that of several comparisons."""
    return f", at the level of {comparisons} comparisons" if comparisons > 1 else ""


def without_interval(values: np.ndarray, value: float, what: str) -> Estimate | None:
    """The estimate where repetitions give no interval; None where they do.

    Args:
        values: of the repetitions.
        value: the estimate itself.
        what: it is, for the method.
    """
    count = len(values)
    if count == 0:
        return nothing(0, "nothing was measured")
    if not np.isfinite(values).all():
        return nothing(count, not_finite(values))
    if count == 1:
        return Estimate(value, math.nan, math.nan, 1, f"{what} of one repetition: no interval")
    if np.ptp(values) <= ROUNDING * np.abs(values).max():
        return Estimate(value, math.nan, math.nan, count, f"{what} of equal values: no interval")
    return None


def with_interval(value: float, low: float, high: float, count: int, method: str) -> Estimate:
    """The estimate, without its interval where float64 cannot hold that."""
    if math.isfinite(high - low) and low < value < high:
        return Estimate(value, low, high, count, method)
    return Estimate(value, math.nan, math.nan, count, f"{method}: no interval within float64")


def not_negative(estimate: Estimate, most: float = math.inf) -> Estimate:
    """The estimate of a number that lies between 0 and `most`, from a symmetric interval.

    Math: for m ± h the lower end is m·exp(−h/m), Student's of ln m by the delta method; the upper
    end is cut off at `most`.

    >>> found = not_negative(Estimate(0.5, -0.5, 1.5, 3, ""), 1.0)
    >>> round(found.low, 3), found.high
    (0.068, 1.0)
    """
    if not estimate.has_ends:
        return estimate
    value, low = estimate.value, max(estimate.low, 0.0)
    if value > 0:
        low = value * math.exp((estimate.low - value) / value)
    return dataclasses.replace(estimate, low=low, high=min(estimate.high, most))


def nothing(count: int, reason: str) -> Estimate:
    """The estimate without a value, for a reason."""
    return Estimate(math.nan, math.nan, math.nan, count, reason)


def not_finite(values: np.ndarray) -> str:
    """The reason where some repetitions gave no finite number."""
    return f"{int((~np.isfinite(values)).sum())} of {len(values)} repetitions are not finite"
