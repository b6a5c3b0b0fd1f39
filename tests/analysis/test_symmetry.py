"""Symmetry deviations of gradients and updates, their aggregates, and the verification."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from optoscope import optimizers, tasks
from optoscope._core.errors import InvalidValueError
from optoscope._core.trees import global_norm, size
from optoscope.analysis import symmetry
from optoscope.analysis.symmetry._verify import relative_deviations

KEY = jax.random.key(0)
DIGITS = [name for name in tasks.names() if name.startswith("digits-")]
QUICK = [name for name in DIGITS if name.startswith("digits-mlp-") and "0" not in name]


def by_size(names):
    return [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in names]


def small_task(activation="leaky_relu", norm=None, hidden=(6, 5)):
    return tasks.get(
        "digits-mlp-relu", batch_size=16, hidden=hidden, activation=activation, norm=norm
    )


@pytest.mark.parametrize("name", by_size(DIGITS))
def test_every_network_task_has_its_symmetries_in_float64(name):
    report = symmetry.verify(tasks.get(name, batch_size=16), KEY, num_draws=1)
    assert report.ok, str(report)
    for declared, check in report.checks.items():
        assert check.gradient.max() < 1e-12
        assert check.loss.max() < 1e-12
        # Only the scale of a norm is inexact where training begins, and only by its epsilon.
        assert check.as_drawn.max() < (5e-3 if declared == "scale" else 1e-12)


slow = pytest.mark.slow


@pytest.mark.parametrize(
    ("activation", "norm"),
    [
        ("leaky_relu", None),
        pytest.param("sigmoid", None, marks=slow),
        pytest.param("sigmoid", "batch", marks=slow),
        pytest.param("sigmoid", "layer", marks=slow),
        pytest.param("leaky_relu", "batch", marks=slow),
        pytest.param("leaky_relu", "layer", marks=slow),
    ],
)
def test_three_hidden_layers(activation, norm):
    report = symmetry.verify(small_task(activation, norm, (5, 4, 3)), KEY, num_draws=1)
    assert report.ok, str(report)
    assert ("rescale" in report.checks) == (activation == "leaky_relu")


@pytest.mark.parametrize(
    "variant", ["batch-norm", *(pytest.param(v, marks=slow) for v in ("leaky-relu", "layer-norm"))]
)
def test_gradients_are_orthogonal_in_float32(variant):
    task = tasks.get(f"digits-mlp-{variant}")
    params = task.init(KEY)
    grads = jax.jit(lambda params: jax.grad(task.loss)(params, task.sample_batch(KEY)))(params)
    for name, found in task.symmetries(params).items():
        worst = relative(grads, params, found)
        assert worst < (1e-3 if name == "scale" else 1e-5), name


def scaled_by_neuron(params):
    return [params["layer_0"]["weights"].T, params["layer_0"]["bias"]]


def last_weights(params):
    return params["layer_2"]["weights"].T


def first_bias(params):
    return params["layer_0"]["bias"]


@pytest.mark.parametrize(
    ("norm", "wrong"),
    [
        # A layer norm does not forgive the scaling of a single neuron.
        ("layer", tasks.scale(scaled_by_neuron, label="neuron", limit=1.0)),
        # The softmax ignores shifts over classes, not over inputs.
        (None, tasks.translation(last_weights, label="class")),
        # Without a norm the bias matters.
        (None, tasks.translation(first_bias, label="bias")),
    ],
    ids=["layer-norm-neuron", "softmax-wrong-axis", "bias-without-norm"],
)
def test_a_wrong_symmetry_is_named(norm, wrong):
    task = small_task(norm=norm)
    right = task.symmetries(None)["rescale"]
    report = symmetry.verify(task, KEY, symmetries={"right": right, "wrong": wrong}, num_draws=1)
    assert not report.ok
    assert report.failed == {"wrong": report.checks["wrong"].labels}
    assert "wrong" in str(report)
    assert "FAILS at" in str(report)


def test_one_wrong_generator_among_right_ones_is_named():
    task = small_task()
    mixed = tasks.join(
        task.symmetries(None)["translation"], tasks.translation(first_bias, label="bias")
    )
    (failed,) = symmetry.verify(task, KEY, symmetries={"mixed": mixed}).failed.values()
    assert failed == tuple(f"bias {k}" for k in range(6))


def test_verify_leaves_float32_alone_and_takes_distributions():
    symmetry.verify(tasks.fixed(small_task(hidden=(3,))), KEY, num_draws=1)
    assert jnp.ones(1).dtype == jnp.float32


def test_a_task_without_symmetries_says_so():
    with pytest.raises(InvalidValueError, match="declares no symmetries"):
        symmetry.verify(tasks.get("quadratic"), KEY)


class TwoFactors(tasks.Task):
    """A user's own task: (a·b − 1)², which a ↦ ca, b ↦ b/c leaves as it is."""

    def init(self, key):
        return dict(zip("ab", jax.random.normal(key, (2, 3)), strict=True))

    def sample_batch(self, key):
        return None

    def loss(self, params, batch):
        return jnp.sum((params["a"] * params["b"] - 1) ** 2)

    def symmetries(self, params):
        return {"balance": tasks.rescale(lambda p: p["a"], lambda p: p["b"], label="pair")}


