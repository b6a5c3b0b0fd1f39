import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from optoscope._core.criteria import above, below
from optoscope._core.errors import InvalidValueError
from optoscope._core.estimates import Estimate, not_negative
from optoscope._core.inference import (
    every,
    geometric_mean,
    interquartile_mean,
    mean,
    mean_correlation,
    mean_share,
    middle_mean,
    proportion,
)
from optoscope._core.pairs import _paired, difference, ratio, relative_decrease, share

SAMPLES = 4000
# For each quantity how it is drawn, its mean, and whether it can have either sign.
DATA = {
    "normal": (lambda g, shape: g.normal(size=shape), 0.0, True),
    "shifted normal": (lambda g, shape: g.normal(3.0, 1.0, shape), 3.0, False),
    "uniform": (lambda g, shape: g.uniform(size=shape), 0.5, False),
    "uniform around zero": (lambda g, shape: g.uniform(-1, 1, shape), 0.0, True),
    "log-normal": (lambda g, shape: g.lognormal(size=shape), math.exp(0.5), False),
    "negative log-normal": (lambda g, shape: -g.lognormal(size=shape), -math.exp(0.5), False),
}
SHARES = {
    "near one": (lambda g, shape: g.beta(9, 0.5, shape), 9 / 9.5),
    "half zeros": (
        lambda g, shape: np.where(g.random(shape) < 0.5, 0, g.beta(1, 5, shape)),
        0.5 / 6,
    ),
}


def coverage(count, name):
    draw, truth, signed = DATA[name]
    samples = draw(np.random.default_rng(count), (SAMPLES, count))
    found = [mean(sample, signed=signed) for sample in samples]
    return np.mean([one.low <= truth <= one.high for one in found])


def test_a_share_is_the_ratio_of_means_whatever_the_signs_of_pairs():
    generator = np.random.default_rng(0)
    whole = 1 + generator.normal(size=40)
    part = 0.5 * whole + 0.1 * generator.normal(size=40)
    found = share(part, whole)
    assert found.value == pytest.approx(part.mean() / whole.mean())
    assert found.low < 0.5 < found.high < 0.65
    positive = np.abs(whole) + 1
    mine, known = share(positive, whole + 9), ratio(positive, whole + 9)
    assert (mine.low, mine.high) == pytest.approx((known.low, known.high))
    assert not share(part, whole - whole.mean()).has_ends
    # A share of a loss is no share, however sure both are.
    assert share(-positive, -positive - 9).method.endswith("the whole is negative")
    assert not share(-positive, -positive - 9).has_ends


@pytest.mark.parametrize("name", DATA)
@pytest.mark.parametrize("count", [2, 3, 5, 10, 20])
def test_the_interval_of_a_mean_covers_as_often_as_is_promised(count, name):
    assert coverage(count, name) >= 0.93


@pytest.mark.parametrize("name", SHARES)
@pytest.mark.parametrize("count", [3, 5, 10])
def test_the_interval_of_a_mean_share_covers_as_often_as_is_promised(count, name):
    draw, truth = SHARES[name]
    found = map(mean_share, draw(np.random.default_rng(count), (SAMPLES, count)))
    known = [one for one in found if one.has_ends]
    assert np.mean([one.low <= truth <= one.high for one in known]) >= 0.93
    assert all(0 < one.low < one.value < one.high <= 1 for one in known)


def test_cut_off_at_its_bounds_students_interval_is_too_narrow_for_shares():
    draw, truth = SHARES["near one"]
    samples = draw(np.random.default_rng(3), (SAMPLES, 3))
    ends = stats.t.interval(0.97, 2, samples.mean(1), stats.sem(samples, axis=1))
    assert np.mean((ends[0] <= truth) & (truth <= np.minimum(ends[1], 1))) < 0.92


def test_a_mean_correlation_is_a_mean_share_from_minus_one_to_one():
    values = np.array([-0.9, 0.5, 0.1])
    found, share = mean_correlation(values), mean_share((1 + values) / 2)
    ends = (found.value, found.low, found.high)
    np.testing.assert_allclose(ends, 2 * np.array([share.value, share.low, share.high]) - 1)
    assert found.method == "mean correlation, Student's t of the logit"
    assert mean_correlation(np.array([0.5, 1.5])).method.startswith("not a correlation")


