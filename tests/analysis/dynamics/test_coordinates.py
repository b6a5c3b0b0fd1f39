"""One map for every optimizer: it does to a vector what the optimizer does to a parameter."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from optoscope import optimizers, training
from optoscope._core.errors import InvalidValueError
from optoscope.analysis.dynamics import coordinate_map, coordinate_states
from optoscope.tasks import get
from support.gru import random_gru

OPTIMIZERS = {
    "sgd": optimizers.sgd(0.1),
    "momentum": optimizers.momentum(0.1, 0.9),
    "nesterov": optax.sgd(0.1, momentum=0.9, nesterov=True),
    "rmsprop": optimizers.rmsprop(0.01),
    "adam": optimizers.adam(0.01),
    "nadamw": optimizers.nadamw(0.01, weight_decay=0.1),
    "lion": optimizers.lion(0.01),
    "aggmo": optimizers.aggmo(0.1),
    "injected": optax.inject_hyperparams(optax.sgd)(learning_rate=0.1, momentum=0.9),
    "lstm": optimizers.LSTMOptimizer.create(jax.random.key(0), hidden_size=5),
    "rnn": optimizers.RNNOptimizer.create(jax.random.key(0), hidden_size=5),
    "gru": random_gru(0, size=5),
    "normalized": optimizers.RNNOptimizer.create(
        jax.random.key(0), hidden_size=5, input_scaling="normalized", input_scale=10
    ),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_run_of_the_map_is_a_run_of_the_optimizer(name):
    optimizer = OPTIMIZERS[name]
    coordinates = coordinate_map(optimizer, params=0.5)
    state, inner = coordinates.initial_state, optimizer.init(jnp.asarray(0.5))
    step_of_optimizer = jax.jit(lambda *given: optimizer.update(*given))
    for step, gradient in enumerate((0.5, -2.0, 0.25)):
        updates, inner = step_of_optimizer(jnp.asarray(gradient), inner, jnp.asarray(0.5))
        state, update = coordinates.step(state, gradient)
        assert state.dtype == update.dtype == np.float64
        states = coordinate_states(optimizer, inner, jnp.asarray(0.5))
        np.testing.assert_allclose(state, states[0], rtol=1e-4, atol=1e-6)
        if step == 0 or name not in ("adam", "nadamw", "lion"):  # their counters are frozen
            np.testing.assert_allclose(update, updates, rtol=1e-4, atol=1e-6)
    assert not jax.config.jax_enable_x64


def test_sizes_labels_and_what_is_frozen():
    adam = coordinate_map(OPTIMIZERS["adam"])
    assert adam.labels == ("[0].mu", "[0].nu")
    assert adam.frozen == ("[0].count",)
    injected = coordinate_map(OPTIMIZERS["injected"])
    assert injected.size == 1
    assert len(injected.frozen) == 3
    assert coordinate_map(OPTIMIZERS["sgd"]).size == 0
    assert coordinate_map(OPTIMIZERS["lstm"]).size == 20
    assert coordinate_map(OPTIMIZERS["normalized"]).size == 5 + 2


def test_a_large_counter_removes_bias_correction():
    late = coordinate_map(optax.adam(0.1, b1=0.5, b2=0.5, eps=0.0), counters=10_000)
    assert late.step(np.array([1.0, 4.0]), 1.0)[1] == pytest.approx(-0.1 * 1 / 2.5**0.5, rel=1e-12)
    fresh = coordinate_map(optax.adam(0.1, b1=0.5, b2=0.5, eps=0.0))
    assert fresh.step(np.zeros(2), 3.0)[1] == pytest.approx(-0.1, rel=1e-12)


@pytest.mark.parametrize(
    ("name", "weights", "direct"),
    [
        ("sgd", [], -0.1),
        ("momentum", [-0.1], 0.0),
        ("nesterov", [-0.09], -0.1),
        ("aggmo", [-0.1 / 3] * 3, 0.0),
    ],
)
def test_linear_readouts_are_found(name, weights, direct):
    readout = coordinate_map(OPTIMIZERS[name]).readout
    np.testing.assert_allclose(readout.weights, weights, rtol=1e-7)
    assert readout.direct == pytest.approx(direct, rel=1e-7)
    assert readout.bias == pytest.approx(0.0, abs=1e-12)


def test_a_networks_own_readout_is_found_and_a_nonlinear_one_is_not():
    gru = random_gru(3, size=32)
    np.testing.assert_allclose(coordinate_map(gru).readout.weights, gru.readout, atol=1e-10)
    for name in ("rmsprop", "adam", "nadamw", "lion"):
        assert coordinate_map(OPTIMIZERS[name]).readout is None


def test_steps_broadcast():
    coordinates = coordinate_map(OPTIMIZERS["momentum"])
    states, updates = coordinates.step(np.ones((3, 1, 1)), np.arange(4.0))
    assert states.shape == (3, 4, 1)
    np.testing.assert_allclose(updates, -0.1 * (0.9 + np.arange(4.0)) * np.ones((3, 1)), rtol=1e-7)
    with pytest.raises(InvalidValueError, match="2 entries"):
        coordinate_map(OPTIMIZERS["adam"]).step(np.zeros(3), 0.0)


@pytest.mark.parametrize("name", [name for name in OPTIMIZERS if name != "sgd"])
@pytest.mark.parametrize("shape", ["tree", "matrix", "vector"])
def test_states_of_a_run_come_apart_into_coordinates(name, shape):
    optimizer = OPTIMIZERS[name]
    params = {
        "tree": {"w": jnp.zeros((3, 2)), "b": jnp.zeros(4)},
        "matrix": jnp.zeros((5, 2)),
        "vector": jnp.zeros(5),  # as many as the networks have units
    }[shape]
    normal = np.random.default_rng(0).standard_normal
    grads = jax.tree.map(lambda leaf: jnp.asarray(normal(leaf.shape), jnp.float32), params)

    @jax.jit
    def states_after_two_steps(grads):
        state = optimizer.init(params)
        for _ in range(2):
            _, state = optimizer.update(grads, state, params)
        return coordinate_states(optimizer, state, params)

    coordinates = coordinate_map(optimizer)
    vectors = states_after_two_steps(grads)
    flat = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(grads)]).astype(np.float64)
    expected = np.broadcast_to(coordinates.initial_state, (len(flat), coordinates.size))
    for _ in range(2):
        expected = coordinates.step(expected, flat)[0]
    np.testing.assert_allclose(vectors, expected, rtol=1e-4, atol=1e-6)


def test_a_foreign_state_is_refused():
    adam, params = OPTIMIZERS["adam"], jnp.zeros(3)
    with pytest.raises(InvalidValueError, match="does not belong"):
        coordinate_states(OPTIMIZERS["momentum"], adam.init(params), params)
    with pytest.raises(InvalidValueError, match="made for"):
        coordinate_states(adam, adam.init(params), jnp.zeros(4))


def test_states_can_be_taken_from_a_trajectory():
    optimizer = OPTIMIZERS["momentum"]
    run = training.train(get("quadratic"), optimizer, 3, key=jax.random.key(0), num_runs=2)
    states = jax.vmap(lambda s, p: coordinate_states(optimizer, s, p))(run.state, run.params)
    assert states.shape == (2, 5, 1)


@pytest.mark.parametrize("arguments", [{"params": np.nan}, {"counters": -1}])
def test_values_that_cannot_be_are_refused(arguments):
    with pytest.raises(InvalidValueError):
        coordinate_map(OPTIMIZERS["sgd"], **arguments)
