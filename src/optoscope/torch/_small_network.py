"""The small perceptron over running averages that several optimizers have in common."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from optoscope._core.errors import check_count
from optoscope._core.input_layouts import SMALL_FC, TIME_SCALES, InputLayout, StartingDecays
from optoscope.torch._averages import Averages, empty_averages, factors
from optoscope.torch._features import Features, with_roots
from optoscope.torch._rule import Move, Rule, State, constants, zeros
from optoscope.torch._views import Tile, View, at, factored, tile_size, tiles

# Numbers held for a coordinate beside the hidden units: the features and what they are made of.
_NUMBERS = 28
_DECAYS = {"momentum": (3,), "factored": (3,), "second_moment": ()}
LOG2_E = 1 / math.log(2)


class SmallNetworkRule(Rule):
    """A perceptron with two hidden layers and ReLU that sees one coordinate at a time.

    Math and sources: see `optoscope.optimizers.MLPOptimizer` and the others that have it, whose
    trajectories this follows. Its inputs are normalized over each parameter, or over its last two
    axes.
    """

    def __init__(
        self,
        weights: Mapping[str, Tensor],
        scales: Sequence[float],
        more_shapes: Mapping[str, Sequence[int]] | None = None,
        *,
        hidden_size: int = 4,
        layout: InputLayout = SMALL_FC,
        fixed_decays: StartingDecays | None = None,
        time_unit: float = 1.0,
    ):
        """Reads the network.

        Args:
            weights: by the names that the saved file gives them.
            scales: the factors on the network's outputs, one per head.
            more_shapes: of the weights that the rule has beside the network.
            hidden_size: units of each hidden layer.
            layout: which inputs it has.
            fixed_decays: of the averages; where there are none, they are among the weights.
            time_unit: how many steps the functions of time take for one.
        """
        check_count("hidden_size", hidden_size, minimum=0, maximum=1024)
        heads = len(scales)
        shapes: dict[str, Sequence[int]] = {
            "input_weights": (layout.num_inputs, hidden_size),
            "input_bias": (hidden_size,),
            "hidden_weights": (hidden_size, hidden_size),
            "hidden_bias": (hidden_size,),
            "output_weights": (hidden_size, heads),
            "output_bias": (heads,),
        }
        if fixed_decays is None:
            shapes |= {f"decays.{name}": shape for name, shape in _DECAYS.items()}
        shapes = {f"network.{name}": shape for name, shape in shapes.items()}
        super().__init__(weights, {**shapes, **(more_shapes or {})})
        self._layout, self._hidden_size, self._time_unit = layout, hidden_size, time_unit
        self._of_matrices, self._of_vectors = Features(layout, False), Features(layout, True)
        own = {name: self._weights.pop(f"network.{name}") for name in _names(shapes)}
        decays = {name: own[f"decays.{name}"] for name in _DECAYS} if fixed_decays is None else None
        self._averages = Averages.from_decays(fixed_decays or StartingDecays(), decays)
        # What is used on a device: transposed, picked and scaled once.
        self._weights |= self._picked(own, constants(scales, "cpu"))

    def _picked(self, own: Mapping[str, Tensor], factors: Tensor) -> dict[str, Tensor]:
        layout, inputs = self._layout, own["input_weights"].T

        def whole(features: Features) -> Tensor:
            return torch.stack([inputs[:, list(some)].sum(1) for some in features.places], dim=1)

        picked = {
            "matrix": whole(self._of_matrices),
            "vector": whole(self._of_vectors),
            "rows": inputs[:, list(layout.row_indices)],
            "columns": inputs[:, list(layout.column_indices)],
            "bias": own["input_bias"],
            "hidden": own["hidden_weights"].T[None],
            "hidden_bias": own["hidden_bias"][None, :, None],
            "output": (own["output_weights"] * factors).T[None],
            "output_bias": (own["output_bias"] * factors)[None, :, None],
        }
        if layout.with_time:
            picked["time"] = own["input_weights"][layout.num_normalized :]
            picked["time_scales"] = self._time_unit * constants(TIME_SCALES, "cpu")
        return picked

    def view(self, shape: Sequence[int]) -> View:
        """The view of a parameter by its two largest axes."""
        return factored(shape)

    def start(self, view: View, device: torch.device) -> State:
        """A state with zero averages and a step count of 0."""
        return {"step": zeros((), device), **empty_averages(view, device)}

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
        """Advances the averages, measures the inputs' sizes, then moves tile by tile."""
        weights, device = self.weights(gradient.device), gradient.device
        is_vector, count = view.axes is None, len(gradient)
        features = self._of_vectors if is_vector else self._of_matrices
        matrix, num_features = weights["vector" if is_vector else "matrix"], len(features.places)
        pieces = tiles(view.shape, tile_size(device, (_NUMBERS + self._hidden_size) * count))
        self._averages.advance(gradient, state, view, pieces)
        both, over = factors(state, view), self._over(view)
        # Written out, a large parameter's features would take longer than to make them again.
        kept = (*view.shape[: -len(over)], *(1,) * len(over))
        squares = zeros((count, num_features, *kept), device)
        for tile in pieces:
            sums = features.sums_of_squares(gradient, parameter, state, both, tile, over)
            at(squares, tile).add_(sums)
        mean_squares = squares / math.prod(view.shape[axis] for axis in over)
        scales = torch.rsqrt(mean_squares + self._layout.normalizer_offset)
        whole = len(over) == len(view.shape)
        if whole:  # the same for all coordinates: one product for each weight
            matrix = matrix * scales.view(count, 1, num_features)
        else:
            matrix = matrix.expand(count, -1, -1)
        offsets = self._offsets(state, weights, view, over)
        # One workspace for all tiles: fresh memory costs more than what is written to it.
        most = max(at(gradient, tile).numel() for tile in pieces)
        workspace = torch.empty(num_features * most, dtype=torch.float32, device=device)
        for tile in pieces:
            shape = (num_features, *at(gradient, tile).shape)
            out = workspace[: math.prod(shape)].view(shape)
            inputs = features.write(gradient, parameter, state, both, tile, out)
            columns = inputs.transpose(0, 1)
            if not whole:
                columns = columns * at(scales, tile)
            hidden = torch.baddbmm(offsets.at(tile), matrix, columns.flatten(2)).relu_()
            outputs = self._outputs(hidden, weights).view(count, -1, *shape[2:])
            move(tile, self.rule(outputs, inputs))

    def _over(self, view: View) -> tuple[int, ...]:
        """The view's axes, counted from its end, that mean squares are taken over."""
        num_axes = len(view.shape)
        return tuple(range(-min(2, num_axes) if self._layout.over_last_two_axes else -num_axes, 0))

    def _offsets(
        self, state: State, weights: Mapping[str, Tensor], view: View, over: tuple[int, ...]
    ) -> "_Offsets":
        bias = weights["bias"].expand(len(state["step"]), -1)
        if self._layout.with_time:
            times = torch.tanh(state["step"][:, None] / weights["time_scales"] - 1)
            bias = bias + times @ weights["time"]
        state["step"] += 1
        return _Offsets(bias, weights, state, view, over, self._layout.normalizer_offset)

    @staticmethod
    def _outputs(hidden: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
        count = len(hidden)

        def layer(values: Tensor, name: str) -> Tensor:
            matrix = weights[name].expand(count, -1, -1)
            return torch.baddbmm(weights[f"{name}_bias"], matrix, values)

        return layer(layer(hidden, "hidden").relu_(), "output")

    def rule(self, outputs: Tensor, inputs: Tensor) -> Tensor:
        """The update of the parameters, from the network's outputs and its inputs."""
        raise NotImplementedError


class _Offsets:
    """The input of the hidden units that does not come from the features of single coordinates."""

    def __init__(
        self,
        bias: Tensor,
        weights: Mapping[str, Tensor],
        state: State,
        view: View,
        over: tuple[int, ...],
        normalizer_offset: float,
    ):
        self._parts = [bias[:, :, None]]
        if view.axes is None:
            return
        self._parts = []
        for name in ("rows", "columns"):
            features = with_roots(state[name])
            # Each value repeats equally often: the mean square needs no spreading.
            mean_squares = features.square().mean(over, keepdim=True)
            spread = (features * torch.rsqrt(mean_squares + normalizer_offset)).flatten(2)
            self._parts.append((weights[name] @ spread).view(*bias.shape, *features.shape[2:]))
        self._parts[0] = self._parts[0] + bias.view(*bias.shape, *(1,) * len(view.shape))

    def at(self, tile: Tile) -> Tensor:
        """For the tile's coordinates in one row, or with size 1 where they repeat."""
        if len(self._parts) == 1:
            return self._parts[0]
        rows, columns = (at(part, tile) for part in self._parts)
        return (rows + columns).flatten(2)


def times_power_of_two(factor: Tensor, exponent: Tensor) -> Tensor:
    """The factor times 2^exponent, where the power is no normal float32 times the nearest."""
    return factor * torch.exp2(exponent.clamp(-126, 127))


def _names(shapes: Mapping[str, Sequence[int]]) -> list[str]:
    return [name.removeprefix("network.") for name in shapes]
