"""Optimizers whose network gives the directions of matrices, with Adam for some vectors."""

import abc
import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from optoscope._core.errors import InvalidValueError, UnknownNameError, check_count
from optoscope._core.input_layouts import (
    EIGENBASES_OFFSET,
    INPUTS,
    MIXTURES,
    TIME_SCALES,
    log_sides,
    log_sizes,
)
from optoscope._core.published_numbers import CELO2_ADAM_FACTOR, LARGEST_GRADIENT
from optoscope.torch import _adaptive_sizes, _eigenbases
from optoscope.torch._directions import of_unit_size, orthogonalized
from optoscope.torch._features import GRADIENT, MOMENTA, PRECONDITIONER
from optoscope.torch._rule import Move, State, constants, zeros
from optoscope.torch._small_network import SmallNetworkRule
from optoscope.torch._star import NOMINAL_TERMS, nominal_direction
from optoscope.torch._views import Tile, View, at, factored

_FIRST_DECAY, _SECOND_DECAY, _ADAM_OFFSET = 0.9, 0.999, 1e-8
# Of a matrix (outputs, inputs), and of a kernel (outputs, inputs, *places).
_INPUTS_FIRST = {2: (1, 0), 3: (2, 1, 0), 4: (2, 3, 1, 0), 5: (2, 3, 4, 1, 0)}
_VECTORS = ("adam", "nominal", "network")


class DirectedRule(SmallNetworkRule):
    """The frame of Celo2 and of the general optimizer: see `optoscope.optimizers.Celo2Optimizer`.

    Directions are orthogonalized, and brought to unit size, as whole tensors: they are written
    tile by tile and become a step in one piece.
    """

    def __init__(
        self,
        weights: Mapping[str, Tensor],
        num_heads: int,
        more_shapes: Mapping[str, Sequence[int]],
        *,
        inputs: str,
        hidden_size: int,
        time_unit: float = 1.0,
        second_moment_offset: float | None = None,
    ):
        """Reads the network and the learning rate."""
        if inputs not in INPUTS:
            raise UnknownNameError("inputs", str(inputs), INPUTS)
        layout, decays = INPUTS[inputs]
        if second_moment_offset is not None:
            layout = dataclasses.replace(layout, second_moment_offset=second_moment_offset)
        super().__init__(
            weights,
            (1.0,) * num_heads,
            {"log_learning_rate": (), **more_shapes},
            hidden_size=hidden_size,
            layout=layout,
            fixed_decays=decays,
            time_unit=time_unit,
        )
        self._rate = math.exp(float(weights["log_learning_rate"]))

    def axes(self, rank: int, given: Sequence[int] | None) -> Sequence[int] | None:
        """As JAX's libraries store them: inputs before outputs, which PyTorch has first."""
        return given if given is not None and len(given) == rank else _INPUTS_FIRST.get(rank)

    def view(self, shape: Sequence[int]) -> View:
        """All axes of the tensor: directions need the last two."""
        return factored(shape, merged=False)

    def start(self, view: View, device: torch.device) -> State:
        """The averages of the network's inputs, or Adam's moments where Adam updates."""
        if self._by_network(view):
            return super().start(view, device)
        moments = {name: zeros(view.shape, device) for name in ("first", "second")}
        return {"step": zeros((), device), **moments}

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
        """Writes the direction of all coordinates, then moves them in one piece."""
        gradient = gradient.float().clamp(-LARGEST_GRADIENT, LARGEST_GRADIENT)
        everything = (slice(None),) * len(view.shape)
        factors = self._factors(state["step"], view)
        if not self._by_network(view):
            move(everything, -self._adam_rate * factors * _adam(gradient, state))
            return
        direction = torch.empty_like(gradient)

        def keep(tile: Tile, part: Tensor) -> None:
            at(direction, tile).copy_(part)

        gradient, parameter = self._seen(gradient, parameter, state, view)
        super().advance(gradient, parameter, state, view, keep, loss=loss)
        step = self._step(self._turned_back(direction, state, view), view)
        move(everything, factors * self._sized(step, state, view))

    def _seen(
        self, gradient: Tensor, parameter: Tensor, state: State, view: View
    ) -> tuple[Tensor, Tensor]:
        """The gradient and the parameter in the axes that the network sees."""
        return gradient, parameter

    def _turned_back(self, direction: Tensor, state: State, view: View) -> Tensor:
        """The direction in the parameter's own axes."""
        return direction

    def _sized(self, step: Tensor, state: State, view: View) -> Tensor:
        """The step as large as the state says."""
        return step

    def _factors(self, steps: Tensor, view: View) -> Tensor | float:
        """What each stacked tensor's step is multiplied by after so many steps."""
        return 1.0

    @property
    @abc.abstractmethod
    def _adam_rate(self) -> float:
        """Adam's learning rate where it updates."""

    @abc.abstractmethod
    def _by_network(self, view: View) -> bool:
        """Whether the network updates such a tensor; Adam does otherwise."""

    @abc.abstractmethod
    def _step(self, direction: Tensor, view: View) -> Tensor:
        """The update that the direction of whole tensors becomes."""