def test_a_mean_share_by_hand():
    found = mean_share(np.array([0.7, 0.8, 0.9]))
    half = stats.t.ppf(0.985, 2) * 0.1 / math.sqrt(3) / (0.8 * 0.2)
    ends = [1 / (1 + math.exp(-(math.log(4) + one))) for one in (-half, half)]
    assert (found.value, found.low, found.high) == pytest.approx((0.8, *ends))
    # What is a share of something is the rest's share of it.
    rest = mean_share(np.array([0.3, 0.2, 0.1]))
    assert (rest.low, rest.high) == pytest.approx((1 - found.high, 1 - found.low))
    for bad in ([0.5, -1e-9], [0.5, 1.5]):
        assert mean_share(np.array(bad)).method.startswith("not a share")


def test_the_coverage_test_has_power():
    """Student's interval at 95%, which is too narrow for skewed data, fails the same test."""
    samples = np.random.default_rng(3).lognormal(size=(SAMPLES, 3))
    ends = stats.t.interval(0.95, 2, samples.mean(1), stats.sem(samples, axis=1))
    assert np.mean((ends[0] <= math.exp(0.5)) & (math.exp(0.5) <= ends[1])) < 0.87


def test_students_part_by_hand():
    found = mean(np.array([-1.0, 0.0, 1.0, 2.0]))
    half = stats.t.ppf(0.985, 3) * np.std([-1, 0, 1, 2], ddof=1) / 2
    assert (found.value, found.count) == (0.5, 4)
    assert (found.low, found.high) == pytest.approx((0.5 - half, 0.5 + half))
    assert found.method == "mean, Student's t"


def test_the_log_normal_part_by_hand():
    found = mean(np.exp([0.0, 1.0, 2.0]))
    # The logarithms have mean 1 and variance 1.
    half = stats.t.ppf(0.985, 2) * math.sqrt(1 / 3 + 1 / 4)
    assert found.high == pytest.approx(math.exp(1.5 + half))
    assert found.low == pytest.approx(math.exp(1.5 - half))
    assert mean(-np.exp([0.0, 1.0, 2.0])).low == pytest.approx(-found.high)


def test_what_has_one_sign_has_an_interval_on_that_side_of_zero():
    values = np.array([0.0, 1.0, 5.0])
    found, half = mean(values), stats.t.ppf(0.985, 2) * stats.sem(values)
    assert half > found.value == 2
    assert (found.low, found.high) == pytest.approx((2 * math.exp(-half / 2), 2 + half))
    assert (mean(-values).low, mean(-values).high) == (-found.high, -found.low)
    assert mean(values, signed=True).low == pytest.approx(2 - half)
    assert 0 < mean(values + 0.1).low < 0.1


def test_a_number_that_is_not_negative_has_an_interval_above_zero():
    found = not_negative(Estimate(0.5, -0.25, 1.25, 3, ""), 1.0)
    assert (found.low, found.high) == (pytest.approx(0.5 * math.exp(-1.5)), 1.0)
    assert not_negative(Estimate(0.0, -1.0, 1.0, 3, "")).low == 0.0
    single = Estimate(0.5, math.nan, math.nan, 1, "")
    assert not_negative(single) is single


def test_where_values_differ_little_both_parts_are_students():
    found = mean(np.array([1.0, 1.001, 0.999]))
    half = stats.t.ppf(0.985, 2) * 0.001 / math.sqrt(3)
    assert (found.low, found.high) == pytest.approx((1 - half, 1 + half), rel=1e-5)


ESTIMATES = [mean, geometric_mean, mean_share, lambda v: ratio(2 * v, v)]


