import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optoscope import data, tasks
from optoscope._core.errors import InvalidValueError
from optoscope.tasks import ESGradient, Task, es_gradient

KEY = jax.random.key(0)
START = {"x": jnp.array([0.7, -1.2, 0.4]), "y": jnp.array([[1.5, -0.3]])}


class Cubic(Task):
    """Σ a x³ + ½‖x‖² + Σ y·target: smoothed by N(0, σ²I) its gradient has a closed form."""

    a: jax.Array

    def init(self, key):
        return START

    def sample_batch(self, key):
        return jax.random.normal(key, (1, 2))

    def loss(self, params, batch):
        x = params["x"]
        cubes = jnp.sum(self.a * x**3) + 0.5 * jnp.sum(x**2)
        return cubes + jnp.sum(params["y"] * batch)

    def smoothed_gradient(self, params, batch, std):
        x = params["x"]
        return {"x": 3 * self.a * (x**2 + std**2) + x, "y": batch}


CUBIC = Cubic(jnp.array([1.0, -0.5, 2.0]))


def estimates(task: ESGradient, num_batches: int):
    """Gradients at START for one batch of data and many perturbations, one row each."""
    first = task.sample_batch(KEY)

    def one(key):
        batch = eqx.tree_at(lambda b: b.key_data, first, jax.random.key_data(key))
        return jax.flatten_util.ravel_pytree(jax.grad(task.loss)(START, batch))[0]

    keys = jax.random.split(jax.random.key(1), num_batches)
    # In pieces: XLA gets a vmap of 40,000 of these wrong on a CPU (JAX 0.10.2).
    found = jax.jit(lambda keys: jax.lax.map(one, keys, batch_size=1000))(keys)
    return np.asarray(found, float), first.batch


@pytest.mark.parametrize(("num_pairs", "std"), [(1, 0.01), (4, 0.5)])
def test_the_estimate_is_unbiased_for_the_smoothed_loss(num_pairs, std):
    found, batch = estimates(es_gradient(CUBIC, num_pairs=num_pairs, std=std), 40_000 // num_pairs)
    exact = CUBIC.smoothed_gradient(START, batch, std)
    exact = np.asarray(jax.flatten_util.ravel_pytree(exact)[0], float)
    errors = found.std(axis=0, ddof=1) / len(found) ** 0.5

    def deviates(expected):
        return np.abs(found.mean(axis=0) - expected) > 4 * errors

    assert not deviates(exact).any()
    # The power of this check.
    assert deviates(-exact).any()
    assert deviates(1.1 * exact).any()
    if std == 0.5:
        unsmoothed = jax.flatten_util.ravel_pytree(jax.grad(CUBIC.loss)(START, batch))[0]
        assert deviates(np.asarray(unsmoothed)).any()


def test_the_variance_falls_with_the_number_of_pairs():
    one, _ = estimates(es_gradient(CUBIC, num_pairs=1), 4000)
    nine, _ = estimates(es_gradient(CUBIC, num_pairs=9), 4000)
    ratio = one.var(axis=0).sum() / nine.var(axis=0).sum()
    # A variance's relative error is about sqrt(2/4000) for normal values, more for these.
    assert abs(ratio / 9 - 1) < 0.2


def test_one_pair_by_hand():
    task = es_gradient(CUBIC, num_pairs=1, std=0.1)
    batch = task.sample_batch(KEY)
    grads = jax.grad(task.loss)(START, batch)
    # The gradient is a multiple of the noise; recover both from it.
    flat, unravel = jax.flatten_util.ravel_pytree(grads)
    values = []
    key = jax.random.split(jax.random.wrap_key_data(batch.key_data), 1)[0]
    normal = jax.random.normal(key, flat.shape)
    noise = unravel(normal)
    for sign in (1, -1):
        moved = jax.tree.map(lambda p, e, s=sign: p + s * 0.1 * e, START, noise)
        values.append(float(CUBIC.loss(moved, batch.batch)))
    expected = (values[0] - values[1]) / 0.2 * jax.flatten_util.ravel_pytree(noise)[0]
    np.testing.assert_allclose(flat, expected, rtol=1e-4)
    assert unravel(flat).keys() == START.keys()


def test_the_value_is_exact_and_the_batch_decides_the_estimate():
    task = es_gradient(CUBIC)
    batch, other = task.sample_batch(KEY), task.sample_batch(jax.random.key(9))
    value, grads = jax.value_and_grad(task.loss)(START, batch)
    assert value == CUBIC.loss(START, batch.batch) == task.loss(START, batch)
    again = jax.grad(task.loss)(START, batch)
    assert (grads["x"] == again["x"]).all()
    same_data = eqx.tree_at(lambda b: b.key_data, batch, other.key_data)
    assert (grads["x"] != jax.grad(task.loss)(START, same_data)["x"]).all()


def test_the_estimate_points_downhill_for_a_network():
    inner = tasks.mlp_classification(data.load("digits", size=4), hidden=(6,), batch_size=16)
    task = es_gradient(inner, num_pairs=4)
    params, batch = task.init(KEY), task.sample_batch(KEY)
    grads, exact = jax.jit(
        lambda params: (
            jax.grad(task.loss)(params, batch),
            jax.grad(inner.loss)(params, batch.batch),
        )
    )(params)
    flat, expected = (jax.flatten_util.ravel_pytree(tree)[0] for tree in (grads, exact))
    # One pair gives (g·ε)², always positive.
    assert float(flat @ expected) > 0
    assert task.accuracy(params) == inner.accuracy(params)


def test_derivatives_of_the_estimate_are_exact():
    """What a meta-gradient needs: the estimate is itself a differentiable function."""
    task = es_gradient(CUBIC, num_pairs=3, std=0.3)
    with jax.enable_x64(True):
        batch = task.sample_batch(KEY)

        @jax.jit
        def along(amount):
            params = jax.tree.map(lambda p: p.astype(float) * (1 + amount), START)
            return jnp.sum(jax.grad(task.loss)(params, batch)["x"] ** 2)

        zero = jnp.zeros((), float)
        slope = (along(zero + 1e-5) - along(zero - 1e-5)) / 2e-5
        np.testing.assert_allclose(jax.jit(jax.grad(along))(zero), slope, rtol=1e-7)
        assert abs(slope) > 1e-2


def test_part_of_the_parameters_can_be_differentiated_alone():
    task = es_gradient(CUBIC)
    batch = task.sample_batch(KEY)
    part = jax.grad(lambda x: task.loss(START | {"x": x}, batch))(START["x"])
    np.testing.assert_allclose(part, jax.grad(task.loss)(START, batch)["x"], rtol=1e-6)


def test_metadata_says_how():
    inner = tasks.get("digits-mlp-sigmoid")
    metadata = es_gradient(inner, num_pairs=2, std=0.1).metadata
    assert metadata == inner.metadata | {"gradient": "es", "num_pairs": 2, "std": 0.1}
    assert es_gradient(inner, name="noisy").metadata["name"] == "noisy"
    assert es_gradient(inner).symmetries(None) == {}


@pytest.mark.parametrize(
    ("options", "message"),
    [({"num_pairs": 0}, "num_pairs is 0"), ({"std": 0.0}, "std is 0.0; it must be above 0")],
)
def test_wrong_settings(options, message):
    with pytest.raises(InvalidValueError, match=message):
        es_gradient(CUBIC, **options)
