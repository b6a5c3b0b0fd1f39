"""The recurrent optimizers: each coordinate has its own state, all share the weights."""

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from optoscope._core.errors import UnknownNameError
from optoscope.torch._layers import Layers, lstm_layer, read_out, times
from optoscope.torch._rule import Move, Rule, State, zeros
from optoscope.torch._views import View, at, flat, tile_size, tiles

# What is added to the root where a gradient is divided by it, and the preprocessing of the further
# inputs of `RNNPropOptimizer`.
_OFFSET = 1e-8
_EXPONENT, _LOG_OFFSET = 5.0, 1.19e-7
_LARGEST_SQUARE = 1e30


class _CoordinateWise(Rule):
    """A rule that takes all coordinates of a tensor as one row."""

    def view(self, shape: Sequence[int]) -> View:
        """The view of a tensor as one row of coordinates."""
        return flat(shape)

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
        """Reads the gradient of a tile, brings its states to the next step, reads the update."""
        # An LSTM's gates are the most that is held at once.
        kept = sum(part[0].numel() for part in state.values()) // view.size
        size = tile_size(gradient.device, 4 * kept * len(gradient))
        weights = self.weights(gradient.device)
        for tile in tiles(view.shape, size):
            parts = {name: at(part, tile) for name, part in state.items()}
            move(tile, self.step(at(gradient, tile).float(), parts, weights))

    def step(self, gradient: Tensor, state: State, weights: Mapping[str, Tensor]) -> Tensor:
        """The update of a tile's coordinates; their state is brought to the next step in place."""
        raise NotImplementedError


class LSTMRule(_CoordinateWise):
    """Stacked LSTM layers over coordinates: see `optoscope.optimizers.LSTMOptimizer`."""

    registered_name: ClassVar[str] = "lstm"

    def __init__(
        self,
        weights: Mapping[str, Tensor],
        *,
        hidden_size: int = 20,
        num_layers: int = 2,
        update_scale: float = 0.1,
        exponent: float = 10.0,
        log_offset: float = 0.0,
    ):
        """Takes the arguments of `LSTMOptimizer.create`."""
        self._layers = Layers(2, hidden_size, num_layers)
        super().__init__(weights, self._layers.shapes)
        self._update_scale, self._exponent, self._log_offset = update_scale, exponent, log_offset

    def start(self, view: View, device: torch.device) -> State:
        """Zero hidden and cell states of every layer."""
        return self._layers.start(view, device)

    def step(self, gradient: Tensor, state: State, weights: Mapping[str, Tensor]) -> Tensor:
        """Runs the input through the layers."""
        inputs = _log_and_sign(gradient, self._exponent, self._log_offset)
        return self._update_scale * self._layers.step(inputs, state, weights)


