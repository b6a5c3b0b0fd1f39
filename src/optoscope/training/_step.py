"""One inner step, written once: `train`, every estimator and every evaluation scan over it."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from optoscope._core.errors import InvalidValueError
from optoscope._core.keys import as_key, new_key
from optoscope._core.showing import shown
from optoscope.optimizers import Optimizer, as_optax, packed_state
from optoscope.optimizers._base import extra_arguments
from optoscope.tasks import Task
from optoscope.tasks._contract import check_params, checked_loss, checked_loss_and_state
from optoscope.tasks._drawing import draw_batch_at, gather_batch
from optoscope.training._contract import check_methods, checked_step

# What `jax.checkpoint` can keep of a step by this name: the gradient, where it is a constant.
INNER_GRADIENT = "inner gradient"


@shown
class InnerState(eqx.Module):
    """The state that the next inner step starts from."""

    params: PyTree[Array]
    optimizer_state: PyTree[Array]
    step: Int[Array, ""]
    model_state: PyTree[Array] = eqx.field(default=(), kw_only=True)


@shown
class StepRecord(eqx.Module):
    """The inputs and results of one step; probes, penalties and estimators read it.

    Args:
        step: steps taken before this one.
        batch: what `task.sample_batch` drew.
        params: the parameters before the update.
        grads: the gradient at `params` on `batch`.
        updates: what the optimizer added to `params`.
        state: the optimizer's state before the update.
        loss: the loss at `params` on `batch`.
        model_state: the model's state besides its parameters, before the step; () for most.
    """

    step: Int[Array, ""]
    batch: Any
    params: PyTree[Array]
    grads: PyTree[Array]
    updates: PyTree[Array]
    state: PyTree[Array]
    loss: Float[Array, ""]
    model_state: PyTree[Array] = eqx.field(default=(), kw_only=True)


class StepDraw(eqx.Module):
    """The random numbers of a step on a task whose loss takes a key.

    Args:
        batch: the random numbers that determine the batch.
        loss_key: the key of the loss.
    """

    batch: PyTree[Array]
    loss_key: Array


class StepBatch(eqx.Module):
    """The batch of a step that was drawn and fetched before, and the key of the loss, if any.

    Args:
        batch: the batch.
        loss_key: the key of the loss.
    """

    batch: PyTree[Array]
    loss_key: Array | None


def has_model_state(task: Task) -> bool:
    """Whether the task's loss takes a model state and a key: it has `loss_with_state`."""
    return hasattr(task, "loss_with_state")


def initial_state(task: Task, optimizer: Optimizer, key: PRNGKeyArray) -> InnerState:
    """Fresh parameters, model state and optimizer state.

    Raises:
        InvalidValueError: parameters that cannot be trained, or an object that is no optimizer.
    """
    check_methods(optimizer)
    key = as_key(key)
    params = task.init(key)
    check_params(params, task)
    model_state = initial_model_state(task, key)
    return InnerState(
        params, packed_state(optimizer, params), jnp.zeros((), jnp.int32), model_state=model_state
    )


def initial_model_state(task: Task, key: PRNGKeyArray) -> PyTree[Array]:
    """The model state that goes with `task.init(key)`; () for a task without one."""
    if not has_model_state(task):
        return ()
    return task.init_state(key)  # type: ignore[attr-defined]


def loss_at(task: Task, params: PyTree[Array], record: StepRecord) -> Float[Array, ""]:
    """The loss of other parameters on a step's batch, in its model state.

    A loss that takes a key is given a fixed one.
    """
    if not has_model_state(task):
        return task.loss(params, record.batch)
    with_state = task.loss_with_state  # type: ignore[attr-defined]
    return with_state(params, record.model_state, record.batch, new_key(0))[0]


def draw_step(task: Task, key: PRNGKeyArray, step: Int[Array, ""]) -> PyTree[Array]:
    """The random numbers of a step, for `inner_step(draw=…)`, determined by (key, step).

    For a task without a `draw` (only `init`, `sample_batch` and `loss` are required) it is the
    key fold_in(key, step) itself.
    """
    key = as_key(key)
    step_key = jax.random.fold_in(key, step)
    batch = draw_batch_at(task, key, step)
    return StepDraw(batch, _loss_key(step_key)) if has_model_state(task) else batch


def _loss_key(step_key: PRNGKeyArray) -> PRNGKeyArray:
    """The key of a loss, independent of the keys that are derived for other purposes."""
    return jax.random.fold_in(step_key, 1)


