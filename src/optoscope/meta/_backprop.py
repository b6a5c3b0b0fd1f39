"""The common part of the estimators that backpropagate through the inner loop."""

import dataclasses
import functools
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from optoscope._core.errors import check_count, check_number
from optoscope._core.non_finite import all_finite, mean_over_usable, zero_unless
from optoscope._core.trees import select
from optoscope.meta._clip import clip_backward
from optoscope.meta._coordinate_blocks import block_length, unroll_by_blocks
from optoscope.meta._estimator import MetaGradient, check_spread
from optoscope.meta._objective import Objective
from optoscope.optimizers import Optimizer
from optoscope.optimizers._one_vector import own_share, used_by_all, whole_state
from optoscope.tasks import Task
from optoscope.training import InnerState, inner_step
from optoscope.training._step import INNER_GRADIENT, draw_batches, fetched


class Unrolled(eqx.Module):
    """One task's unroll: the inner state after it, and the record that the objective needs."""

    inner: InnerState
    losses: Float[Array, " steps"]
    penalties: Float[Array, " steps"]


class TaskSums(eqx.Module):
    """The sums over tasks that make a meta-gradient; a task that is not finite adds zeros."""

    loss: Float[Array, ""]
    inner_loss: Float[Array, ""]
    finite: Float[Array, ""]
    lost_gradients: Float[Array, ""]
    gradient: PyTree[Array]


class TaskOutcome(eqx.Module):
    """The results of one task's unroll besides its meta-loss.

    Args:
        inner_loss: the mean inner loss.
        params: the final inner parameters; a task where they are not finite is left out.
        carry: what the estimator keeps for the task's next unroll.
    """

    inner_loss: Float[Array, ""]
    params: PyTree[Array]
    carry: PyTree[Array]


def check_counts(
    num_tasks: int, horizon: int, objective: Objective, devices: int, backward_clip: float | None
) -> None:
    """Raises InvalidValueError for counts, weights or devices that do not fit together."""
    check_count("num_tasks", num_tasks, minimum=1)
    check_count("horizon", horizon, minimum=1)
    objective.check_horizon(horizon)
    if devices < 1 or devices % num_tasks:
        check_spread(num_tasks, "tasks", devices)
    if backward_clip is not None:
        check_number("backward_clip", backward_clip, minimum=0, exclusive_minimum=True)


def unroll(
    task: Task,
    optimizer: Optimizer,
    inner: InnerState,
    num_steps: int,
    batch_key: PRNGKeyArray,
    *,
    objective: Objective,
    second_order: bool,
    backward_clip: float | None = None,
    stop_at: int | None = None,
    episode_key: PRNGKeyArray | None = None,
    devices: int = 1,
    shared: bool = False,
) -> Unrolled:
    """Unrolls `num_steps` inner steps, each rematerialized when it is differentiated.

    Where the gradient of a step is a constant it is kept, and nothing of the task is computed
    again. The inner state after the unroll may not be differentiated.

    Args:
        task: the problem.
        optimizer: the optimizer.
        inner: where to start.
        num_steps: steps to unroll.
        batch_key: draws the batches; step i of the unroll uses fold_in(batch_key, i).
        objective: gives the penalties.
        second_order: see `training.inner_step`.
        backward_clip: see `clip_backward`; applied before every step.
        stop_at: from this step on the state is kept as it is, so that it cannot diverge.
        episode_key: of the episode, where it goes on after this unroll: of the batches of a task
            whose data may be a stream, which is read on from `inner.step`.
        devices: how many compute at the same time, those of other processes included.
        shared: whether several of them share the problem's coordinates.
    """
    if shared:
        # Devices have their own shares of the state alone.
        weights, rest = eqx.partition(optimizer, eqx.is_inexact_array)
        optimizer = eqx.combine(used_by_all(weights), rest)
        share = own_share(optimizer, inner.optimizer_state)
        inner = dataclasses.replace(inner, optimizer_state=share)
    # All random numbers are drawn at once: in the loop they would be many small operations, and
    # be drawn again where a step is rematerialized.
    episode = None if episode_key is None else (episode_key, inner.step)
    draws = draw_batches(task, batch_key, num_steps, episode)
    length = None
    if not (second_order or backward_clip or stop_at or objective.penalties):
        length = block_length(optimizer, inner, devices)
    if length is not None:
        inner, losses = unroll_by_blocks(task, optimizer, inner, draws, length)
        penalties = jnp.zeros_like(losses)
    else:
        inner, (losses, penalties) = _unroll_by_steps(
            task, optimizer, inner, draws, objective, second_order, backward_clip, stop_at
        )
    if shared:
        whole = whole_state(optimizer, inner.optimizer_state, inner.params)
        inner = dataclasses.replace(inner, optimizer_state=whole)
    return Unrolled(inner, losses, penalties)


