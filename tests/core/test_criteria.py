import math

import numpy as np
import pytest

from optoscope._core.criteria import above, below, expected_false_holds, within_factor
from optoscope._core.errors import InvalidValueError
from optoscope._core.estimates import Estimate
from optoscope._core.inference import every, geometric_mean, mean


@pytest.mark.parametrize(
    ("criterion", "low", "high", "verdict"),
    [
        (above(1.0), 1.1, 1.2, "holds"),
        (above(1.0), 1.0, 1.2, "inconclusive"),
        (above(1.0), 0.2, 0.9, "does not hold"),
        (below(1.0), 0.2, 0.9, "holds"),
        (below(1.0), 1.1, 1.2, "does not hold"),
        (within_factor(2.0), 0.6, 1.9, "holds"),
        (within_factor(2.0), 0.4, 1.9, "inconclusive"),
        (within_factor(2.0), 0.1, 0.4, "does not hold"),
        (within_factor(2.0), 2.1, 3.0, "does not hold"),
        (above(0.0), math.nan, math.nan, "inconclusive"),
        (above(0.0), 1.0, 1.0, "inconclusive"),
        (above(0.0), 1.0, math.inf, "inconclusive"),
    ],
)
def test_verdicts_need_the_whole_interval(criterion, low, high, verdict):
    assert criterion.verdict(Estimate((low + high) / 2, low, high, 5, "")) == verdict


@pytest.mark.parametrize(
    ("values", "verdict"),
    [([1, 2], "holds"), ([-1, 2], "inconclusive"), ([-1, -2], "does not hold"),
     ([1, math.nan], "inconclusive"), ([], "inconclusive")],
)  # fmt: skip
def test_chosen_units_are_judged_every_one(values, verdict):
    values = np.array(values, float)
    assert above(0.0).verdict_of_every(values) == verdict
    assert not every(values).has_ends


def test_a_factor_counts_both_ways():
    found = geometric_mean(np.array([0.9, 1.0, 1.0 / 0.9]))
    assert within_factor(2.0).verdict(found) == "holds"
    far = geometric_mean(np.array([4.0, 4.1, 4.2]))
    assert within_factor(2.0).verdict(far) == "does not hold"
    # Off by a factor of ten in both directions is not near on average.
    assert within_factor(2.0).verdict(geometric_mean(np.array([0.1, 10.0]))) == "inconclusive"
    with pytest.raises(InvalidValueError, match="above 1"):
        within_factor(1.0)


def test_at_most_a_fortieth_of_false_claims_holds_by_chance():
    generator = np.random.default_rng(4)
    found = [above(0.0).verdict(mean(generator.normal(size=5), signed=True)) for _ in range(4000)]
    assert found.count("holds") < 1.2 * expected_false_holds(4000)
