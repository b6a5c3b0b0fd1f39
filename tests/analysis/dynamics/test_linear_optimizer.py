"""Linear optimizers taken from others: they run on tasks and agree to the order they should."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optoscope import optimizers, training
from optoscope._core.errors import InvalidValueError
from optoscope.analysis.dynamics import (
    aggregated_momentum,
    coordinate_map,
    fixed_points,
    linearize,
    linearized_optimizer,
    modes_of,
)
from optoscope.tasks import get
from support.gru import random_gru


def losses(optimizer):
    run = training.train(get("quadratic"), optimizer, 40, key=jax.random.key(0), num_runs=3)
    return np.asarray(run.losses)


def simulate(optimizer, gradients):
    """The updates of an optimizer in float64, whatever it is."""
    coordinates = coordinate_map(optimizer)
    state, updates = coordinates.initial_state, []
    for gradient in gradients:
        state, update = coordinates.step(state, gradient)
        updates.append(float(update))
    return np.array(updates)


@pytest.mark.parametrize("make", ["modes", "whole"])
def test_momentum_taken_from_momentum_is_momentum(make):
    momentum = optimizers.momentum(0.05, 0.75)
    linear = linearize(coordinate_map(momentum), np.zeros(1))
    copy = aggregated_momentum(linear.modes()) if make == "modes" else linearized_optimizer(linear)
    np.testing.assert_allclose(losses(copy), losses(momentum), rtol=1e-4, atol=1e-6)


def test_aggregated_momentum_taken_around_another_gradient():
    original = optimizers.aggmo(0.05, [0.0, 0.5, 0.875])
    coordinates = coordinate_map(original)
    point = fixed_points(coordinates, np.ones((2, 3)), 0.5).points[0]
    linear = linearize(coordinates, point, 0.5)
    copy = linearized_optimizer(linear, start=np.zeros(3))
    np.testing.assert_allclose(losses(copy), losses(original), rtol=1e-3, atol=1e-5)


def test_complex_pairs_run_in_real_arithmetic():
    generator = np.random.default_rng(0)
    jacobian, inputs, readout = (
        0.4 * generator.normal(size=(4, 4)),
        generator.normal(size=4),
        generator.normal(size=4),
    )
    modes = modes_of(jacobian, inputs, readout)
    assert (modes.timescales.imag != 0).any()
    gradients = generator.normal(size=15)
    with jax.enable_x64(True):
        optimizer = aggregated_momentum(modes)
    state, expected = np.zeros(4), []
    for gradient in gradients:
        state = jacobian @ state + inputs * gradient
        expected.append(readout @ state)
    np.testing.assert_allclose(simulate(optimizer, gradients), expected, atol=1e-11)
    assert all(leaf.dtype.kind == "f" for leaf in jax.tree.leaves(optimizer))


@pytest.mark.parametrize("keep", [1, 2])
def test_fewer_modes_are_the_sum_of_those_kept(keep):
    linear = linearize(coordinate_map(random_gru(1, size=4)), np.zeros(4))
    modes = linear.modes()
    with jax.enable_x64(True):
        optimizer = aggregated_momentum(modes, keep=keep)
    kept = [index for group in modes.groups[:keep] for index in group]
    impulse = np.eye(10)[0]
    powers = modes.timescales[kept] ** np.arange(10)[:, None]
    expected = linear.update - (powers @ modes.learning_rates[kept]).real
    np.testing.assert_allclose(simulate(optimizer, impulse), expected, atol=1e-12)


def test_the_error_falls_fourfold_when_the_perturbation_halves():
    gru = random_gru(2, size=4)
    coordinates = coordinate_map(gru)
    point = fixed_points(coordinates, np.zeros((2, 4))).points[0]
    linear = linearize(coordinates, point)
    gradients = np.random.default_rng(0).normal(size=12)
    errors = []
    for size in (2e-2, 1e-2, 5e-3):
        with jax.enable_x64(True):
            copy = linearized_optimizer(linear)
        state, exact = point, []
        for gradient in size * gradients:
            state, update = coordinates.step(state, gradient)
            exact.append(float(update))
        errors.append(np.abs(simulate(copy, size * gradients) - exact).max())
    ratios = np.array(errors[:-1]) / errors[1:]
    np.testing.assert_allclose(ratios, 4.0, rtol=0.05)


def test_away_from_a_fixed_point_the_drift_is_kept():
    coordinates = coordinate_map(random_gru(3, size=4))
    linear = linearize(coordinates, np.ones(4), 0.5)
    assert np.abs(linear.residual).max() > 0.1
    with jax.enable_x64(True):
        copy = linearized_optimizer(linear)
    # The first update is exact, its slope too.
    for tiny in (0.0, 1e-6):
        expected = coordinates.step(np.ones(4), 0.5 + tiny)[1]
        assert simulate(copy, [0.5 + tiny])[0] == pytest.approx(expected, abs=1e-11)


def test_it_is_an_optimizer_like_others():
    linear = linearize(coordinate_map(random_gru(1, size=4)), np.zeros(4))
    copy = linearized_optimizer(linear, start=np.full(4, 0.25))
    params = {"w": jnp.zeros((3, 2)), "b": jnp.zeros((), jnp.float32)}
    state = copy.init(params)
    assert state["w"].shape == (4, 3, 2)
    updates, new = jax.jit(lambda g, s: copy.update(g, s))(params, state)
    assert jax.tree.map(jnp.shape, updates) == jax.tree.map(jnp.shape, params)
    assert jax.tree.map(lambda a: a.dtype, new) == jax.tree.map(lambda a: a.dtype, state)


def test_what_cannot_be_is_refused():
    modes = linearize(coordinate_map(optimizers.momentum()), np.zeros(1)).modes()
    for keep in (0, 2):
        with pytest.raises(InvalidValueError, match="keep"):
            aggregated_momentum(modes, keep=keep)
    jordan = modes_of(np.array([[0.5, 1.0], [0.0, 0.5]]), np.ones(2), np.ones(2))
    with pytest.raises(InvalidValueError, match="condition"):
        aggregated_momentum(jordan)
    linear = linearize(coordinate_map(optimizers.momentum()), np.zeros(1))
    with pytest.raises(InvalidValueError, match="start"):
        linearized_optimizer(linear, start=np.zeros(2))
