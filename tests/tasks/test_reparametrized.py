import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optoscope import data, optimizers, tasks, training
from optoscope._core.errors import InvalidValueError
from optoscope.tasks import reparametrized

KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def digits():
    return tasks.mlp_classification(data.load("digits", size=4), hidden=(6,), batch_size=16)


def test_the_problem_is_the_same_in_other_units(digits):
    task = reparametrized(digits, 1e-2, 1e2).sample(KEY)
    scale = float(task.scale)
    assert abs(math.log(scale)) > 0.1
    params, original, batch = task.init(KEY), digits.init(KEY), digits.sample_batch(KEY)
    for one, other in zip(*map(jax.tree.leaves, (params, original)), strict=True):
        np.testing.assert_allclose(scale * one, other, rtol=1e-6)
    assert (task.sample_batch(KEY).labels == batch.labels).all()

    @eqx.filter_jit
    def measure(task, params):
        return *jax.value_and_grad(task.loss)(params, batch), task.accuracy(params)

    loss, grads, accuracy = measure(task, params)
    loss_before, expected, accuracy_before = measure(digits, original)
    np.testing.assert_allclose(loss, loss_before, rtol=1e-5)
    np.testing.assert_allclose(accuracy, accuracy_before)
    for one, other in zip(*map(jax.tree.leaves, (grads, expected)), strict=True):
        np.testing.assert_allclose(one, scale * other, rtol=1e-4, atol=1e-6 * scale)


@pytest.mark.parametrize("scale", [0.2, 5.0])
def test_sgd_at_a_rate_is_sgd_at_the_rate_times_the_squared_scale(digits, scale):
    one = training.train(reparametrized(digits, scale, scale), optimizers.sgd(0.1), 20, key=KEY)
    # The same distribution at scale 1 draws the same problem, start and batches.
    rate = 0.1 * scale**2
    other = training.train(reparametrized(digits, 1, 1), optimizers.sgd(rate), 20, key=KEY)
    np.testing.assert_allclose(one.losses, other.losses, rtol=2e-4)
    plain = training.train(reparametrized(digits, 1, 1), optimizers.sgd(0.1), 20, key=KEY)
    assert float(jnp.abs(one.losses - plain.losses).max()) > 0.01


def test_scales_are_log_uniform():
    distribution = reparametrized(tasks.Rosenbrock())
    keys = jax.random.split(KEY, 4000)
    scales = np.asarray(jax.vmap(lambda key: distribution.sample(key).scale)(keys), float)
    places = np.log(scales / 1e-3) / np.log(1e6)
    assert places.min() >= 0
    assert places.max() <= 1
    counts, _ = np.histogram(places, 10, (0, 1))
    assert np.sum((counts - 400) ** 2 / 400) < 9 + 4 * np.sqrt(2 * 9)


def test_every_problem_of_a_distribution_has_its_own_scale():
    distribution = reparametrized(tasks.RandomLeastSquares())
    one, other = (distribution.sample(jax.random.key(seed)) for seed in (1, 2))
    assert one.scale != other.scale
    assert (one.task.matrix != other.task.matrix).all()

    def first_loss(key):
        task = distribution.sample(key)
        return task.loss(task.init(key), None)

    keys = jax.random.split(KEY, 3)
    together = jax.jit(jax.vmap(first_loss))(keys)
    np.testing.assert_allclose(together, [first_loss(key) for key in keys], rtol=1e-3)


def test_the_data_are_passed_on_and_not_copied(digits):
    # Estimators tell what varies between problems from what does not by identity.
    task = reparametrized(digits).sample(KEY)
    assert task.task.splits["train"].inputs is digits.splits["train"].inputs


def test_metadata_and_symmetries(digits):
    distribution = reparametrized(digits, 0.1, 10)
    assert distribution.metadata == digits.metadata | {"reparametrized": [0.1, 10.0]}
    task = distribution.sample(KEY)
    assert task.symmetries(task.init(KEY)) == {}


@pytest.mark.parametrize(("low", "high"), [(0, 1), (2, 1), (-1, 1), (1, math.inf)])
def test_wrong_bounds(low, high):
    with pytest.raises(InvalidValueError, match=r"(low|high) is"):
        reparametrized(tasks.Rosenbrock(), low, high)
