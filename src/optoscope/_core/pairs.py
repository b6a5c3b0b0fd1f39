"""Estimates from pairs of numbers: their difference, their ratio, a share."""

import math
from typing import Any

import numpy as np
from jaxtyping import Float

from optoscope._core.errors import InvalidValueError
from optoscope._core.estimates import (
    Estimate,
    for_comparisons,
    not_finite,
    nothing,
    student,
    with_interval,
    without_interval,
)
from optoscope._core.inference import mean


def difference(
    values: Float[np.ndarray, " pairs"],
    reference: Float[np.ndarray, " pairs"],
    *,
    comparisons: int = 1,
) -> Estimate:
    """The mean of `values` − `reference`, pair by pair; right for numbers of any sign.

    Args:
        values: a number for each pair.
        reference: the other number of the same pairs.
        comparisons: among how many these two were chosen by the same pairs.

    Example:
        >>> round(difference(np.array([-5.0, -5.7]), np.array([-2.0, -2.2])).value, 3)
        -3.25
    """
    values, reference = _paired(values, reference)
    with np.errstate(invalid="ignore"):
        return mean(values - reference, signed=True, comparisons=comparisons)


def ratio(
    values: Float[np.ndarray, " pairs"],
    reference: Float[np.ndarray, " pairs"],
    *,
    comparisons: int = 1,
) -> Estimate:
    """The mean of `values` over the mean of `reference`, pair by pair, if that says something.

    Losses that may be negative (the negative log-likelihood of a density, an energy) have no
    ratio: −5.35 is not "153% above" −2.11. Use `difference` there.

    Math: Fieller's interval: all ρ for which the mean of `values` − ρ·`reference` differs from 0 by
    less than t·s/√n, with Student's t(n − 1) at 97%.

    Args:
        values: a number for each pair; none may be negative.
        reference: the other number of the same pairs; all must be positive.
        comparisons: among how many these two were chosen by the same pairs; the chance to miss is
            divided by it (Bonferroni).

    Returns:
        The ratio, or an estimate without a value whose method says why there is none.

    Example:
        >>> ratio(np.array([3.0, 6.0]), np.array([4.0, 8.0])).value
        0.75
        >>> ratio(np.array([-5.35]), np.array([-2.11])).method
        'no ratio: a value is negative'
    """
    values, reference = _paired(values, reference)
    count = len(values)
    for numbers, sign in ((values, "negative"), (reference, "zero or negative")):
        if count and not np.isfinite(numbers).all():
            return nothing(count, not_finite(numbers))
        if (numbers < 0).any() or (numbers is reference and (numbers == 0).any()):
            which = "a value" if numbers is values else "a reference"
            return nothing(count, f"no ratio: {which} is {sign}")
    if count == 0:
        return nothing(0, "nothing was measured")
    value = float(values.mean() / reference.mean())
    # With the same ratio in every pair there is no spread to judge by.
    without = without_interval(values / reference, value, "ratio of means")
    if without is not None:
        return without
    ends = _fieller_ends(values, reference, comparisons=comparisons)
    if ends is None:
        method = "ratio of means: no interval, too few pairs for references that differ so much"
        return Estimate(value, math.nan, math.nan, count, method)
    method = f"ratio of means, Fieller with Student's t{for_comparisons(comparisons)}"
    return with_interval(value, *ends, count, method)


def share(part: Float[np.ndarray, " pairs"], whole: Float[np.ndarray, " pairs"]) -> Estimate:
    """The mean of `part` over the mean of `whole`, pair by pair, whatever the signs of pairs.

    What is kept of a gain, say: single gains may be negative, their mean must not be. More than
    the whole can be kept.

    Math: Fieller's interval, as for `ratio`. There is none where the mean of `whole` is not
    positive, or is not told from 0.

    Example:
        >>> round(share(np.array([1.0, 2.1, -0.5]), np.array([2.0, 4.0, -1.0])).value, 2)
        0.52
    """
    part, whole = _paired(part, whole)
    count = len(part)
    if count == 0:
        return nothing(0, "nothing was measured")
    if not (np.isfinite(part).all() and np.isfinite(whole).all()):
        return nothing(count, not_finite(np.concatenate([part, whole])))
    mean_of_whole = float(whole.mean())
    if mean_of_whole == 0:
        return nothing(count, "no share: there is nothing to have a share of")
    value = float(part.mean()) / mean_of_whole
    if mean_of_whole < 0:
        method = "ratio of means: no interval, the whole is negative"
        return Estimate(value, math.nan, math.nan, count, method)
    ends = _fieller_ends(part, whole, floor=-math.inf) if count > 1 else None
    if ends is None:
        method = "ratio of means: no interval, the whole is not told from 0"
        return Estimate(value, math.nan, math.nan, count, method)
    return with_interval(value, *ends, count, "ratio of means, Fieller with Student's t")


def relative_decrease(
    values: Float[np.ndarray, " pairs"],
    reference: Float[np.ndarray, " pairs"],
    *,
    comparisons: int = 1,
) -> Estimate:
    """The relative decrease of the mean of `values` from that of `reference`: 1 − `ratio`.

    Example:
        >>> relative_decrease(np.array([3.0, 6.0]), np.array([4.0, 8.0])).value
        0.25
    """
    found = ratio(values, reference, comparisons=comparisons)
    method = found.method.replace("ratio of means", "1 − ratio of means")
    return Estimate(1 - found.value, 1 - found.high, 1 - found.low, found.count, method)


def _fieller_ends(
    values: np.ndarray, reference: np.ndarray, floor: float = 0.0, comparisons: int = 1
) -> tuple[float, float] | None:
    count = len(values)
    scale = float(reference.mean())
    one, other = values / scale, reference / scale
    (s_one, s_both), (_, s_other) = np.cov(one, other) * student(count, comparisons) ** 2 / count
    a = other.mean() ** 2 - s_other
    b = one.mean() * other.mean() - s_both
    c = one.mean() ** 2 - s_one
    inside = b**2 - a * c
    if a <= 0 or inside <= 0:
        return None
    root = math.sqrt(inside)
    return float(max((b - root) / a, floor)), float((b + root) / a)


def _paired(values: Any, reference: Any) -> tuple[np.ndarray, np.ndarray]:
    values, reference = (np.asarray(x, np.float64).ravel() for x in (values, reference))
    if len(values) != len(reference):
        raise InvalidValueError(
            f"{len(values)} values cannot be paired with {len(reference)} references; give one "
            "number of each for every pair."
        )
    return values, reference
