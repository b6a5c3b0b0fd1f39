"""The noisy quadratic model: the problem, the linear optimizer, the matrix of their dynamics."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex128, Float, Float64, PRNGKeyArray

from optoscope._core.errors import InvalidValueError, check_number
from optoscope.optimizers._base import OptimizerModule
from optoscope.tasks import Task

Matrix = Float64[np.ndarray, "n n"]

# Rounding of what a user typed or computed, relative to the largest entry.
_ROUNDING = 1e-12


def is_symmetric(matrix: Matrix) -> bool:
    """Whether a matrix equals its transpose up to rounding."""
    scale = float(np.abs(matrix).max(initial=0.0))
    return bool(np.abs(matrix - matrix.T).max(initial=0.0) <= _ROUNDING * scale)


def checked_square(name: str, matrix: Any, size: int | None = None) -> Matrix:
    """A finite square float64 matrix, or an error that says what it is instead."""
    array = np.asarray(matrix, np.float64)
    wanted = "(n, n)" if size is None else f"({size}, {size})"
    if array.ndim != 2 or array.shape[0] != array.shape[1] or size not in (None, len(array)):
        raise InvalidValueError(f"{name} has shape {array.shape}; it must be {wanted}.")
    if not np.isfinite(array).all():
        raise InvalidValueError(f"{name} holds numbers that are not finite.")
    return array


class NoisyQuadratic(Task):
    """A quadratic loss whose minimum is drawn anew at every step.

    The smallest model of training with mini-batches in which optimization has a closed form.
    It is also a task like any other: `training.train` runs every optimizer on it. It does not
    show what changes along a real loss: here curvature and noise are the same everywhere.

    Math: ℓ(φ) = ½ (φ − ξ)ᵀ H (φ − ξ) with ξ ~ N(0, Σ), so ∇ℓ = H (φ − ξ); φ₀ ~ N(0, s I).

    Source: paper C, equation 4 and appendix B.1. The start "φ₀ ~ N(0, 10 I)" is read as a
    variance of 10.

    Args:
        hessian: H, symmetric and positive definite.
        noise_covariance: Σ, symmetric and positive semi-definite; the identity if not given.
        start_variance: s, not negative.

    Raises:
        InvalidValueError: H is not symmetric positive definite, Σ not symmetric positive
            semi-definite of the same shape, or s negative.

    Example:
        >>> quadratic = NoisyQuadratic([[2.0, 0.0], [0.0, 1.0]])
        >>> float(quadratic.loss(jnp.array([1.0, 1.0]), jnp.zeros(2)))
        1.5
    """

    hessian: Float[np.ndarray | Array, "n n"]
    noise_covariance: Float[np.ndarray | Array, "n n"]
    noise_factor: Float[np.ndarray | Array, "n n"]
    start_variance: Float[np.ndarray | Array, ""]

    def __init__(
        self, hessian: Any, noise_covariance: Any | None = None, start_variance: float = 10.0
    ):
        self.hessian = checked_square("hessian", hessian)
        size = len(self.hessian)
        covariance = np.eye(size) if noise_covariance is None else noise_covariance
        self.noise_covariance = checked_square("noise_covariance", covariance, size)
        for name in ("hessian", "noise_covariance"):
            if not is_symmetric(getattr(self, name)):
                raise InvalidValueError(f"{name} is not symmetric; only its symmetric part acts.")
        lowest = float(np.linalg.eigvalsh(self.hessian)[0])
        if lowest <= 0:
            raise InvalidValueError(
                f"hessian has the eigenvalue {lowest:g}; all must be positive, or the loss has "
                "no minimum."
            )
        values, vectors = np.linalg.eigh(self.noise_covariance)
        if values[0] < -_ROUNDING * max(values[-1], 1.0):
            raise InvalidValueError(
                f"noise_covariance has the eigenvalue {values[0]:g}; a covariance has none below "
                "zero."
            )
        self.noise_factor = vectors * np.sqrt(np.maximum(values, 0.0))
        check_number("start_variance", start_variance, minimum=0)
        self.start_variance = np.asarray(start_variance, np.float64)

    @classmethod
    def paper(cls) -> "NoisyQuadratic":
        """The model of figure 2: H = [[1.11, 0.596], [0.596, 0.486]], Σ = I, φ₀ ~ N(0, 10 I)."""
        return cls([[1.11, 0.596], [0.596, 0.486]])

    @property
    def size(self) -> int:
        """The number of parameters n."""
        return self.hessian.shape[0]

    @property
    def largest_curvature(self) -> float:
        """The largest eigenvalue of the Hessian, λ_max(H)."""
        return float(np.linalg.eigvalsh(np.asarray(self.hessian))[-1])

    def init(self, key: PRNGKeyArray) -> Float[Array, " n"]:
        """Draws the initial parameters φ₀."""
        return jnp.sqrt(self.start_variance) * jax.random.normal(key, (self.size,))

    def sample_batch(self, key: PRNGKeyArray) -> Float[Array, " n"]:
        """Draws the noise ξ of one step."""
        return jnp.asarray(self.noise_factor) @ jax.random.normal(key, (self.size,))

    def loss(self, params: Float[Array, " n"], batch: Float[Array, " n"]) -> Float[Array, ""]:
        """½ (φ − ξ)ᵀ H (φ − ξ)."""
        offset = params - batch
        # Not as nested sums of products: XLA's CPU backend in jaxlib 0.10.2 gets those wrong for
        # more than 2¹⁵ of them side by side.
        return 0.5 * (offset @ (jnp.asarray(self.hessian) @ offset))

    @property
    def metadata(self) -> dict[str, Any]:
        """The task's name and its number of parameters."""
        return {"name": "noisy-quadratic", "num_params": self.size}


