"""Groups tensors that a network takes together, so that each loop is compiled and run once."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float

# Tensors of more coordinates fill loops of their own; stacking them would cost more than
# starting those loops does. Shorter vectors are padded to the length of the longest.
_STACKED = 2**14
_PADDED = 2**10
# Coordinates of the processor's vector, and how many make it matter little what is left over.
_VECTOR = 16
_LONG = 8 * _VECTOR


@dataclass(frozen=True)
class Block:
    """Tensors that are stacked: of one shape, or short vectors padded with zeros to one.

    Args:
        places: where the tensors stand among the leaves.
        shapes: theirs; a scalar counts as a vector of one coordinate.
    """

    places: tuple[int, ...]
    shapes: tuple[tuple[int, ...], ...]

    @property
    def stacked(self) -> bool:
        """Whether there are several tensors; one alone has no leading axis."""
        return len(self.shapes) > 1

    @property
    def padded(self) -> bool:
        """Whether some tensors are shorter than others."""
        return len(set(self.shapes)) > 1

    @property
    def axes(self) -> tuple[int, ...]:
        """The order that the tensors' axes are taken in."""
        return vectorized_axes(self.shapes[0])

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of each tensor, padded, in that order."""
        if self.padded:
            return max(self.shapes)
        return tuple(self.shapes[0][axis] for axis in self.axes)

    def stack(self, leaves: Sequence[Array], dtype: DTypeLike) -> Float[Array, "..."]:
        """The block's tensors among all leaves, with a leading axis if there are several."""
        tensors = [
            leaves[place].astype(dtype).reshape(shape).transpose(self.axes)
            for place, shape in zip(self.places, self.shapes, strict=True)
        ]
        if not self.stacked:
            return tensors[0]
        if self.padded:
            (length,) = self.shape
            tensors = [jnp.pad(tensor, (0, length - tensor.size)) for tensor in tensors]
        return jnp.stack(tensors)

    def unstack(self, stacked: Float[Array, "..."]) -> list[Float[Array, "..."]]:
        """The tensors that `stack` had put together."""
        if self.padded:
            return [row[: shape[0]] for row, shape in zip(stacked, self.shapes, strict=True)]
        back = np.argsort(self.axes)
        return [tensor.transpose(back) for tensor in (stacked if self.stacked else [stacked])]

    def real(self) -> np.ndarray | None:
        """Which coordinates are no padding, of shape (tensors, length); None where all are."""
        if not self.padded:
            return None
        (length,) = self.shape
        return np.arange(length) < np.asarray(self.shapes)


def vectorized_axes(shape: tuple[int, ...]) -> tuple[int, ...]:
    """An order of axes whose last fills the processor's vectors, if there is one.

    Loops run along the last axis: one of ten coordinates would be taken one by one. Among axes
    of one length the order stays, for the last of them counts as the largest.

    Example:
        >>> vectorized_axes((32, 10)), vectorized_axes((32, 64)), vectorized_axes((7, 3))
        ((1, 0), (0, 1), (0, 1))
    """
    order = list(range(len(shape)))
    fitting = [axis for axis in order if shape[axis] % _VECTOR == 0]
    if fitting and shape[-1] < _LONG and shape[-1] % _VECTOR:
        best = max(fitting, key=lambda axis: (shape[axis], axis))
        order.remove(best)
        order.append(best)
    return tuple(order)


def blocks(shapes: Sequence[tuple[int, ...]]) -> tuple[Block, ...]:
    """All tensors that have coordinates, those of one shape together, and all short vectors.

    Example:
        >>> shapes = [(64, 32), (32,), (32, 32), (32,), (32, 32), (), (900, 900), (0,)]
        >>> [block.places for block in blocks(shapes)]
        [(0,), (1, 3, 5), (2, 4), (6,)]
    """
    alike: dict[object, list[int]] = {}
    for place, shape in enumerate(shapes):
        size = math.prod(shape)
        if size == 0:
            continue
        kind: object = shape
        if size > _STACKED:
            kind = place
        elif len(shape) < 2 and size <= _PADDED:
            kind = "short vectors"
        alike.setdefault(kind, []).append(place)
    return tuple(
        Block(tuple(places), tuple(shapes[place] or (1,) for place in places))
        for places in alike.values()
    )
