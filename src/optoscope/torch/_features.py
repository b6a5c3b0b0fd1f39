"""The features that the small learned optimizers see of every coordinate."""

from collections.abc import Iterator

import torch
from torch import Tensor

from optoscope._core.input_layouts import GRADIENT_CLIP, MOMENTUM_DECAYS, InputLayout
from optoscope.torch._averages import FACTOR_FLOOR, Factors, floored
from optoscope.torch._rule import State
from optoscope.torch._views import Tile, at

_AVERAGE_OFFSET = 1e-8
# The places of the features that there are in every layout: rules take what they need there.
GRADIENT, PARAMETER, MOMENTA, SECOND_MOMENT = 0, 1, (2, 3, 4), 5
_NORMALIZED_MOMENTA, PRECONDITIONER, _FACTORED_GRADIENTS = 6, 9, 10
_THREE = range(len(MOMENTUM_DECAYS))


class Features:
    """The features of a layout, one after the other, but for those that repeat over an axis.

    First g, p, m_k, v, m_k (v+ε)^(-1/2), (v+ε)^(-1/2) and g r_k c_k; then, where the layout has
    them, m_k r_k c_k, of a vector D_k and (D_k+1e-8)^(-1/2), g clipped to ±0.1, and
    g (v+ε)^(-1/2). A vector has factors of its own in place of r_k c_k.

    Args:
        layout: which features there are.
        is_vector: whether they are those of a tensor of rank below 2.
    """

    def __init__(self, layout: InputLayout, is_vector: bool):
        self._layout = layout
        places: list[tuple[int, ...]] = [
            (layout.gradient,),
            (layout.parameter,),
            *_three(layout.momenta),
            (layout.second_moment,),
            *_three(layout.normalized_momenta),
            (layout.preconditioner,),
            *_three(layout.factored_gradients),
        ]
        self._factored_momenta = self._averages = self._clipped = self._preconditioned = None
        if layout.with_averages_of_vectors or not is_vector:
            self._factored_momenta = len(places)
            places += _three(layout.factored_momenta)
            if is_vector:
                self._averages = len(places)
                # A vector's row averages are its column averages too.
                places += _three(layout.rows, layout.columns)
                places += _three(layout.row_roots, layout.column_roots)
        if layout.clipped_gradient is not None:
            self._clipped = len(places)
            places.append((layout.clipped_gradient,))
        if layout.preconditioned_gradient is not None:
            self._preconditioned = len(places)
            places.append((layout.preconditioned_gradient,))
        # For every feature the inputs of the network that it stands for.
        self.places = tuple(places)

    def write(
        self,
        gradient: Tensor,
        parameter: Tensor,
        state: State,
        both: Factors,
        tile: Tile,
        out: Tensor,
    ) -> Tensor:
        """Writes the features of every coordinate of a tile into `out`.

        Args:
            gradient: g of the whole parameters, in any floating type.
            parameter: p before the update, likewise.
            state: the averages, which have seen g.
            both: as `factors` gives them.
            tile: the part that is wanted.
            out: of shape (features, parameters, *tile).
        """
        preconditioner = out[PRECONDITIONER]
        out[GRADIENT].copy_(at(gradient, tile))
        out[PARAMETER].copy_(at(parameter, tile))
        out[SECOND_MOMENT].copy_(at(state["second_moment"], tile))
        offset = self._layout.second_moment_offset
        torch.add(out[SECOND_MOMENT], offset, out=preconditioner).rsqrt_()
        momenta = at(state["momenta"], tile)
        # For a vector the averages themselves, and nothing that they are multiplied by.
        rows, columns = (at(part, tile) for part in both or (state["rows"], state["rows"]))
        for k in _THREE:
            momentum = out[MOMENTA[k]].copy_(momenta[:, k])
            torch.mul(momentum, preconditioner, out=out[_NORMALIZED_MOMENTA + k])
            factored = out[_FACTORED_GRADIENTS + k]
            if both is None:
                floored(torch.add(rows[:, k], FACTOR_FLOOR, out=factored)).rsqrt_()
            else:
                torch.mul(rows[:, k], columns[:, k], out=factored)
            if self._factored_momenta is not None:
                for_momentum = out[self._factored_momenta + k]
                if both is None:
                    vector_offset = self._layout.vector_offset
                    torch.add(rows[:, k], vector_offset, out=for_momentum).rsqrt_()
                    for_momentum.mul_(momentum)
                else:
                    torch.mul(momentum, factored, out=for_momentum)
            factored.mul_(out[GRADIENT])
            if self._averages is not None:
                average = out[self._averages + k].copy_(rows[:, k])
                root = out[self._averages + len(_THREE) + k]
                torch.add(average, _AVERAGE_OFFSET, out=root).rsqrt_()
        if self._clipped is not None:
            torch.clamp(out[GRADIENT], -GRADIENT_CLIP, GRADIENT_CLIP, out=out[self._clipped])
        if self._preconditioned is not None:
            torch.mul(out[GRADIENT], preconditioner, out=out[self._preconditioned])
        return out

    def sums_of_squares(
        self,
        gradient: Tensor,
        parameter: Tensor,
        state: State,
        both: Factors,
        tile: Tile,
        over: tuple[int, ...],
    ) -> Tensor:
        """The sum of each feature's squares over some axes of a tile, kept with length 1.

        From products of squares, without the features themselves: those need three times as many
        passes over memory. Of shape (parameters, features, *axes), in the order of `write`.
        """
        gradient, parameter = at(gradient, tile).float(), at(parameter, tile).float()
        second, square = at(state["second_moment"], tile), gradient * gradient
        inverse = (second + self._layout.second_moment_offset).reciprocal_()
        momenta = at(state["momenta"], tile)
        rows, columns = (at(part, tile) for part in both or (state["rows"], state["rows"]))
        squares: dict[int, Tensor] = {
            GRADIENT: _dot(gradient, gradient, over),
            PARAMETER: _dot(parameter, parameter, over),
            SECOND_MOMENT: _dot(second, second, over),
            PRECONDITIONER: _sum(inverse, over),
        }
        for k in _THREE:
            momentum = momenta[:, k]
            moved = momentum * momentum
            squares[MOMENTA[k]] = _dot(momentum, momentum, over)
            squares[_NORMALIZED_MOMENTA + k] = _dot(moved, inverse, over)
            if both is None:
                average = rows[:, k]
                for_gradient = floored(average + FACTOR_FLOOR).reciprocal_()
                for_momentum = (average + self._layout.vector_offset).reciprocal_()
                if self._averages is not None:
                    root = (average + _AVERAGE_OFFSET).reciprocal_()
                    squares[self._averages + k] = _dot(average, average, over)
                    squares[self._averages + len(_THREE) + k] = _sum(root, over)
            else:
                for_gradient = for_momentum = (rows[:, k] * columns[:, k]).square_()
            squares[_FACTORED_GRADIENTS + k] = _dot(square, for_gradient, over)
            if self._factored_momenta is not None:
                squares[self._factored_momenta + k] = _dot(moved, for_momentum, over)
        if self._clipped is not None:
            clipped = gradient.clamp(-GRADIENT_CLIP, GRADIENT_CLIP)
            squares[self._clipped] = _dot(clipped, clipped, over)
        if self._preconditioned is not None:
            squares[self._preconditioned] = _dot(square, inverse, over)
        return torch.stack([squares[feature] for feature in sorted(squares)], dim=1)


def with_roots(averages: Tensor) -> Tensor:
    """The features that repeat over an axis: the averages, then (average + 1e-8)^(-1/2)."""
    return torch.cat([averages, torch.rsqrt(averages + _AVERAGE_OFFSET)], dim=1)


def _three(*starts: int) -> Iterator[tuple[int, ...]]:
    return (tuple(start + k for start in starts) for k in _THREE)


def _dot(one: Tensor, other: Tensor, over: tuple[int, ...]) -> Tensor:
    """The sum of the products over some axes, for each of the stacked parameters."""
    if len(one) == 1 and len(over) == one.ndim - 1:
        return torch.dot(one.reshape(-1), other.reshape(-1)).reshape((1,) * one.ndim)
    return _sum(one * other, over)


def _sum(values: Tensor, over: tuple[int, ...]) -> Tensor:
    return values.sum(over, keepdim=True)
