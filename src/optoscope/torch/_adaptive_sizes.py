"""Sizes of steps that grow while gradients agree with the steps before: see JAX's module."""

import torch
from torch import Tensor

from optoscope._core.step_sizes import (
    ADAPTATION_SHARE,
    LARGEST_LOG_FACTOR,
    SMALLEST_SQUARE,
    adaptation_rate,
)
from optoscope.torch._rule import State, zeros
from optoscope.torch._views import View


def start(view: View, device: torch.device) -> State:
    """A factor of 1, before any step."""
    return {"log_size": zeros((), device), "step_before": zeros(view.shape, device)}


def advance(gradient: Tensor, state: State, num_steps: int) -> None:
    """The sizes of stacked tensors after one more gradient."""
    before = state["step_before"]
    axes = tuple(range(1, gradient.ndim))
    roots = [
        x.square().sum(axes, keepdim=True).clamp(min=SMALLEST_SQUARE).sqrt()
        for x in (gradient, before)
    ]
    cosines = -((gradient / roots[0]) * (before / roots[1])).sum(axes)
    sizes = state["log_size"]
    moved = (sizes + adaptation_rate(num_steps) * cosines).clamp(0.0, LARGEST_LOG_FACTOR)
    sizes.copy_(torch.where(state["step"] < ADAPTATION_SHARE * num_steps, moved, sizes))


def sized(step: Tensor, state: State, num_steps: int) -> Tensor:
    """The step times its size; the step itself is kept for the next gradient."""
    state["step_before"].copy_(step)
    # The averages have counted this step already.
    left = (1 - (state["step"] - 1) / num_steps).clamp(0.0, 1.0)
    factors = (state["log_size"] * left.sqrt()).exp()
    return factors.view(-1, *(1,) * (step.ndim - 1)) * step
