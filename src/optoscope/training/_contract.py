"""Checks of an optimizer's results, made while a step is traced, before it is compiled."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from optoscope._core.errors import InvalidValueError
from optoscope._core.keys import is_key
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
    difference = _difference(updates, params, "params")
    if difference is not None:
        raise refuse(f"updates {difference}")
    difference = _difference(after, state, "the state before", types=True)
    if difference is not None:
        raise refuse(f"a state {difference}")
    return updates, after


def _difference(got: PyTree, wanted: PyTree, what: str, *, types: bool = False) -> str | None:
    structures = jax.tree.structure(got), jax.tree.structure(wanted)
    if structures[0] != structures[1]:
        return f"of the structure {structures[0]}, while {what} has {structures[1]}"
    pairs = zip(jax.tree_util.tree_leaves_with_path(got), jax.tree.leaves(wanted), strict=True)
    for (path, leaf), like in pairs:
        place = jax.tree_util.keystr(path) or "all of it"
        try:
            shape, dtype = jnp.shape(leaf), _dtype(leaf)
        except TypeError:
            return f"that holds {leaf!r} at {place}, which is no array"
        if shape != jnp.shape(like):
            return f"of shape {shape} at {place}, while {what} has {jnp.shape(like)} there"
        if types and dtype != _dtype(like):
            return f"of type {dtype} at {place}, while {what} has {_dtype(like)} there"
        if not types and not jnp.issubdtype(dtype, jnp.floating):
            return f"of type {dtype} at {place}; they must be real floating-point numbers"
    return None


def _dtype(leaf: Any) -> Any:
    return leaf.dtype if is_key(leaf) else jnp.result_type(leaf)
