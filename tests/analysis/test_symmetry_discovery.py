"""Symmetries found from losses alone, where their number is known."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optoscope import data, optimizers, tasks, training
from optoscope._core.errors import InvalidValueError, UnknownNameError
from optoscope.analysis import symmetry

KEY = jax.random.key(0)


def normal(key, **shapes):
    keys = jax.random.split(key, len(shapes))
    return {
        name: jax.random.normal(one, shape)
        for one, (name, shape) in zip(keys, shapes.items(), strict=True)
    }


def classified(network, init, inputs=(4,), classes=2, examples=16):
    """A task with the softmax cross-entropy of a network on random inputs."""

    def batches(key):
        inputs_key, labels_key = jax.random.split(key)
        drawn = jax.random.normal(inputs_key, (examples, *inputs))
        return drawn, jax.random.randint(labels_key, (examples,), 0, classes)

    def loss(params, batch):
        logits = jax.nn.log_softmax(network(params, batch[0]))
        return -jnp.mean(jnp.take_along_axis(logits, batch[1][:, None], axis=1))

    return tasks.from_functions(init, loss, batches)


def regressed(network, init, inputs=(4,), outputs=(2,), examples=16):
    """The same with a squared error, which knows the outputs themselves."""

    def batches(key):
        inputs_key, targets_key = jax.random.split(key)
        drawn = jax.random.normal(inputs_key, (examples, *inputs))
        return drawn, jax.random.normal(targets_key, (examples, *outputs))

    def loss(params, batch):
        return jnp.mean((network(params, batch[0]) - batch[1]) ** 2)

    return tasks.from_functions(init, loss, batches)


def mlp_params(key):
    return normal(key, w1=(4, 3), b1=(3,), w2=(3, 2), b2=(2,))


def mlp(activation, epsilon=None):
    def network(params, x):
        hidden = x @ params["w1"] + params["b1"]
        if epsilon is not None:
            hidden = (hidden - hidden.mean(0)) / jnp.sqrt(hidden.var(0) + epsilon)
        return activation(hidden) @ params["w2"] + params["b2"]

    return network


def linear(x):
    return x


MLPS = {
    "relu": (jax.nn.relu, {"rescale": 3}),
    "leaky relu": (jax.nn.leaky_relu, {"rescale": 3}),
    "tanh": (jnp.tanh, {}),
    "linear": (linear, {"linear": 9, "bias_shift": 3, "unread_outputs": 1}),
}


@pytest.mark.parametrize("name", MLPS)
def test_multi_layer_perceptrons_with_their_outputs(name):
    activation, expected = MLPS[name]
    found = symmetry.discover(regressed(mlp(activation), mlp_params))
    assert (found.named, found.unnamed) == (expected, 0)
    assert found.nullity == sum(expected.values()) == len(found.basis)
    assert found.gap > 1e6
    assert (found.method, found.unit, found.complete) == ("exact", "example", True)


@pytest.mark.parametrize("name", ["relu", "tanh"])
def test_the_softmax_adds_a_translation_of_the_outputs(name):
    activation, expected = MLPS[name]
    task = classified(mlp(activation), mlp_params)
    found = symmetry.discover(task)
    assert found.named == {"translation": 4} | expected
    assert found.unnamed == 0
    # The same task, asked for its outputs.
    network = mlp(activation)
    outputs = symmetry.discover(task, outputs=lambda params, batch: network(params, batch[0]))
    assert outputs.named == expected


@pytest.mark.parametrize("epsilon", [0.0, 1e-5])
def test_a_batch_norm_couples_the_batch_and_its_epsilon_is_no_obstacle(epsilon):
    found = symmetry.discover(classified(mlp(jax.nn.relu, epsilon), mlp_params))
    assert found.named == {"norm_translation": 3, "translation": 4, "scale": 3}
    assert (found.nullity, found.unnamed, found.unit) == (10, 0, "batch")
    assert found.gap > 1e6


def attend(params, x):
    def mapped(kind):
        return x @ params[f"w{kind}"] + params.get(f"b{kind}", 0.0)

    scores = jax.nn.softmax(mapped("q") @ jnp.swapaxes(mapped("k"), -1, -2))
    return scores @ mapped("v") @ params["wo"] + params.get("bo", 0.0)


def attention(names="qkvo", biases=False, size=6, width=2):
    shapes = {f"w{kind}": (size, width) for kind in "qkv"} | {"wo": (width, size)}
    if biases:
        shapes |= {f"b{kind}": (width,) for kind in "qkv"} | {"bo": (size,)}

    def init(key):
        found = normal(key, **shapes)
        return {name.translate(str.maketrans("qkvo", names)): p for name, p in found.items()}

    def network(params, x):
        back = str.maketrans(names, "qkvo")
        return attend({name.translate(back): p for name, p in params.items()}, x)

    return regressed(network, init, inputs=(5, size), outputs=(5, size), examples=8)


# By their names, and by where the arrays meet where their names say nothing.
@pytest.mark.parametrize("names", ["qkvo", "1234"])
def test_attention_without_biases(names):
    found = symmetry.discover(attention(names))
    assert found.named == {"query_key": 4, "value_output": 4}
    assert (found.nullity, found.unnamed) == (8, 0)


def test_attention_with_biases():
    found = symmetry.discover(attention(biases=True))
    assert found.named == {"key_bias": 2, "query_key": 4, "value_output": 4, "bias_shift": 2}
    assert found.unnamed == 0


def test_heads_in_one_matrix_and_heads_in_an_axis_of_their_own():
    def params(key):
        return normal(key, q=(3, 2, 2), k=(3, 2, 2), v=(3, 2, 2), o=(2, 2, 3))

    def network(p, x):
        queries, keys, values = (jnp.einsum("btd,dhw->bthw", x, p[name]) for name in "qkv")
        weights = jax.nn.softmax(jnp.einsum("bqhw,bkhw->bhqk", queries, keys))
        return jnp.einsum("bhqk,bkhw,hwd->bqd", weights, values, p["o"])

    found = symmetry.discover(regressed(network, params, (4, 3), (4, 3)))
    assert found.named == {"query_key": 8, "value_output": 8}
    assert found.unnamed == 0

    def flat(key):
        p = params(key)
        return {n: a.reshape(3, 4) if n != "o" else a.reshape(4, 3) for n, a in p.items()}

    def flat_network(p, x):
        shapes = {"q": (3, 2, 2), "k": (3, 2, 2), "v": (3, 2, 2), "o": (2, 2, 3)}
        return network({name: p[name].reshape(shape) for name, shape in shapes.items()}, x)

    found = symmetry.discover(regressed(flat_network, flat, (4, 3), (4, 3)))
    assert found.named == {"query_key": 8, "value_output": 8}


def test_dead_units_and_dead_inputs_are_told_from_symmetries():
    def init(key):
        params = mlp_params(key)
        # The first unit is off for all inputs, and the first input is always 0.
        return params | {"b1": params["b1"].at[0].set(-50.0)}

    def network(params, x):
        return mlp(jax.nn.relu)(params, x.at[:, 0].set(0.0))

    task = classified(network, init)
    found = symmetry.discover(task, params=init(KEY))
    assert found.named["dead_inputs"] == 3
    assert found.named["dead_units"] == 3 + 1 + 2
    # The translation of the logits by the dead unit is among its own directions.
    assert (found.named["rescale"], found.named["translation"]) == (2, 3)
    assert found.symmetric == 5
    assert found.unnamed == 0


def test_a_unit_that_is_off_at_random_parameters_only_is_not_counted():
    def init(key):
        params = mlp_params(key)
        off = jax.random.bernoulli(jax.random.split(key)[0], 0.5)
        return params | {"b1": params["b1"].at[0].add(jnp.where(off, -50.0, 0.0))}

    found = symmetry.discover(regressed(mlp(jax.nn.relu), init))
    assert found.named == {"rescale": 3}


def test_too_few_examples_are_varied_and_it_says_so():
    examples = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)
    targets = np.random.default_rng(1).normal(size=(12, 2)).astype(np.float32)
    network = mlp(jax.nn.relu)
    task = tasks.from_functions(
        mlp_params,
        lambda params, batch: jnp.mean((network(params, batch[0]) - batch[1]) ** 2),
        (examples, targets),
    )
    found = symmetry.discover(task)
    assert (found.nullity, found.inputs) == (3, "data, varied")


def test_several_readers_and_layouts_of_other_libraries():
    """Two heads that read one layer, with weights as (outputs, inputs), in a nested tree."""

    def init(key):
        p = normal(key, w=(3, 4), b=(3,), one=(2, 3), two=(2, 3))
        return {"body": {"weight": p["w"], "bias": p["b"]}, "heads": [p["one"], p["two"]]}

    def network(params, x):
        hidden = jax.nn.relu(x @ params["body"]["weight"].T + params["body"]["bias"])
        return jnp.concatenate([hidden @ head.T for head in params["heads"]], axis=1)

    found = symmetry.discover(regressed(network, init, outputs=(4,)))
    assert (found.named, found.unnamed) == ({"rescale": 3}, 0)
    assert symmetry.verify(regressed(network, init, outputs=(4,)), KEY,
                           symmetries=found.symmetries, num_draws=1).ok  # fmt: skip


def test_a_direction_without_a_name_is_counted_as_such():
    """A rotation of the parameters themselves."""

    def loss(params, batch):
        return jnp.mean(batch[0] * jnp.sum(params**2) + batch[1] * jnp.sum(params**2) ** 2)

    task = tasks.from_functions(
        lambda key: jax.random.normal(key, (3,)), loss, lambda key: jax.random.normal(key, (2, 8))
    )
    found = symmetry.discover(task)
    assert (found.nullity, found.named, found.unnamed) == (2, {}, 2)
    assert found.symmetries == {}


def test_the_basis_is_orthonormal_and_null_and_named_directions_come_first():
    task = classified(mlp(linear), mlp_params)
    params = mlp_params(KEY)
    found = symmetry.discover(task, params=params)
    assert found.nullity == 18
    np.testing.assert_allclose(found.basis @ found.basis.T, np.eye(18), atol=1e-10)
    with jax.enable_x64(True):
        params = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), params)
        batch = task.sample_batch(jax.random.key(5))
        grads = jax.grad(task.loss)(params, batch)
        flat = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(grads)])
    np.testing.assert_allclose(found.basis @ flat, 0, atol=1e-12)
    assert len(found.names) == 18


@pytest.mark.parametrize("task", [
    attention(biases=True), classified(mlp(jax.nn.relu, 1e-5), mlp_params),
    regressed(mlp(linear), mlp_params),
], ids=["attention", "batch-norm", "linear"])  # fmt: skip
def test_found_symmetries_hold_elsewhere_and_far_away(task):
    found = symmetry.discover(task)
    report = symmetry.verify(task, jax.random.key(3), symmetries=found.symmetries, num_draws=1)
    assert report.ok, str(report)


def test_generators_of_a_discovery_are_those_that_are_declared():
    task = tasks.get("digits-mlp-leaky-relu", hidden=(3,), batch_size=16)
    params = task.init(KEY)
    updates = jax.tree.map(lambda p: jnp.asarray(np.sin(50 * np.asarray(p))), params)

    def measured(found):
        return jax.jit(lambda u, p: symmetry.deviations(u, p, found))(updates, params)

    own = tasks.from_functions(
        lambda key: task.init(key), lambda p, b: task.loss(p, b), lambda key: task.sample_batch(key)
    )
    found = symmetry.discover(own)
    assert found.named["rescale"] == 3
    assert found.named["translation"] == 4
    declared = task.symmetries(params)
    for name in ("rescale", "translation"):
        mine, right = measured(found.symmetries[name]), measured(declared[name])
        order = np.argsort(np.abs(right.vector)), np.argsort(np.abs(mine.vector))
        np.testing.assert_allclose(
            np.abs(mine.vector)[order[1]], np.abs(right.vector)[order[0]], rtol=1e-4
        )
        np.testing.assert_allclose(mine.cosine, right.cosine, rtol=1e-4)
    together = measured(found)
    assert together.vector.shape == (sum(len(s.labels(params)) for s in found.symmetries.values()),)


def test_the_probe_measures_what_was_found_for_a_task_that_declares_nothing():
    task = classified(mlp(jax.nn.relu), mlp_params)
    probe = symmetry.SymmetryProbe(every=2)
    run = training.train(task, optimizers.sgd(0.1), 3, key=KEY, probes={"symmetry": probe})
    measured = run.records["symmetry"]
    assert set(measured) == {"rescale", "translation"}
    # SGD follows the gradient, which has nothing along a symmetry.
    assert max(float(one.cosine.max()) for one in measured.values()) < 1e-5


class NoExamples(tasks.Task):
    """One loss for everything, which has no null space of its own."""

    def init(self, key):
        return jax.random.normal(key, (3,))

    def sample_batch(self, key):
        return None

    def loss(self, params, batch):
        return jnp.sum(params**2)


def test_refusals():
    with pytest.raises(InvalidValueError, match="one number for all of its data"):
        symmetry.discover(NoExamples())
    with pytest.raises(UnknownNameError, match="kind of inputs"):
        symmetry.discover(NoExamples(), inputs="noise")
    single = regressed(lambda params, x: mlp(jnp.tanh)(params, x).astype(jnp.float32), mlp_params)
    cast = tasks.from_functions(
        mlp_params, lambda p, b: single.loss(p, b).astype(jnp.float32), single.sample_batch
    )
    with pytest.raises(InvalidValueError, match="float32"):
        symmetry.discover(cast)
    with pytest.raises(InvalidValueError, match="declares no symmetries, and they cannot"):
        symmetry.SymmetryProbe().prepared(NoExamples())


def test_many_parameters_are_projected_and_it_says_so():
    task = classified(mlp(jax.nn.relu), mlp_params)
    found = symmetry.discover(task, exact_up_to=0)
    assert (found.method, found.complete, found.nullity) == ("projections", True, 7)
    # More parameters than rows: the named directions are counted, and it is said that it may be
    # fewer than there are.
    wide = regressed(
        lambda p, x: jax.nn.relu(x @ p["w1"]) @ p["w2"],
        functools.partial(normal, w1=(40, 80), w2=(80, 30)), (40,), (30,),
    )  # fmt: skip
    found = symmetry.discover(wide)
    assert found.named == {"rescale": 80}
    assert (found.method, found.complete, found.nullity) == ("projections", False, 80)
    assert "at least 80 of 5600" in str(found)


def test_real_images_have_dead_inputs_and_a_declaration_is_found_again():
    task = tasks.mlp_classification(data.load("digits"), hidden=(6,), activation="relu")
    found = symmetry.discover(task)
    pixels = np.asarray(task.splits["train"].inputs)
    assert found.named["dead_inputs"] >= 6 * int((pixels == 0).all(axis=0).sum())
    assert (found.named["translation"], found.named["rescale"], found.unnamed) == (7, 6, 0)


@pytest.mark.slow
@pytest.mark.parametrize(("make", "settings", "expected"), [
    (tasks.cnn_classification, {"channels": (3, 3)}, {"translation": 49, "rescale": 6}),
    (tasks.cnn_classification, {"channels": (3, 4), "pooling": "mean", "activation": "leaky_relu"},
     {"translation": 5, "rescale": 7}),
    (tasks.mlp_classification, {"hidden": (4,), "norm": "batch", "activation": "relu"},
     {"translation": 5, "rescale": 4, "scale": 4, "norm_translation": 4}),
    (tasks.mlp_classification, {"hidden": (4,), "norm": "layer", "activation": "relu"},
     {"translation": 5, "rescale": 4, "scale": 1}),
])  # fmt: skip
def test_networks_of_the_library(make, settings, expected):
    found = symmetry.discover(make(data.load("digits"), **settings))
    assert {name: found.named[name] for name in expected} == expected
    assert found.unnamed == 0
    # What is declared is what is found.
    assert set(found.named) - set(expected) <= {"dead_inputs", "unused", "not_in_data",
                                                "norm_translation"}  # fmt: skip


@pytest.mark.slow
def test_a_transformer_has_its_heads_norms_and_embeddings():
    task = tasks.get(
        "transformer-language-model", scale="smoke", width=4, num_heads=2, length=6, batch_size=16
    )
    named = symmetry.discover(task, inputs="generic").named
    assert (named["query_key"], named["value_output"]) == (8, 8)
    # 16 units of the branch, and what three norms scale for those who read them.
    assert named["rescale"] == 16 + 3 * 4
