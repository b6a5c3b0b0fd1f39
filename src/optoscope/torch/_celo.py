"""Celo, a small learned optimizer with a learned schedule."""

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from optoscope._core.errors import check_count
from optoscope._core.input_layouts import CELO, StartingDecays
from optoscope._core.published_numbers import NUM_LOSS_FEATURES
from optoscope.torch import _loss_features as losses
from optoscope.torch._layers import lstm_layer, read_out
from optoscope.torch._rule import Move, State
from optoscope.torch._small_network import LOG2_E, SmallNetworkRule, times_power_of_two
from optoscope.torch._views import Tile, View

_STEP_SCALE = _EXPONENT_SCALE = 1e-3
_SCHEDULE_SCALE = 0.1
_SIZE_OFFSET = 1e-9
_SCHEDULER = "scheduler."


class CeloRule(SmallNetworkRule):
    """Steps that a learned schedule scales: see `optoscope.optimizers.CeloOptimizer`.

    Every parameter has a state of the schedule of its own, as in the authors' program; those that
    get a gradient at every step have the same.
    """

    registered_name: ClassVar[str] = "celo"

    def __init__(
        self,
        weights: Mapping[str, Tensor],
        *,
        num_steps: int,
        hidden_size: int = 4,
        scheduler_size: int = 64,
    ):
        """Takes the arguments of `CeloOptimizer.create`."""
        check_count("num_steps", num_steps, minimum=1)
        check_count("scheduler_size", scheduler_size, minimum=1, maximum=4096)
        size = scheduler_size
        shapes = {
            "input_weights": (size, NUM_LOSS_FEATURES),
            "input_bias": (size,),
            "mixing_weights": (size, NUM_LOSS_FEATURES),
            "mixing_bias": (size,),
            "layer.weights": (4 * size, 2 * size),
            "layer.bias": (4 * size,),
            "readout": (size,),
            "readout_bias": (),
            "initial_hidden": (size,),
            "initial_cell": (size,),
        }
        super().__init__(
            weights,
            # The third output has no effect.
            (-_STEP_SCALE, _EXPONENT_SCALE * LOG2_E, 1.0),
            {f"{_SCHEDULER}{name}": shape for name, shape in shapes.items()},
            hidden_size=hidden_size,
            layout=CELO,
            fixed_decays=StartingDecays(),
        )
        self._num_steps, self._scheduler_weights = num_steps, tuple(shapes)

    def start(self, view: View, device: torch.device) -> State:
        """Zero averages, and the trained initial state of the schedule."""
        weights = self.weights(device)
        scheduler = {
            name: weights[f"{_SCHEDULER}initial_{name}"].clone() for name in ("hidden", "cell")
        }
        return {**super().start(view, device), **scheduler, **losses.start(device)}

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
        """Advances the schedule, then moves by its factor and the parameter's own size."""
        if loss is not None:
            losses.advance(state, loss.to(gradient.device), self._num_steps)
        factor = self._scheduled(state)
        mean_square = parameter.float().square().flatten(1).mean(1)
        size = factor * torch.sqrt(mean_square + _SIZE_OFFSET)
        size = size.view(-1, *(1,) * len(view.shape))

        def move_scaled(tile: Tile, update: Tensor) -> None:
            move(tile, size * update)

        super().advance(gradient, parameter, state, view, move_scaled)

    def _scheduled(self, state: State) -> Tensor:
        """The factor of all updates, for each parameter; the schedule goes on in place."""
        weights = self.weights(state["step"].device)
        own = {name: weights[f"{_SCHEDULER}{name}"] for name in self._scheduler_weights}
        seen = losses.features(state, self._num_steps)
        mixed = torch.relu(seen @ own["mixing_weights"].T + own["mixing_bias"])
        inputs = seen @ own["input_weights"].T + own["input_bias"] + mixed
        # The layer goes over coordinates; here a parameter has one.
        hidden, cell = (state[name].unsqueeze(2) for name in ("hidden", "cell"))
        lstm_layer(own["layer.weights"], own["layer.bias"], inputs.unsqueeze(2), hidden, cell)
        return _SCHEDULE_SCALE * torch.exp(read_out(hidden, own)[:, 0])

    def rule(self, outputs: Tensor, inputs: Tensor) -> Tensor:
        """The step times its magnitude."""
        return times_power_of_two(outputs[:, 0], outputs[:, 1])
