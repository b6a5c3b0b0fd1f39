"""What a learned schedule sees: how far training is, and how the loss has gone.

Math and source: see `optoscope/optimizers/_loss_features.py`, whose values these are. Here every
parameter has averages of its own, stacked along the first axis, so that one that gets no gradient
for a while keeps its place.
"""

import math

import torch
from torch import Tensor

from optoscope._core.published_numbers import (
    LEAST_DENOMINATOR,
    NEVER_SEEN,
    NUM_LOSS_MEANS,
    SHORTEST_HALF_LIFE,
    TRAINING_FRACTIONS,
)
from optoscope.torch._rule import State, constants, zeros

_MEANS, _MINIMA = "loss_means", "loss_minima"


def start(device: torch.device) -> State:
    """The averages of one parameter before the first loss."""
    return {
        _MEANS: zeros((NUM_LOSS_MEANS,), device),
        _MINIMA: constants((NEVER_SEEN,) * NUM_LOSS_MEANS, device),
    }


def advance(state: State, loss: Tensor, num_steps: int) -> None:
    """Brings the averages to the next step, in place.

    Args:
        state: `start`'s parts, and "step", counted from 0.
        loss: a number.
        num_steps: T, the length of training.
    """
    means, minima = state[_MEANS], state[_MINIMA]
    decays = _decays(num_steps, means.device)
    step = state["step"][:, None]
    correction = 1 - decays ** (step + 1)
    largest = torch.where(step == 0, loss, (means / correction).amax(1, keepdim=True))
    bound = 2 * largest.abs()
    loss = torch.where(torch.isnan(loss), bound, torch.minimum(bound, loss))
    means.copy_(decays * means + (1 - decays) * loss)
    torch.minimum(minima, means / correction, out=minima)


def features(state: State, num_steps: int) -> Tensor:
    """For every parameter nine functions of the fraction of training, then nine of the loss."""
    means, minima, step = state[_MEANS], state[_MINIMA], state["step"][:, None]
    fractions = constants(TRAINING_FRACTIONS, means.device)
    times = torch.tanh(10 * (step / num_steps - fractions))
    corrected = means / (1 - _decays(num_steps, means.device) ** (step + 1))
    least = minima[:, :-1]
    denominator = (corrected[:, 1:] - least).clamp(min=LEAST_DENOMINATOR)
    losses = ((corrected[:, :-1] - least) / denominator - 1).clamp(-1, 1)
    seen_enough = (step >= 2) & (minima[:, :1] < NEVER_SEEN)
    return torch.cat([times, torch.where(seen_enough, losses, 0.0)], dim=1)


def _decays(num_steps: int, device: torch.device) -> Tensor:
    ends = math.log10(SHORTEST_HALF_LIFE), math.log10(num_steps)
    lives = torch.logspace(*ends, NUM_LOSS_MEANS, dtype=torch.float32, device=device)
    return torch.exp(-1 / lives)
