"""Rank correlations agree with SciPy's, ties included."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from optoscope._core.ranks import rank_correlation


def test_it_is_spearmans_with_ties():
    generator = np.random.default_rng(0)
    for count in (3, 8, 50):
        first, second = generator.integers(0, 5, (2, count)).astype(float)
        first[:2] = 0.0, 1.0
        second[:2] = 1.0, 0.0
        expected = spearmanr(first, second).statistic
        assert rank_correlation(first, second) == pytest.approx(expected)
        assert rank_correlation(first, -(second**3)) == pytest.approx(-expected)


def test_a_constant_and_two_things_have_none():
    assert np.isnan(rank_correlation(np.ones(5), np.arange(5.0)))
    assert np.isnan(rank_correlation(np.array([1.0, 2.0]), np.array([1.0, 2.0])))
