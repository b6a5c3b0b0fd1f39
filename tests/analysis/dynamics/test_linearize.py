"""Linearizations, their modes and their stability on a curvature, against closed forms."""

import numpy as np
import pytest

from optoscope import optimizers
from optoscope._core.errors import InvalidValueError
from optoscope.analysis.dynamics import (
    coordinate_map,
    fixed_points,
    joint_matrix,
    joint_spectral_radius,
    linearize,
    modes_of,
)
from support.gru import random_gru

KNOWN = {
    "momentum": (optimizers.momentum(0.5, 0.875), [0.875]),
    "rmsprop": (optimizers.rmsprop(0.5, 0.75), [0.75]),
    "adam": (optimizers.adam(0.5, 0.75, 0.9375), [0.75, 0.9375]),
    "lion": (optimizers.lion(0.5, 0.75, 0.9375), [0.9375]),
    "aggmo": (optimizers.aggmo(0.5, [0.0, 0.75, 0.9375]), [0.0, 0.75, 0.9375]),
}


def random_system(seed, size=6):
    generator = np.random.default_rng(seed)
    jacobian = generator.normal(size=(size, size)) / size**0.5
    return jacobian, generator.normal(size=size), generator.normal(size=size), generator


@pytest.mark.parametrize("name", KNOWN)
def test_known_optimizers_have_their_own_timescales(name):
    optimizer, timescales = KNOWN[name]
    coordinates = coordinate_map(optimizer)
    found = fixed_points(coordinates, np.ones((5, coordinates.size)), 0.5)
    modes = linearize(coordinates, found.points[0], 0.5).modes()
    np.testing.assert_allclose(np.sort(modes.timescales.real), timescales, atol=1e-14)
    np.testing.assert_allclose(np.sort(found.eigenvalues[0].real), timescales, atol=1e-14)


def test_learning_rates_of_momentum_and_aggregated_momentum():
    modes = linearize(coordinate_map(KNOWN["momentum"][0]), np.zeros(1)).modes()
    assert modes.learning_rates[0] == pytest.approx(0.5, rel=1e-12)
    modes = linearize(coordinate_map(KNOWN["aggmo"][0]), np.zeros(3)).modes()
    np.testing.assert_allclose(modes.learning_rates, 0.5 / 3, rtol=1e-6)
    np.testing.assert_allclose(modes.timescales, [0.9375, 0.75, 0.0], atol=1e-14)
    assert modes.direct == 0.0


@pytest.mark.parametrize("seed", range(3))
def test_derivatives_agree_with_finite_differences(seed):
    coordinates = coordinate_map(random_gru(seed, size=6))
    state = np.random.default_rng(seed).normal(size=6)
    linear, step = linearize(coordinates, state, 0.3), 1e-6
    for index, direction in enumerate(np.eye(6)):
        ahead, behind = (
            coordinates.step(state + sign * step * direction, 0.3)[0] for sign in (1, -1)
        )
        np.testing.assert_allclose(
            linear.jacobian[:, index], (ahead - behind) / (2 * step), atol=1e-9
        )
    ahead, behind = (coordinates.step(state, 0.3 + sign * step) for sign in (1, -1))
    np.testing.assert_allclose(
        linear.input_jacobian, (ahead[0] - behind[0]) / (2 * step), atol=1e-9
    )
    slope = (ahead[1] - behind[1]) / (2 * step)
    assert linear.readout @ linear.input_jacobian + linear.direct == pytest.approx(slope, abs=1e-9)
    np.testing.assert_allclose(linear.residual, coordinates.step(state, 0.3)[0] - state, atol=1e-15)


def test_adams_nonlinear_readout_is_read_from_the_next_state():
    rate, b1, b2, eps = 0.5, 0.75, 0.9375, 0.0
    coordinates = coordinate_map(optimizers.adam(rate, b1, b2, eps), counters=10_000)
    linear = linearize(coordinates, np.array([0.5, 0.25]), 0.5)
    np.testing.assert_allclose(linear.readout, [-rate / 0.5, rate * 0.5 / (2 * 0.25**1.5)])
    assert linear.direct == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_modes_do_not_depend_on_the_basis(seed):
    jacobian, inputs, readout, generator = random_system(seed)
    basis = generator.normal(size=jacobian.shape)
    inverse = np.linalg.inv(basis)
    one = modes_of(jacobian, inputs, readout)
    other = modes_of(basis @ jacobian @ inverse, basis @ inputs, readout @ inverse)
    assert (one.timescales.imag != 0).any()  # complex pairs are met
    order = np.argsort(one.timescales), np.argsort(other.timescales)
    for field in ("timescales", "learning_rates"):
        mine, theirs = getattr(one, field)[order[0]], getattr(other, field)[order[1]]
        np.testing.assert_allclose(mine, theirs, atol=1e-10)


