"""One inner step, written once: `train`, every estimator and every evaluation scan over it."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from optoscope._core.errors import InvalidValueError
from optoscope._core.keys import as_key
from optoscope.optimizers import Optimizer, as_optax
from optoscope.optimizers._base import extra_arguments
from optoscope.tasks import Task
from optoscope.tasks._contract import check_params, checked_loss
from optoscope.training._contract import check_methods, checked_step


class InnerState(eqx.Module):
    """What the next step needs."""

    params: PyTree[Array]
    optimizer_state: PyTree[Array]
    step: Int[Array, ""]


class StepRecord(eqx.Module):
    """What one step saw and did; probes, penalties and estimators read it.

    Args:
        step: steps taken before this one.
        batch: what `task.sample_batch` drew.
        params: the parameters before the update.
        grads: the gradient at `params` on `batch`.
        updates: what the optimizer added to `params`.
        state: the optimizer's state before the update.
        loss: the loss at `params` on `batch`.
    """

    step: Int[Array, ""]
    batch: Any
    params: PyTree[Array]
    grads: PyTree[Array]
    updates: PyTree[Array]
    state: PyTree[Array]
    loss: Float[Array, ""]


def initial_state(task: Task, optimizer: Optimizer, key: PRNGKeyArray) -> InnerState:
    """Fresh parameters and optimizer state.

    Raises:
        InvalidValueError: parameters that cannot be trained, or an object that is no optimizer.
    """
    check_methods(optimizer)
    params = task.init(as_key(key))
    check_params(params, task)
    return InnerState(params, optimizer.init(params), jnp.zeros((), jnp.int32))


def draw_batches(task: Task, key: PRNGKeyArray, num_steps: int) -> PyTree[Array]:
    """What is random of the batches of several steps, step i's from fold_in(key, i).

    Of a task that has no `draw` (nothing but `init`, `sample_batch` and `loss` is needed) the
    keys themselves.
    """
    keys = jax.vmap(lambda step: jax.random.fold_in(key, step))(jnp.arange(num_steps))
    return jax.vmap(task.draw)(keys) if hasattr(task, "draw") else keys


def inner_step(
    task: Task,
    optimizer: Optimizer,
    inner: InnerState,
    key: PRNGKeyArray | None = None,
    *,
    draw: PyTree[Array] = None,
    second_order: bool = True,
) -> tuple[InnerState, StepRecord]:
    """Gathers a batch, takes its gradient, lets the optimizer act.

    The optimizer's `update` is given Optax's extra arguments, the loss, the gradient and
    the loss as a function.

    Args:
        task: the problem.
        optimizer: any pair of `init` and `update`.
        inner: parameters, optimizer state and step.
        key: draws the batch; not needed where it is drawn already.
        draw: what of the batch is random, `task.draw(key)`, where it is drawn already.
        second_order: whether a meta-gradient also flows through the optimizer's input; without
            it the gradient is a constant to whoever differentiates this step.

    Raises:
        InvalidValueError: neither a key nor a draw, a task that does not give what it must, or
            an optimizer whose update or next state is not as it must be.
    """
    if draw is not None:
        batch = task.gather(draw) if hasattr(task, "gather") else task.sample_batch(draw)
    elif key is not None:
        batch = task.sample_batch(as_key(key))
    else:
        raise InvalidValueError("a step needs a key to draw its batch with, or what is drawn.")

    def value_fn(params: PyTree[Array]) -> Float[Array, ""]:
        return checked_loss(task.loss(params, batch), task)

    loss, grads = jax.value_and_grad(value_fn)(inner.params)
    value = loss
    if not second_order:
        grads, value = jax.lax.stop_gradient((grads, loss))
    result = as_optax(optimizer).update(
        grads, inner.optimizer_state, inner.params, **extra_arguments(value, grads, value_fn)
    )
    updates, state = checked_step(optimizer, result, inner.params, inner.optimizer_state)
    params = jax.tree.map(lambda p, u: p + u.astype(p.dtype), inner.params, updates)
    record = StepRecord(
        inner.step, batch, inner.params, grads, updates, inner.optimizer_state, loss
    )
    return InnerState(params, state, inner.step + 1), record
