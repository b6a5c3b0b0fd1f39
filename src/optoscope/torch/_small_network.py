"""The small perceptrons over running averages: MLP and STAR optimizers."""

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from optoscope._core.errors import UnknownNameError
from optoscope.torch._averages import (
    Averages,
    empty_averages,
    factors,
    features,
    sums_of_squares,
)
from optoscope.torch._rule import Move, Rule, State
from optoscope.torch._views import Tile, View, at, factored, tile_size, tiles

_HIDDEN = 4
_TIME_SCALES = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1e3, 3e3, 1e4, 3e4, 1e5)
_NUM_NORMALIZED = 28
_NUM_INPUTS = _NUM_NORMALIZED + len(_TIME_SCALES)
_NORMALIZER_OFFSET = 1e-5
# Which of the 39 inputs the features of every coordinate stand for, in the order of
# `features`; a vector's row averages are its column averages too.
_WHOLE = (*range(13), 25, 26, 27)
_ROWS = (13, 14, 15, 19, 20, 21)
_COLUMNS = (16, 17, 18, 22, 23, 24)
# Where a rule finds what it needs among the features.
_GRADIENT, _MOMENTA, _PRECONDITIONER = 0, (2, 3, 4), 9
# Numbers held for a coordinate: the features, what they are made of, and the hidden units.
_NUMBERS = 32
_LOG2_E = 1 / math.log(2)


class SmallNetworkRule(Rule):
    """A 39-4-4-H perceptron with ReLU that sees one coordinate at a time.

    Math and sources: see `optoscope.optimizers.MLPOptimizer` and `StarOptimizer`, whose
    trajectories this follows; the inputs 0 to 27 are normalized over each parameter.
    """

    def __init__(
        self,
        weights: Mapping[str, Tensor],
        scales: Sequence[float],
        more_shapes: Mapping[str, Sequence[int]] | None = None,
    ):
        """Takes the factors on the network's outputs, one per head."""
        heads = len(scales)
        shapes = {
            "decays.momentum": (3,),
            "decays.factored": (3,),
            "decays.second_moment": (),
            "input_weights": (_NUM_INPUTS, _HIDDEN),
            "input_bias": (_HIDDEN,),
            "hidden_weights": (_HIDDEN, _HIDDEN),
            "hidden_bias": (_HIDDEN,),
            "output_weights": (_HIDDEN, heads),
            "output_bias": (heads,),
        }
        shapes = {f"network.{name}": shape for name, shape in shapes.items()}
        super().__init__(weights, {**shapes, **(more_shapes or {})})
        own = {name: self._weights[f"network.{name}"] for name in ("input_weights", "input_bias")}
        hidden = [self._weights[f"network.hidden_{name}"] for name in ("weights", "bias")]
        output = [self._weights[f"network.output_{name}"] for name in ("weights", "bias")]
        self._averages = Averages.from_decays(
            *(
                self._weights[f"network.decays.{name}"]
                for name in ("momentum", "factored", "second_moment")
            )
        )
        rows, columns = list(_ROWS), list(_COLUMNS)
        inputs = own["input_weights"].T
        whole = inputs[:, list(_WHOLE)]
        factors = torch.tensor(scales, dtype=torch.float32)
        # What is used on a device: transposed, picked and scaled once.
        self._weights = {
            "whole": whole,
            "vector": torch.cat([whole, inputs[:, rows] + inputs[:, columns]], dim=1),
            "rows": inputs[:, rows],
            "columns": inputs[:, columns],
            "time": own["input_weights"][_NUM_NORMALIZED:],
            "bias": own["input_bias"],
            "time_scales": torch.tensor(_TIME_SCALES),
            "hidden": hidden[0].T[None],
            "hidden_bias": hidden[1][None, :, None],
            "output": (output[0] * factors).T[None],
            "output_bias": (output[1] * factors)[None, :, None],
        }

    def view(self, shape: Sequence[int]) -> View:
        """The view of a parameter by its two largest axes."""
        return factored(shape)

    def start(self, view: View, device: torch.device) -> State:
        """A state with zero averages and a step count of 0."""
        return {"step": torch.zeros((), device=device), **empty_averages(view, device)}

    def advance(
        self, gradient: Tensor, parameter: Tensor, state: State, view: View, move: Move
    ) -> None:
        """Advances the averages, measures the inputs' sizes, then moves tile by tile."""
        weights, device = self.weights(gradient.device), gradient.device
        count, matrix = len(gradient), weights["whole" if view.axes is not None else "vector"]
        pieces = tiles(view.shape, tile_size(device, _NUMBERS * count))
        self._averages.advance(gradient, state, view, pieces)
        both = factors(state, view)
        # Written out, a large parameter's features would take longer than to make them again.
        squares = torch.zeros(count, matrix.shape[1], device=device)
        for tile in pieces:
            squares += sums_of_squares(gradient, parameter, state, both, tile)
        scaled = matrix * torch.rsqrt(squares / view.size + _NORMALIZER_OFFSET)[:, None]
        times = torch.tanh(state["step"][:, None] / weights["time_scales"] - 1)
        state["step"] += 1
        offsets = _Offsets(weights["bias"] + times @ weights["time"], weights, state, view)
        # One workspace for all tiles: fresh memory costs more than what is written to it.
        most = max(at(gradient, tile).numel() for tile in pieces)
        workspace = torch.empty(matrix.shape[1] * most, device=device)
        for tile in pieces:
            shape = (matrix.shape[1], *at(gradient, tile).shape)
            out = workspace[: math.prod(shape)].view(shape)
            inputs = features(gradient, parameter, state, both, tile, out)
            columns = inputs.flatten(2).transpose(0, 1)
            hidden = torch.baddbmm(offsets.at(tile), scaled, columns).relu_()
            outputs = self._outputs(hidden, weights).view(count, -1, *shape[2:])
            move(tile, self.rule(outputs, inputs))

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

    def __init__(self, bias: Tensor, weights: Mapping[str, Tensor], state: State, view: View):
        self._parts = [bias[:, :, None]]
        if view.axes is None:
            return
        self._parts = []
        for name in ("rows", "columns"):
            average = state[name]
            features = torch.cat([average, torch.rsqrt(average + 1e-8)], dim=1)
            spread = features.flatten(2)
            # Each value repeats equally often: the mean square needs no spreading.
            scales = torch.rsqrt(spread.square().mean(2) + _NORMALIZER_OFFSET)
            part = (weights[name] * scales[:, None]) @ spread
            self._parts.append(part.view(len(bias), _HIDDEN, *features.shape[2:]))
        self._parts[0] = self._parts[0] + bias.view(*bias.shape, *(1,) * len(view.shape))

    def at(self, tile: Tile) -> Tensor:
        """For the tile's coordinates in one row, or with size 1 where they repeat."""
        if len(self._parts) == 1:
            return self._parts[0]
        rows, columns = (at(part, tile) for part in self._parts)
        return (rows + columns).flatten(2)