@pytest.mark.parametrize("seed", range(3))
def test_sums_of_modes(seed):
    jacobian, inputs, readout, _ = random_system(seed)
    modes = modes_of(jacobian, inputs, readout)
    assert modes.learning_rates.sum() == pytest.approx(-readout @ inputs, abs=1e-11)
    np.testing.assert_allclose(modes.left.T @ modes.right, np.eye(6), atol=1e-11)
    responses = [-readout @ np.linalg.matrix_power(jacobian, k) @ inputs for k in range(12)]
    np.testing.assert_allclose(modes.impulse_response(12), responses, atol=1e-10)
    assert modes.shares.sum() == pytest.approx(1.0)
    assert (np.diff([max(modes.shares[list(group)]) for group in modes.groups]) <= 1e-15).all()
    for group in modes.groups:
        if len(group) == 2:
            first, second = modes.timescales[list(group)]
            assert first == np.conj(second)


def test_the_linearization_and_its_modes_respond_alike():
    linear = linearize(coordinate_map(random_gru(1)), np.zeros(32))
    np.testing.assert_allclose(
        linear.impulse_response(20), linear.modes().impulse_response(20), atol=1e-11
    )


@pytest.mark.parametrize("size", [2, 4])
def test_defective_matrices_say_so(size):
    jordan = 0.5 * np.eye(size) + np.eye(size, k=1)
    modes = modes_of(jordan, np.ones(size), np.ones(size))
    assert modes.condition > 1e8
    assert not modes.well_conditioned
    np.testing.assert_allclose(modes.timescales, 0.5, atol=1e-3)
    assert np.isfinite(modes.learning_rates).all()


def test_no_derivative_is_an_error_not_a_number():
    with pytest.raises(InvalidValueError, match="no derivative"):
        linearize(coordinate_map(optimizers.adam()), np.zeros(2))
    with pytest.raises(InvalidValueError, match="3 entries"):
        linearize(coordinate_map(optimizers.aggmo()), np.zeros(2))
    with pytest.raises(InvalidValueError, match="finite"):
        modes_of(np.full((1, 1), np.nan), np.ones(1), np.ones(1))


@pytest.mark.parametrize("curvature", [0.01, 0.5, 1.0, 7.0])
def test_heavy_ball_on_a_curvature(curvature):
    alpha, beta = 0.5, 0.875
    linear = linearize(coordinate_map(optimizers.momentum(alpha, beta)), np.zeros(1))
    found = np.sort_complex(np.linalg.eigvals(joint_matrix(linear, curvature)).astype(complex))
    # z² − (1 + β − αλ) z + β = 0
    expected = np.sort_complex(np.roots([1, -(1 + beta - alpha * curvature), beta]).astype(complex))
    np.testing.assert_allclose(found, expected, atol=1e-10)


def test_where_descent_becomes_unstable():
    sgd = linearize(coordinate_map(optimizers.sgd(0.5)), np.zeros(0))
    ball = linearize(coordinate_map(optimizers.momentum(0.5, 0.875)), np.zeros(1))
    for linear, edge in ((sgd, 2 / 0.5), (ball, 2 * 1.875 / 0.5)):
        assert joint_spectral_radius(linear, 0.999 * edge) < 1
        assert joint_spectral_radius(linear, edge) == pytest.approx(1.0, abs=1e-7)
        assert joint_spectral_radius(linear, 1.001 * edge) > 1


def test_the_joint_matrix_is_one_step_on_a_parabola():
    coordinates = coordinate_map(random_gru(2, size=4))
    found = fixed_points(coordinates, np.zeros((1, 4)))
    linear = linearize(coordinates, found.points[0])
    matrix, tiny = joint_matrix(linear, 3.0), 1e-5
    for direction in np.eye(5):
        place, state = tiny * direction[0], found.points[0] + tiny * direction[1:]
        new, update = coordinates.step(state, 3.0 * place)
        moved = np.append(place + update - linear.update, new - found.points[0])
        np.testing.assert_allclose(moved / tiny, matrix @ direction, atol=1e-4)
