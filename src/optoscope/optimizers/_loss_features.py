"""What a learned schedule sees: how far training is, and how the loss has gone."""

from typing import NamedTuple

import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from optoscope._core.published_numbers import (
    LEAST_DENOMINATOR,
    NEVER_SEEN,
    NUM_LOSS_MEANS,
    SHORTEST_HALF_LIFE,
    TRAINING_FRACTIONS,
)


class LossAverages(NamedTuple):
    """Running means of the loss, not corrected for their start, and the least corrected ones."""

    means: Float[Array, " ten"]
    minima: Float[Array, " ten"]


def start(dtype: DTypeLike) -> LossAverages:
    """Before the first loss."""
    return LossAverages(
        jnp.zeros(NUM_LOSS_MEANS, dtype), jnp.full(NUM_LOSS_MEANS, NEVER_SEEN, dtype)
    )


def advance(
    before: LossAverages, loss: Float[Array, ""], step: Int[Array, ""], num_steps: int
) -> LossAverages:
    """The averages after one more loss.

    Math: half-lives h_j are log-spaced from 10 to T, d_j = exp(−1/h_j). The loss is cut at twice
    the largest |m_j/(1 − d_j^(t+1))|, at t = 0 at twice its own size; m_j ← d_j m_j + (1 − d_j) l.

    Source: VeLO's loss features (Metz et al. 2022), which Celo has too. A loss that is not a
    number counts as the bound.

    Args:
        before: the averages.
        loss: l.
        step: t, counted from 0.
        num_steps: T.
    """
    decays = _decays(num_steps, before.means.dtype)
    correction = 1 - decays ** (step + 1)
    loss = loss.astype(before.means.dtype)
    largest = jnp.where(step == 0, loss, jnp.max(before.means / correction))
    bound = 2 * jnp.abs(largest)
    loss = jnp.where(jnp.isnan(loss), bound, jnp.minimum(bound, loss))
    means = decays * before.means + (1 - decays) * loss
    return LossAverages(means, jnp.minimum(before.minima, means / correction))


def features(
    averages: LossAverages, step: Int[Array, ""], num_steps: int
) -> Float[Array, " eighteen"]:
    """Nine functions of the fraction of training, then nine of the loss.

    Math: tanh(10 (t/T − τ)) for nine τ; with corrected means m̂_j and their minima n_j,
    clip((m̂_j − n_j)/max(1e-8, m̂_{j+1} − n_j) − 1, ±1), zero while at most two losses were seen.

    Args:
        averages: that have seen the loss of this step, or none at all.
        step: t, counted from 0.
        num_steps: T.
    """
    dtype = averages.means.dtype
    fraction = step.astype(dtype) / num_steps
    times = jnp.tanh(10 * (fraction - jnp.asarray(TRAINING_FRACTIONS, dtype)))
    means = averages.means / (1 - _decays(num_steps, dtype) ** (step + 1))
    minima = averages.minima[:-1]
    denominator = jnp.maximum(LEAST_DENOMINATOR, means[1:] - minima)
    losses = jnp.clip((means[:-1] - minima) / denominator - 1, -1, 1)
    seen_enough = (step >= 2) & (averages.minima[0] < NEVER_SEEN)
    return jnp.concatenate([times, jnp.where(seen_enough, losses, 0)])


def _decays(num_steps: int, dtype: DTypeLike) -> Float[Array, " ten"]:
    half_lives = jnp.logspace(
        jnp.log10(SHORTEST_HALF_LIFE), jnp.log10(float(num_steps)), NUM_LOSS_MEANS, dtype=dtype
    )
    return jnp.exp(-1 / half_lives)
