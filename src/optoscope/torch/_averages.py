"""The running averages that the small learned optimizers look at: their only state."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from optoscope._core.input_layouts import MOMENTUM_DECAYS, StartingDecays
from optoscope.torch._rule import State, zeros
from optoscope.torch._views import Tile, View, at

_DECAY_GAIN = 10.0
_SQUARE_OFFSET = 1e-30
# A gradient above 1e15 counts as 1e15 in the squares: no sum of them overflows.
_LARGEST_SQUARE = 1e30
FACTOR_FLOOR = 1e-9

# What is averaged over the largest axis, and over the second largest.
_FACTORED = ("rows", "columns")
Factors = tuple[Tensor, Tensor] | None


def empty_averages(view: View, device: torch.device) -> State:
    """The averages before the first step, all zero.

    "momenta" m_k and "second_moment" v have the view's shape. "rows" R_k have size 1 on its
    largest axis, "columns" C_k on its second largest; of a vector "rows" D_k have its own shape
    and there are no columns.
    """
    count, shape = len(MOMENTUM_DECAYS), view.shape
    state = {"momenta": zeros((count, *shape), device), "second_moment": zeros(shape, device)}
    if view.axes is None:
        return {**state, "rows": zeros((count, *shape), device)}
    for name, axis in zip(_FACTORED, view.axes, strict=True):
        lengths = (1 if place == axis else length for place, length in enumerate(shape))
        state[name] = zeros((count, *lengths), device)
    return state


@dataclass(frozen=True)
class Averages:
    """The decay of each average.

    Args:
        momentum_rates: 1 − β of every momentum.
        factored_rates: 1 − β of every factored average.
        second_moment_rate: 1 − β of the second moment.
    """

    momentum_rates: tuple[float, ...]
    factored_rates: tuple[float, ...]
    second_moment_rate: float

    @classmethod
    def from_decays(
        cls, starting: StartingDecays, meta_parameters: Mapping[str, Tensor] | None = None
    ) -> "Averages":
        """1 − β = (1 − d₀) exp(10 φ), clipped but for the momenta; fixed decays stay at d₀.

        Args:
            starting: d₀.
            meta_parameters: φ under "momentum", "factored" and "second_moment"; None where the
                decays are fixed.
        """

        def rates(name: str) -> Tensor:
            start = 1 - torch.tensor(getattr(starting, name), dtype=torch.float64, device="cpu")
            start = start.to(torch.float32)
            if meta_parameters is None:
                return start
            return start * torch.exp(_DECAY_GAIN * meta_parameters[name].float())

        return cls(
            tuple(rates("momentum").tolist()),
            tuple(rates("factored").clamp(0, 1).tolist()),
            float(rates("second_moment").clamp(0, 1)),
        )

    def advance(self, gradient: Tensor, state: State, view: View, pieces: Sequence[Tile]) -> None:
        """Brings the averages of `state` to the next step, in place.

        Math: m_k ← β_k m_k + (1−β_k) g; v ← β v + (1−β) g²; with q = g² + 1e-30,
        R_k ← β_k R_k + (1−β_k) mean of q over the largest axis, C_k the same over the second
        largest, or D_k ← β_k D_k + (1−β_k) q for a vector.
        """
        axes = [] if view.axes is None else list(zip(_FACTORED, view.axes, strict=True))
        sums = {name: torch.zeros_like(state[name][:, 0]) for name, _ in axes}
        for tile in pieces:
            part = at(gradient, tile).float()
            square = (part * part).clamp_(max=_LARGEST_SQUARE)
            momenta = at(state["momenta"], tile)
            for place, rate in enumerate(self.momentum_rates):
                momenta[:, place].lerp_(part, rate)
            at(state["second_moment"], tile).lerp_(square, self.second_moment_rate)
            if view.axes is None:
                self._average(at(state["rows"], tile), square + _SQUARE_OFFSET)
                continue
            for name, axis in axes:
                at(sums[name], tile).add_(square.sum(1 + axis, keepdim=True))
        for name, axis in axes:
            self._average(state[name], sums[name] / view.shape[axis] + _SQUARE_OFFSET)

    def _average(self, averages: Tensor, new: Tensor) -> None:
        for place, rate in enumerate(self.factored_rates):
            averages[:, place].lerp_(new, rate)


def factors(state: State, view: View) -> Factors:
    """(r_k, c_k), whose product g and m_k are multiplied by; None for a vector."""
    if view.axes is None:
        return None
    rows = state["rows"]
    relative = rows / (rows.mean(2 + view.axes[1], keepdim=True) + FACTOR_FLOOR)
    return floored(relative).rsqrt_(), floored(state["columns"].clone()).rsqrt_()


def floored(values: Tensor) -> Tensor:
    """Raises small values to the floor, in place."""
    return values.clamp_(min=FACTOR_FLOOR)
