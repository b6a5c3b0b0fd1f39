"""Checks of an optimizer's results, made while a step is traced, before it is compiled."""

from typing import Any

from jaxtyping import Array, PyTree

from optoscope._core.errors import InvalidValueError
from optoscope._core.trees import difference
from optoscope.optimizers import Optimizer

_GIVES = (
    "An optimizer's update(grads, state, params) gives (updates, state): updates with the "
    "structure and the shapes of params, and a state with the structure, the shapes and the types "
    "of the state before."
)


def optimizer_name(optimizer: Optimizer) -> str:
    """How messages call an optimizer: its class, or the function that made its update."""
    update = getattr(optimizer, "update", None)
    if isinstance(optimizer, tuple) and update is not None:
        name = getattr(update, "__qualname__", "")
        return f"the optimizer of {name.split('.')[0]}" if name else "the optimizer"
    return f"the optimizer {getattr(optimizer, 'name', None) or type(optimizer).__name__}"


def check_methods(optimizer: Any) -> None:
    """Raises InvalidValueError for an object that is no optimizer."""
    lacking = [n for n in ("init", "update") if not callable(getattr(optimizer, n, None))]
    if lacking:
        raise InvalidValueError(
            f"{type(optimizer).__name__} is no optimizer: it has no {', no '.join(lacking)}. "
            f"It gives init(params) -> state. {_GIVES}"
        )


def checked_step(
    optimizer: Optimizer, result: Any, params: PyTree[Array], state: PyTree[Array]
) -> tuple[PyTree[Array], PyTree[Array]]:
    """The result of `update`, checked and split into updates and state.

    Args:
        optimizer: for its name.
        result: what its `update` gave.
        params: the parameters before the step.
        state: the state before the step.

    Raises:
        InvalidValueError: something of another structure, shape or type than it must have.
    """

    def refuse(reason: str) -> InvalidValueError:
        return InvalidValueError(f"update of {optimizer_name(optimizer)} gave {reason}. {_GIVES}")

    if not isinstance(result, tuple | list) or len(result) != 2:
        what = "nothing" if result is None else f"a {type(result).__name__}"
        if isinstance(result, tuple | list):
            what += f" of {len(result)}"
        raise refuse(f"{what}, not two things")
    updates, after = result
    different = difference(updates, params, "params")
    if different is not None:
        raise refuse(f"updates {different}")
    different = difference(after, state, "the state before", types=True)
    if different is not None:
        raise refuse(f"a state {different}")
    return updates, after