@pytest.mark.parametrize("estimate", ESTIMATES)
@pytest.mark.parametrize("values", [[0.25], [0.25] * 7, [0.25, 0.25 + 2e-8]])
def test_equal_values_and_single_ones_have_no_interval(values, estimate):
    found = estimate(np.array(values))
    assert found.count == len(values)
    assert found.known
    assert not found.has_ends
    assert "no interval" in found.method
    assert above(0.0).verdict(found) == "inconclusive"


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_repetition_that_is_not_finite_is_not_averaged_away(bad):
    fine = np.array([1.0, 2.0])
    broken = np.array([1.0, bad])
    found = [mean(broken), mean_share(broken), every(broken)]
    found += [difference(broken, fine), difference(fine, broken)]
    found += [ratio(broken, fine), ratio(fine, broken), relative_decrease(fine, broken)]
    for one in found:
        assert not one.known
        assert not one.has_ends
        assert one.as_json() | {"method": ""} == {
            "value": None, "low": None, "high": None, "count": 2, "method": "",
        }  # fmt: skip
        json.dumps(one.as_json(), allow_nan=False)
        assert "finite" in one.method or "no ratio" in one.method


@pytest.mark.parametrize("estimate", [mean, geometric_mean, mean_share, every])
def test_nothing_measured(estimate):
    found = estimate(np.zeros(0))
    assert (found.count, found.known, found.method) == (0, False, "nothing was measured")
    assert proportion(np.zeros(0, bool)).method == found.method


@pytest.mark.parametrize(("happened", "count"), [(0, 10), (3, 7), (5, 5), (0, 1)])
def test_a_proportion_is_the_exact_binomial_one(happened, count):
    found = proportion(np.arange(count) < happened)
    # The definition: each end is where what was seen, or more of it, has a chance of 2.5%.
    assert found.value == pytest.approx(happened / count)
    if happened:
        assert stats.binom.sf(happened - 1, count, found.low) == pytest.approx(0.025)
    if happened < count:
        assert stats.binom.cdf(happened, count, found.high) == pytest.approx(0.025)
    assert found.method == f"{happened} of {count}, exact binomial"


