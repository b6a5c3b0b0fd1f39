"""Probes of states, and the averages made of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optoscope import optimizers, training
from optoscope._core.errors import InvalidValueError, UnknownNameError
from optoscope.analysis.dynamics import (
    GroupProbe,
    StateProbe,
    coordinate_map,
    coordinate_states,
    group_trajectories,
)
from optoscope.tasks import get


@pytest.fixture(scope="module")
def digits():
    task = get("digits-mlp-sigmoid", batch_size=8)
    optimizer = optimizers.momentum(0.1, 0.5)
    probes = {"groups": GroupProbe(every=2), "states": StateProbe(every=1, num_coordinates=10)}
    run = training.train(task, optimizer, 5, key=jax.random.key(0), probes=probes, num_runs=2)
    return task.init(jax.random.key(0)), run


def test_sampled_states_follow_the_map(digits):
    _, run = digits
    visited = run.records["states"]
    assert visited.states.shape == (2, 5, 10, 1)
    momentum = coordinate_map(optimizers.momentum(0.1, 0.5))
    after, updates = momentum.step(np.asarray(visited.states), np.asarray(visited.gradients))
    np.testing.assert_allclose(after[:, :-1], visited.states[:, 1:], rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(updates, visited.updates, rtol=1e-4, atol=1e-7)


def test_a_sample_larger_than_the_problem_is_all_of_it():
    run = training.train(
        get("quadratic"),
        optimizers.adam(),
        2,
        key=jax.random.key(0),
        probes={"states": StateProbe()},
    )
    assert run.records["states"].states.shape == (1, 2, 5, 2)


def test_means_of_arrays_by_hand():
    optimizer = optimizers.LSTMOptimizer.create(jax.random.key(0), hidden_size=3)
    params = {"one": {"weights": jnp.ones((3, 2)), "bias": jnp.ones(2)}}
    state = optimizer.init_packed(params)
    grads = jax.tree.map(lambda p: jax.random.normal(jax.random.key(p.ndim), p.shape), params)
    updates, state = optimizer.update(grads, state, params)
    record = training.StepRecord(
        jnp.zeros((), jnp.int32), None, params, grads, updates, state, jnp.zeros(())
    )
    probe = GroupProbe(low=0.1, high=10.0, num=2).bind(get("digits-mlp-sigmoid"), optimizer)
    found = probe.measure(record)
    vectors = coordinate_states(optimizer, state, params)
    np.testing.assert_allclose(found.states[0], vectors[:2].mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(found.states[1], vectors[2:].mean(axis=0), rtol=1e-5)
    for row, name in enumerate(("bias", "weights")):
        sizes = np.abs(np.asarray(grads["one"][name]))
        expected = np.histogram(sizes, [0.1, 1.0, 10.0])[0]
        assert found.gradients.counts[row].tolist() == expected.tolist()


def test_layers_and_types_are_weighted_means(digits):
    params, run = digits
    record = run.records["groups"]
    arrays = group_trajectories(record, params)
    assert arrays.names == (
        "layer_0/bias",
        "layer_0/weights",
        "layer_1/bias",
        "layer_1/weights",
    )
    assert arrays.states.shape == (4, 3, 1)
    np.testing.assert_allclose(arrays.states[:, 0], 0.0)
    layers = group_trajectories(record, params, by="layer")
    types = group_trajectories(record, params, by="type")
    assert layers.names == ("layer_0", "layer_1")
    assert types.names == ("bias", "weights")
    sizes = np.array(arrays.sizes)[:, None, None]
    weighted = arrays.states * sizes
    np.testing.assert_allclose(layers.states[0], weighted[:2].sum(0) / sizes[:2].sum(), atol=1e-12)
    np.testing.assert_allclose(
        types.states[1], weighted[1::2].sum(0) / sizes[1::2].sum(), atol=1e-12
    )
    assert types.sizes == (30, 1480)
    np.testing.assert_allclose(
        types.gradient_counts.sum(axis=0), arrays.gradient_counts.sum(axis=0)
    )
    assert arrays.gradient_edges.shape == (67,)


def test_what_cannot_be_is_refused(digits):
    params, run = digits
    with pytest.raises(UnknownNameError):
        group_trajectories(run.records["groups"], params, by="kind")
    with pytest.raises(InvalidValueError, match="parameter arrays"):
        group_trajectories(run.records["groups"], jnp.zeros(3))
    with pytest.raises(InvalidValueError, match="no state"):
        StateProbe().bind(get("digits-mlp-sigmoid"), optimizers.sgd())
    with pytest.raises(InvalidValueError):
        StateProbe(num_coordinates=0)
