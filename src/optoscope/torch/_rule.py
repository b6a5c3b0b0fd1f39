"""Update rules of learned optimizers: the state of a parameter, and its update."""

import abc
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from optoscope._core.errors import FileFormatError
from optoscope.torch._views import Tile, View

State = dict[str, Tensor]
# Takes a tile and what is to be added to it, in float32.
Move = Callable[[Tile, Tensor], None]


def zeros(shape: Sequence[int], device: torch.device) -> Tensor:
    """A state of zeros: in float32, whatever PyTorch's default type is."""
    return torch.zeros(tuple(shape), dtype=torch.float32, device=device)


def constants(values: Sequence[float] | float, device: torch.device | str) -> Tensor:
    """Numbers as a tensor: in float32, whatever PyTorch's default type is.

    Example:
        >>> constants((0.5, 2.0), "cpu").dtype
        torch.float32
    """
    return torch.tensor(values, dtype=torch.float32, device=device)


class Rule(abc.ABC):
    """The update of one class of learned optimizers, with the weights of one of them.

    All tensors that it meets have a leading axis of parameters that are stacked, of size 1 for
    one alone. It computes in float32, whatever the parameters' type.

    Args:
        weights: by the names that the saved file gives them.
        shapes: what each of them should be.

    Raises:
        FileFormatError: the weights are not those that the description asks for.
    """

    registered_name: ClassVar[str]
    # The number of steps after which updates are zero; None where they never end.
    ends_after: int | None = None

    def __init__(self, weights: Mapping[str, Tensor], shapes: Mapping[str, Sequence[int]]):
        if set(weights) != set(shapes):
            odd = sorted(set(weights) ^ set(shapes))
            raise FileFormatError(
                f"the weights do not fit the description: {odd[0]!r} is in one of them only."
            )
        for name, shape in shapes.items():
            if tuple(weights[name].shape) != tuple(shape):
                raise FileFormatError(
                    f"{name} has shape {tuple(weights[name].shape)}, but the description asks for "
                    f"{tuple(shape)}."
                )
        self._weights = {name: weights[name].to(torch.float32) for name in shapes}
        self._on_devices: dict[torch.device, dict[str, Tensor]] = {}

    def weights(self, device: torch.device) -> dict[str, Tensor]:
        """The weights on a device; they are brought there once."""
        if device not in self._on_devices:
            self._on_devices[device] = {
                name: weight.to(device) for name, weight in self._weights.items()
            }
        return self._on_devices[device]

    def axes(self, rank: int, given: Sequence[int] | None) -> Sequence[int] | None:
        """The order that a parameter's axes are taken in; None: as they are.

        Args:
            rank: of the parameter.
            given: the order that its group asks for, for tensors of as many axes.
        """
        del rank, given
        return None

    @abc.abstractmethod
    def view(self, shape: Sequence[int]) -> View:
        """The view of a parameter of this shape, its axes in that order."""

    @abc.abstractmethod
    def start(self, view: View, device: torch.device) -> State:
        """The initial state of a parameter, without the leading axis."""

    @abc.abstractmethod
    def advance(
        self,
        gradient: Tensor,
        parameter: Tensor,
        state: State,
        view: View,
        move: Move,
        *,
        loss: Tensor | None = None,
    ) -> None:
        """One step of the parameters in `gradient`'s leading axis.

        Args:
            gradient: in the view's shape.
            parameter: before the step, likewise.
            state: is brought to the next step in place.
            view: of each of the parameters.
            move: is called once for every tile; the tile has been read for the last time then.
            loss: at the parameters, on this step's batch, where it is known; few rules use it.
        """
