"""The arrays of the theory figures: names, shapes, and that they repeat."""

import numpy as np
import pytest

from optoscope import optimizers
from optoscope._core.errors import InvalidValueError
from optoscope.analysis.quadratic import INTERVENTIONS
from optoscope.papers.stability._quadratic_meta_training import MetaSettings
from optoscope.papers.stability._theory_arrays import (
    figure_1_arrays,
    figure_2a_arrays,
    figure_2bc_arrays,
    stable_curvature_arrays,
)


def test_figure_1():
    arrays = figure_1_arrays(num_strengths=5)
    for name in INTERVENTIONS:
        assert arrays[f"{name}/eigenvalues"].shape == (5, 6)
    assert (
        np.abs(arrays["all/eigenvalues"][-1]).max()
        <= 1
        < np.abs(arrays["all/eigenvalues"][0]).max()
    )


def test_figure_2a_repeats():
    options = {"num_nominals": 3, "horizons": (1, 4), "num_seeds": 5}
    arrays, again = figure_2a_arrays(1, **options), figure_2a_arrays(1, **options)
    assert arrays["trace_variance"].shape == (3, 2)
    assert arrays["nominals"][-1] == arrays["limit"]
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, again[name])
    other = figure_2a_arrays(2, **options)
    assert (other["trace_variance"] != arrays["trace_variance"]).all()


def test_figure_2bc():
    arrays = figure_2bc_arrays(
        num_meta_steps=4, num_seeds=2, record_every=2,
        settings=MetaSettings(horizon=3, num_particles=2),
    )  # fmt: skip
    assert arrays["magnitudes"].shape == (5, 2, 3, 2)
    assert arrays["expected_loss"].shape == (5, 2, 3)
    assert arrays["steps"].tolist() == [0, 2, 4]


def test_stable_curvatures():
    arrays = stable_curvature_arrays(
        {"sgd": optimizers.sgd(0.5)}, run_curvatures=(1.0, 10.0), num_steps=100
    )
    np.testing.assert_allclose(arrays["sgd/intervals"], [[0.0, 4.0]], rtol=1e-6)
    assert arrays["sgd/outcomes"].tolist() == ["converges", "diverges"]
    with pytest.raises(InvalidValueError, match="slash"):
        stable_curvature_arrays({"a/b": optimizers.sgd(0.5)})
