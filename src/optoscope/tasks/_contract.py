"""Checks of a task's results, in one place, made before anything is compiled."""

import sys
import warnings
import weakref
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, PyTree

from optoscope._core.errors import InvalidValueError
from optoscope._core.keys import is_key, new_key
from optoscope._core.trees import difference

_GIVES = (
    "A task gives init(key) -> parameters (arrays of real floating-point numbers), "
    "sample_batch(key) -> batch, and loss(parameters, batch) -> one floating-point number. "
    "A task distribution gives sample(key) -> task."
)
_METHODS = ("init", "sample_batch", "loss")
_GIVES_STATE = (
    "loss_with_state(parameters, state, batch, key) gives (loss, state): the loss, and a state "
    "with the structure, the shapes and the types of what init_state(key) gives."
)


def metadata_of(task: Any) -> dict[str, Any]:
    """What a task, or a distribution of tasks, says of itself; without `metadata` its class."""
    return dict(getattr(task, "metadata", None) or {"class": _name(task)})


def check_task(task: Any) -> None:
    """Raises InvalidValueError where a task, or one of a distribution, lacks what it must give.

    Its functions are traced, not run. What they raise themselves is passed on as it is.

    Args:
        task: a task, or a distribution of tasks.
    """
    key = new_key(0)
    if is_distribution(task):
        task = eqx.filter_eval_shape(lambda t, k: t.sample(k), task, key)
    check_methods(task)
    params = eqx.filter_eval_shape(lambda t, k: t.init(k), task, key)
    check_params(params, task)
    batch = eqx.filter_eval_shape(lambda t, k: t.sample_batch(k), task, key)
    if not hasattr(task, "loss_with_state"):
        loss = eqx.filter_eval_shape(lambda t, p, b: t.loss(p, b), task, params, batch)
        checked_loss(loss, task)
        return
    state = eqx.filter_eval_shape(lambda t, k: t.init_state(k), task, key)
    result = eqx.filter_eval_shape(
        lambda t, *given: t.loss_with_state(*given), task, params, state, batch, key
    )
    checked_loss_and_state(result, state, task)


def check_batches(task: Any) -> None:
    """Raises InvalidValueError for batches that are read from an iterator when they are traced.

    A compiled program would hold the one batch that was read while it was traced. Such a batch
    consists of known numbers, whatever the key, and is another one the next time.
    """
    leaves = jax.tree.leaves(task)
    if is_distribution(task) or any(isinstance(leaf, Tracer) for leaf in leaves):
        return
    if not all(isinstance(leaf, Array | np.ndarray | float | int) for leaf in leaves):
        return
    key = new_key(0)
    jaxpr = jax.make_jaxpr(task.sample_batch)(key).jaxpr
    drawn = set(jaxpr.invars)
    for equation in jaxpr.eqns:
        if any(not hasattr(v, "val") and v in drawn for v in equation.invars):
            drawn.update(equation.outvars)
    if any(not hasattr(v, "val") and v in drawn for v in jaxpr.outvars):
        return
    first, second = (jax.tree.leaves(task.sample_batch(key)) for _ in range(2))
    if all(np.array_equal(a, b) for a, b in zip(first, second, strict=True)):
        return
    raise InvalidValueError(
        f"{_name(task)}.sample_batch gives another batch each time it is called, whatever its key, "
        "as `next(iterator)` does. It is called once, when the run is compiled, so that every step "
        "would train on that one batch. Give data on the host to tasks.from_functions(init, loss, "
        "batches), as a loader or a function of a seed that returns an iterator."
    )


