"""Truncated backpropagation through the inner loop."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from optoscope._core.chunks import map_chunked, side_by_side
from optoscope._core.errors import InvalidValueError, check_count
from optoscope._core.keys import as_key, from_data
from optoscope._core.trees import num_bytes, select
from optoscope.meta._backprop import (
    TaskOutcome,
    check_counts,
    mean_gradient,
    task_sums,
    unroll,
)
from optoscope.meta._estimator import Estimator, MetaGradient, Worker, sum_over_tasks
from optoscope.meta._objective import Objective
from optoscope.optimizers import Optimizer, packed_state
from optoscope.optimizers._one_vector import check_can_share
from optoscope.tasks import TaskDistribution
from optoscope.training import InnerState, run_keys
from optoscope.training._step import initial_model_state


class TruncatedBackprop(Estimator):
    """Backpropagates through `truncation` inner steps at a time, up to `horizon` in all.

    The usual choice where the task and the optimizer can be differentiated: every meta-step
    costs `truncation` inner steps, however long the horizon is. In return the meta-gradient is
    biased: it does not see what an update does to the loss after the end of its own unroll, and
    so favors optimizers that are good at once. `FullBackprop` has no such bias and takes more
    time and memory; `PES` has none either, and needs no derivatives.

    Each unroll goes on from the parameters and the optimizer state at the end of the one before,
    through which no gradient flows. After the horizon a task starts afresh with a new problem,
    new initial parameters and the optimizer's initial state. Only the state at every unrolled
    step is kept in memory; what happened within a step is computed again on the way back.

    A task whose meta-loss or meta-gradient is not finite is left out of the mean, restarted, and
    counted in `aux["non_finite"]`.

    Source: paper A, section 2.1 and 4: unroll 20, horizon 200, no second-order terms.

    Args:
        tasks: the distribution of problems; wrap one problem with `tasks.fixed`.
        num_tasks: tasks side by side; their meta-gradients are averaged.
        truncation: inner steps per unroll.
        horizon: inner steps before a restart; the last unroll is cut off there.
        objective: the meta-objective of an unroll.
        second_order: whether the gradient flows through the optimizer's input too.
        stagger: start the tasks at different places in the horizon, so that they do not all
            restart together.
        backward_clip: the largest norm of what flows back from a step to the one before it, so
            that chaotic unrolls do not make the meta-gradient explode; None does not clip. See
            `clip_backward`.
        devices: over how many devices the tasks are spread; must divide `num_tasks`. A multiple of
            it lets several devices share the coordinates of each task, which needs one of the
            recurrent optimizers ("lstm", "rnn", "rnnprop").

    Raises:
        InvalidValueError: a count below 1, a truncation longer than the horizon, weights of
            another length than the horizon, or devices that neither divide the number of tasks nor
            are a multiple of it.
    """

    tasks: TaskDistribution
    num_tasks: int = eqx.field(static=True, default=1)
    truncation: int = eqx.field(static=True, default=20)
    horizon: int = eqx.field(static=True, default=200)
    objective: Objective = Objective()
    second_order: bool = eqx.field(static=True, default=False)
    stagger: bool = eqx.field(static=True, default=False)
    backward_clip: float | None = eqx.field(static=True, default=None)

    def __check_init__(self):
        check_counts(self.num_tasks, self.horizon, self.objective, self.devices, self.backward_clip)
        check_count("truncation", self.truncation, minimum=1)
        if self.truncation > self.horizon:
            raise InvalidValueError(
                f"truncation {self.truncation} is longer than the horizon {self.horizon}."
            )

    def init(self, optimizer: Optimizer, key: PRNGKeyArray) -> Worker:
        """Workers that start afresh at their first unroll."""
        if self.devices > self.num_tasks:
            check_can_share(optimizer)

        def one(key: PRNGKeyArray) -> Worker:
            task_key, init_key, step_key = jax.random.split(key, 3)
            task = self.tasks.sample(task_key)
            params = task.init(init_key)
            step = jnp.zeros((), jnp.int32)
            if self.stagger:
                unrolls = -(-self.horizon // self.truncation)
                step = self.truncation * jax.random.randint(step_key, (), 0, unrolls)
            return Worker(
                jax.random.key_data(task_key),
                params,
                packed_state(optimizer, params),
                step,
                model_state=initial_model_state(task, init_key),
            )

        return jax.vmap(one)(run_keys(key, self.num_tasks))

    def _unroll(
        self, tasks: TaskDistribution, optimizer: Optimizer, worker: Worker, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], TaskOutcome]:
        """The meta-loss of one worker's next unroll; carried on: the next worker."""
        task_key, init_key, batch_key = jax.random.split(key, 3)
        ended = worker.step >= self.horizon
        kept_key = jnp.where(ended, jax.random.key_data(task_key), worker.task_key)
        task = tasks.sample(from_data(kept_key))
        params, model_state = select(
            ended,
            (task.init(init_key), initial_model_state(task, init_key)),
            (worker.params, worker.model_state),
        )
        # A worker's first state is the optimizer's own, so that a learned initial state is learned.
        fresh = ended | (worker.step == 0)
        state = select(fresh, packed_state(optimizer, params), worker.optimizer_state)
        first = jnp.where(ended, 0, worker.step)
        unrolled = unroll(
            task,
            optimizer,
            InnerState(params, state, first, model_state=model_state),
            self.truncation,
            batch_key,
            objective=self.objective,
            second_order=self.second_order,
            backward_clip=self.backward_clip,
            # The last unroll is cut off: what lies past the horizon must not diverge.
            stop_at=self.horizon if self.horizon % self.truncation else None,
            episode_key=from_data(kept_key),
            devices=self.devices,
            shared=self.devices > self.num_tasks,
        )
        inner, losses = unrolled.inner, unrolled.losses
        steps = first + jnp.arange(self.truncation)
        inside = steps < self.horizon
        places = jnp.minimum(steps, self.horizon - 1)
        loss = self.objective(losses, unrolled.penalties, places, inside, whole=False)
        mean = jnp.sum(jnp.where(inside, losses, 0.0)) / jnp.sum(inside)
        worker = Worker(
            kept_key,
            inner.params,
            inner.optimizer_state,
            inner.step,
            model_state=inner.model_state,
        )
        return loss, TaskOutcome(mean, inner.params, worker)

    def estimate(
        self, optimizer: Optimizer, workers: Worker, key: PRNGKeyArray
    ) -> tuple[MetaGradient, Worker]:
        """The mean meta-gradient over the tasks' next unrolls."""
        meta_params, rest = eqx.partition(optimizer, eqx.is_inexact_array)
        data, structure = eqx.partition(self.tasks, eqx.is_array)

        def one(data: PyTree, meta_params: PyTree, item: tuple[Worker, Array]) -> tuple:
            worker, key = item
            tasks = eqx.combine(data, structure)

            def meta_loss(meta_params: PyTree) -> tuple[Array, TaskOutcome]:
                return self._unroll(tasks, eqx.combine(meta_params, rest), worker, key)

            sums, worker = task_sums(meta_loss, meta_params)
            # What is not finite starts afresh.
            step = jnp.where(sums.finite > 0, worker.step, self.horizon)
            return sums, eqx.tree_at(lambda w: w.step, worker, step)

        # Backpropagation keeps a task's state at every step of the unroll.
        bytes_each = self.truncation * num_bytes(workers) // self.num_tasks
        chunk = side_by_side(bytes_each, max(1, self.num_tasks // self.devices))
        sums, workers = sum_over_tasks(
            one,
            meta_params,
            workers,
            jax.random.split(as_key(key), self.num_tasks),
            data,
            self.devices,
            lambda function, items: map_chunked(function, items, chunk),
        )
        return mean_gradient(sums, self.num_tasks), workers
