"""Meta-training of P: its estimate against the exact gradient, and where it leads."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optoscope._core.errors import InvalidValueError
from optoscope._core.trees import fresh_arrays
from optoscope.analysis.quadratic import (
    NoisyQuadratic,
    dynamics_matrix,
    expected_loss,
    expected_loss_and_gradient,
)
from optoscope.papers.stability._quadratic_meta_training import (
    FixedNominal,
    MetaSettings,
    meta_train,
)

QUADRATIC = NoisyQuadratic.paper()


@pytest.fixture(scope="module", autouse=True)
def met_in_single_precision():
    """JAX has met the quadratic's arrays in float32, and what it traced then is still there."""
    vector = jnp.ones(2)
    kept = [
        jax.make_jaxpr(QUADRATIC.init)(jax.random.key(0)),
        jax.make_jaxpr(QUADRATIC.sample_batch)(jax.random.key(0)),
        jax.make_jaxpr(QUADRATIC.loss)(vector, vector),
    ]
    yield
    assert kept


def test_the_estimate_is_the_exact_gradient_and_a_tenth_would_be_seen():
    """With a nominal step, which is no meta-parameter."""
    P, settings = np.array([[0.1, -0.1], [0.1, 0.0]]), MetaSettings(horizon=4, num_particles=2000)
    with jax.enable_x64(True):
        estimator = settings.estimator(fresh_arrays(QUADRATIC))
        optimizer = FixedNominal(jnp.asarray(P), jnp.asarray(1), (0.0, 0.05))

        def estimate(key):
            got, _ = estimator.estimate(optimizer, estimator.init(optimizer, key), key)
            assert len(jax.tree.leaves(got.gradient)) == 1
            return got.loss, got.gradient.preconditioner

        keys = jax.random.split(jax.random.key(0), 32)
        losses, gradients = map(np.asarray, jax.jit(jax.vmap(estimate))(keys))
    exact = expected_loss_and_gradient(QUADRATIC, P, 0.05, horizon=4)
    error = np.linalg.norm(gradients.std(axis=0, ddof=1)) / 32**0.5
    distance = np.linalg.norm(gradients.mean(axis=0) - exact.gradient)
    assert distance < 4 * error
    assert 0.1 * np.linalg.norm(exact.gradient) > 4 * error
    assert abs(losses.mean() - exact.value) < 4 * losses.std(ddof=1) / 32**0.5 + 1e-3


def test_the_nominal_step_is_the_chosen_one():
    optimizer = FixedNominal(jnp.array([[0.1, -0.1], [0.1, 0.0]]), jnp.asarray(2), (0.0, 0.5, 0.25))
    grads = jnp.array([1.0, -2.0])
    updates, state = optimizer.update(grads, optimizer.init(grads))
    np.testing.assert_allclose(updates, -(0.25 * grads + optimizer.preconditioner @ grads))
    assert state is None


@pytest.fixture(scope="module")
def trained():
    return meta_train(
        QUADRATIC,
        key=jax.random.key(0),
        nominals=[0.0, 0.3],
        num_meta_steps=600,
        num_seeds=2,
        record_every=100,
        settings=MetaSettings(horizon=20, learning_rate=3e-3, num_particles=8),
    )


def test_records_are_those_of_the_matrices(trained):
    assert trained.preconditioners.shape == (2, 2, 7, 2, 2)
    np.testing.assert_array_equal(trained.steps, 100 * np.arange(7))
    for index in ((0, 0, 0), (1, 1, 3), (1, 0, 6)):
        P, nominal = trained.preconditioners[index], trained.nominals[index[0]]
        A = dynamics_matrix(QUADRATIC, P, nominal)
        magnitudes = np.sort(np.abs(np.linalg.eigvals(A)))[::-1]
        np.testing.assert_allclose(trained.eigenvalue_magnitudes[index], magnitudes, rtol=1e-10)
        loss = expected_loss(QUADRATIC, P, nominal, horizon=20)
        assert trained.expected_loss[index] == pytest.approx(loss, rel=1e-10)
    assert not trained.skipped.any()


def test_meta_training_lowers_the_loss_and_the_nominal_term_is_ahead(trained):
    assert (trained.expected_loss[..., -1] < 0.7 * trained.expected_loss[..., 0])[0].all()
    assert (trained.expected_loss[..., -1] < trained.expected_loss[..., 0])[1].all()
    assert (trained.expected_loss[1, :, 1] < trained.expected_loss[0, :, 1]).all()
    assert (trained.eigenvalue_magnitudes[:, :, -1] < 1).all()
    np.testing.assert_allclose(
        trained.sampled_loss[..., -1], trained.expected_loss[..., -1], rtol=0.1
    )
    assert np.isnan(trained.sampled_loss[..., 0]).all()


def test_weight_decay_pulls_the_eigenvalues_toward_one():
    """App. B: the decay is a multiple of the learning rate and acts on P alone."""
    settings = {"horizon": 5, "learning_rate": 1e-2, "num_particles": 2}
    options = {"key": jax.random.key(1), "nominals": [0.2], "num_meta_steps": 300,
               "num_seeds": 1, "record_every": 300}  # fmt: skip
    free = meta_train(QUADRATIC, settings=MetaSettings(**settings), **options)
    held = meta_train(QUADRATIC, settings=MetaSettings(weight_decay=20.0, **settings), **options)
    sizes = [np.linalg.norm(found.preconditioners[0, 0, -1]) for found in (free, held)]
    assert sizes[1] < 0.5 * sizes[0]
    largest = [found.eigenvalue_magnitudes[0, 0, -1, 0] for found in (free, held)]
    assert largest[0] < largest[1] < 1


def test_estimates_that_are_not_finite_are_skipped_and_counted():
    found = meta_train(
        QUADRATIC,
        key=jax.random.key(0),
        nominals=[1e200, 0.1],
        num_meta_steps=3,
        num_seeds=1,
        record_every=1,
        settings=MetaSettings(horizon=3, num_particles=2),
    )
    assert found.skipped[:, 0].tolist() == [3, 0]
    assert not found.preconditioners[0].any()
    assert np.isinf(found.expected_loss[0]).all()


@pytest.mark.parametrize(
    "wrong", [{"horizon": 0}, {"learning_rate": 0.0}, {"sigma": -1.0}, {"weight_decay": -1.0}]
)
def test_settings_that_cannot_work_are_refused(wrong):
    with pytest.raises(InvalidValueError, match=next(iter(wrong))):
        MetaSettings(**wrong)


def test_no_meta_training_is_refused():
    with pytest.raises(InvalidValueError, match="num_meta_steps"):
        meta_train(QUADRATIC, key=jax.random.key(0), num_meta_steps=5)
    with pytest.raises(InvalidValueError, match="nominals"):
        meta_train(QUADRATIC, key=jax.random.key(0), nominals=[])