def warn_unused(task: Any) -> None:
    """Warns of parameters that the loss does not depend on: their gradient is always zero.

    It is looked for in the traced gradient, where nothing is computed: once for tasks, or
    distributions of tasks, of the same class, settings and shapes. A parameter counts as a whole:
    the weights of pixels that are always dark are used.
    """
    leaves, structure = jax.tree.flatten(task)
    if any(isinstance(leaf, Tracer) for leaf in leaves):
        return
    shapes = tuple((getattr(leaf, "shape", ()), str(getattr(leaf, "dtype", ""))) for leaf in leaves)
    # The text of the structure holds the settings, which its hash leaves out.
    kind = hash((type(task), str(structure), shapes))
    functions = getattr(task, "functions", None)
    # Weakly by its functions, whose place in memory another task's may take later.
    looked_at = _KINDS if functions is None else _LOOKED_AT.setdefault(functions, set())
    if kind in looked_at:
        return
    looked_at.add(kind)
    try:
        unused = _unused(task)
    except Exception:  # what is wrong is said where the task is used
        return
    if not unused:
        return
    several = len(unused) > 1
    warnings.warn(
        f"the loss of {_name(task)} does not depend on the parameter{'s' if several else ''} "
        f"{', '.join(unused)}, so that {'their gradients are' if several else 'its gradient is'} "
        "always zero. Weight decay and learned optimizers may move such parameters all the same. "
        "What is not trained (batch statistics, frozen weights) belongs into the model state "
        "(tasks.from_functions(…, has_state=True)) or into the functions.",
        stacklevel=_outside(),
    )


def _outside() -> int:
    """How many calls up the code is that is not this library's, for a warning raised here."""
    frame, level = sys._getframe(1), 1
    while frame is not None and frame.f_globals.get("__name__", "").startswith("optoscope."):
        frame, level = frame.f_back, level + 1
    return level


# Hashes, so that no task's settings are kept: where two are equal by chance, a warning is missing.
_KINDS: set[int] = set()
_LOOKED_AT: "weakref.WeakKeyDictionary[Any, set[int]]" = weakref.WeakKeyDictionary()


def _unused(task: Any) -> list[str]:
    """The places of the parameters whose gradient is the constant zero."""
    key = new_key(0)

    def gradients(key: Any) -> Any:
        one = sample(key)
        params, batch = one.init(key), one.sample_batch(key)
        if not hasattr(one, "loss_with_state"):
            return jax.grad(one.loss)(params, batch)
        state = one.init_state(key)
        return jax.grad(lambda p: one.loss_with_state(p, state, batch, key)[0])(params)

    sample = task.sample if is_distribution(task) else lambda key: task
    shapes = jax.eval_shape(lambda key: sample(key).init(key), key)
    jaxpr = jax.make_jaxpr(gradients)(key).jaxpr
    made = {variable: equation for equation in jaxpr.eqns for variable in equation.outvars}

    def is_zero(variable: Any) -> bool:
        if hasattr(variable, "val"):
            return np.ndim(variable.val) == 0 and float(variable.val) == 0.0
        equation = made.get(variable)
        passes_on = ("broadcast_in_dim", "convert_element_type", "copy")
        return (
            equation is not None
            and equation.primitive.name in passes_on
            and all(map(is_zero, equation.invars))
        )

    places = jax.tree_util.tree_leaves_with_path(shapes)
    return [
        jax.tree_util.keystr(path) or "(all of it)"
        for (path, _), variable in zip(places, jaxpr.outvars, strict=True)
        if is_zero(variable)
    ]


def is_distribution(task: Any) -> bool:
    """Whether an object is a task distribution rather than a task."""
    is_task = all(callable(getattr(task, name, None)) for name in _METHODS)
    draws = callable(getattr(task, "sample", None))
    return draws and not is_task and not isinstance(task, type)


def check_methods(task: Any) -> None:
    """Raises InvalidValueError for an object that is no task."""
    if isinstance(task, type):
        name = _name(task)
        raise InvalidValueError(f"{name} is a class, not a task; make one: {name}(…).")
    lacking = [name for name in _METHODS if not callable(getattr(task, name, None))]
    if lacking:
        raise InvalidValueError(
            f"{_name(task)} is no task: it has no {', no '.join(lacking)}. {_GIVES}"
        )


