import json
import math

import numpy as np
import pytest
from scipy import stats

from optoscope.bench import relative_improvement, summarize


def test_mean_and_interquartile_mean_by_hand():
    got = summarize(np.array([10.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 100.0]))
    assert got.mean == pytest.approx(131 / 8)
    assert got.interquartile_mean == pytest.approx((3 + 4 + 5 + 6) / 4)
    assert got.runs == 8
    assert got.low < got.mean < got.high


@pytest.mark.parametrize("values", [[2.5], [2.5] * 7])
def test_a_single_run_or_equal_runs_have_an_interval_of_no_width(values):
    got = summarize(np.array(values))
    assert (got.mean, got.low, got.high, got.interquartile_mean) == (2.5,) * 4
    assert got.runs == len(values)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_run_that_is_not_finite_is_not_averaged_away(bad):
    for got in (
        summarize(np.array([1.0, bad])),
        relative_improvement(np.array([1.0, bad]), np.array([1.0, 2.0])),
        relative_improvement(np.array([1.0, 2.0]), np.array([bad, 2.0])),
    ):
        assert math.isnan(got.mean)
        assert math.isnan(got.low)
        assert math.isnan(got.high)
        assert got.as_json() == {
            "mean": None,
            "low": None,
            "high": None,
            "runs": 2,
            "interquartile_mean": None,
        }
        json.dumps(got.as_json(), allow_nan=False)


def test_same_seed_same_interval():
    values = np.random.default_rng(0).normal(size=12)
    assert summarize(values) == summarize(values)
    assert summarize(values) != summarize(values, seed=1)


def normal_samples(number, size=20):
    return np.random.default_rng(3).normal(5.0, 2.0, (number, size))


def test_the_interval_has_the_width_of_the_bootstrap_distribution():
    """The bootstrap's standard error is known: s·sqrt((n − 1)/n)/sqrt(n)."""
    ratios = []
    for values in normal_samples(60):
        got = summarize(values)
        error = np.std(values) / np.sqrt(len(values))
        ratios.append((got.high - got.low) / (2 * stats.norm.ppf(0.975) * error))
    # Resampling and the tails' shape scatter a single width by about 2%; 10% is far outside.
    error = np.std(ratios) / np.sqrt(len(ratios))
    assert error < 0.01
    assert abs(np.mean(ratios) - 1) < 0.03


def test_the_interval_covers_the_mean_as_often_as_it_should():
    samples = normal_samples(200)
    size = samples.shape[1]
    covered = np.mean([s.low <= 5 <= s.high for s in map(summarize, samples)])
    # The percentile interval is the normal one with the uncorrected standard deviation.
    narrow = stats.norm.ppf(0.975) * np.sqrt((size - 1) / size)
    expected = 1 - 2 * stats.t.sf(narrow, size - 1)
    error = np.sqrt(expected * (1 - expected) / len(samples))
    assert abs(covered - expected) < 3.5 * error
    # Power: an interval of half the width would not pass.
    half = 1 - 2 * stats.t.sf(narrow / 2, size - 1)
    assert expected - half > 7 * error


def test_relative_improvement_is_of_the_means():
    got = relative_improvement(np.array([1.0, 5.0]), np.array([4.0, 4.0]))
    assert got.mean == pytest.approx(0.25)
    assert relative_improvement(np.array([4.0, 4.0]), np.array([1.0, 4.0])).mean < 0


def test_relative_improvement_is_paired():
    reference = np.random.default_rng(0).uniform(1, 100, 30)
    got = relative_improvement(0.7 * reference, reference)
    assert (got.mean, got.low, got.high) == pytest.approx((0.3, 0.3, 0.3))
    # Power: with the pairs torn apart there is a wide interval.
    shuffled = np.random.default_rng(1).permutation(reference)
    torn = relative_improvement(0.7 * shuffled, reference)
    assert torn.high - torn.low > 0.2


def test_the_improvement_interval_has_the_delta_methods_width():
    generator = np.random.default_rng(2)
    reference = generator.normal(10, 2, 400)
    values = 0.8 * reference + generator.normal(0, 1, 400)
    got = relative_improvement(values, reference)
    ratio = values.mean() / reference.mean()
    error = np.std(values - ratio * reference) / reference.mean() / np.sqrt(400)
    expected = 1 - ratio + stats.norm.ppf(0.975) * error * np.array([-1, 1])
    np.testing.assert_allclose([got.low, got.high], expected, atol=0.06 * error * 2)
