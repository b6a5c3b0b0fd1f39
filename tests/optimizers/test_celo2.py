import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from optoscope import optimizers
from optoscope._core.errors import InvalidValueError
from optoscope._core.trees import size
from optoscope.optimizers import Celo2Optimizer
from optoscope.optimizers._directions import of_unit_size, orthogonalized
from support.published_files import published


def tree_of(stored, prefix):
    names = [name for name in stored.files if name.startswith(prefix)]
    return {name.removeprefix(prefix): jnp.asarray(stored[name]) for name in names}


@pytest.mark.parametrize("kind", ["base", "orthogonal"])
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "packed"])
def test_the_golden_trajectory_of_the_authors_code(kind, packed, tmp_path):
    stored = np.load(published("golden", "celo2.npz"))
    path = tmp_path / "theta.npz"
    np.savez(path, **{k.removeprefix("theta/"): stored[k] for k in stored.files if "theta/" in k})
    optimizer = optimizers.load_published(
        "celo2", path, learning_rate=1.0, orthogonalize=kind == "orthogonal"
    )
    params = tree_of(stored, "P/")
    state = (optimizer.init_packed if packed else optimizer.init)(params)
    update = jax.jit(optimizer.update)
    for step in range(8):
        expected = tree_of(stored, f"{kind}/step/{step}/")
        updates, state = update(tree_of(stored, f"G/{step}/"), state, params)
        assert set(updates) - set(expected) <= {"bias"}
        for name, leaf in expected.items():
            # One of the matrices is nearly singular, and its orthogonalization is ill-conditioned.
            error = np.linalg.norm(updates[name] + leaf) / np.linalg.norm(leaf)
            assert error < 1e-4, (name, step)
            params[name] = params[name] - 1e-2 * leaf


def test_the_network_has_347_numbers():
    optimizer = Celo2Optimizer.create(jax.random.key(0))
    assert size(optimizer.network) == 347
    # And the learning rate, which is the user's.
    assert size(optimizer) == 348


def test_what_is_no_matrix_is_adams_at_twenty_times_the_rate():
    optimizer = Celo2Optimizer.create(
        jax.random.key(0), learning_rate=0.01, orthogonalize=True, hidden_size=2
    )
    params = {"w": jnp.ones((3, 4)), "b": jnp.ones(4), "s": jnp.asarray(2.0)}
    grads = jax.tree.map(
        lambda leaf: 0.3 * jnp.cos(leaf + jnp.arange(leaf.size).reshape(leaf.shape)), params
    )
    adam = optax.adam(0.2)
    state, theirs = optimizer.init(params), adam.init(params)
    update = jax.jit(optimizer.update)
    for _ in range(3):
        updates, state = update(grads, state, params)
        expected, theirs = adam.update(grads, theirs)
        for name in ("b", "s"):
            np.testing.assert_allclose(updates[name], expected[name], rtol=1e-5)
    singular = np.linalg.svd(np.asarray(updates["w"]))[1]
    assert singular.max() / singular.min() < 2
    np.testing.assert_allclose(np.sqrt(np.mean(updates["w"] ** 2)), 0.01, rtol=1e-5)


@pytest.mark.parametrize("shape", [(3, 5), (5, 3), (4, 4), (2, 3, 5)])
def test_orthogonalization_keeps_singular_vectors_and_changes_their_values(shape):
    matrices = np.random.default_rng(0).standard_normal(shape)
    with jax.enable_x64(True):
        found = np.asarray(orthogonalized(jnp.asarray(matrices)))
    left, values, right = np.linalg.svd(matrices, full_matrices=False)
    values = values / (np.sqrt(np.sum(values**2, axis=-1, keepdims=True)) + 1e-8)
    for _ in range(5):
        values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
    np.testing.assert_allclose(found, (left * values[..., None, :]) @ right, rtol=1e-8)


def test_zero_directions_stay_zero_and_have_finite_derivatives():
    direction = jax.jit(lambda x: of_unit_size(orthogonalized(x)))
    gradient = jax.grad(lambda x: jnp.sum(direction(x)))(jnp.zeros((3, 4)))
    assert np.isfinite(gradient).all()
    np.testing.assert_array_equal(direction(jnp.zeros((3, 4))), 0.0)


def test_the_size_of_a_step_is_the_learning_rate_matrix_by_matrix():
    optimizer = Celo2Optimizer.create(jax.random.key(3), learning_rate=0.05)
    params = jax.random.normal(jax.random.key(1), (2, 6, 5))
    scale = jnp.array([1e-3, 10.0])[:, None, None]
    updates, _ = jax.jit(optimizer.update)(scale * params, optimizer.init(params), params)
    updates = np.asarray(updates)
    np.testing.assert_allclose(np.sqrt(np.mean(updates**2, axis=(1, 2))), 0.05, rtol=1e-3)


def test_saved_and_loaded(tmp_path):
    optimizer = Celo2Optimizer.create(
        jax.random.key(0), learning_rate=0.3, orthogonalize=True, hidden_size=12
    )
    optimizers.save(tmp_path, optimizer)
    loaded = optimizers.load(tmp_path)
    assert eqx.tree_equal(loaded, optimizer)
    np.testing.assert_allclose(loaded.learning_rate, 0.3, rtol=1e-6)


def test_options_that_cannot_be():
    with pytest.raises(InvalidValueError, match="learning_rate of celo2 is -1"):
        Celo2Optimizer.create(jax.random.key(0), learning_rate=-1)
    with pytest.raises(InvalidValueError, match="hidden_size is 0"):
        Celo2Optimizer.create(jax.random.key(0), hidden_size=0)
