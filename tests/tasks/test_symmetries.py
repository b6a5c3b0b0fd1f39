"""The symmetries of the registered networks, and how to declare one."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optoscope import tasks
from optoscope._core.errors import InvalidValueError
from optoscope._core.trees import global_norm
from optoscope.tasks._mlp_symmetries import NORM_LIMIT, mlp_symmetries
from optoscope.tasks._symmetries import from_action, join, rescale, scale, translation

KEY = jax.random.key(0)


def moved_params(network, key=KEY):
    leaves, structure = jax.tree.flatten(network.init(key))
    keys = jax.random.split(key, len(leaves))
    noise = [0.1 * jax.random.normal(k, leaf.shape) for k, leaf in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(structure, [a + b for a, b in zip(leaves, noise, strict=True)])


def random_like(params, key):
    leaves, structure = jax.tree.flatten(params)
    keys = jax.random.split(key, len(leaves))
    return jax.tree.unflatten(
        structure, [jax.random.normal(k, leaf.shape) for k, leaf in zip(keys, leaves, strict=True)]
    )


NETWORKS = [
    tasks.MLP((4, 3, 2, 5), activation, norm)
    for activation, norm in [
        ("sigmoid", None),
        ("leaky_relu", None),
        ("relu", "batch"),
        ("relu", "layer"),
        ("tanh", "batch"),
    ]
]
NAMES = {
    ("sigmoid", None): {"translation"},
    ("leaky_relu", None): {"translation", "rescale"},
    ("relu", "batch"): {"translation", "rescale", "scale", "norm_translation"},
    ("relu", "layer"): {"translation", "rescale", "scale", "norm_translation"},
    ("tanh", "batch"): {"translation", "scale", "norm_translation"},
}


@pytest.mark.parametrize("network", NETWORKS, ids=lambda n: f"{n.activation}-{n.norm}")
def test_contractions_are_the_derivatives_of_the_finite_transformation(network):
    """The transformation is written apart from the contraction: each checks the other."""
    params = moved_params(network)
    vector = random_like(params, jax.random.key(1))
    found = mlp_symmetries(network)
    assert set(found) == NAMES[network.activation, network.norm]
    for symmetry in found.values():
        count = len(symmetry.labels(params))
        pair = symmetry, from_action(symmetry.transform, count)

        measured = jax.jit(
            lambda vector, params, pair=pair: [
                (one.contract(vector, params), one.norms(params)) for one in pair
            ]
        )
        (contraction, norms), (expected, expected_norms) = measured(vector, params)
        np.testing.assert_allclose(contraction, expected, atol=1e-5)
        np.testing.assert_allclose(norms, expected_norms, rtol=1e-5)


def test_generators_by_hand():
    network = tasks.MLP((2, 2, 3), "relu")
    params = {
        "layer_0": {"weights": jnp.array([[1.0, 2.0], [3.0, 4.0]]), "bias": jnp.array([5.0, 6.0])},
        "layer_1": {"weights": jnp.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]), "bias": jnp.ones(3)},
    }
    ones = jax.tree.map(jnp.ones_like, params)
    found = mlp_symmetries(network)
    assert found["translation"].labels(params) == (
        "layer_1 input 0",
        "layer_1 input 1",
        "layer_1 bias",
    )
    np.testing.assert_allclose(found["translation"].contract(params, params), [6, 15, 3])
    np.testing.assert_allclose(found["translation"].norms(params), np.full(3, 3**0.5), rtol=1e-6)
    # Neuron 0: incoming 1, 3, 5 and outgoing 1, 2, 3; neuron 1: 2, 4, 6 and 4, 5, 6.
    np.testing.assert_allclose(found["rescale"].contract(ones, params), [9 - 6, 12 - 15])
    np.testing.assert_allclose(
        found["rescale"].norms(params), [49**0.5, (56 + 77) ** 0.5], rtol=1e-6
    )
    assert found["rescale"].labels(params) == ("layer_0 neuron 0", "layer_0 neuron 1")


def test_layer_norm_has_one_scale_a_layer_and_batch_norm_one_a_neuron():
    for norm, scales, shifts in (("batch", 5, 5), ("layer", 2, (4 + 1) + (3 + 1))):
        network = tasks.MLP((4, 3, 2, 5), "relu", norm)
        found = mlp_symmetries(network)
        params = network.init(KEY)
        assert len(found["scale"].labels(params)) == scales
        assert len(found["norm_translation"].labels(params)) == shifts
        assert found["scale"].limit == NORM_LIMIT
        assert found["rescale"].limit == 0


def test_epsilon_of_batch_norm_gives_the_documented_deviation():
    with jax.enable_x64(True):
        task = tasks.get("digits-mlp-batch-norm", batch_size=16)
        params = moved_params(task.network)
        batch = task.sample_batch(KEY)
        grads = jax.jit(lambda params: jax.grad(task.loss)(params, batch))(params)
        first = params["layer_0"]
        variance = jnp.var(batch.inputs @ first["weights"] + first["bias"], axis=0)
        expected = 1e-5 / (variance + 1e-5) * first["scale"] * grads["layer_0"]["scale"]
        measured = task.symmetries(params)["scale"].contract(grads, params)
        np.testing.assert_allclose(measured, expected, rtol=1e-8, atol=1e-15)
        assert np.abs(measured).max() > 1e-8


def test_only_shapes_are_needed_and_rebuilding_compiles_nothing():
    task = tasks.get("digits-mlp-layer-norm")
    shapes = jax.eval_shape(task.init, KEY)
    first, second = task.symmetries(shapes), task.symmetries(shapes)
    assert jax.tree.structure(first) == jax.tree.structure(second)
    assert hash(jax.tree.structure(first)) == hash(jax.tree.structure(second))
    assert not jax.tree.leaves(first)


def test_other_tasks_declare_none():
    problem = tasks.get("quadratic").sample(KEY)
    assert problem.symmetries(problem.init(KEY)) == {}


def test_a_network_without_hidden_layer_has_the_softmax_only():
    assert set(mlp_symmetries(tasks.MLP((3, 2), "relu", "batch"))) == {"translation"}


def test_joined_generators_act_one_after_the_other():
    params = {"a": jnp.array([2.0, 3.0]), "b": jnp.array([[1.0, 4.0]])}
    both = join(
        translation(lambda p: p["b"], label="b"),
        rescale(lambda p: p["a"][:1], lambda p: p["a"][1:], label="a"),
    )
    assert both.labels(params) == ("b", "a")
    result = both.transform(params, jnp.array([1.0, jnp.log(2.0)]))
    np.testing.assert_allclose(result["a"], [4.0, 1.5], rtol=1e-6)
    np.testing.assert_allclose(result["b"], [[2.0, 5.0]])
    np.testing.assert_allclose(both.norms(params), [2**0.5, 13**0.5], rtol=1e-6)


def test_scale_moves_by_the_exponential():
    params = {"w": jnp.array([[1.0, 2.0], [3.0, 4.0]])}
    columns = scale(lambda p: p["w"].T)
    result = columns.transform(params, jnp.log(jnp.array([2.0, 10.0])))
    np.testing.assert_allclose(result["w"], [[2.0, 20.0], [6.0, 40.0]], rtol=1e-6)


def test_from_action_rotation():
    def rotate(point, angle):
        c, s = jnp.cos(angle[0]), jnp.sin(angle[0])
        return jnp.array([[c, -s], [s, c]]) @ point

    rotation, point = from_action(rotate), jnp.array([3.0, 4.0])
    np.testing.assert_allclose(rotation.contract(point, point), [0.0], atol=1e-6)
    np.testing.assert_allclose(rotation.norms(point), [5.0], rtol=1e-6)
    turned = rotation.transform(point, jnp.array([0.3]))
    np.testing.assert_allclose(global_norm(turned), 5.0, rtol=1e-6)


class Turn(eqx.Module):
    """An action that is a method of a module with arrays, which Equinox cannot hash."""

    generator: jax.Array

    def act(self, point, amount):
        return point + amount[0] * (self.generator @ point)


def test_an_action_may_be_a_method_of_a_module(recwarn):
    turn = from_action(Turn(jnp.array([[0.0, -1.0], [1.0, 0.0]])).act)
    found = eqx.filter_jit(lambda symmetry, point: symmetry.norms(point))(turn, jnp.ones(2))
    np.testing.assert_allclose(found, [2**0.5], rtol=1e-6)
    assert [str(warning.message) for warning in recwarn] == []


def test_bad_arguments_are_refused():
    with pytest.raises(InvalidValueError, match="at least one"):
        join()
    with pytest.raises(InvalidValueError, match="at least 1"):
        from_action(lambda p, a: p, 0)
