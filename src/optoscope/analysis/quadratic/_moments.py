"""Exact moments of the noisy quadratic model: covariance and expected loss after any T steps."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from optoscope._core.errors import InvalidValueError, check_count, check_number
from optoscope._core.showing import shown
from optoscope._core.trees import fresh_arrays, select
from optoscope.analysis.quadratic._model import Matrix, NoisyQuadratic, checked_square


class _Stretch(NamedTuple):
    """The effect of k consecutive steps, in a form that can be combined with the next steps.

    `transfer` is A^k, `covariance` that of φ_k from a start at zero, `weights` the sum over
    t = 1..k of (A^t)ᵀ H A^t, `noise` the sum over t = 1..k of tr(H Σ_t).
    """

    transfer: Float[Array, "n n"]
    covariance: Float[Array, "n n"]
    weights: Float[Array, "n n"]
    noise: Float[Array, ""]


def _then(first: _Stretch, second: _Stretch) -> _Stretch:
    """The first stretch followed by the second."""
    A, B = first.transfer, second.transfer
    return _Stretch(
        B @ A,
        B @ first.covariance @ B.T + second.covariance,
        first.weights + A.T @ second.weights @ A,
        first.noise + second.noise + jnp.sum(second.weights * first.covariance),
    )


def digits(num_steps: int) -> Bool[np.ndarray, " digits"]:
    """The binary digits of a number of steps after the leading one."""
    return np.array([digit == "1" for digit in bin(num_steps)[3:]], bool)


def stretch(
    hessian: Float[Array, "n n"],
    noise_covariance: Float[Array, "n n"],
    step: Float[Array, "n n"],
    binary: Bool[Array | np.ndarray, " digits"],
) -> _Stretch:
    """T steps of φ⁺ = φ − step·H(φ − ξ), by repeated doubling: about 2 log₂ T products.

    From the leading digit of T down, so that nothing longer than T + 1 steps is ever formed:
    unstable dynamics overflow only where T steps of them do.
    """
    kick = step @ hessian
    A = jnp.eye(hessian.shape[0]) - kick
    noise = kick @ noise_covariance @ kick.T
    once = _Stretch(A, noise, A.T @ hessian @ A, jnp.sum(hessian * noise))

    def extend(total: _Stretch, digit: Bool[Array, ""]) -> tuple[_Stretch, None]:
        double = _then(total, total)
        return select(digit, _then(double, once), double), None

    return jax.lax.scan(extend, once, jnp.asarray(binary))[0]


def _mean_loss(
    quadratic: NoisyQuadratic,
    preconditioner: Float[Array, "n n"],
    nominal: Float[Array, ""],
    horizon: tuple[Float[Array, ""], Bool[Array, " digits"]],
    start: Float[Array | np.ndarray, "n n"],
) -> Float[Array, ""]:
    """The expected loss; the horizon with its digits, `start` is E[φ₀φ₀ᵀ]."""
    H, covariance = jnp.asarray(quadratic.hessian), jnp.asarray(quadratic.noise_covariance)
    total = stretch(H, covariance, nominal * jnp.eye(H.shape[0]) + preconditioner, horizon[1])
    walked = (jnp.sum(total.weights * start) + total.noise) / horizon[0]
    return 0.5 * (walked + jnp.sum(H * covariance))


_stretch = jax.jit(stretch)
_loss_and_gradient = jax.jit(jax.value_and_grad(_mean_loss, argnums=(1, 2)))
_losses = jax.jit(jax.vmap(_mean_loss, in_axes=(None, 0, 0, None, None)))


def _as_horizon(horizon: int) -> tuple[Any, Any]:
    return jnp.asarray(float(horizon)), jnp.asarray(digits(int(horizon)))


def parameter_covariance(
    quadratic: NoisyQuadratic, preconditioner: Any, nominal: float = 0.0, *, num_steps: int
) -> Matrix:
    """The covariance of φ after `num_steps` steps from a fixed start.

    Math: Σ_t = Σ_{k<t} A^(t−k−1) (I − A) Σ (I − A)ᵀ (A^(t−k−1))ᵀ, by repeated doubling. From a
    random start add A^t S₀ (A^t)ᵀ, S₀ the covariance of φ₀.

    Source: paper C, equation 7.

    Args:
        quadratic: gives H and Σ.
        preconditioner: P, shape (n, n).
        nominal: α.
        num_steps: t, at least 0.

    Returns:
        Σ_t, float64. Not finite where it is too large for a float.

    Raises:
        InvalidValueError: P is not a finite (n, n) matrix, or `num_steps` negative.

    Example:
        >>> parameter_covariance(NoisyQuadratic([[1.0]]), [[0.5]], num_steps=2)
        array([[0.3125]])
    """
    P = checked_square("preconditioner", preconditioner, quadratic.size)
    check_count("num_steps", num_steps, minimum=0)
    if num_steps == 0:
        return np.zeros_like(P)
    with jax.enable_x64(True):
        step = nominal * np.eye(len(P)) + P
        arrays = fresh_arrays((quadratic.hessian, quadratic.noise_covariance, step))
        total = _stretch(*map(jnp.asarray, arrays), jnp.asarray(digits(int(num_steps))))
        return np.asarray(total.covariance)


@shown
@dataclass(frozen=True)
class ExpectedLoss:
    """The expected loss over a horizon and its derivatives.

    Args:
        value: infinite where it is too large for a float.
        gradient: with respect to P; NaN where the value is infinite.
        nominal_gradient: with respect to α.
    """

    value: float
    gradient: Matrix
    nominal_gradient: float


def _checked_start(quadratic: NoisyQuadratic, start: Any | None) -> np.ndarray:
    if start is None:
        return np.asarray(quadratic.start_variance) * np.eye(quadratic.size)
    start = np.asarray(start, np.float64)
    if start.shape != (quadratic.size,):
        raise InvalidValueError(f"start has shape {start.shape}; it must be ({quadratic.size},).")
    return np.outer(start, start)


def expected_loss_and_gradient(
    quadratic: NoisyQuadratic,
    preconditioner: Any,
    nominal: float = 0.0,
    *,
    horizon: int,
    start: Float[np.ndarray | Array, " n"] | None = None,
) -> ExpectedLoss:
    """`expected_loss` with its exact derivatives with respect to P and α.

    Args:
        quadratic: gives H, Σ and the variance of the start.
        preconditioner: P, shape (n, n).
        nominal: α.
        horizon: T, at least 1.
        start: a fixed φ₀; without it φ₀ ~ N(0, s I) is averaged over too.

    Raises:
        InvalidValueError: P, α, T or the start cannot be used.

    Example:
        >>> found = expected_loss_and_gradient(
        ...     NoisyQuadratic([[1.0]], start_variance=1.0), [[0.0]], horizon=1)
        >>> found.value, float(found.gradient[0, 0])
        (1.0, -1.0)
    """
    P = checked_square("preconditioner", preconditioner, quadratic.size)
    check_number("nominal", nominal)
    check_count("horizon", horizon, minimum=1)
    second_moment = _checked_start(quadratic, start)
    with jax.enable_x64(True):
        value, (gradient, slope) = _loss_and_gradient(
            fresh_arrays(quadratic),
            jnp.asarray(P),
            jnp.asarray(float(nominal)),
            _as_horizon(horizon),
            second_moment,
        )
    if not np.isfinite(value):
        return ExpectedLoss(np.inf, np.full_like(P, np.nan), np.nan)
    return ExpectedLoss(float(value), np.asarray(gradient), float(slope))


def expected_loss(
    quadratic: NoisyQuadratic,
    preconditioner: Any,
    nominal: float = 0.0,
    *,
    horizon: int,
    start: Float[np.ndarray | Array, " n"] | None = None,
) -> float:
    """The expected mean loss over the T steps of the linear optimizer, in closed form.

    The cost grows with log T; there are no samples. `expected_loss_and_gradient` differentiates
    it.

    Math: (1/T) Σ_{t=1..T} ½ [φ₀ᵀ (A^t)ᵀ H A^t φ₀ + tr(H (Σ_t + Σ))], Σ_t from
    `parameter_covariance`; without a fixed start the first term is s·tr((A^t)ᵀ H A^t).

    Source: paper C, equation 8, which drops the factor ½ of equation 4; it is kept here, so
    that the value is the mean of the losses that a run records. As there, the sum starts after
    the first update: the loss at φ₀, which no optimizer can change, is left out.

    Args:
        quadratic: gives H, Σ and the variance of the start.
        preconditioner: P, shape (n, n).
        nominal: α.
        horizon: T, at least 1.
        start: a fixed φ₀; without it φ₀ ~ N(0, s I) is averaged over too.

    Returns:
        The loss, from float64; infinite where it is too large for a float.

    Raises:
        InvalidValueError: P, α, T or the start cannot be used.

    Example:
        >>> quadratic = NoisyQuadratic.paper()
        >>> round(expected_loss(quadratic, np.zeros((2, 2)), 0.5, horizon=50), 4)
        1.3283
        >>> round(expected_loss(quadratic, np.zeros((2, 2)), 0.5, horizon=10**9), 4)
        1.2276
    """
    found = expected_loss_and_gradient(
        quadratic, preconditioner, nominal, horizon=horizon, start=start
    )
    return found.value


def expected_losses(
    quadratic: NoisyQuadratic,
    preconditioners: Float[np.ndarray, "count n n"],
    nominals: Float[np.ndarray, " count"],
    horizon: int,
) -> Float[np.ndarray, " count"]:
    """`expected_loss` of many optimizers at once."""
    with jax.enable_x64(True):
        values = _losses(
            fresh_arrays(quadratic), jnp.asarray(preconditioners), jnp.asarray(nominals),
            _as_horizon(horizon), _checked_start(quadratic, None),
        )  # fmt: skip
        values = np.asarray(values)
    return np.where(np.isfinite(values), values, np.inf)
