"""Antithetic evolution strategies: a gradient from losses at θ + ε and θ − ε alone.

Math: ε ~ N(0, σ²I); (L(θ + ε) − L(θ − ε))/(2σ²) · ε is, on average, the gradient of E L(θ + ε).
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PRNGKeyArray, PyTree


def draw_perturbation(key: PRNGKeyArray, params: PyTree[Array], std: float) -> PyTree[Array]:
    """ε ~ N(0, σ²I) in the structure, shapes and types of the parameters.

    One vector is drawn for all of them: drawing leaf by leaf takes as many programs to compile.
    """
    flat, unravel = ravel_pytree(params)
    return unravel(std * jax.random.normal(key, flat.shape, flat.dtype))


def moved(params: PyTree[Array], perturbation: PyTree[Array], sign: int) -> PyTree[Array]:
    """The parameters moved along a perturbation: θ + sign·ε."""
    return jax.tree.map(lambda leaf, noise: leaf + sign * noise, params, perturbation)


def perturbed(
    params: PyTree[Array], perturbation: PyTree[Array], signs: Sequence[int]
) -> PyTree[Array]:
    """θ + sign·ε for every sign, stacked on a leading axis."""
    each = [moved(params, perturbation, sign) for sign in signs]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)


def slope(ahead: Float[Array, "*axes"], behind: Float[Array, "*axes"], std: float) -> Array:
    """(L(θ + ε) − L(θ − ε))/(2σ²), the factor of ε in the gradient estimate."""
    return (ahead - behind) / (2 * std**2)


def scaled(tree: PyTree[Array], factor: Float[Array, ""]) -> PyTree[Array]:
    """The tree times a number, in its own types."""
    return jax.tree.map(lambda leaf: (factor * leaf).astype(leaf.dtype), tree)