def _times_power_of_two(factor: Tensor, exponent: Tensor) -> Tensor:
    # Where the power is no normal float32, the nearest that is takes its place.
    return factor * torch.exp2(exponent.clamp(-126, 127))


class MLPRule(SmallNetworkRule):
    """p ← p − s·d·exp(e·a): see `optoscope.optimizers.MLPOptimizer`."""

    registered_name: ClassVar[str] = "mlp"

    def __init__(
        self,
        weights: Mapping[str, Tensor],
        *,
        step_scale: float = 1e-3,
        exponent_scale: float = 1e-3,
    ):
        """Takes the arguments of `MLPOptimizer.create`."""
        super().__init__(weights, (-step_scale, exponent_scale * _LOG2_E))

    def rule(self, outputs: Tensor, inputs: Tensor) -> Tensor:
        """The step times its magnitude."""
        return _times_power_of_two(outputs[:, 0], outputs[:, 1])


class StarRule(SmallNetworkRule):
    """A nominal term and a black box: see `optoscope.optimizers.StarOptimizer`."""

    registered_name: ClassVar[str] = "star"

    def __init__(
        self,
        weights: Mapping[str, Tensor],
        *,
        arm: str = "star",
        nominal: str = "aggmo-adam",
        preconditioning: bool = True,
        learned_nominal_scale: bool = False,
        nominal_scale: float = 1e-3,
        nominal_exponent_scale: float = 1e-3,
        blackbox_scale: float = 1e-3,
        blackbox_exponent_scale: float = 1e-3,
    ):
        """Takes the arguments of `StarOptimizer.create`, the arm's defaults spelled out."""
        if nominal not in _NOMINAL_TERMS:
            raise UnknownNameError("nominal term", str(nominal), _NOMINAL_TERMS)
        self._blackbox, self._nominal = arm != "hyperparam", nominal
        self._preconditioning = preconditioning
        scales = []
        if self._blackbox:
            scales += [blackbox_scale, blackbox_exponent_scale * _LOG2_E]
        if nominal != "none":
            scales += [nominal_exponent_scale * _LOG2_E]
        more = {"log_nominal_scale": ()} if learned_nominal_scale else {}
        super().__init__(weights, scales, more)
        self._nominal_scale = nominal_scale
        if learned_nominal_scale:
            self._nominal_scale *= math.exp(float(weights["log_nominal_scale"]))

    def rule(self, outputs: Tensor, inputs: Tensor) -> Tensor:
        """The black box's step and the nominal term's, both against the gradient."""
        preconditioner = inputs[_PRECONDITIONER]
        terms = []
        if self._blackbox:
            step, magnitude = outputs[:, 0], outputs[:, 1]
            if self._preconditioning:
                step = step * preconditioner
            terms.append(_times_power_of_two(step, magnitude))
        if self._nominal != "none":
            directions, preconditioned = _NOMINAL_TERMS[self._nominal]
            step = inputs[directions[0]]
            for direction in directions[1:]:
                step = step + inputs[direction]
            step = step * (self._nominal_scale / len(directions))
            if preconditioned:
                step = step * preconditioner
            terms.append(_times_power_of_two(step, outputs[:, -1]))
        return -(terms[0] + terms[1] if len(terms) == 2 else terms[0])


# The features whose mean is the direction of the nominal term, and whether it is preconditioned.
_NOMINAL_TERMS: dict[str, tuple[tuple[int, ...], bool]] = {
    "none": ((), False),
    "sgd": ((_GRADIENT,), False),
    "momentum": (_MOMENTA[:1], False),
    "aggmo": (_MOMENTA, False),
    "adam": (_MOMENTA[:1], True),
    "aggmo-adam": (_MOMENTA, True),
}
