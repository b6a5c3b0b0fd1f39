"""Backpropagation through the whole inner loop."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, PyTree

from optoscope._core.chunks import map_chunked, side_by_side
from optoscope._core.keys import new_key
from optoscope._core.trees import num_bytes
from optoscope.meta._backprop import (
    TaskOutcome,
    check_counts,
    group_sums,
    mean_gradient,
    task_sums,
    unroll,
)
from optoscope.meta._estimator import Estimator, MetaGradient, Worker, sum_over_tasks
from optoscope.meta._objective import Objective
from optoscope.optimizers import Optimizer
from optoscope.optimizers._one_vector import check_can_share
from optoscope.tasks import TaskDistribution
from optoscope.training import initial_state, run_keys
from optoscope.training._run import split_run_key


class FullBackprop(Estimator):
    """Backpropagates through all `horizon` inner steps: an unbiased meta-gradient.

    Every estimate draws new problems, initial parameters and batches and starts the optimizer
    from its initial state, which is trained as well. Use it for short horizons and small
    problems: over long ones the gradient differs more and more from draw to draw, and memory
    holds each task's parameters and optimizer state at every step (everything else of a step is
    computed again). `TruncatedBackprop` needs less memory and is biased. The evolution strategies
    (`PES`, `FullES`) need no derivatives, and smooth a meta-loss that is too rough for them.

    Tasks whose states fit side by side are one vectorized program. A task whose meta-loss or
    meta-gradient is not finite is left out of the mean and counted in `aux["non_finite"]`.

    Source: paper B, appendix D.2: horizon 200, mean of 32 tasks, gradient through the gradient.

    Args:
        tasks: the distribution of problems; wrap one problem with `tasks.fixed`.
        num_tasks: tasks an estimate; their meta-gradients are averaged.
        horizon: inner steps.
        objective: the meta-objective.
        second_order: whether the gradient flows through the optimizer's input too.
        relative: divide a task's inner losses by its first one, so that problems of very
            different scale count alike; `inner_loss` stays as it is.
        backward_clip: the largest norm of what flows back from a step to the one before it, so
            that chaotic unrolls do not make the meta-gradient explode; None does not clip. See
            `clip_backward`.
        devices: over how many devices the tasks are spread; must divide `num_tasks`. A multiple of
            it lets several devices share the coordinates of each task, which needs one of the
            recurrent optimizers ("lstm", "rnn", "rnnprop").

    Raises:
        InvalidValueError: a count below 1, weights of another length than the horizon, or
            devices that neither divide the number of tasks nor are a multiple of it.

    Example:
        >>> from optoscope import optimizers, tasks
        >>> estimator = FullBackprop(tasks.get("quadratic"), num_tasks=4, horizon=20)
        >>> slow = optimizers.sgd(0.01)
        >>> workers = estimator.init(slow, jax.random.key(0))
        >>> estimate, _ = estimator.estimate(slow, workers, jax.random.key(1))
        >>> bool(estimate.gradient.hyperparameters["learning_rate"] < 0)  # take larger steps
        True
    """

    tasks: TaskDistribution
    num_tasks: int = eqx.field(static=True, default=32)
    horizon: int = eqx.field(static=True, default=200)
    objective: Objective = Objective()
    second_order: bool = eqx.field(static=True, default=True)
    relative: bool = eqx.field(static=True, default=False)
    backward_clip: float | None = eqx.field(static=True, default=None)

    def __check_init__(self):
        check_counts(self.num_tasks, self.horizon, self.objective, self.devices, self.backward_clip)

    def init(self, optimizer: Optimizer, key: PRNGKeyArray) -> Worker:
        """Workers that have nothing to go on from: no parameters and no optimizer state."""
        if self.devices > self.num_tasks:
            check_can_share(optimizer)
        keys = jax.vmap(jax.random.key_data)(run_keys(key, self.num_tasks))
        return Worker(keys, (), (), jnp.zeros((), jnp.int32))

    def _meta_loss(
        self, tasks: TaskDistribution, optimizer: Optimizer, key: PRNGKeyArray
    ) -> tuple[Array, TaskOutcome]:
        task_key, init_key, batch_key = split_run_key(key)
        task = tasks.sample(task_key)
        unrolled = unroll(
            task,
            optimizer,
            initial_state(task, optimizer, init_key),
            self.horizon,
            batch_key,
            objective=self.objective,
            second_order=self.second_order,
            backward_clip=self.backward_clip,
            devices=self.devices,
            shared=self.devices > self.num_tasks,
        )
        losses = unrolled.losses
        if self.relative:
            losses = losses / losses[0]
        steps = jnp.arange(self.horizon)
        loss = self.objective(losses, unrolled.penalties, steps, steps >= 0)
        mean = jnp.mean(unrolled.losses)
        return loss, TaskOutcome(mean, unrolled.inner.params, jax.random.key_data(task_key))

    def estimate(
        self, optimizer: Optimizer, workers: Worker, key: PRNGKeyArray
    ) -> tuple[MetaGradient, Worker]:
        """The mean meta-gradient of fresh runs; the workers hold the keys of their tasks."""
        del workers
        meta_params, rest = eqx.partition(optimizer, eqx.is_inexact_array)
        data, structure = eqx.partition(self.tasks, eqx.is_array)
        chunk = self._tasks_at_once(optimizer)

        def sums(data: PyTree, meta_params: PyTree, item: tuple[Any, Array]) -> tuple:
            _, group = item

            def meta_loss(meta_params: PyTree, key: Array) -> tuple[Array, TaskOutcome]:
                return self._meta_loss(
                    eqx.combine(data, structure), eqx.combine(meta_params, rest), key
                )

            if chunk == 1:
                total, task_key = task_sums(lambda m: meta_loss(m, group[0]), meta_params)
                return total, task_key[None]
            return group_sums(meta_loss, meta_params, group)

        def by_groups(function: Any, items: tuple[Any, Array]) -> tuple:
            _, keys = items
            totals, task_keys = map_chunked(function, ((), keys.reshape(-1, chunk)), 1)
            return totals, task_keys.reshape(keys.shape[0], -1)

        total, task_keys = sum_over_tasks(
            sums,
            meta_params,
            (),
            run_keys(key, self.num_tasks),
            data,
            self.devices,
            by_groups,
        )
        steps = jnp.asarray(self.horizon, jnp.int32)
        return mean_gradient(total, self.num_tasks), Worker(task_keys, (), (), steps)

    def _tasks_at_once(self, optimizer: Optimizer) -> int:
        """The largest number of tasks that fit side by side and divide a device's share."""
        shapes = eqx.filter_eval_shape(
            lambda tasks, optimizer, key: initial_state(tasks.sample(key), optimizer, key),
            self.tasks,
            optimizer,
            new_key(0),
        )
        share = max(1, self.num_tasks // self.devices)
        # Backpropagation keeps a task's state at every step of the unroll.
        most = side_by_side(self.horizon * num_bytes(shapes), share)
        return max(size for size in range(1, most + 1) if share % size == 0)