def _unroll_by_steps(
    task: Task,
    optimizer: Optimizer,
    inner: InnerState,
    draws: PyTree[Array],
    objective: Objective,
    second_order: bool,
    backward_clip: float | None,
    stop_at: int | None,
) -> tuple[InnerState, tuple[Array, Array]]:
    """The inner state after the steps, their losses and penalties."""
    keep = jax.checkpoint_policies.save_only_these_names(INNER_GRADIENT)

    @functools.partial(jax.checkpoint, policy=keep)
    def step(inner: InnerState, draw: PyTree[Array]) -> tuple[InnerState, tuple[Array, Array]]:
        if backward_clip is not None:
            inner = clip_backward(inner, backward_clip)
        after, record = inner_step(
            task, optimizer, inner, draw=draw, second_order=second_order, fixed_task=True
        )
        if stop_at is not None:
            after = select(inner.step < stop_at, after, inner)
        return after, (record.loss, objective.penalty(record))

    def read_and_step(inner: InnerState, draw: PyTree[Array]) -> tuple[InnerState, tuple]:
        # A stream is not read again, backward, where the step is rematerialized.
        return step(inner, fetched(task, draw))

    return jax.lax.scan(read_and_step if hasattr(task, "draw_at") else step, inner, draws)


def task_sums(
    meta_loss: Callable[[PyTree[Array]], tuple[Array, TaskOutcome]], meta_params: PyTree[Array]
) -> tuple[TaskSums, PyTree[Array]]:
    """One task's meta-loss and meta-gradient, zero where it is not finite; and its carry."""
    (loss, outcome), gradient = jax.value_and_grad(meta_loss, has_aux=True)(meta_params)
    went_well = jnp.isfinite(loss) & all_finite(outcome.params)
    finite = went_well & all_finite(gradient)
    loss, inner_loss, gradient = zero_unless(finite, (loss, outcome.inner_loss, gradient))
    lost = went_well & ~finite
    sums = TaskSums(
        loss, inner_loss, finite.astype(jnp.float32), lost.astype(jnp.float32), gradient
    )
    return sums, outcome.carry


def group_sums(
    meta_loss: Callable[[PyTree[Array], PyTree[Array]], tuple[Array, TaskOutcome]],
    meta_params: PyTree[Array],
    items: PyTree[Array],
) -> tuple[TaskSums, PyTree[Array]]:
    """What `task_sums` computes, summed over a group of tasks; and the carry of each task.

    As long as everything is finite, one gradient is taken, that of the sum of the meta-losses.
    It costs about half as much as one gradient per task, because the weights' gradient is one
    product over all tasks. Only when something is not finite is each task's gradient taken by
    itself, so that exactly the non-finite tasks are left out.

    Args:
        meta_loss: of (meta-parameters, item).
        meta_params: the optimizer's arrays.
        items: what tells the tasks apart, leading axis of tasks.
    """

    def total(meta_params: PyTree[Array]) -> tuple[Array, tuple[Array, TaskOutcome]]:
        losses, outcomes = jax.vmap(lambda item: meta_loss(meta_params, item))(items)
        return jnp.sum(losses), (losses, outcomes)

    (loss, (losses, outcomes)), gradient = jax.value_and_grad(total, has_aux=True)(meta_params)
    finite = all_finite(losses) & all_finite(gradient) & all_finite(outcomes.params)

    def together(_: None) -> TaskSums:
        count = jnp.asarray(losses.shape[0], jnp.float32)
        return TaskSums(loss, jnp.sum(outcomes.inner_loss), count, jnp.zeros_like(count), gradient)

    def one_by_one(_: None) -> TaskSums:
        each, _ = jax.vmap(lambda item: task_sums(lambda m: meta_loss(m, item), meta_params))(items)
        return jax.tree.map(lambda leaf: jnp.sum(leaf, axis=0), each)

    return jax.lax.cond(finite, together, one_by_one, None), outcomes.carry


def mean_gradient(sums: TaskSums, num_tasks: int) -> MetaGradient:
    """The mean over the finite tasks; without any the loss is NaN, and the trainer skips it."""
    count = jnp.maximum(sums.finite, 1.0)
    aux = {
        "inner_loss": mean_over_usable(sums.inner_loss, sums.finite),
        "non_finite": num_tasks - sums.finite,
        "lost_gradients": sums.lost_gradients,
    }
    return MetaGradient(
        loss=mean_over_usable(sums.loss, sums.finite),
        gradient=jax.tree.map(lambda leaf: leaf / count, sums.gradient),
        aux=aux,
    )