def draw_batches(
    task: Task,
    key: PRNGKeyArray,
    num_steps: int,
    episode: tuple[PRNGKeyArray, Int[Array, ""]] | None = None,
) -> PyTree[Array]:
    """The random numbers of several steps, with a leading axis of steps.

    Args:
        task: the problem.
        key: of these steps.
        num_steps: how many.
        episode: the key of the episode that they are part of, and the number of the first of them
            in it: a task with `draw_at`, whose data may be a stream, goes on there.
    """

    def one(step: Int[Array, ""]) -> PyTree[Array]:
        drawn = draw_step(task, key, step)
        if episode is None or not hasattr(task, "draw_at"):
            return drawn
        batch = draw_batch_at(task, as_key(episode[0]), episode[1] + step)
        return StepDraw(batch, drawn.loss_key) if isinstance(drawn, StepDraw) else batch

    return jax.vmap(one)(jnp.arange(num_steps))


def fetched(task: Task, draw: PyTree[Array]) -> StepBatch:
    """A step's batch for `inner_step(draw=…)`, fetched once where the step is made several times.

    Args:
        task: the problem.
        draw: what `draw_batches` has drawn for one step.
    """
    if isinstance(draw, StepDraw):
        return StepBatch(gather_batch(task, draw.batch), draw.loss_key)
    return StepBatch(gather_batch(task, draw), None)


@jax.custom_jvp
def _with_gradient(
    loss: Float[Array, ""], params: PyTree[Array], grads: PyTree[Array]
) -> Float[Array, ""]:
    """The loss, whose derivative in the parameters is a gradient that is known."""
    del params, grads
    return loss


@_with_gradient.defjvp
def _along_gradient(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    loss, _, grads = primals
    slopes = jax.tree.map(lambda g, t: jnp.sum(g * t, dtype=loss.dtype), grads, tangents[1])
    return loss, sum(jax.tree.leaves(slopes), jnp.zeros_like(loss))


def inner_step(
    task: Task,
    optimizer: Optimizer,
    inner: InnerState,
    key: PRNGKeyArray | None = None,
    *,
    draw: PyTree[Array] = None,
    second_order: bool = True,
    fixed_task: bool = False,
) -> tuple[InnerState, StepRecord]:
    """Makes one inner step: draws a batch, computes its gradient, applies the optimizer.

    The optimizer's `update` is given Optax's extra arguments, the loss, the gradient and
    the loss as a function.

    Args:
        task: the problem.
        optimizer: any pair of `init` and `update`.
        inner: parameters, optimizer state and step.
        key: draws the batch; not needed where `draw` is given.
        draw: the random numbers of the step, `draw_step(task, key, step)`, if drawn before.
        second_order: whether a meta-gradient also flows through the optimizer's input; without
            it the gradient is a constant when this step is differentiated.
        fixed_task: whether nothing that is differentiated is in the task itself. Without
            `second_order` the loss is then differentiated by the gradient that is known, and
            where this step is rematerialized nothing of the task is computed again.

    Raises:
        InvalidValueError: neither a key nor a draw, a task that does not give what it must, or
            an optimizer whose update or next state is not as it must be.
    """
    loss_key = None
    if isinstance(draw, StepDraw):
        draw, loss_key = draw.batch, draw.loss_key
    if isinstance(draw, StepBatch):
        batch, loss_key = draw.batch, draw.loss_key
    elif draw is not None:
        batch = gather_batch(task, draw)
    elif key is not None:
        key = as_key(key)
        batch, loss_key = task.sample_batch(key), _loss_key(key)
    else:
        raise InvalidValueError("a step needs a key to draw its batch with, or what is drawn.")

    def loss_and_state(params: PyTree[Array]) -> tuple[Float[Array, ""], PyTree[Array]]:
        if not has_model_state(task):
            return checked_loss(task.loss(params, batch), task), ()
        with_state = task.loss_with_state  # type: ignore[attr-defined]
        result = with_state(params, inner.model_state, batch, loss_key)
        return checked_loss_and_state(result, inner.model_state, task)

    def value_fn(params: PyTree[Array]) -> Float[Array, ""]:
        return loss_and_state(params)[0]

    (loss, model_state), grads = jax.value_and_grad(loss_and_state, has_aux=True)(inner.params)
    value = loss
    if not second_order:
        grads = checkpoint_name(grads, INNER_GRADIENT)
        if fixed_task and not jax.tree.leaves(inner.model_state):
            loss = _with_gradient(loss, inner.params, grads)
        grads, value = jax.lax.stop_gradient((grads, loss))
    result = as_optax(optimizer).update(
        grads, inner.optimizer_state, inner.params, **extra_arguments(value, grads, value_fn)
    )
    updates, state = checked_step(optimizer, result, inner.params, inner.optimizer_state)
    params = jax.tree.map(lambda p, u: p + u.astype(p.dtype), inner.params, updates)
    record = StepRecord(
        inner.step,
        batch,
        inner.params,
        grads,
        updates,
        inner.optimizer_state,
        loss,
        model_state=inner.model_state,
    )
    return InnerState(params, state, inner.step + 1, model_state=model_state), record
