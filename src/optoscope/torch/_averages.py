"""The running averages that the small learned optimizers look at, and the features made of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from optoscope.torch._rule import State
from optoscope.torch._views import Tile, View, at

_STARTING_DECAYS = (0.9, 0.99, 0.999)
_SECOND_MOMENT_DECAY = 0.999
_DECAY_GAIN = 10.0
_SQUARE_OFFSET = 1e-30
# A gradient above 1e15 counts as 1e15 in the squares: no sum of them overflows.
_LARGEST_SQUARE = 1e30
_SECOND_MOMENT_OFFSET = 1e-6
_AVERAGE_OFFSET = 1e-8
_FACTOR_FLOOR = 1e-9

# What is averaged over the largest axis, and over the second largest.
_FACTORED = ("rows", "columns")
Factors = tuple[Tensor, Tensor] | None


def empty_averages(view: View, device: torch.device) -> State:
    """The averages before the first step, all zero.

    "momenta" m_k and "second_moment" v have the view's shape. "rows" R_k have size 1 on its
    largest axis, "columns" C_k on its second largest; of a vector "rows" D_k have its own shape
    and there are no columns.
    """

    def zeros(*shape: int) -> Tensor:
        return torch.zeros(shape, device=device)

    count, shape = len(_STARTING_DECAYS), view.shape
    state = {"momenta": zeros(count, *shape), "second_moment": zeros(*shape)}
    if view.axes is None:
        return {**state, "rows": zeros(count, *shape)}
    for name, axis in zip(_FACTORED, view.axes, strict=True):
        lengths = (1 if place == axis else length for place, length in enumerate(shape))
        state[name] = zeros(count, *lengths)
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
    def from_decays(cls, momentum: Tensor, factored: Tensor, second_moment: Tensor) -> "Averages":
        """From the meta-parameters φ: 1 − β = (1 − d₀) exp(10 φ), clipped but for the momenta."""
        start = torch.tensor([1 - decay for decay in _STARTING_DECAYS], dtype=torch.float32)
        own = (1 - _SECOND_MOMENT_DECAY) * torch.exp(_DECAY_GAIN * second_moment.float())
        factored_rates = start * torch.exp(_DECAY_GAIN * factored.float())
        return cls(
            tuple((start * torch.exp(_DECAY_GAIN * momentum.float())).tolist()),
            tuple(factored_rates.clamp(0, 1).tolist()),
            float(own.clamp(0, 1)),
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
    relative = rows / (rows.mean(2 + view.axes[1], keepdim=True) + _FACTOR_FLOOR)
    return _floored(relative).rsqrt_(), _floored(state["columns"].clone()).rsqrt_()


def features(
    gradient: Tensor, parameter: Tensor, state: State, both: Factors, tile: Tile, out: Tensor
) -> Tensor:
    """Writes the features of every coordinate of a tile into `out`, one after the other.

    In this order: g, p, m_k, v, m_k (v+1e-6)^(-1/2), (v+1e-6)^(-1/2), g r_k c_k, m_k r_k c_k;
    of a vector the last two with factors of its own, and then D_k and (D_k+1e-8)^(-1/2).

    Args:
        gradient: g of the whole parameters, in any floating type.
        parameter: p before the update, likewise.
        state: the averages, which have seen g.
        both: as `factors` gives them.
        tile: the part that is wanted.
        out: of shape (features, parameters, *tile).
    """
    out[0].copy_(at(gradient, tile))
    out[1].copy_(at(parameter, tile))
    out[5].copy_(at(state["second_moment"], tile))
    torch.add(out[5], _SECOND_MOMENT_OFFSET, out=out[9]).rsqrt_()
    momenta = at(state["momenta"], tile)
    # For a vector the averages themselves, and nothing that they are multiplied by.
    rows, columns = (at(part, tile) for part in both or (state["rows"], state["rows"]))
    for k in range(len(_STARTING_DECAYS)):
        momentum, for_gradient, for_momentum = out[2 + k], out[10 + k], out[13 + k]
        momentum.copy_(momenta[:, k])
        torch.mul(momentum, out[9], out=out[6 + k])
        if both is None:
            average = out[16 + k].copy_(rows[:, k])
            _floored(torch.add(average, _FACTOR_FLOOR, out=for_gradient)).rsqrt_()
            torch.add(average, _SECOND_MOMENT_OFFSET, out=for_momentum).rsqrt_()
            for_momentum.mul_(momentum)
            torch.add(average, _AVERAGE_OFFSET, out=out[19 + k]).rsqrt_()
        else:
            torch.mul(rows[:, k], columns[:, k], out=for_gradient)
            torch.mul(momentum, for_gradient, out=for_momentum)
        for_gradient.mul_(out[0])
    return out


def sums_of_squares(
    gradient: Tensor, parameter: Tensor, state: State, both: Factors, tile: Tile
) -> Tensor:
    """The sum of each feature's squares over a tile, of shape (parameters, features).

    From products of squares, without the features themselves: those need three times as many
    passes over memory. In the order of `features`.
    """
    gradient, parameter = at(gradient, tile).float(), at(parameter, tile).float()
    second, square = at(state["second_moment"], tile), gradient * gradient
    inverse = (second + _SECOND_MOMENT_OFFSET).reciprocal_()
    momenta = at(state["momenta"], tile)
    rows, columns = (at(part, tile) for part in both or (state["rows"], state["rows"]))
    squares: dict[int, Tensor] = {
        0: _dot(gradient, gradient),
        1: _dot(parameter, parameter),
        5: _dot(second, second),
        9: _sum(inverse),
    }
    for k in range(len(_STARTING_DECAYS)):
        momentum = momenta[:, k]
        moved = momentum * momentum
        squares[2 + k], squares[6 + k] = _dot(momentum, momentum), _dot(moved, inverse)
        if both is None:
            average = rows[:, k]
            for_gradient = _floored(average + _FACTOR_FLOOR).reciprocal_()
            for_momentum = (average + _SECOND_MOMENT_OFFSET).reciprocal_()
            squares[16 + k] = _dot(average, average)
            squares[19 + k] = _sum((average + _AVERAGE_OFFSET).reciprocal_())
        else:
            for_gradient = for_momentum = (rows[:, k] * columns[:, k]).square_()
        squares[10 + k] = _dot(square, for_gradient)
        squares[13 + k] = _dot(moved, for_momentum)
    return torch.stack([squares[feature] for feature in sorted(squares)], dim=1)


def _dot(one: Tensor, other: Tensor) -> Tensor:
    """The sum of the products, for each of the stacked parameters."""
    if len(one) == 1:
        return torch.dot(one.reshape(-1), other.reshape(-1))[None]
    return _sum(one * other)


def _sum(values: Tensor) -> Tensor:
    return values.flatten(1).sum(1)


def _floored(values: Tensor) -> Tensor:
    """Raises small values to the floor, in place."""
    return values.clamp_(min=_FACTOR_FLOOR)
