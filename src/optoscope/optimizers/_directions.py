"""What is done to the direction of a whole tensor before it becomes a step."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from optoscope._core.roots import safe_root

# Newton–Schulz coefficients of Muon: they push singular values near 1 fast, not exactly to 1.
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_ITERATIONS = 5
_NORM_OFFSET = 1e-8
_MEAN_SQUARE_OFFSET = 1e-9


def orthogonalized(matrices: Float[Array, "*batch rows columns"]) -> Float[Array, "..."]:
    """Matrices with about the same singular vectors and all singular values near 1.

    Math: X ← X/(‖X‖ + 1e-8), then five times X ← a X + (b A + c A²) X with A = X Xᵀ; of the
    transposed matrix where it has more rows than columns.

    Source: Jordan et al. (2024), Muon, as Celo2 uses it.

    Example:
        >>> values = jnp.linalg.svd(orthogonalized(jnp.diag(jnp.array([1.0, 5.0]))))[1]
        >>> bool(jnp.all((values > 0.6) & (values < 1.3)))
        True
    """
    tall = matrices.shape[-2] > matrices.shape[-1]
    found = jnp.swapaxes(matrices, -1, -2) if tall else matrices
    norm = safe_root(jnp.sum(found * found, axis=(-2, -1), keepdims=True))
    found = found / (norm + _NORM_OFFSET)
    a, b, c = _COEFFICIENTS
    highest = jax.lax.Precision.HIGHEST
    for _ in range(_ITERATIONS):
        square = jnp.matmul(found, jnp.swapaxes(found, -1, -2), precision=highest)
        factor = b * square + c * jnp.matmul(square, square, precision=highest)
        found = a * found + jnp.matmul(factor, found, precision=highest)
    return jnp.swapaxes(found, -1, -2) if tall else found


def of_unit_size(direction: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """The direction divided by its root mean square over the last two axes.

    Math: x (mean x² + 1e-9)^(-1/2).
    """
    axes = tuple(range(direction.ndim))[-2:]
    mean_square = jnp.mean(direction * direction, axis=axes, keepdims=True)
    return direction * jax.lax.rsqrt(mean_square + _MEAN_SQUARE_OFFSET)
