"""The update covariance against the explicit one, and its probe against both."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optoscope import optimizers, tasks, training
from optoscope._core.errors import InvalidValueError
from optoscope.analysis.noise import CovarianceProbe, update_covariance


def explicit(updates):
    centered = updates - updates.mean(axis=0)
    return np.linalg.eigvalsh(centered.T @ centered / len(updates))[::-1]


@pytest.mark.parametrize("shape", [(5, 12), (12, 5), (2, 1)])
def test_eigenvalues_are_those_of_the_explicit_covariance(shape):
    updates = np.random.default_rng(0).standard_normal(shape) + 2.0
    result = update_covariance(updates)
    expected = explicit(updates)
    count = min(shape)
    np.testing.assert_allclose(result.eigenvalues[:count], expected[:count], atol=1e-13)
    np.testing.assert_allclose(result.eigenvalues[count:], 0.0, atol=1e-13)
    assert result.top == pytest.approx(expected[0])
    assert result.trace_share == pytest.approx(expected[0] / expected.sum())
    assert result.relative_top == pytest.approx(
        expected[0] / np.sum(updates.mean(axis=0) ** 2), rel=1e-12
    )
    assert result.residual < 1e-12


def test_power_iteration_agrees_and_reports_its_residual():
    updates = np.random.default_rng(1).standard_normal((20, 50)) * np.geomspace(1, 0.01, 50)
    result = update_covariance(updates, method="power")
    assert result.top == pytest.approx(update_covariance(updates).top, rel=1e-9)
    assert result.eigenvalues.shape == (1,)
    assert result.residual <= 1e-6
    early = update_covariance(updates, method="power", max_iterations=1)
    assert early.residual > 1e-3
    assert early.top < result.top


def test_a_common_offset_in_float32_does_not_spoil_it():
    # Multiples of 1/8 are exact in float32 beside 1e6, so nothing is lost in the sum itself.
    spread = np.random.default_rng(2).integers(-8, 9, (10, 300)) / 8
    shifted = (spread + 1e6).astype(np.float32)
    expected = update_covariance(spread)
    for method in ("eigh", "power"):
        result = update_covariance(shifted, method=method)
        assert result.top == pytest.approx(expected.top, rel=1e-9)
        assert result.trace_share == pytest.approx(expected.trace_share, rel=1e-9)


def test_columns_taken_in_blocks_give_the_same(monkeypatch):
    updates = np.random.default_rng(3).standard_normal((6, 40))
    whole = update_covariance(updates)
    monkeypatch.setattr("optoscope.analysis.noise._covariance._COLUMNS", 7)
    np.testing.assert_allclose(update_covariance(updates).eigenvalues, whole.eigenvalues)


def test_the_learning_rate_cancels_in_the_relative_value():
    updates = np.random.default_rng(4).standard_normal((6, 40)) + 1
    small, large = update_covariance(0.01 * updates), update_covariance(updates)
    assert small.top == pytest.approx(1e-4 * large.top)
    assert small.relative_top == pytest.approx(large.relative_top)


def test_updates_that_do_not_vary_have_no_spectrum():
    for method in ("eigh", "power"):
        result = update_covariance(np.ones((4, 3)), method=method)
        assert (result.top, result.relative_top, result.residual) == (0.0, 0.0, 0.0)
        assert np.isnan(result.trace_share)


@pytest.mark.parametrize(
    ("updates", "options", "words"),
    [
        (np.ones((1, 3)), {}, "at least 2"),
        (np.full((3, 3), np.inf), {}, "not finite"),
        (np.ones((3, 3)), {"method": "svd"}, "'eigh' or 'power'"),
        (np.ones((3, 3)), {"max_iterations": 0}, "max_iterations"),
    ],
)
def test_what_has_no_covariance_is_refused(updates, options, words):
    with pytest.raises(InvalidValueError, match=words):
        update_covariance(updates, **options)


@eqx.filter_jit
def record_of(task, optimizer):
    inner = training.initial_state(task, optimizer, jax.random.key(0))
    return training.inner_step(task, optimizer, inner, jax.random.key(1))[1]


def test_the_probe_measures_updates_from_the_records_state():
    task, optimizer = tasks.get("digits-mlp-leaky-relu", batch_size=8), optimizers.adam(0.01)
    probe = CovarianceProbe(task=task, optimizer=optimizer, num_batches=6)
    record = record_of(task, optimizer)
    measured = eqx.filter_jit(probe.measure)(record)

    batch_key, _ = jax.random.split(jax.random.fold_in(jax.random.key(0), 0))

    @jax.jit
    def row(key):
        grads = jax.grad(task.loss)(record.params, task.sample_batch(key))
        updates, _ = optimizer.update(grads, record.state, record.params)
        return jax.flatten_util.ravel_pytree(updates)[0]

    rows = [np.asarray(row(key)) for key in training.run_keys(batch_key, 6)]
    expected = update_covariance(np.stack(rows))
    np.testing.assert_allclose(measured["eigenvalues"][:5], expected.eigenvalues[:5], rtol=1e-3)
    assert float(measured["relative_top"]) == pytest.approx(expected.relative_top, rel=1e-3)


def test_a_diverged_state_gives_nan():
    task, optimizer = tasks.get("digits-mlp-leaky-relu", batch_size=8), optimizers.sgd(0.1)
    probe = CovarianceProbe(task=task, optimizer=optimizer, num_batches=3)
    record = record_of(task, optimizer)
    record = eqx.tree_at(
        lambda r: r.params, record, jax.tree.map(lambda leaf: leaf * jnp.nan, record.params)
    )
    assert all(
        np.isnan(leaf).all() for leaf in jax.tree.leaves(eqx.filter_jit(probe.measure)(record))
    )
