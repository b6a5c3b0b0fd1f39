"""A learned optimizer with the interface of `torch.optim.Optimizer`."""

import numbers
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import torch
from torch import Tensor
from torch.compiler import is_compiling

from optoscope._core.errors import InvalidValueError, check_number
from optoscope.torch._files import load_rule
from optoscope.torch._rule import State, constants
from optoscope.torch._threads import run_each
from optoscope.torch._views import STACKED, Tile, View, at, tile_size

_KIND = "learned_optimizer"
# The options of groups that were saved before there was that one, and what PyTorch adds to them.
_FIRST_OPTIONS = {"lr", "weight_decay", "foreach"}
_ADDED = {"params", "param_names", "initial_lr"}
# Coordinates of which a step takes longer than starting threads for it does.
_WORTH_THREADS = 2**17


@dataclass(frozen=True)
class _Block:
    """Parameters that are taken together, and their group's options."""

    view: View
    params: list[Tensor]
    axes: Sequence[int] | None
    lr: Any
    weight_decay: float
    loss: Tensor | None

    @property
    def size(self) -> int:
        return len(self.params) * self.view.size


class LearnedOptimizer(torch.optim.Optimizer):
    """A meta-trained optimizer of this library, for a PyTorch model.

    Use it like any of `torch.optim`: parameter groups, learning-rate schedulers, closures,
    `GradScaler`, `state_dict` and `torch.compile` work as they do there. Parameters may be of any
    floating type; the optimizer computes, and keeps its state, in float32. It does what
    `optoscope.optimizers.load(optimizer)` does in JAX, to rounding. (In the eigenbases of "general"
    rounding decides on axes that gradients have no part in.)

    Math: p ← p + lr · (u − weight_decay · p), where u is the update of the learned optimizer,
    which was meta-trained with lr = 1. So `lr` multiplies the update and is no learning rate in
    the usual sense: 1 is the optimizer as it was trained, and what is worth searching lies around
    it. Weight decay is decoupled (it enters neither the gradient nor the state) and multiplied by
    `lr`, as in `torch.optim.AdamW`.

    A schedule that goes from 1 down to 0 is often worth adding: `CosineAnnealingLR(optimizer, T)`
    is this library's "cosine" over T steps; `OneCycleLR` needs `cycle_momentum=False`. Optimizers
    that are made for a length of training, `num_steps`, have a schedule of their own; Celo's sees
    the loss: `optimizer.step(loss=loss)`. A parameter without a gradient keeps its state and its
    place. Features of STAR and MLP optimizers and of their relatives (Celo, Celo2, "general") are
    normalized over each whole parameter: parameters that are sharded over machines, of which each
    process sees a part, are not the same optimizer.

    Args:
        params: parameters or parameter groups, as for every optimizer of PyTorch; a group may
            have its own `lr`, `weight_decay` and `foreach`, and `axes`: an order of the axes of
            tensors that are no `Linear` or `Conv` weights, for "celo2" and "general", in which
            inputs and outputs come last.
        optimizer: the name of one that comes with the library (`optoscope list pretrained`), or
            a folder that `optoscope.optimizers.save` or a run wrote.
        lr: factor on the update; at least 0.
        weight_decay: at least 0.
        foreach: whether small parameters of one shape are taken together.
        num_steps: the length of training, for an optimizer that is made for one ("celo", and
            "general" with a length); that which it was saved with, if not given: 1,000 for
            "general". After so many steps the updates of "general" are zero.

    Raises:
        UnknownNameError: no such optimizer; the message suggests the nearest names.
        FileFormatError: a folder whose files are damaged or are no learned optimizer's.
        InvalidValueError: a value outside its domain, or parameters that are not real numbers.

    Example:
        >>> layer = torch.nn.Linear(3, 1)
        >>> optimizer = LearnedOptimizer(layer.parameters(), "star-mnist-mlp")
        >>> layer(torch.ones(2, 3)).square().sum().backward()
        >>> optimizer.step()
        >>> sorted(optimizer.state[layer.bias])
        ['momenta', 'rows', 'second_moment', 'step']
    """

    def __init__(
        self,
        params: Iterable[Any],
        optimizer: str | Path,
        lr: float | Tensor = 1.0,
        weight_decay: float = 0.0,
        *,
        foreach: bool = True,
        num_steps: int | None = None,
    ):
        """Checks the options and reads the weights; the class describes the arguments."""
        if not isinstance(optimizer, str | os.PathLike):
            raise InvalidValueError(
                f"optimizer is {optimizer!r}; the second argument says which optimizer, a name or "
                "a folder. A rate is lr=…."
            )
        self._rule, kind = load_rule(optimizer, num_steps)
        # No parameter is nearer to the end than this; None once there was a warning.
        self._steps_left: int | None = 0
        defaults = {"lr": lr, "weight_decay": weight_decay, "foreach": foreach, "axes": None}
        defaults[_KIND] = kind
        super().__init__(params, defaults)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Adds parameters with their own options; those not given are the optimizer's."""
        given, count = set(param_group), len(self.param_groups)
        try:
            super().add_param_group(param_group)
            _check_group(param_group)
        except Exception:
            del self.param_groups[count:]
            for option in set(param_group).intersection(self.defaults) - given:
                del param_group[option]
            raise

    @overload
    def step(self, closure: None = None, *, loss: float | Tensor | None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(
        self,
        closure: Callable[[], float] | None = None,
        *,
        loss: float | Tensor | None = None,
    ) -> float | None:
        """Moves every parameter that has a gradient.

        Celo's schedule sees how the loss goes, which a closure or `loss` tells it; without it the
        schedule sees the fraction of training alone. Other optimizers do not use it.

        Args:
            closure: computes the loss anew, with its gradients, and returns it.
            loss: in place of a closure, the loss that the gradients were taken of, one number;
                `scaler.step(optimizer, loss=loss)` with a `GradScaler`, the loss unscaled.

        Returns:
            What the closure returned.

        Raises:
            InvalidValueError: a gradient is sparse, the loss is more than one number, or there is
                a closure as well.
        """
        returned = None
        if closure is not None:
            if loss is not None:
                raise InvalidValueError(
                    "step got a closure and a loss; the closure returns the loss, so leave out "
                    "loss=…."
                )
            with torch.enable_grad():
                loss = returned = closure()
        seen = _one_number(loss)
        blocks: list[_Block] = []
        for group in self.param_groups:
            params = [param for param in group["params"] if param.grad is not None]
            for param in params:
                if _gradient(param).layout != torch.strided:
                    raise InvalidValueError(
                        f"the gradient of a parameter of shape {tuple(param.shape)} is sparse, and "
                        "learned optimizers need whole ones; make its layer with sparse=False."
                    )
                if not self.state[param] and param.numel() > 0:
                    self.state[param] = self._rule.start(
                        self._view(param, group["axes"]), param.device
                    )
            options = group["axes"], group["lr"], group["weight_decay"]
            for view, block in self._blocks(params, group["axes"], group["foreach"]):
                blocks.append(_Block(view, block, *options, seen))
        self._step_all(blocks)
        # A compiler cannot look at states, and would compile every count anew.
        if blocks and not is_compiling():
            self._warn_at_the_end()
        return returned

    def _warn_at_the_end(self) -> None:
        """Warns once that updates are zero; looks at the states where they may be."""
        length = self._rule.ends_after
        if length is None or self._steps_left is None:
            return
        self._steps_left -= 1
        if self._steps_left >= 0:
            return
        made = max((int(state["step"]) for state in self.state.values() if state), default=0)
        self._steps_left = length - made
        if self._steps_left < 0:
            self._steps_left = None
            warnings.warn(
                f"this is step {made} of an optimizer for num_steps={length}, after which its "
                "updates are zero. Count the steps first and write LearnedOptimizer(…, "
                "num_steps=…); without it the length is the one that it was saved with.",
                stacklevel=5,
            )

    def _step_all(self, blocks: list["_Block"]) -> None:
        on_cores, others = [], []
        for block in blocks:
            on_cores_too = block.params[0].device.type == "cpu" and not is_compiling()
            (on_cores if on_cores_too else others).append(block)
        # The largest first, so that no core is left with one of them at the end.
        on_cores.sort(key=lambda block: block.size, reverse=True)
        if len(on_cores) > 1 and sum(block.size for block in on_cores) > _WORTH_THREADS:
            run_each(self._step, on_cores)
        else:
            others += on_cores
        for block in others:
            # The products of matrices in here are no layers to be taken in lower precision.
            with torch.autocast(block.params[0].device.type, enabled=False):
                self._step(block)

    def _view(self, param: Tensor, given: Sequence[int] | None) -> View:
        return self._rule.view(self._turned(param, given).shape)

    def _turned(self, tensor: Tensor, given: Sequence[int] | None) -> Tensor:
        """The tensor with its axes in the rule's order, or in that which its group gives."""
        axes = self._rule.axes(tensor.ndim, given)
        return tensor if axes is None else tensor.permute(*axes)

    def _turned_back(self, tensor: Tensor, param: Tensor, given: Sequence[int] | None) -> Tensor:
        """A tensor in the shape of a view, with the axes of the parameter."""
        axes = self._rule.axes(param.ndim, given)
        if axes is None:
            return tensor.view(param.shape)
        places = sorted(range(len(axes)), key=axes.__getitem__)
        return tensor.view([param.shape[axis] for axis in axes]).permute(places)

    def _blocks(
        self, params: Sequence[Tensor], axes: Sequence[int] | None, foreach: bool
    ) -> Iterator[tuple[View, list[Tensor]]]:
        """The parameters that are taken together, with their view."""
        alike: dict[object, list[Tensor]] = {}
        for param in params:
            if param.numel() == 0:
                continue
            view = self._view(param, axes)
            together = foreach and view.size <= STACKED
            types = (param.device, param.dtype, _gradient(param).dtype)
            alike.setdefault((view, *types) if together else param, []).append(param)
        for block in alike.values():
            view = self._view(block[0], axes)
            most = max(1, tile_size(block[0].device, 16) // view.size)
            for start in range(0, len(block), most):
                yield view, block[start : start + most]

    def _step(self, block: "_Block") -> None:
        view, params, axes = block.view, block.params, block.axes
        lr, weight_decay = block.lr, block.weight_decay
        states = [self.state[param] for param in params]
        turned = [self._turned(param, axes) for param in params]
        gradients = [self._turned(_gradient(param), axes).reshape(view.shape) for param in params]
        alone = len(params) == 1 and turned[0].is_contiguous()
        if alone:
            # No copies: the axis of stacked parameters is a view.
            gradient = gradients[0][None]
            parameter = turned[0].view(1, *view.shape)
            state: State = {name: part[None] for name, part in states[0].items()}
        else:
            gradient = torch.stack(gradients)
            parameter = torch.stack([param.reshape(view.shape) for param in turned])
            state = {name: torch.stack([one[name] for one in states]) for name in states[0]}

        def move(tile: Tile, update: Tensor) -> None:
            part = at(parameter, tile)
            if weight_decay != 0:
                update = update - weight_decay * part
            # In the parameter's type before it is added, as everywhere in this library.
            part.add_((lr * update).to(part.dtype))

        self._rule.advance(gradient, parameter, state, view, move, loss=block.loss)
        if alone:
            return
        pairs = zip(parameter, params, strict=True)
        _copy_all(params, [self._turned_back(one, param, axes) for one, param in pairs])
        for name, part in state.items():
            _copy_all([one[name] for one in states], list(part))

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continues from a saved state, as hooks that are registered for it leave it.

        Raises:
            InvalidValueError: the state is that of another optimizer, or of other parameters.
        """
        found: dict[str, Any] = {}

        def check(_: torch.optim.Optimizer, state: dict[str, Any]) -> None:
            self._check_state(state)
            found.update(state)

        def take(_: torch.optim.Optimizer) -> None:
            # PyTorch has cast the state to the parameters' types; it is float32 for all of them.
            ids = [index for group in found["param_groups"] for index in group["params"]]
            params = [param for group in self.param_groups for param in group["params"]]
            for index, param in zip(ids, params, strict=True):
                for name, part in found["state"].get(index, {}).items():
                    self.state[param][name] = part.to(param.device, torch.float32, copy=True)

        # After all hooks that change what is loaded, and before all that see what was.
        before = self.register_load_state_dict_pre_hook(check)
        after = self.register_load_state_dict_post_hook(take, prepend=True)
        try:
            super().load_state_dict(state_dict)
        finally:
            before.remove()
            after.remove()

    def _check_state(self, state_dict: dict[str, Any]) -> None:
        own = self.defaults[_KIND]
        for group in state_dict["param_groups"]:
            unmarked = _KIND not in group and group.keys() - _ADDED == _FIRST_OPTIONS
            if not unmarked and group.get(_KIND) != own:
                other = f"that of {group[_KIND]!r}" if _KIND in group else "no learned optimizer's"
                raise InvalidValueError(
                    f"this state is {other}, and this optimizer is {own!r}; make the optimizer "
                    "that the state was saved from."
                )
        # PyTorch itself says where there are more or fewer of them.
        for here, group in zip(self.param_groups, state_dict["param_groups"], strict=False):
            for param, index in zip(here["params"], group["params"], strict=False):
                if state := state_dict["state"].get(index):
                    self._check_fit(state, param, group.get("axes"))

    def _check_fit(self, state: dict[str, Any], param: Tensor, axes: Sequence[int] | None) -> None:
        needed = _shapes(self._rule.start(self._view(param, axes), torch.device("meta")))
        found = _shapes(state)
        for name in sorted(found.keys() | needed.keys()):
            if found.get(name) != needed.get(name):
                raise InvalidValueError(
                    f"this state does not fit a parameter of shape {tuple(param.shape)}: {name!r} "
                    f"has shape {found.get(name)} in it, and {needed.get(name)} here. It is that "
                    "of another model, or from before the kernels of Conv1d and Conv3d were taken "
                    "as JAX stores them; begin without it."
                )

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Takes what `load_state_dict` or pickle found; older groups lack newer options."""
        super().__setstate__(state)
        self._steps_left = 0
        for group in self.param_groups:
            for name in ("axes", _KIND):
                group.setdefault(name, self.defaults.get(name))

    def __getstate__(self) -> dict[str, Any]:
        """The state for pickling, with the update rule that PyTorch does not save itself."""
        return {**super().__getstate__(), "_rule": self._rule}


def _shapes(state: dict[str, Any]) -> dict[str, Any]:
    return {
        name: tuple(part.shape) if isinstance(part, Tensor) else part
        for name, part in state.items()
    }


def _check_group(group: dict[str, Any]) -> None:
    """Raises InvalidValueError unless the options and the parameters of a group can work."""
    for name in ("lr", "weight_decay"):
        _check_factor(name, group[name])
    axes = group["axes"]
    in_order = isinstance(axes, list | tuple) and all(place in axes for place in range(len(axes)))
    if axes is not None and not in_order:
        raise InvalidValueError(
            f"axes is {axes!r}; it must be an order of a tensor's axes in which its inputs and "
            "outputs come last, as (0, 1, 2) for a stack of matrices (inputs, outputs)."
        )
    for param in group["params"]:
        if not param.is_floating_point():
            raise InvalidValueError(
                f"a parameter of shape {tuple(param.shape)} has type {param.dtype}; learned "
                "optimizers move real numbers. Leave it out, or view it as such."
            )


def _check_factor(name: str, value: Any) -> None:
    one = value.numel() == 1 if isinstance(value, Tensor) else isinstance(value, numbers.Real)
    if not one:
        raise InvalidValueError(f"{name} is {value!r}; it must be one number, at least 0.")
    check_number(name, float(value), minimum=0)


def _one_number(loss: float | Tensor | None) -> Tensor | None:
    """The loss as the update rules see it; None where it is not known."""
    if loss is None:
        return None
    if isinstance(loss, Tensor):
        if loss.numel() != 1:
            raise InvalidValueError(
                f"the loss has shape {tuple(loss.shape)}; it must be one number: take its mean, "
                "loss.mean()."
            )
        return loss.detach().float().reshape(())
    return constants(float(loss), "cpu")


def _gradient(param: Tensor) -> Tensor:
    """The gradient of a parameter that is known to have one."""
    assert param.grad is not None
    return param.grad


def _copy_all(into: list[Tensor], tensors: list[Tensor]) -> None:
    # PyTorch's own optimizers are written with it: one operation for all of a list.
    torch._foreach_copy_(into, tensors)  # type: ignore[attr-defined]