def _adam(gradient: Tensor, state: State) -> Tensor:
    """Adam's direction, with bias correction; its moments are brought to the next step in place."""
    state["step"] += 1
    state["first"].lerp_(gradient, 1 - _FIRST_DECAY)
    state["second"].lerp_(gradient.square(), 1 - _SECOND_DECAY)
    step = state["step"][:, None]
    first = state["first"] / (1 - _FIRST_DECAY**step)
    second = state["second"] / (1 - _SECOND_DECAY**step)
    return first / (second.sqrt() + _ADAM_OFFSET)


class Celo2Rule(DirectedRule):
    """Directions of unit size: see `optoscope.optimizers.Celo2Optimizer`."""

    registered_name: ClassVar[str] = "celo2"

    def __init__(
        self,
        weights: Mapping[str, Tensor],
        *,
        orthogonalize: bool = False,
        hidden_size: int = 8,
    ):
        """Takes the arguments of `Celo2Optimizer.create` that are no leaves."""
        super().__init__(weights, 3, {}, inputs="celo2", hidden_size=hidden_size)
        self._orthogonalize = orthogonalize

    @property
    def _adam_rate(self) -> float:
        return CELO2_ADAM_FACTOR * self._rate

    def _by_network(self, view: View) -> bool:
        return not self._orthogonalize or view.axes is not None

    def rule(self, outputs: Tensor, inputs: Tensor) -> Tensor:
        """The first output; the others have no effect."""
        return outputs[:, 0]

    def _step(self, direction: Tensor, view: View) -> Tensor:
        if self._orthogonalize:
            direction = orthogonalized(direction)
        return -self._rate * of_unit_size(direction, min(2, len(view.shape)))