def test_a_users_own_symmetry_is_verified():
    report = symmetry.verify(TwoFactors(), KEY)
    assert report.ok, str(report)
    assert report.checks["balance"].labels == ("pair 0", "pair 1", "pair 2")


def run(task, optimizer, num_steps):
    """The updates, gradients and parameters of the last of `num_steps` steps, in float64."""
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), task.init(KEY))
    state = optimizer.init(params)

    @jax.jit
    def step(params, state, index):
        batch = task.sample_batch(jax.random.fold_in(KEY, index))
        grads = jax.grad(task.loss)(params, batch)
        updates, state = optimizer.update(grads, state, params)
        return updates, grads, state

    for index in range(num_steps):
        updates, grads, state = step(params, state, index)
        before, params = params, jax.tree.map(jnp.add, params, updates)
    return updates, grads, before


def relative(updates, params, found):
    deviations = jax.jit(lambda updates, params: relative_deviations(updates, params, found))
    return float(jnp.max(deviations(updates, params)))


def test_plain_descent_keeps_every_constraint_and_momentum_translation_only():
    with jax.enable_x64(True):
        task = small_task()
        found = task.symmetries(None)
        updates, _, params = run(task, optax.sgd(0.1), 4)
        assert relative(updates, params, found["translation"]) < 1e-12
        assert relative(updates, params, found["rescale"]) < 1e-12
        updates, _, params = run(task, optax.sgd(0.1, momentum=0.9), 4)
        assert relative(updates, params, found["translation"]) < 1e-12
        assert relative(updates, params, found["rescale"]) > 1e-6


@pytest.mark.parametrize("name", ["translation", "rescale"])
def test_weight_decay_and_the_first_lion_step_have_their_closed_forms(name):
    rate, decay = 0.01, 0.3
    with jax.enable_x64(True):
        task = small_task()
        found = task.symmetries(None)[name]
        decayed = optax.chain(optax.add_decayed_weights(decay), optax.sgd(rate))
        updates, _, params = run(task, decayed, 3)
        expected = -rate * decay * found.contract(params, params)
        np.testing.assert_allclose(found.contract(updates, params), expected, atol=1e-14)
        assert np.abs(expected).max() > 1e-5
        lion = optax.lion(rate, b1=0.9, b2=0.99, weight_decay=0.0)
        updates, grads, params = run(task, lion, 1)
        expected = -rate * found.contract(jax.tree.map(jnp.sign, grads), params)
        np.testing.assert_allclose(found.contract(updates, params), expected, atol=1e-14)
        assert np.abs(expected).max() > 1e-4


