"""Stacked LSTM layers over coordinates, whose weights all coordinates share."""

from collections.abc import Mapping

import torch
from torch import Tensor

from optoscope._core.errors import check_count
from optoscope.torch._rule import State, zeros
from optoscope.torch._views import View


class Layers:
    """The layers of one optimizer: their shapes, their state, and one step.

    Args:
        num_inputs: of the first layer.
        hidden_size: units H of each.
        num_layers: how many there are, one on top of the other.

    Raises:
        InvalidValueError: a size below 1.
    """

    def __init__(self, num_inputs: int, hidden_size: int, num_layers: int):
        check_count("hidden_size", hidden_size, minimum=1)
        check_count("num_layers", num_layers, minimum=1, maximum=64)
        self._hidden_size, self._num_layers = hidden_size, num_layers
        # Of the weights, by the names that the saved file gives them.
        self.shapes: dict[str, tuple[int, ...]] = {
            "readout": (hidden_size,),
            "readout_bias": (),
        }
        for layer in range(num_layers):
            num_features = (num_inputs if layer == 0 else hidden_size) + hidden_size
            self.shapes[f"layers[{layer}].weights"] = (4 * hidden_size, num_features)
            self.shapes[f"layers[{layer}].bias"] = (4 * hidden_size,)

    def start(self, view: View, device: torch.device) -> State:
        """Zero hidden and cell states of every layer."""
        shape = (self._num_layers, self._hidden_size, *view.shape)
        return {name: zeros(shape, device) for name in ("hidden", "cell")}

    def step(self, inputs: Tensor, state: State, weights: Mapping[str, Tensor]) -> Tensor:
        """What is read out of the last layer; each has its own state, changed in place."""
        values = inputs
        for layer in range(self._num_layers):
            hidden, cell = state["hidden"][:, layer], state["cell"][:, layer]
            matrix, bias = (weights[f"layers[{layer}].{name}"] for name in ("weights", "bias"))
            values = lstm_layer(matrix, bias, values, hidden, cell)
        return read_out(values, weights)


def lstm_layer(
    matrix: Tensor, bias: Tensor, inputs: Tensor, hidden: Tensor, cell: Tensor
) -> Tensor:
    """The next hidden state; `hidden` and `cell` are brought to the next step in place."""
    gates = times(matrix, torch.cat([inputs, hidden], dim=1)) + bias[:, None]
    input_gate, forget_gate, candidate, output_gate = gates.chunk(4, dim=1)
    cell.mul_(forget_gate.sigmoid()).add_(input_gate.sigmoid() * candidate.tanh())
    hidden.copy_(output_gate.sigmoid() * cell.tanh())
    return hidden


def read_out(values: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
    """One number of each coordinate's hidden state, linear in it."""
    return times(weights["readout"][None], values)[:, 0] + weights["readout_bias"]


def times(matrix: Tensor, columns: Tensor) -> Tensor:
    """A matrix times the columns of each of the stacked tensors."""
    return torch.bmm(matrix.expand(len(columns), -1, -1), columns)