class GeneralRule(DirectedRule):
    """A nominal direction with a correction: see `optoscope.optimizers.GeneralOptimizer`."""

    registered_name: ClassVar[str] = "general"

    def __init__(
        self,
        weights: Mapping[str, Tensor],
        *,
        inputs: str = "celo2",
        nominal: str = "nesterov",
        orthogonalize: bool = False,
        normalize: bool = True,
        vectors: str = "adam",
        learned_schedule: bool = False,
        learned_sizes: bool = False,
        adaptive_sizes: bool = False,
        num_steps: int | None = None,
        refresh_every: int | None = 10,
        hidden_size: int = 0,
    ):
        """Takes the arguments of `GeneralOptimizer.create` that are no leaves."""
        if nominal not in (names := (*NOMINAL_TERMS, *MIXTURES, "none")):
            raise UnknownNameError("nominal term", str(nominal), names)
        if vectors not in _VECTORS:
            raise UnknownNameError("way with vectors", str(vectors), _VECTORS)
        shapes: dict[str, tuple[int, ...]] = {"log_vector_factor": (), "log_gain": ()}
        if nominal in MIXTURES:
            shapes["mixing"] = (MIXTURES[nominal],)
        if learned_schedule:
            shapes["schedule"] = (2, 3, 1 + len(TIME_SCALES))
        if learned_sizes:
            shapes["size_exponents"] = (4,)
        for name, count in (("num_steps", num_steps), ("refresh_every", refresh_every)):
            if count is not None:
                check_count(name, count, minimum=1)
        unit = 1.0 if num_steps is None else num_steps / 1000
        super().__init__(
            weights,
            1,
            shapes,
            inputs=inputs,
            hidden_size=hidden_size,
            time_unit=unit,
            second_moment_offset=None if refresh_every is None else EIGENBASES_OFFSET,
        )
        self._refresh_every = refresh_every
        self._vector_rate = self._rate * math.exp(float(weights["log_vector_factor"]))
        self._gain = math.exp(float(weights["log_gain"]))
        self._mixing = weights["mixing"].tolist() if nominal in MIXTURES else []
        self._nominal, self._vectors = nominal, vectors
        self._orthogonalize, self._normalize = orthogonalize, normalize
        self._exponents = weights["size_exponents"].tolist() if learned_sizes else []
        self._learned_schedule, self._num_steps = learned_schedule, num_steps
        if adaptive_sizes and num_steps is None:
            raise InvalidValueError("adaptive_sizes=True needs num_steps.")
        self._adapts_over = num_steps if adaptive_sizes else None
        self.ends_after = num_steps

    def view(self, shape: Sequence[int]) -> View:
        """The tensor's own axes, or those of its matrices where they have bases of their own."""
        if self._refresh_every is None or len(shape) < 2:
            return super().view(shape)
        return _eigenbases.matrices_view(tuple(shape))

    def start(self, view: View, device: torch.device) -> State:
        """The averages, and for matrices their bases and sizes where they have their own."""
        state = super().start(view, device)
        if self._in_bases(view):
            state |= _eigenbases.start(view, device)
        if self._adapts_over is not None and view.axes is not None:
            state |= _adaptive_sizes.start(view, device)
        return state

    def _in_bases(self, view: View) -> bool:
        return self._refresh_every is not None and view.axes is not None

    def _seen(
        self, gradient: Tensor, parameter: Tensor, state: State, view: View
    ) -> tuple[Tensor, Tensor]:
        if self._adapts_over is not None and view.axes is not None:
            _adaptive_sizes.advance(gradient, state, self._adapts_over)
        if self._refresh_every is None or view.axes is None:
            return gradient, parameter
        _eigenbases.advance(gradient, state, self._refresh_every)
        seen = _eigenbases.turned_gradient(gradient, state)
        return seen, _eigenbases.turned(parameter.float(), state)

    def _turned_back(self, direction: Tensor, state: State, view: View) -> Tensor:
        return _eigenbases.turned_back(direction, state) if self._in_bases(view) else direction

    def _sized(self, step: Tensor, state: State, view: View) -> Tensor:
        length = self._adapts_over
        if length is None or view.axes is None:
            return step
        return _adaptive_sizes.sized(step, state, length)

    def _factors(self, steps: Tensor, view: View) -> Tensor | float:
        factor = torch.ones_like(steps)
        if self._num_steps is not None:
            progress = (steps / self._num_steps).clamp(max=1)
            factor = 0.5 * (1 + torch.cos(math.pi * progress))
        if self._exponents:
            pairs = zip(log_sizes(view.shape, self._num_steps), self._exponents, strict=True)
            factor = factor * math.exp(sum(log * exponent for log, exponent in pairs))
        if self._learned_schedule:
            factor = factor * self._learned(steps, view.shape)
        return factor.view(-1, *(1,) * len(view.shape))

    def _learned(self, steps: Tensor, shape: Sequence[int]) -> Tensor:
        schedule = self.weights(steps.device)["schedule"][int(len(shape) < 2)]
        scales = self._time_unit * constants(TIME_SCALES, steps.device)
        functions = torch.tanh(steps[:, None] / scales - 1) - math.tanh(-1)
        seen = torch.cat([torch.ones_like(steps)[:, None], functions], dim=1)
        return torch.exp(seen @ (constants(log_sides(shape), steps.device) @ schedule))

    @property
    def _adam_rate(self) -> float:
        return self._vector_rate

    def _by_network(self, view: View) -> bool:
        return self._vectors != "adam" or view.axes is not None

    def rule(self, outputs: Tensor, inputs: Tensor) -> Tensor:
        """The nominal direction and the correction."""
        correction = self._gain * outputs[:, 0]
        if self._nominal == "none":
            return correction
        if self._mixing:
            places = (GRADIENT, *MOMENTA)[: len(self._mixing)]
            parts = [w * inputs[place] for w, place in zip(self._mixing, places, strict=True)]
            return sum(parts[1:], parts[0]) * inputs[PRECONDITIONER] + correction
        return nominal_direction(self._nominal, inputs) + correction

    def _step(self, direction: Tensor, view: View) -> Tensor:
        if view.axes is None:
            as_it_is = self._vectors == "nominal" or not self._normalize
            return -self._vector_rate * (direction if as_it_is else of_unit_size(direction, 1))
        shape = direction.shape
        if len(view.shape) == 4:  # a kernel is a matrix with a row for every weight of an output
            direction = direction.reshape(len(direction), -1, shape[-1])
        if self._orthogonalize:
            direction = orthogonalized(direction)
        if self._normalize:
            direction = of_unit_size(direction, 2)
        return -self._rate * direction.reshape(shape)