def check_params(params: PyTree[Any], task: Any) -> None:
    """Raises InvalidValueError unless all parameters are arrays of real floating-point numbers."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    for path, leaf in leaves:
        reason = _wrong_leaf(leaf)
        if reason is not None:
            place = jax.tree_util.keystr(path) or "all of it"
            raise InvalidValueError(
                f"the parameters that {_name(task)}.init gives hold {reason} ({place}). {_GIVES}"
            )
    if not leaves:
        raise InvalidValueError(f"{_name(task)}.init gives no parameters. {_GIVES}")


def _wrong_leaf(leaf: Any) -> str | None:
    if is_key(leaf):
        return "a random key; draw it in sample_batch instead"
    if not hasattr(leaf, "dtype"):
        return f"{leaf!r}, which is no array; write jnp.asarray(1.0) for 1.0"
    if jnp.issubdtype(leaf.dtype, jnp.complexfloating):
        return (
            "complex numbers, whose gradients optimizers take for those of real ones; keep real "
            "and imaginary parts as two arrays, and join them in loss"
        )
    if not jnp.issubdtype(leaf.dtype, jnp.floating):
        return (
            f"{leaf.dtype} numbers, which cannot be trained; keep them in a field of the task, or "
            "write 1.0 for 1"
        )
    return None


def checked_loss(loss: Any, task: Any) -> Any:
    """The loss itself; raises InvalidValueError unless it is one real floating-point number."""
    shape, dtype = getattr(loss, "shape", None), getattr(loss, "dtype", None)
    if isinstance(loss, float):
        return jnp.asarray(loss)
    if dtype is None or shape is None:
        got = f"{loss!r}" if len(repr(loss)) < 60 else f"a {type(loss).__name__}"
        hint = ""
    elif shape != ():
        got, hint = f"an array of shape {shape}", " Take its mean: jnp.mean(losses)."
    elif not jnp.issubdtype(dtype, jnp.floating):
        got, hint = f"a number of type {dtype}", " Its gradient is not defined."
    else:
        return loss
    raise InvalidValueError(f"the loss of {_name(task)} is {got}.{hint} {_GIVES}")


def checked_loss_and_state(result: Any, state: PyTree, task: Any) -> tuple[Any, PyTree]:
    """The result of `loss_with_state`, checked and split into the loss and the next state.

    Args:
        result: what it gave.
        state: the model state before.
        task: for its name.

    Raises:
        InvalidValueError: no pair, a loss that is not one number, or another kind of state.
    """
    said = f"loss_with_state of {_name(task)} gave"
    if not isinstance(result, tuple | list) or len(result) != 2:
        raise InvalidValueError(f"{said} a {type(result).__name__}, not two things. {_GIVES_STATE}")
    loss, after = result
    different = difference(after, state, "the state before", types=True)
    if different is not None:
        raise InvalidValueError(f"{said} a state {different}. {_GIVES_STATE}")
    return checked_loss(loss, task), after


def check_labels(
    name: str, labels: Any, num_classes: int, what: str = "labels", of: str = "classes"
) -> None:
    """Raises InvalidValueError for labels that are no class.

    Gathering by such a label takes another class or gives NaN, without a word. Traced labels,
    whose values are not known, pass.

    Args:
        name: of the split, for the message.
        labels: whole numbers.
        num_classes: they must lie from 0 to one less.
        what: how the message calls them.
        of: and what there are `num_classes` of.
    """
    if isinstance(labels, Tracer) or not isinstance(labels, Array | np.ndarray) or labels.size == 0:
        return
    # NumPy has nothing to compile, but cannot see what lies on other processes' devices.
    values = np.asarray(labels) if getattr(labels, "is_fully_addressable", True) else labels
    least, greatest = int(values.min()), int(values.max())
    if least < 0 or greatest >= num_classes:
        raise InvalidValueError(
            f"the {what} of the split {name!r} run from {least} to {greatest}; with {num_classes} "
            f"{of} they must lie from 0 to {num_classes - 1}. Subtract the least, or give the "
            f"right number of {of}."
        )


def _name(task: Any) -> str:
    return task.__name__ if isinstance(task, type) else type(task).__name__
