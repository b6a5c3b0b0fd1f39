"""Sampled meta-gradients against backpropagation, the exact gradient and an exact variance."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optoscope import training
from optoscope._core.errors import InvalidValueError
from optoscope.analysis.quadratic import (
    MatrixOptimizer,
    NoisyQuadratic,
    expected_loss_and_gradient,
    gradient_variance,
    paper_nominals,
)
from optoscope.analysis.quadratic import _gradient_variance as module
from optoscope.training._run import run_once

QUADRATIC = NoisyQuadratic.paper()


def test_mean_gradients_are_the_exact_ones_and_a_tenth_would_be_seen():
    found = gradient_variance(
        QUADRATIC,
        key=jax.random.key(0),
        nominals=[0.4],
        horizons=[20],
        num_seeds=20_000,
        preconditioner=[[0.1, 0.05], [-0.1, 0.2]],
    )
    exact = expected_loss_and_gradient(QUADRATIC, [[0.1, 0.05], [-0.1, 0.2]], 0.4, horizon=20)
    # The trace bounds every entry's variance.
    error = (found.trace_variance[0, 0] / found.num_seeds) ** 0.5
    difference = np.linalg.norm(found.mean_gradient[0, 0] - exact.gradient)
    size = np.linalg.norm(exact.gradient)
    assert difference < 4 * error
    assert 0.1 * size > 4 * error  # else the test could not see a tenth


def test_the_variance_of_one_step_in_one_dimension():
    """T = 1, H = h, P = 0, α = 0: dL/dP = −h²(φ₀ − ξ₀)(φ₀ − ξ₁)."""
    h, start = 2.0, 3.0
    quadratic = NoisyQuadratic([[h]], start_variance=start)
    found = gradient_variance(
        quadratic, key=jax.random.key(1), nominals=[0.0], horizons=[1], num_seeds=40_000
    )
    # E[(φ−a)²(φ−b)²] for independent normals, less the square of E[(φ−a)(φ−b)] = s.
    second = 3 * start**2 + 2 * start + 1
    variance = h**4 * (second - start**2)
    error = found.standard_error[0, 0]
    assert abs(found.trace_variance[0, 0] - variance) < 4 * error
    assert 0.1 * variance > 2 * error
    assert found.mean_gradient[0, 0, 0, 0] == pytest.approx(-(h**2) * start, rel=0.05)


def test_forward_mode_and_backpropagation_agree_for_every_horizon():
    key, horizons, nominals = jax.random.key(5), (1, 6), [0.2, 0.9]
    found = gradient_variance(QUADRATIC, key=key, nominals=nominals, horizons=horizons, num_seeds=3)
    seeds = training.run_keys(key, 3)
    for column, horizon in enumerate(horizons):

        def loss(P, nominal, run_key, horizon=horizon):
            init_key, batch_key = jax.random.split(run_key)
            optimizer = MatrixOptimizer(P, nominal)
            losses, _, _ = run_once(QUADRATIC, optimizer, horizon + 1, init_key, batch_key)
            return jnp.mean(losses[1:])

        over_seeds = jax.vmap(jax.grad(loss), in_axes=(None, None, 0))
        backward = jax.jit(jax.vmap(over_seeds, in_axes=(None, 0, None)))
        with jax.enable_x64(True):
            gradients = np.asarray(backward(jnp.zeros((2, 2)), jnp.asarray(nominals), seeds))
        mean = gradients.mean(axis=1)
        trace = np.square(gradients - mean[:, None]).sum(axis=(2, 3)).mean(axis=1)
        np.testing.assert_allclose(found.mean_gradient[:, column], mean, rtol=1e-10)
        np.testing.assert_allclose(found.trace_variance[:, column], trace, rtol=1e-9)


def test_chunks_do_not_matter(monkeypatch):
    options = {"key": jax.random.key(2), "nominals": [0.1, 0.7], "horizons": [2, 6]}
    whole = gradient_variance(QUADRATIC, num_seeds=10, **options)
    monkeypatch.setattr(module, "_CHUNK_BYTES", 2000)
    parts = gradient_variance(QUADRATIC, num_seeds=10, **options)
    np.testing.assert_allclose(parts.trace_variance, whole.trace_variance, rtol=1e-12)


def test_the_nominal_term_lowers_the_variance_and_the_more_the_longer_the_run():
    found = gradient_variance(
        QUADRATIC, key=jax.random.key(3), nominals=[0.0, 0.6], horizons=[1, 10, 50], num_seeds=100
    )
    ratio = found.trace_variance[1] / found.trace_variance[0]
    assert (ratio < 1).all()
    assert (np.diff(ratio) < 0).all()


def test_the_papers_grid():
    grid = paper_nominals(QUADRATIC)
    assert grid.shape == (50,)
    assert grid[0] == 0
    assert grid[-1] == pytest.approx(2 / QUADRATIC.largest_curvature)
    assert len(module.PAPER_HORIZONS) == 20


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"nominals": []}, "at least one"),
        ({"horizons": []}, "at least one"),
        ({"horizons": [0]}, "horizons"),
        ({"num_seeds": 1}, "num_seeds"),
        ({"preconditioner": np.eye(3)}, "preconditioner has shape"),
    ],
)
def test_what_cannot_be_sampled_is_refused(options, words):
    with pytest.raises(InvalidValueError, match=words):
        gradient_variance(QUADRATIC, key=jax.random.key(0), **options)
