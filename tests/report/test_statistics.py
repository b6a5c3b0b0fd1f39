import numpy as np
import pytest

from optoscope.report._statistics import lower_envelope, smooth, spread


def naive_smooth(values, window):
    half, out = window // 2, []
    for i, value in enumerate(values):
        near = [v for v in values[max(0, i - half) : i + half + 1] if np.isfinite(v)]
        out.append(np.mean(near) if np.isfinite(value) else np.nan)
    return np.array(out)


def test_smooth_by_hand():
    np.testing.assert_allclose(smooth(np.array([0.0, 3.0, 6.0, 3.0]), 3), [1.5, 3, 4, 4.5])


@pytest.mark.parametrize("window", [1, 3, 7, 101])
def test_smooth_agrees_with_a_naive_loop(window):
    values = np.random.default_rng(0).normal(size=40)
    values[[3, 17]] = np.nan, np.inf
    np.testing.assert_allclose(smooth(values, window), naive_smooth(values, window))


def test_smooth_keeps_rows_apart():
    rows = np.stack([np.zeros(9), np.full(9, np.nan), np.ones(9)])
    np.testing.assert_array_equal(smooth(rows, 5), rows)


def test_spread_counts_a_lost_run_as_infinitely_bad():
    losses = np.array([[1.0, 1.0], [2.0, 2.0], [3.0, np.nan], [4.0, np.inf], [5.0, 5.0]])
    result = spread(losses)
    # At the second step the sorted values are 1, 2, 5, inf, inf.
    np.testing.assert_array_equal(result.middle, [3.0, 5.0])
    np.testing.assert_array_equal(result.low, [2.0, 2.0])
    np.testing.assert_array_equal(result.high, [4.0, np.inf])
    assert (result.runs, result.diverged) == (5, 2)


@pytest.mark.parametrize("runs", [1, 2, 3, 4, 9, 10])
def test_spread_of_finite_runs_is_numpys(runs):
    losses = np.random.default_rng(runs).normal(size=(runs, 5))
    result = spread(losses)
    wanted = np.quantile(losses, [0.25, 0.5, 0.75], axis=0)
    np.testing.assert_allclose([result.low, result.middle, result.high], wanted)
    assert result.diverged == 0


def test_spread_is_unknown_where_most_runs_are_lost():
    result = spread(np.array([[1.0], [np.nan], [np.nan]]))
    assert np.isnan([result.middle, result.low, result.high]).all()


def test_envelope_minimizes_over_the_other_hyperparameters():
    rates = np.array([0.1, 0.01, 0.1, 1.0, 1.0, 0.01])
    scores = np.array([0.5, 0.9, 0.4, np.nan, np.inf, 0.8])
    envelope = lower_envelope(rates, scores)
    np.testing.assert_array_equal(envelope.value, [0.01, 0.1])
    np.testing.assert_array_equal(envelope.score, [0.8, 0.4])


def test_envelope_takes_rates_as_equal_that_differ_by_rounding():
    rates = np.array([0.1, float(np.float32(0.1))])
    np.testing.assert_array_equal(lower_envelope(rates, np.array([2.0, 1.0])).score, [1.0])


def test_envelope_of_a_random_search_is_thinned_and_keeps_the_best():
    generator = np.random.default_rng(0)
    rates = 10 ** generator.uniform(-4, 0, 400)
    scores = generator.uniform(size=400)
    envelope = lower_envelope(rates, scores, max_points=10)
    assert envelope.value.size == 10
    assert (np.diff(envelope.value) > 0).all()
    assert envelope.score.min() == scores.min()


def test_envelope_of_nothing_is_empty():
    assert lower_envelope(np.array([0.0, 1.0]), np.array([1.0, np.nan])).value.size == 0