def test_opposite_neurons_cancel_in_the_signed_aggregate_only():
    params = {"w": jnp.array([1.0, 2.0]), "v": jnp.array([1.0, 1.0])}
    updates = {"w": jnp.array([1.0, 0.0]), "v": jnp.array([0.0, 1.0])}
    units = tasks.rescale(lambda p: p["w"], lambda p: p["v"])
    found = symmetry.deviations(updates, params, units)
    np.testing.assert_allclose(found.vector, [1.0, -1.0])
    assert (float(found.sum_abs), float(found.signed)) == (2.0, 0.0)
    expected = np.sqrt((1 / (2 * 2) + 1 / (2 * 5)) / 2)
    np.testing.assert_allclose(found.cosine, expected, rtol=1e-6)
    np.testing.assert_allclose(found.isotropic, 0.5)


def test_cosine_ignores_the_size_of_the_step_and_the_aggregates_do_not():
    task = small_task()
    params = task.init(KEY)
    updates = jax.tree.map(lambda p: np.sin(100 * np.asarray(p)), params)
    found = task.symmetries(params)["rescale"]
    measure = jax.jit(lambda updates: symmetry.deviations(updates, params, found))
    one, ten = measure(updates), measure(jax.tree.map(lambda u: 10 * u, updates))
    np.testing.assert_allclose(ten.cosine, one.cosine, rtol=1e-5)
    np.testing.assert_allclose(ten.sum_abs, 10 * one.sum_abs, rtol=1e-5)
    np.testing.assert_allclose(ten.signed, 10 * one.signed, rtol=1e-3)


def test_zero_updates_and_zero_generators_count_as_zero():
    each = tasks.scale(lambda p: p)
    params = jnp.array([0.0, 2.0])
    assert float(symmetry.deviations(jnp.zeros(2), params, each).cosine) == 0.0
    # The first generator is zero and left out; the update lies along the second.
    assert float(symmetry.deviations(jnp.array([0.0, 3.0]), params, each).cosine) == 1.0


def test_isotropic_directions_have_the_isotropic_level():
    task = small_task()
    params = task.init(KEY)
    num_draws = 2000

    def squared_cosine(key, found):
        leaves, structure = jax.tree.flatten(params)
        keys = jax.random.split(key, len(leaves))
        noise = [jax.random.normal(k, leaf.shape) for k, leaf in zip(keys, leaves, strict=True)]
        return symmetry.deviations(structure.unflatten(noise), params, found).cosine ** 2

    level = symmetry.isotropic_level(size(params)) ** 2
    for name, found in task.symmetries(params).items():
        draw = jax.jit(jax.vmap(lambda key, found=found: squared_cosine(key, found)))
        squares = np.asarray(draw(jax.random.split(KEY, num_draws)), np.float64)
        standard_error = squares.std() / num_draws**0.5
        assert abs(squares.mean() - level) < 4 * standard_error, name
        # Power: an error of ten percent would be seen.
        assert abs(squares.mean() - 1.1 * level) > 4 * standard_error, name


def test_a_step_along_the_generator_has_cosine_one():
    params = {"w": jnp.array([[3.0, 4.0]])}
    found = symmetry.deviations(params, params, tasks.scale(lambda p: p["w"]))
    np.testing.assert_allclose(found.cosine, 1.0, rtol=1e-6)
    np.testing.assert_allclose(found.sum_abs, global_norm(params) ** 2, rtol=1e-6)


def test_learned_updates_deviate():
    task = small_task()
    params = task.init(KEY)
    learned = optimizers.LSTMOptimizer.create(KEY, hidden_size=4)

    @jax.jit
    def first_updates(params):
        grads = jax.grad(task.loss)(params, task.sample_batch(KEY))
        return learned.update(grads, learned.init(params), params)[0]

    updates = first_updates(params)
    for found in task.symmetries(params).values():
        assert float(symmetry.deviations(updates, params, found).cosine) > 1e-4