class MatrixOptimizer(OptimizerModule):
    """u = −(α I + P) g: a fixed nominal step and a learned dense matrix; no state.

    The learned optimizer of the noisy quadratic model, with P as its meta-parameter. For a
    problem whose parameters are one vector.

    Source: paper C, equation 5 with g_t = α∇.

    Args:
        preconditioner: P.
        nominal: α.
    """

    preconditioner: Float[Array, "n n"]
    nominal: Float[Array, ""] = eqx.field(converter=jnp.asarray)

    def init(self, params: Float[Array, " n"]) -> None:
        """The state, None: the optimizer keeps nothing."""
        del params

    def update(
        self,
        grads: Float[Array, " n"],
        state: None,
        params: Float[Array, " n"] | None = None,
        **extra,
    ) -> tuple[Float[Array, " n"], None]:
        """−(α I + P) g."""
        del params, extra
        return -(self.nominal * grads + self.preconditioner @ grads), state


def inverse_power(quadratic: NoisyQuadratic, exponent: float) -> Matrix:
    """The inverse power H^(−exponent) of the Hessian, by its eigenvalues."""
    values, vectors = np.linalg.eigh(np.asarray(quadratic.hessian))
    return (vectors * values**-exponent) @ vectors.T


def dynamics_matrix(
    quadratic: NoisyQuadratic,
    preconditioner: Any,
    nominal: float = 0.0,
    *,
    hessian_exponent: float = 0.0,
) -> Matrix:
    """The matrix A of φ⁺ = A φ + (I − A) ξ.

    Math: A = I − H^(−p) (α I + P) H, p = `hessian_exponent`.

    Source: paper C, equation 6 (p = 0) and equation 12 (p = ½: the update is preconditioned by
    H^(−½), as in lemma 2). Equation 19 of the paper has a slip: setting Δ = (1 − ε) I in
    equation 18 gives φ − (α ε I + (1 − ε) P*) ∇, with a plus. So the matrix is
    I − α ε H − (1 − ε) P* H, as the text below that equation says; with this function it is
    `dynamics_matrix(quadratic, (1 - eps) * best, eps * alpha)`.

    Args:
        quadratic: gives H.
        preconditioner: P, shape (n, n); it need not be symmetric.
        nominal: α.
        hessian_exponent: p.

    Returns:
        A, float64.

    Raises:
        InvalidValueError: P is not a finite (n, n) matrix, α or p not finite.

    Example:
        >>> dynamics_matrix(NoisyQuadratic([[4.0]]), [[0.25]], 0.125)
        array([[-0.5]])
        >>> dynamics_matrix(NoisyQuadratic([[4.0]]), [[0.25]], 0.125, hessian_exponent=0.5)
        array([[0.25]])
    """
    P = checked_square("preconditioner", preconditioner, quadratic.size)
    check_number("nominal", nominal)
    check_number("hessian_exponent", hessian_exponent)
    step = (nominal * np.eye(len(P)) + P) @ np.asarray(quadratic.hessian)
    if hessian_exponent:
        step = inverse_power(quadratic, hessian_exponent) @ step
    return np.eye(len(P)) - step


def spectrum(matrix: Matrix) -> Complex128[np.ndarray, " n"]:
    """The eigenvalues of a matrix, from the largest magnitude down."""
    values = np.linalg.eigvals(matrix).astype(np.complex128)
    return values[np.argsort(-np.abs(values), kind="stable")]


def spectral_radius(matrix: Any) -> float:
    """ρ: the largest magnitude of an eigenvalue.

    Example:
        >>> spectral_radius([[0.5, 3.0], [0.0, -2.0]])
        2.0
    """
    return float(np.abs(spectrum(checked_square("matrix", matrix))[0]))
