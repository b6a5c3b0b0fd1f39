"""Fixed points of maps whose answers are known."""

import threading

import jax
import numpy as np
import pytest

from optoscope import optimizers
from optoscope._core.errors import InvalidValueError
from optoscope.analysis.dynamics import coordinate_map, fixed_points
from support.gru import hand_made, random_gru

# h = tanh(GAIN h) at −1/2, 0 and 1/2.
GAIN = np.arctanh(0.5) / 0.5


def starts(size, num=200, seed=0):
    return np.random.default_rng(seed).uniform(-2, 2, (num, size))


@pytest.mark.parametrize("gradient", [-3.0, 0.0, 0.7, 40.0])
def test_one_stable_point_for_each_gradient(gradient):
    inputs = np.array([1.0, 2.0, 0.3, -1.0])
    found = fixed_points(coordinate_map(hand_made(4, inputs=inputs, bias=0.2)), starts(4), gradient)
    assert found.kinds == ("stable",)
    assert found.multiplicity.tolist() == [200]
    assert found.num_unconverged == 0
    np.testing.assert_allclose(found.points[0], np.tanh(inputs * gradient + 0.2), atol=1e-8)
    np.testing.assert_allclose(found.eigenvalues[0], 0.5, atol=1e-8)
    np.testing.assert_allclose(found.sigma_min, 0.5, atol=1e-8)


@pytest.mark.parametrize("size", [1, 4])
@pytest.mark.parametrize("seed", range(2))
def test_three_points_the_middle_one_unstable_and_nothing_else(size, seed):
    recurrent = GAIN * np.ones((size, size)) / size
    coordinates = coordinate_map(hand_made(size, recurrent=recurrent))
    found = fixed_points(coordinates, starts(size, seed=seed))
    order = np.argsort(found.points[:, 0])
    expected = np.array([-0.5, 0.0, 0.5])[:, None] * np.ones(size)
    np.testing.assert_allclose(found.points[order], expected, atol=1e-8)
    assert [found.kinds[index] for index in order] == ["stable", "saddle", "stable"]
    slopes = 0.5 + 0.5 * GAIN * np.array([0.75, 1.0, 0.75])
    np.testing.assert_allclose(found.eigenvalues[order, 0], slopes, atol=1e-8)
    assert found.multiplicity.sum() + found.num_unconverged == 200
    assert (found.error_bounds < 1e-9).all()


def test_the_saddle_is_found_from_starts_at_the_stable_points_alone():
    coordinates = coordinate_map(hand_made(1, recurrent=GAIN))
    found = fixed_points(coordinates, np.array([[-0.5], [0.5]]))
    assert len(found) == 3
    assert found.multiplicity[found.kinds.index("saddle")] == 0


@pytest.mark.parametrize("size", [1, 4])
def test_a_slow_direction_is_one_point(size):
    bias = np.zeros(size)
    bias[0] = np.log(1e5 - 1)
    coordinates = coordinate_map(hand_made(size, update_bias=bias, bias=0.3))
    found = fixed_points(coordinates, starts(size))
    assert found.kinds == ("slow",)
    assert found.multiplicity.tolist() == [200]
    np.testing.assert_allclose(found.points[0], np.tanh(0.3), atol=1e-8)
    assert found.eigenvalues[0, 0] == pytest.approx(1 - 1e-5, abs=1e-12)
    assert (np.linalg.norm(found.points[0] - np.tanh(0.3)) <= found.error_bounds).all()


def test_a_slow_nonlinear_direction_mixed_over_all_units_is_one_point():
    # n = tanh(c Σ_j h_j / size): slow along (1, …, 1) only.
    slope = 1 - 2e-5
    recurrent = slope * np.ones((4, 4)) / 4
    found = fixed_points(coordinate_map(hand_made(4, recurrent=recurrent)), starts(4))
    assert found.kinds == ("slow",)
    assert found.num_unconverged == 0
    np.testing.assert_allclose(found.points[0], 0.0, atol=1e-8)
    assert found.eigenvalues[0, 0] == pytest.approx(1 - 1e-5, abs=1e-9)