class RNNRule(_CoordinateWise):
    """One recurrent cell with a linear readout: see `optoscope.optimizers.RNNOptimizer`."""

    registered_name: ClassVar[str] = "rnn"

    def __init__(
        self,
        weights: Mapping[str, Tensor],
        *,
        cell: str = "gru",
        hidden_size: int = 32,
        output_scale: float = 1.0,
        input_scaling: str = "raw",
        input_scale: float = 1.0,
        decay: float = 0.95,
    ):
        """Takes the arguments of `RNNOptimizer.create`."""
        gates = {"gru": 3, "vanilla": 1, "lstm": 4}
        inputs = {"raw": 1, "scaled": 1, "log": 2, "normalized": 3}
        if cell not in gates:
            raise UnknownNameError("cell", str(cell), gates)
        if input_scaling not in inputs:
            raise UnknownNameError("input scaling", str(input_scaling), inputs)
        num_rows, num_inputs = gates[cell] * hidden_size, inputs[input_scaling]
        state_size = 2 * hidden_size if cell == "lstm" else hidden_size
        shapes: dict[str, tuple[int, ...]] = {
            "initial_state": (state_size,),
            "readout": (hidden_size,),
            "readout_bias": (),
        }
        if cell == "lstm":
            shapes["cell.layer.weights"] = (num_rows, num_inputs + hidden_size)
            shapes["cell.layer.bias"] = (num_rows,)
        else:
            shapes["cell.input_weights"] = (num_rows, num_inputs)
            shapes["cell.recurrent_weights"] = (num_rows, hidden_size)
            shapes["cell.bias"] = (num_rows,)
        super().__init__(weights, shapes)
        self._cell, self._hidden_size, self._output_scale = cell, hidden_size, output_scale
        self._input_scaling, self._input_scale = input_scaling, input_scale
        self._decay = decay

    def start(self, view: View, device: torch.device) -> State:
        """The trained initial state, once for every coordinate, and averages of zero."""
        initial = self.weights(device)["initial_state"]
        averages = ("first", "second") if self._input_scaling == "normalized" else ()
        return {"state": initial[:, None].repeat(1, *view.shape)} | {
            name: zeros(view.shape, device) for name in averages
        }

    def step(self, gradient: Tensor, state: State, weights: Mapping[str, Tensor]) -> Tensor:
        """The cell's next state, and what is read out of it."""
        inputs, kept = self._inputs(gradient, state), state["state"]
        if self._cell == "lstm":
            hidden, memory = kept.split(self._hidden_size, dim=1)
            matrix, bias = weights["cell.layer.weights"], weights["cell.layer.bias"]
            following = lstm_layer(matrix, bias, inputs, hidden, memory)
        else:
            following = self._matrix_cell(inputs, kept, weights)
            kept.copy_(following)
        return self._output_scale * read_out(following, weights)

    def _inputs(self, gradient: Tensor, state: State) -> Tensor:
        scaled = self._input_scale * gradient
        if self._input_scaling == "normalized":
            _average({"first": gradient, "second": _square(gradient)}, self._decay, state)
            root = state["second"].sqrt()
            seen = [state["first"] / (root + _OFFSET), gradient / (root + _OFFSET)]
            return torch.stack([*seen, torch.log1p(self._input_scale * root)], dim=1)
        if self._input_scaling == "log":
            return torch.stack([torch.log1p(scaled.abs()), gradient.sign()], dim=1)
        return scaled.unsqueeze(1)

    def _matrix_cell(self, inputs: Tensor, state: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
        recurrent = weights["cell.recurrent_weights"]
        # One input: its weights are a column, and an outer product is no matrix product.
        driven = weights["cell.bias"][:, None] + times(weights["cell.input_weights"], inputs)
        if self._cell == "vanilla":
            return torch.tanh(driven + times(recurrent, state))
        both = 2 * self._hidden_size
        gates = torch.sigmoid(driven[:, :both] + times(recurrent[:both], state))
        update, reset = gates.chunk(2, dim=1)
        candidate = torch.tanh(driven[:, both:] + times(recurrent[both:], reset * state))
        return update * state + (1 - update) * candidate


class RNNPropRule(_CoordinateWise):
    """LSTM layers over normalized gradients: see `optoscope.optimizers.RNNPropOptimizer`."""

    registered_name: ClassVar[str] = "rnnprop"

    def __init__(
        self,
        weights: Mapping[str, Tensor],
        *,
        hidden_size: int = 20,
        num_layers: int = 2,
        update_scale: float = 0.01,
        decay: float = 0.95,
        log_inputs: bool = False,
        bounded: bool = True,
    ):
        """Takes the arguments of `RNNPropOptimizer.create`."""
        self._layers = Layers(hidden_size, hidden_size, num_layers)
        projection = {
            "projection": (hidden_size, 4 if log_inputs else 2),
            "projection_bias": (hidden_size,),
        }
        super().__init__(weights, self._layers.shapes | projection)
        self._update_scale, self._decay = update_scale, decay
        self._log_inputs, self._bounded = log_inputs, bounded

    def start(self, view: View, device: torch.device) -> State:
        """Zero averages, with the weight that they hold so far, and zero states of the layers."""
        averages = ("first", "second", "weight")
        return self._layers.start(view, device) | {
            name: zeros(view.shape, device) for name in averages
        }

    def step(self, gradient: Tensor, state: State, weights: Mapping[str, Tensor]) -> Tensor:
        """Normalizes the gradient and runs it through the layers."""
        seen = {"first": gradient, "second": _square(gradient)}
        _average(seen | {"weight": torch.ones_like(gradient)}, self._decay, state)
        # The weight is 1 − decay^t, so that dividing by it corrects the start at zero.
        scale = (state["second"] / state["weight"]).sqrt() + _OFFSET
        inputs = torch.stack([state["first"] / state["weight"] / scale, gradient / scale], dim=1)
        if self._log_inputs:
            inputs = torch.cat([inputs, _log_and_sign(gradient, _EXPONENT, _LOG_OFFSET)], dim=1)
        projected = times(weights["projection"], inputs) + weights["projection_bias"][:, None]
        output = self._layers.step(torch.nn.functional.elu(projected), state, weights)
        return self._update_scale * (output.tanh() if self._bounded else output)


def _square(gradient: Tensor) -> Tensor:
    return gradient.square().clamp(max=_LARGEST_SQUARE)


def _average(values: Mapping[str, Tensor], decay: float, state: State) -> None:
    """Brings the running means of that name to the next step, in place."""
    for name, value in values.items():
        state[name].add_((1 - decay) * (value - state[name]))


def _log_and_sign(gradient: Tensor, exponent: float, log_offset: float) -> Tensor:
    """(log(|g| + offset)/p, sign g) where |g| ≥ e^−p, else (−1, e^p g)."""
    magnitude = gradient.abs()
    large = magnitude >= math.exp(-exponent)
    log_size = torch.log(magnitude + log_offset) / exponent
    return torch.stack(
        [
            torch.where(large, log_size, -1.0),
            torch.where(large, gradient.sign(), math.exp(exponent) * gradient),
        ],
        dim=1,
    )