@pytest.mark.parametrize("groups", [2, 3, 5, 10])
@pytest.mark.parametrize("alike", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("share", [0.03, 0.1, 0.3, 0.5, 0.8])
def test_the_interval_of_a_share_of_groups_covers_as_often_as_is_promised(groups, alike, share):
    generator, members = np.random.default_rng(groups), 10
    shape = (2000, groups, 1)
    if alike == 0.0:
        own = np.full(shape, share)
    elif alike == 1.0:
        own = (generator.random(shape) < share).astype(float)
    else:
        # Beta-binomial: the correlation of two members of a group is 1 / (1 + a + b).
        total = 1 / alike - 1
        own = generator.beta(share * total, (1 - share) * total, shape)
    samples = generator.random((2000, groups, members)) < own
    found = [proportion(sample) for sample in samples]
    assert np.mean([e.low <= share <= e.high for e in found]) >= 0.95
    assert all(e.low <= e.value <= e.high for e in found)


def test_runs_of_a_few_optimizers_are_no_independent_repetitions():
    """Taken for independent, runs that are all alike within their group are covered far less."""
    own = np.random.default_rng(0).random((2000, 5, 1)) < 0.3
    samples = np.broadcast_to(own, (2000, 5, 10))
    pooled = [proportion(sample.ravel()) for sample in samples]
    assert np.mean([e.low <= 0.3 <= e.high for e in pooled]) < 0.7
    none = proportion(np.zeros((5, 10), bool))
    assert (none.value, none.count) == (0.0, 50)
    assert none.high == pytest.approx(1 - 0.025**0.2)
    assert none.method == "0 of 50, exact binomial of 5 groups"
    # One run per group is no group.
    one = proportion(np.array([[True], [False], [False]]))
    alone = proportion(np.array([True, False, False]))
    assert (one.low, one.high) == (alone.low, alone.high)


def test_a_quantity_of_either_sign_has_students_interval_alone():
    decades = np.array([-0.05, -2.0])
    half = stats.t.ppf(0.985, 1) * np.std(decades, ddof=1) / math.sqrt(2)
    found = mean(decades, signed=True)
    assert (found.low, found.high) == pytest.approx((found.value - half, found.value + half))
    assert found.method == "mean, Student's t"
    assert mean(decades).low < -1e45
    positive = np.array([0.05, 2.0])
    assert difference(positive, np.zeros(2)) == mean(positive, signed=True)


def test_none_of_ten_is_not_never():
    """The case that was published as "less than 10% diverge: holds, 0.1 [0.1, 0.1]"."""
    by_run, by_seed = proportion(np.zeros(10, bool)), proportion(np.zeros(5, bool))
    assert (by_run.high, by_seed.high) == pytest.approx((0.3085, 0.5218), abs=1e-4)
    assert below(0.1).verdict(by_run) == below(0.1).verdict(by_seed) == "inconclusive"
    assert below(0.1).verdict(proportion(np.zeros(40, bool))) == "holds"
    assert below(0.1).verdict(proportion(np.ones(10, bool))) == "does not hold"


def test_negative_numbers_have_differences_and_no_ratios():
    learned = np.array([-5.3, -5.4, -5.35])
    baseline = np.array([-2.1, -2.12, -2.11])
    found = difference(learned, baseline)
    assert found.value == pytest.approx(-3.24)
    assert found.high < -3
    for estimate in (ratio, relative_decrease):
        refused = estimate(learned, baseline)
        assert not refused.known
        assert refused.method == "no ratio: a value is negative"
    assert ratio(np.ones(2), np.array([0.0, 1.0])).method == (
        "no ratio: a reference is zero or negative"
    )
    assert ratio(np.array([0.0, 1.0]), np.ones(2)).value == 0.5
    assert "not a ratio" in geometric_mean(np.array([1.0, 0.0])).method


def test_the_relative_decrease_is_of_the_means_and_paired():
    assert relative_decrease(np.array([1.0, 5.0]), np.array([4.0, 4.0])).value == 0.25
    generator = np.random.default_rng(0)
    reference = generator.uniform(5, 20, 30)
    near = 0.7 * reference * generator.uniform(0.99, 1.01, 30)
    found = relative_decrease(near, reference)
    assert 0.29 < found.low < 0.3 < found.high < 0.31
    # Power: with the pairs torn apart there is a wide interval.
    torn = relative_decrease(generator.permutation(near), reference)
    assert torn.high - torn.low > 0.1


@pytest.mark.parametrize("count", [5, 20])
def test_fiellers_interval_is_the_ratios_that_are_not_rejected(count):
    generator = np.random.default_rng(1)
    reference = generator.normal(10, 2, count)
    values = 0.8 * reference + generator.normal(0, 1, count)
    found = ratio(values, reference)
    for end in (found.low, found.high):
        rest = values - end * reference
        assert abs(rest.mean()) / stats.sem(rest) == pytest.approx(stats.t.ppf(0.985, count - 1))


def test_the_interval_of_a_ratio_covers():
    generator = np.random.default_rng(2)
    covered = []
    for _ in range(2000):
        reference = generator.lognormal(1.0, 0.5, 6)
        values = 0.8 * reference * generator.lognormal(-0.02, 0.2, 6)
        found = ratio(values, reference)
        covered.append(found.low <= 0.8 <= found.high)
    assert np.mean(covered) >= 0.93


def test_a_geometric_mean_and_a_factor():
    found = geometric_mean(np.array([0.9, 1.0, 1.0 / 0.9]))
    assert found.value == pytest.approx(1.0)
    assert found.low == pytest.approx(1 / found.high)


def test_unequal_pairs_are_refused():
    with pytest.raises(InvalidValueError, match="2 values cannot be paired with 3"):
        _paired(np.ones(2), np.ones(3))


@given(st.lists(st.floats(-1e30, 1e30), max_size=12), st.lists(st.floats(-1e30, 1e30), max_size=12))
def test_no_numbers_give_an_interval_of_no_width_or_a_value_outside(first, second):
    count = min(len(first), len(second))
    one, two = np.array(first), np.array(second)
    found = [mean(one), geometric_mean(one), every(one), proportion(one > 0)]
    found += [mean_share(np.abs(np.sin(one)))]
    found += [difference(one[:count], two[:count]), ratio(one[:count], two[:count])]
    for estimate in found:
        json.dumps(estimate.as_json(), allow_nan=False)
        if math.isfinite(estimate.low) or math.isfinite(estimate.high):
            assert estimate.has_ends
            assert estimate.low <= estimate.value <= estimate.high


TASKS = np.array([0.2, 0.6, 0.8, 0.9, 1.0, 1.2, 1.5, 4.0])
UNITS = {
    "normal": lambda g, shape: TASKS + 0.1 * g.normal(size=shape) * np.linspace(0.3, 2, 8),
    "log-normal": lambda g, shape: TASKS * np.exp(0.1 * g.normal(size=shape)),
}


@pytest.mark.parametrize("name", UNITS)
@pytest.mark.parametrize("count", [2, 3, 5])
def test_the_interval_of_an_interquartile_mean_covers_as_often_as_is_promised(count, name):
    truth = middle_mean(UNITS[name](np.random.default_rng(0), (100_000, 8)))
    samples = UNITS[name](np.random.default_rng(count), (1500, count, 8))
    found = list(map(interquartile_mean, samples))
    assert np.mean([one.low <= truth <= one.high for one in found]) >= 0.93
    # Nor is it so wide that it could not fail.
    assert np.mean([one.high - one.low for one in found]) < {2: 2.0, 3: 0.5, 5: 0.25}[count]


def test_interquartile_mean_by_hand():
    found = interquartile_mean(np.array([[0.0, 1.0, 2.0, 9.0], [0.0, 2.0, 3.0, 9.0]]))
    # Of 0, 0, 1, 2, 2, 3, 9, 9 the middle four; without a run of 0, 2, 3, 9 or of 0, 1, 2, 9 the
    # middle two, so that θ − θ̄ is ±0.5.
    assert found.value == 2.0
    half = stats.t.ppf(0.985, 1) * math.sqrt(0.5 * (0.5**2 + 0.5**2))
    assert (found.low, found.high) == pytest.approx((2 - half, 2 + half))
    assert found.method == "interquartile mean, jackknife of runs"


def test_of_one_unit_nothing_is_left_out():
    values = np.array([1.0, 1.2, 1.1, 0.9, 3.0])
    assert interquartile_mean(values[:, None]) == mean(values, signed=True)
    # With an infinite value there is no mean, and the middle half is what can be known.
    assert interquartile_mean(np.append(values, [np.inf, 1.0, 1.0])[:, None]).known


@pytest.mark.parametrize("pair", [(ratio, "ratio"), (difference, "mean")])
def test_an_interval_that_was_chosen_among_several_is_wider(pair):
    estimate, words = pair
    values, reference = np.array([3.0, 4.0, 5.0, 4.5]), np.array([6.0, 6.4, 7.0, 6.5])
    alone, chosen = (estimate(values, reference, comparisons=k) for k in (1, 10))
    assert chosen.low < alone.low < alone.value == chosen.value < alone.high < chosen.high
    assert chosen.method.startswith(words)
    assert chosen.method.endswith("at the level of 10 comparisons")
    low, high = chosen.low, chosen.high
    for end in (low, high) if words == "ratio" else ():
        rest = values - end * reference
        quantile = stats.t.ppf(1 - 0.015 / 10, 3)
        assert abs(rest.mean()) / stats.sem(rest) == pytest.approx(quantile)


def test_interquartile_mean_without_an_interval():
    assert interquartile_mean(np.ones((1, 4))).method.endswith("of one repetition: no interval")
    assert interquartile_mean(np.ones((3, 4))).method.endswith("of equal values: no interval")
    assert interquartile_mean(np.ones((0, 4))).method == "nothing was measured"
    # An infinite value among the greatest quarter does no harm.
    assert interquartile_mean(np.array([[1.0, 1.0, 2.0, np.inf]] * 2)).value == 1.5
    assert not interquartile_mean(np.array([[1.0, 1.0, np.inf, np.inf]] * 2)).known
    assert not interquartile_mean(np.array([[1.0, 1.0, 1.0, np.nan]] * 2)).known