def test_an_eigenvalue_of_one_is_a_line():
    coordinates = coordinate_map(hand_made(4, update_bias=[60.0, 0, 0, 0], bias=0.3))
    places = starts(4)
    found = fixed_points(coordinates, places)
    assert set(found.kinds) == {"line"}
    assert found.multiplicity.sum() == 200
    np.testing.assert_allclose(found.points[:, 1:], np.tanh(0.3), atol=1e-8)
    for field in ("points", "residuals", "sigma_min", "error_bounds", "eigenvalues", "updates"):
        assert np.isfinite(getattr(found, field)).all()
    # Each start is projected to the line, so its samples reach as far as the starts do.
    assert np.ptp(found.points[:, 0]) == pytest.approx(np.ptp(places[:, 0]), rel=1e-2)


def test_a_pitchfork_is_not_a_line_of_distinct_points():
    found = fixed_points(coordinate_map(hand_made(4, recurrent=[1.0, 0, 0, 0])), starts(4))
    assert len(found) == 1
    np.testing.assert_allclose(found.points, 0.0, atol=1e-3)


def test_known_optimizers():
    for optimizer, gradient, point in (
        (optimizers.momentum(0.1, 0.75), 2.0, [8.0]),
        (optimizers.adam(0.1, 0.5, 0.75), 2.0, [2.0, 4.0]),
        (optimizers.lion(0.1, 0.5, 0.75), 2.0, [2.0]),
        (optimizers.rmsprop(0.1, 0.75), -2.0, [4.0]),
        (optimizers.rmsprop(0.1, 0.75), 0.0, [0.0]),
    ):
        coordinates = coordinate_map(optimizer)
        found = fixed_points(coordinates, starts(coordinates.size, 20), gradient)
        assert found.kinds == ("stable",)
        np.testing.assert_allclose(found.points[0], point, atol=1e-12)


def test_a_learned_optimizers_points_are_fixed():
    optimizer = optimizers.LSTMOptimizer.create(jax.random.key(1), hidden_size=3)
    coordinates = coordinate_map(optimizer)
    found = fixed_points(coordinates, starts(12, 64), 0.1)
    moved, updates = coordinates.step(found.points, 0.1)
    np.testing.assert_allclose(moved, found.points, atol=1e-12)
    np.testing.assert_allclose(updates, found.updates, atol=1e-14)


def test_error_bounds_hold_for_points_that_are_not_quite_there():
    coordinates = coordinate_map(random_gru(4, size=4))
    exact = fixed_points(coordinates, starts(4, 20))
    rough = fixed_points(coordinates, starts(4, 20), tolerance=1e-3)
    distance = np.linalg.norm(rough.points[0] - exact.points[0])
    assert distance <= 2 * rough.error_bounds[0] + exact.error_bounds[0]


def test_none_to_be_found_is_an_answer():
    # v ← v + g has no fixed point under a gradient.
    coordinates = coordinate_map(optimizers.momentum(0.1, 1.0))
    found = fixed_points(coordinates, np.ones((3, 1)), 1.0)
    assert len(found) == 0
    assert found.num_unconverged == 3


def test_unusable_starts_are_refused():
    coordinates = coordinate_map(optimizers.adam())
    for bad in (np.zeros((3, 1)), np.zeros((0, 2)), np.full((2, 2), np.nan)):
        with pytest.raises(InvalidValueError):
            fixed_points(coordinates, bad)
    with pytest.raises(InvalidValueError, match="no state"):
        fixed_points(coordinate_map(optimizers.sgd()), np.zeros((3, 0)))


def test_two_threads_search_at_the_same_time():
    """Solving linear systems, they waited for each other for ever on two cores."""
    maps = [coordinate_map(random_gru(seed)) for seed in range(2)]
    found = {}

    def search(place):
        for seed in range(3):
            found[place, seed] = len(fixed_points(maps[place], starts(32, 256, seed)))

    # Of daemons the process does not wait for the end, should they never come to it.
    threads = [threading.Thread(target=search, args=(place,), daemon=True) for place in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert len(found) == 6
