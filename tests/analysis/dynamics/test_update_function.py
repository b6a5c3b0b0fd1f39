"""Update functions of known optimizers, and their slopes at zero with the traps in them."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from optoscope import optimizers
from optoscope._core.errors import InvalidValueError
from optoscope.analysis.dynamics import coordinate_map, effective_learning_rate, update_function
from support.gru import random_gru

GRID = np.linspace(-3, 3, 25)


def rates(optimizer, state=None, scale=0.1, counters=None):
    coordinates = coordinate_map(optimizer, counters=counters)
    state = coordinates.initial_state if state is None else np.asarray(state, np.float64)
    return effective_learning_rate(coordinates, state, scale=scale)


@pytest.mark.parametrize(
    ("optimizer", "state", "expected"),
    [
        (optax.sgd(0.5), [], -0.5 * GRID),
        (optax.chain(optax.clip(1.0), optax.sgd(0.5)), [], -0.5 * np.clip(GRID, -1, 1)),
        (optax.sgd(0.5, momentum=0.75), [2.0], -0.5 * (GRID + 1.5)),
        (optax.rmsprop(0.5, 0.75), [2.0], -0.5 * GRID / np.sqrt(1.5 + 0.25 * GRID**2 + 1e-8)),
        (optax.lion(0.5, 0.75, 0.5, weight_decay=0.0), [1.0], -0.5 * np.sign(0.75 + 0.25 * GRID)),
    ],
)
def test_as_in_figure_2(optimizer, state, expected):
    found = update_function(coordinate_map(optimizer), np.array(state), GRID)
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_several_states_at_once():
    coordinates = coordinate_map(optax.sgd(0.5, momentum=0.75))
    found = update_function(coordinates, np.array([[0.0], [2.0]]), GRID)
    assert found.shape == (2, 25)
    np.testing.assert_allclose(found[1] - found[0], -0.75, atol=1e-12)


@pytest.mark.parametrize("seed", range(2))
def test_smooth_maps_are_differentiated(seed):
    coordinates = coordinate_map(random_gru(seed, size=4))
    states = np.random.default_rng(seed).normal(size=(2, 3, 4))
    found = effective_learning_rate(coordinates, states)
    tiny = 1e-6
    values = update_function(coordinates, states, np.array([-tiny, tiny]))
    expected = -(values[..., 1] - values[..., 0]) / (2 * tiny)
    np.testing.assert_allclose(found.rates, expected, atol=1e-8)
    assert found.rates.shape == (2, 3)
    for flag in (found.used_secant, found.discontinuous, found.kinked):
        assert not flag.any()
    assert (found.linear_range > 1e-3).all()


def test_momentum_has_its_learning_rate_at_every_state():
    found = rates(optax.sgd(0.5, momentum=0.75), [[0.0], [3.0], [-1e6]])
    np.testing.assert_allclose(found.rates, 0.5, rtol=1e-12)
    np.testing.assert_allclose(found.linear_range, 0.1)
    assert not found.used_secant.any()


@pytest.mark.parametrize("scale", [1.0, 0.1, 0.01])
def test_fresh_adam_and_rmsprop_get_a_secant_that_says_so(scale):
    adam = rates(optax.adam(0.5), scale=scale)
    assert adam.used_secant
    assert adam.rates == pytest.approx(0.5 / scale, rel=1e-4)  # its update is −0.5 sign(g)
    assert not np.isfinite(adam.derivatives) or adam.derivatives > 1e6
    root = rates(optax.adam(0.5, eps_root=1e-16), scale=scale)
    assert root.used_secant
    assert root.derivatives > 1e6  # 0.5/ε: a true slope that holds nowhere
    rmsprop = rates(optax.rmsprop(0.5, 0.75), scale=scale)
    assert rmsprop.used_secant
    assert rmsprop.rates == pytest.approx(0.5 / (0.5 * scale), rel=1e-2)
    assert not adam.discontinuous


def test_adam_at_a_visited_state_is_differentiated():
    found = rates(optax.adam(0.5, 0.75, 0.9375, eps=0.0), [0.0, 4.0], counters=10_000)
    assert not found.used_secant
    assert found.rates == pytest.approx(0.5 * 0.25 / (0.9375 * 4) ** 0.5, rel=1e-9)


def test_lion_jumps():
    fresh = rates(optax.lion(0.5, weight_decay=0.0), scale=0.25)
    assert fresh.discontinuous
    assert fresh.used_secant
    assert fresh.rates == pytest.approx(0.5 / 0.25)
    # At m = 0.01 it jumps at g = −0.09: within the scale, though flat at zero.
    assert rates(optax.lion(0.5, weight_decay=0.0), [0.01], scale=0.25).discontinuous
    far = rates(optax.lion(0.5, weight_decay=0.0), [1.0], scale=0.25)
    assert not far.discontinuous
    assert far.rates == 0


def test_the_kink_of_the_logarithmic_input():
    lstm = optimizers.LSTMOptimizer.create(jax.random.key(0), hidden_size=4, exponent=5.0)
    found = rates(lstm)
    assert found.kinked  # at e^−5
    assert not found.discontinuous
    assert found.linear_range < np.exp(-5)
    inside = rates(lstm, scale=1e-3)
    assert not inside.kinked
    assert not inside.used_secant


def test_a_sign_input_jumps_where_differentiation_says_zero():
    signed = optax.stateless(lambda g, _: jax.tree.map(lambda x: -jnp.sign(x), g))
    found = rates(signed)
    assert found.derivatives == 0
    assert found.discontinuous
    assert found.rates == pytest.approx(10.0)
    learned = optimizers.RNNOptimizer.create(jax.random.key(0), hidden_size=4, input_scaling="log")
    learned = learned.__class__(**{**vars(learned), "readout": jnp.ones(4)})
    assert rates(learned).discontinuous


@pytest.mark.parametrize("arguments", [{"scale": 0.0}, {"state": np.zeros((0, 1))}])
def test_what_cannot_be_is_refused(arguments):
    with pytest.raises(InvalidValueError):
        rates(optax.sgd(0.5, momentum=0.75), **arguments)
