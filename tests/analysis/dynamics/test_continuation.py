"""Branches over the gradient, around folds, against the equation they solve."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optoscope import optimizers
from optoscope._core.errors import InvalidValueError
from optoscope.analysis.dynamics import continue_fixed_points, coordinate_map, fixed_points
from support.gru import GRU, hand_made

GRADIENTS = np.linspace(-1, 1, 41)


@pytest.mark.parametrize("start", [0.0, 0.9, -0.9])
def test_an_s_curve_is_followed_around_both_folds(start):
    # h = tanh(1.5 h + g): three points where |g| is small.
    coordinates = coordinate_map(hand_made(1, recurrent=1.5, inputs=1.0))
    branch = continue_fixed_points(coordinates, GRADIENTS, np.array([start]))
    state = branch.points[:, 0]
    np.testing.assert_allclose(branch.gradients, np.arctanh(state) - 1.5 * state, atol=1e-12)
    np.testing.assert_allclose(branch.eigenvalues[:, 0], 0.5 + 0.75 * (1 - state**2), atol=1e-12)
    # One arm, the unstable middle, the other arm; in this order, each without a way back.
    changes = np.flatnonzero(np.diff(branch.stable))
    assert branch.stable.tolist()[0] is branch.stable.tolist()[-1] is True
    assert len(changes) == 2
    assert (np.diff(state) < 0).all() or (np.diff(state) > 0).all()
    # The fold is where 1.5 (1 − h²) = 1: every gradient within it is met three times.
    fold = abs(np.arctanh(3**-0.5) - 1.5 * 3**-0.5)
    asked = branch.gradients[branch.requested]
    for gradient in GRADIENTS:
        assert (asked == gradient).sum() == (3 if abs(gradient) < fold else 1)
    assert not branch.jumped.any()


def test_every_point_of_a_monostable_map_and_of_many_decades():
    gradients = np.concatenate([-np.logspace(2, -4, 13), [0.0], np.logspace(-4, 2, 13)])
    inputs = np.array([0.05, 2.0, -0.3])
    coordinates = coordinate_map(hand_made(3, inputs=inputs, bias=0.2))
    branch = continue_fixed_points(coordinates, gradients, np.zeros(3))
    asked = branch.requested
    np.testing.assert_array_equal(branch.gradients[asked], gradients)
    expected = np.tanh(gradients[:, None] * inputs + 0.2)
    np.testing.assert_allclose(branch.points[asked], expected, atol=1e-10)
    np.testing.assert_allclose(branch.updates[asked], expected.sum(axis=1), atol=1e-10)
    assert set(branch.kinds) == {"stable"}


def test_it_agrees_with_fixed_points_at_each_gradient():
    generator = np.random.default_rng(0)
    gru = GRU(
        generator.normal(size=(3, 4)),
        0.5 * generator.normal(size=(3, 4, 4)),
        generator.normal(size=(3, 4)),
        np.ones(4),
        np.zeros(4),
    )
    coordinates = coordinate_map(gru)
    branch = continue_fixed_points(coordinates, np.linspace(-2, 2, 5), np.zeros(4))
    for gradient, point in zip(
        branch.gradients[branch.requested], branch.points[branch.requested], strict=True
    ):
        found = fixed_points(coordinates, point[None] + 0.05, gradient)
        np.testing.assert_allclose(found.points[0], point, atol=1e-10)


def test_a_jump_of_the_map_is_crossed_and_reported():
    class Signed(GRU):
        def update(self, grads, state, params=None):
            return super().update(jax.tree.map(lambda g: g + jnp.sign(g), grads), state, params)

    plain = hand_made(1, inputs=1.0)
    gru = Signed(plain.inputs, plain.recurrent, plain.bias, plain.readout, plain.start)
    gradients = np.array([-0.5, -0.25, 0.25, 0.5])
    branch = continue_fixed_points(
        coordinate_map(gru), gradients, np.array([0.9]), start_gradient=0.5
    )
    asked = branch.requested
    np.testing.assert_allclose(branch.gradients[asked], gradients, atol=0)
    np.testing.assert_allclose(
        branch.points[asked, 0], np.tanh(gradients + np.sign(gradients)), atol=1e-10
    )
    assert branch.jumped.sum() == 1


def test_momentum_and_what_is_refused():
    momentum = coordinate_map(optimizers.momentum(0.5, 0.75))
    for bad in (
        {"gradients": np.array([1.0])},
        {"gradients": np.array([0.0, np.nan])},
        {"gradients": np.array([1.0, 2.0])},  # the start, at 0, is outside
        {"gradients": GRADIENTS, "start": np.zeros(2)},
    ):
        with pytest.raises(InvalidValueError):
            continue_fixed_points(momentum, **{"start": np.zeros(1), **bad})
    runaway = coordinate_map(optimizers.momentum(0.5, 1.0))
    with pytest.raises(InvalidValueError, match="no fixed point"):
        continue_fixed_points(runaway, GRADIENTS, np.zeros(1), start_gradient=0.5)
