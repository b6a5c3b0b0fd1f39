"""Views of the tensors of a model by a few axes, cut into tiles that fit in a cache."""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Tile = tuple[slice, ...]

# Numbers that the temporaries of one tile hold: on a CPU they stay in its cache, on an accelerator
# each operation should keep all of it busy.
_TILE_NUMBERS = {"cpu": 2**21}
_ACCELERATOR_TILE_NUMBERS = 2**26
# Tensors of more coordinates fill operations of their own: stacking them would only copy them.
STACKED = 2**14


@dataclass(frozen=True)
class View:
    """The axes that an optimizer takes a tensor by; the tensor's memory stays in its order.

    Args:
        shape: of the view; with as many coordinates as the tensor.
        axes: those of the largest and of the second largest length; None for a rank below 2.
    """

    shape: tuple[int, ...]
    axes: tuple[int, int] | None = None

    @property
    def size(self) -> int:
        """How many coordinates the tensor has."""
        return math.prod(self.shape)


def flat(shape: Sequence[int]) -> View:
    """All coordinates in one row.

    Example:
        >>> flat((3, 4)).shape
        (12,)
    """
    return View((math.prod(shape),))


def factored(shape: Sequence[int], *, merged: bool = True) -> View:
    """Five axes of which two are the tensor's largest, for averages over each of them.

    What lies before, between and behind these two is one axis each. A tensor of rank below 2 is one
    row. Among equals outputs count as larger than inputs, as in JAX, where they come behind them:
    here the earlier axis, or the later one where the axes are in JAX's order already.

    Args:
        shape: of the tensor.
        merged: whether they are merged so; otherwise the view has the tensor's own axes, which are
            in JAX's order.

    Example:
        >>> factored((3, 3, 8, 4))
        View(shape=(9, 8, 1, 4, 1), axes=(1, 3))
        >>> factored((5, 5)).axes, factored((7,)).shape
        ((1, 3), (7,))
        >>> factored((3, 3, 8, 4), merged=False)
        View(shape=(3, 3, 8, 4), axes=(2, 3))
    """
    if len(shape) < 2:
        return flat(shape)
    order = sorted(range(len(shape)), key=lambda axis: (shape[axis], -axis if merged else axis))
    if not merged:
        return View(tuple(shape), (order[-1], order[-2]))
    first, last = sorted(order[-2:])
    before, between, behind = shape[:first], shape[first + 1 : last], shape[last + 1 :]
    view = (math.prod(before), shape[first], math.prod(between), shape[last], math.prod(behind))
    return View(view, (1, 3) if order[-1] == first else (3, 1))


def tile_size(device: torch.device, numbers: int) -> int:
    """How many coordinates a tile should have.

    Args:
        device: where they are.
        numbers: how many numbers are held for each coordinate at once.
    """
    # A compiler makes its own loops: it should see a tensor as one piece.
    if torch.compiler.is_compiling():
        return 2**62
    return max(1, _TILE_NUMBERS.get(device.type, _ACCELERATOR_TILE_NUMBERS) // numbers)


def tiles(shape: Sequence[int], size: int) -> list[Tile]:
    """Pieces of a view of at most `size` coordinates, each contiguous in memory.

    Example:
        >>> [tile[0] for tile in tiles((5, 4), 8)]
        [slice(0, 2, None), slice(2, 4, None), slice(4, 6, None)]
        >>> len(tiles((2, 3, 1, 50, 1), 20))
        18
    """
    if math.prod(shape) <= size:
        return [(slice(None),) * len(shape)]
    axis = next(axis for axis in range(len(shape)) if math.prod(shape[axis + 1 :]) <= size)
    rest = (slice(None),) * (len(shape) - axis - 1)
    before = itertools.product(*(_cuts(length, 1) for length in shape[:axis]))
    step = max(1, size // math.prod(shape[axis + 1 :]))
    return [(*outer, cut, *rest) for outer in before for cut in _cuts(shape[axis], step)]


def _cuts(length: int, step: int) -> Iterator[slice]:
    return (slice(start, start + step) for start in range(0, length, step))


def at(tensor: Tensor, tile: Tile) -> Tensor:
    """The tile's part of a tensor whose last axes are the view's, or have size 1 where it repeats.

    Example:
        >>> at(torch.ones(7, 4, 1), (slice(0, 2), slice(0, 3))).shape
        torch.Size([7, 2, 1])
    """
    lengths = tensor.shape[-len(tile) :]
    return tensor[
        (..., *(cut if n > 1 else slice(None) for cut, n in zip(tile, lengths, strict=True)))
    ]
