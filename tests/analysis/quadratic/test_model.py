"""The model's matrices, and its closed forms against sums, samples and finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optoscope import training
from optoscope._core.errors import InvalidValueError
from optoscope.analysis.quadratic import (
    MatrixOptimizer,
    NoisyQuadratic,
    dynamics_matrix,
    expected_loss,
    expected_loss_and_gradient,
    parameter_covariance,
    spectral_radius,
)


def random_case(seed, size=3):
    generator = np.random.default_rng(seed)
    factor, noise, P = generator.standard_normal((3, size, size))
    hessian = factor @ factor.T / size + 0.2 * np.eye(size)
    quadratic = NoisyQuadratic(hessian, noise @ noise.T, start_variance=2.0)
    return quadratic, 0.1 * P, 0.2


def literal_moments(quadratic, P, nominal, horizon, second_moment):
    """Equations 7 and 8 as they are written, powers and all, with the ½ of equation 4."""
    H, noise = np.asarray(quadratic.hessian), np.asarray(quadratic.noise_covariance)
    A = np.eye(len(H)) - (nominal * np.eye(len(H)) + P) @ H
    kick = np.eye(len(H)) - A
    losses = []
    for t in range(1, horizon + 1):
        covariance = np.zeros_like(H)
        for k in range(t):
            power = np.linalg.matrix_power(A, t - k - 1) @ kick
            covariance += power @ noise @ power.T
        power = np.linalg.matrix_power(A, t)
        walked = np.trace(power.T @ H @ power @ second_moment)
        losses.append(0.5 * (walked + np.trace(H @ (covariance + noise))))
    return np.mean(losses), covariance


@pytest.mark.parametrize("horizon", [1, 2, 3, 7, 16, 37])
def test_the_closed_form_is_the_explicit_sum(horizon):
    quadratic, P, nominal = random_case(horizon)
    loss, covariance = literal_moments(quadratic, P, nominal, horizon, 2.0 * np.eye(3))
    found = parameter_covariance(quadratic, P, nominal, num_steps=horizon)
    np.testing.assert_allclose(found, covariance, rtol=1e-10, atol=1e-12)
    assert expected_loss(quadratic, P, nominal, horizon=horizon) == pytest.approx(loss, rel=1e-11)
    start = np.array([1.0, -2.0, 0.5])
    loss, _ = literal_moments(quadratic, P, nominal, horizon, np.outer(start, start))
    found = expected_loss(quadratic, P, nominal, horizon=horizon, start=start)
    assert found == pytest.approx(loss, rel=1e-11)


def sampled_losses(quadratic, P, nominal, horizon, num_runs):
    run = training.train(
        quadratic,
        MatrixOptimizer(jnp.asarray(P, jnp.float32), nominal),
        horizon + 1,
        key=jax.random.key(3),
        num_runs=num_runs,
    )
    return np.asarray(run.losses, np.float64)[:, 1:].mean(axis=1)


def test_the_closed_form_is_what_runs_show_and_a_factor_would_be_seen():
    quadratic, P, nominal = random_case(0)
    samples = sampled_losses(quadratic, P, nominal, 12, 40_000)
    error = samples.std() / len(samples) ** 0.5
    expected = expected_loss(quadratic, P, nominal, horizon=12)
    assert abs(samples.mean() - expected) < 4 * error
    # Power: a tenth off, or the paper's missing half, is far outside.
    for wrong in (1.1 * expected, 2 * expected, -expected):
        assert abs(samples.mean() - wrong) > 4 * error


def test_the_covariance_is_that_of_runs():
    quadratic, P, nominal = random_case(1)
    still = NoisyQuadratic(quadratic.hessian, quadratic.noise_covariance, start_variance=0.0)
    optimizer = MatrixOptimizer(jnp.asarray(P, jnp.float32), nominal)
    run = training.train(still, optimizer, 9, key=jax.random.key(4), num_runs=40_000)
    params = np.asarray(run.params, np.float64)
    products = params[:, :, None] * params[:, None, :]
    error = products.std(axis=0) / len(products) ** 0.5
    covariance = parameter_covariance(still, P, nominal, num_steps=9)
    assert (np.abs(products.mean(axis=0) - covariance) < 4.5 * error).all()
    assert (np.abs(products.mean(axis=0) - 1.1 * covariance) > 4.5 * error).any()


@pytest.mark.parametrize("horizon", [1, 5, 24])
def test_the_gradient_is_that_of_finite_differences(horizon):
    quadratic, P, nominal = random_case(2)
    found = expected_loss_and_gradient(quadratic, P, nominal, horizon=horizon)

    def difference(direction, slope, h=1e-5):
        def at(s):
            return expected_loss(
                quadratic, P + s * h * direction, nominal + s * h * slope, horizon=horizon
            )

        return (8 * (at(1) - at(-1)) - (at(2) - at(-2))) / (12 * h)

    numeric = np.zeros((3, 3))
    for index in np.ndindex(3, 3):
        direction = np.zeros((3, 3))
        direction[index] = 1.0
        numeric[index] = difference(direction, 0.0)
    np.testing.assert_allclose(found.gradient, numeric, rtol=1e-7, atol=1e-8)
    assert found.nominal_gradient == pytest.approx(difference(np.zeros((3, 3)), 1.0), rel=1e-7)
    # α enters as αI beside P.
    assert found.nominal_gradient == pytest.approx(np.trace(found.gradient), rel=1e-12)


def test_long_horizons_reach_the_stationary_loss():
    quadratic, P, nominal = random_case(5)
    A = dynamics_matrix(quadratic, P, nominal)
    assert spectral_radius(A) < 1
    kick = np.eye(3) - A
    noise = kick @ quadratic.noise_covariance @ kick.T
    flat = np.linalg.solve(np.eye(9) - np.kron(A, A), noise.ravel())
    stationary = flat.reshape(3, 3)
    covariance = parameter_covariance(quadratic, P, nominal, num_steps=10**6)
    np.testing.assert_allclose(covariance, stationary, rtol=1e-9)
    loss = 0.5 * np.trace(quadratic.hessian @ (stationary + quadratic.noise_covariance))
    assert expected_loss(quadratic, P, nominal, horizon=10**12) == pytest.approx(loss, rel=1e-9)


def test_an_unstable_optimizer_has_an_infinite_loss_not_nan():
    quadratic = NoisyQuadratic.paper()
    found = expected_loss_and_gradient(quadratic, -np.eye(2), horizon=100_000)
    assert found.value == np.inf
    assert np.isnan(found.gradient).all()


def test_the_dynamics_are_what_the_optimizer_does():
    quadratic, P, nominal = random_case(6)
    phi, xi = np.random.default_rng(0).standard_normal((2, 3)).astype(np.float32)
    grads = jax.grad(quadratic.loss)(jnp.asarray(phi), jnp.asarray(xi))
    optimizer = MatrixOptimizer(jnp.asarray(P, jnp.float32), nominal)
    updates, _ = optimizer.update(grads, None)
    A = dynamics_matrix(quadratic, P, nominal)
    np.testing.assert_allclose(phi + updates, A @ phi + (np.eye(3) - A) @ xi, rtol=2e-5, atol=1e-6)


def test_the_sign_of_equation_19():
    """Eq. 18 with Δ = (1 − ε) I: the excess term is +αεH, not what eq. 19 prints."""
    quadratic, best, alpha = random_case(7)
    eps, eye = 0.3, np.eye(3)
    delta = (1 - eps) * eye
    from_18 = eye - (alpha * (eye - delta) + delta @ best) @ quadratic.hessian
    np.testing.assert_allclose(
        dynamics_matrix(quadratic, (1 - eps) * best, eps * alpha), from_18, rtol=1e-12
    )
    printed = eye - (alpha * eps * eye - (1 - eps) * best) @ quadratic.hessian
    assert np.abs(printed - from_18).max() > 0.01


def test_the_preconditioned_dynamics():
    quadratic, P, nominal = random_case(8)
    A = dynamics_matrix(quadratic, P, nominal, hessian_exponent=0.5)
    values, vectors = np.linalg.eigh(quadratic.hessian)
    root = vectors @ np.diag(values**-0.5) @ vectors.T
    expected = np.eye(3) - root @ (nominal * np.eye(3) + P) @ quadratic.hessian
    np.testing.assert_allclose(A, expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (([[1.0, 2.0]],), r"\(n, n\)"),
        (([[1.0, 2.0], [0.0, 5.0]],), "not symmetric"),
        (([[1.0, 2.0], [2.0, 1.0]],), "must be positive"),
        (([[np.nan]],), "not finite"),
        (([[1.0]], [[-1.0]]), "covariance has none"),
        (([[1.0]], [[1.0]], -1.0), "start_variance"),
    ],
)
def test_what_is_no_model_is_refused(arguments, words):
    with pytest.raises(InvalidValueError, match=words):
        NoisyQuadratic(*arguments)


def test_what_has_no_loss_is_refused():
    quadratic = NoisyQuadratic.paper()
    with pytest.raises(InvalidValueError, match="preconditioner has shape"):
        expected_loss(quadratic, np.eye(3), horizon=5)
    with pytest.raises(InvalidValueError, match="horizon"):
        expected_loss(quadratic, np.eye(2), horizon=0)
    with pytest.raises(InvalidValueError, match="start has shape"):
        expected_loss(quadratic, np.eye(2), horizon=5, start=np.zeros(3))
    with pytest.raises(InvalidValueError, match="num_steps"):
        parameter_covariance(quadratic, np.eye(2), num_steps=-1)
    assert not parameter_covariance(quadratic, np.eye(2), num_steps=0).any()
