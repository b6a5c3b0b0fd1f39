"""Sizes of steps that grow while gradients agree with the steps before them."""

from typing import NamedTuple

import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from optoscope._core.step_sizes import (
    ADAPTATION_SHARE,
    LARGEST_LOG_FACTOR,
    SMALLEST_SQUARE,
    adaptation_rate,
)


class AdaptiveSize(NamedTuple):
    """What is kept for one tensor.

    Args:
        log_factor: a; steps are multiplied by e^a at the start of training and by less later.
        before: its last step, in any scale.
    """

    log_factor: Float[Array, ""]
    before: Float[Array, "*shape"]


def start(tensor: Float[Array, "*shape"], dtype: DTypeLike) -> AdaptiveSize | None:
    """A factor of 1, before any step; None for what has no matrices."""
    if tensor.ndim < 2 or tensor.size == 0:
        return None
    return AdaptiveSize(jnp.zeros((), dtype), jnp.zeros_like(tensor, dtype))


def advanced(
    size: AdaptiveSize, gradient: Float[Array, "*shape"], step: Int[Array, ""], num_steps: int
) -> AdaptiveSize:
    """The size after one more gradient.

    Math: a ← clip(a + ρ cos(−g_t, u_{t−1}), 0, ln 8) while t < T/4, with the gradient g_t, the
    step u_{t−1} before and ρ = 100/T. A positive cosine says that the loss still falls where the
    last step went. Afterwards a stays.

    Source: the sign that hypergradient descent follows (Baydin et al. 2018), without the scales of
    loss and gradient; growing alone, and early alone, are this library's own.

    Args:
        size: as the last step left it.
        gradient: of this step.
        step: steps taken before this one, t.
        num_steps: the length of training, T.
    """
    squares = jnp.sum(gradient * gradient), jnp.sum(size.before * size.before)
    roots = [jnp.sqrt(jnp.maximum(square, SMALLEST_SQUARE)) for square in squares]
    cosine = -jnp.sum((gradient / roots[0]) * (size.before / roots[1]))
    moved = size.log_factor + adaptation_rate(num_steps) * cosine
    early = step < ADAPTATION_SHARE * num_steps
    log_factor = jnp.where(early, jnp.clip(moved, 0.0, LARGEST_LOG_FACTOR), size.log_factor)
    return size._replace(log_factor=log_factor)


def factor(size: AdaptiveSize, step: Int[Array, ""], num_steps: int) -> Float[Array, ""]:
    """What the step after so many is multiplied by.

    Math: exp(a (1 − t/T)^(1/2)), so that the last steps are as small as without it.
    """
    left = jnp.clip(1.0 - step / num_steps, 0.0, 1.0)
    return jnp.exp(size.log_factor * jnp.sqrt(left))
