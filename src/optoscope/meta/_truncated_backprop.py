"""Truncated backpropagation through the inner loop."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from optoscope._core.errors import InvalidValueError, check_number
from optoscope._core.trees import all_finite, num_bytes, select
from optoscope.meta._estimator import Estimator, MetaGradient, Worker, sum_over_tasks
from optoscope.meta._objective import Objective
from optoscope.optimizers import Optimizer
from optoscope.tasks import TaskDistribution
from optoscope.training import (
    InnerState,
    inner_step,
    map_chunked,
    run_keys,
    side_by_side,
)


class TruncatedBackprop(Estimator):
    """Backpropagates through `truncation` inner steps at a time, up to `horizon` in all.

    Parameters and optimizer state carry over between unrolls, detached; after the horizon a
    task starts afresh with a new problem, new initial parameters and the optimizer's initial
    state. Steps are rematerialised, so memory grows with one step's state per unrolled step.

    A task whose meta-loss or meta-gradient is not finite is left out of the mean, restarted, and
    counted in `aux["non_finite"]`.

    Source: paper A, section 2.1 and 4: unroll 20, horizon 200, no second-order terms.

    Args:
        tasks: the distribution of problems; wrap one problem with `tasks.fixed`.
        num_tasks: tasks side by side; their meta-gradients are averaged.
        truncation: inner steps an unroll.
        horizon: inner steps before a restart; the last unroll is cut off there.
        objective: the meta-objective of an unroll.
        second_order: whether the gradient flows through the optimizer's input too.
        stagger: start the tasks at different places in the horizon, so that they do not all
            restart together.
        devices: over how many local devices the tasks are spread; must divide `num_tasks`.

    Raises:
        InvalidValueError: a count below 1, a truncation longer than the horizon, weights of
            another length than the horizon, or devices that do not divide the tasks.
    """

    tasks: TaskDistribution
    num_tasks: int = eqx.field(static=True, default=1)
    truncation: int = eqx.field(static=True, default=20)
    horizon: int = eqx.field(static=True, default=200)
    objective: Objective = Objective()
    second_order: bool = eqx.field(static=True, default=False)
    stagger: bool = eqx.field(static=True, default=False)
    devices: int = eqx.field(static=True, default=1)

    def __check_init__(self):
        check_number("num_tasks", self.num_tasks, minimum=1)
        check_number("truncation", self.truncation, minimum=1)
        check_number("horizon", self.horizon, minimum=1)
        if self.truncation > self.horizon:
            raise InvalidValueError(
                f"truncation {self.truncation} is longer than the horizon {self.horizon}."
            )
        weights = self.objective.weights
        if weights is not None and weights.shape != (self.horizon,):
            raise InvalidValueError(
                f"the objective has {weights.shape[0]} weights for {self.horizon} steps of horizon."
            )
        if self.devices < 1 or self.num_tasks % self.devices:
            raise InvalidValueError(
                f"{self.num_tasks} tasks cannot be spread evenly over {self.devices} devices."
            )

    def init(self, optimizer: Optimizer, key: PRNGKeyArray) -> Worker:
        """Workers that start afresh at their first unroll."""

        def one(key: PRNGKeyArray) -> Worker:
            task_key, init_key, step_key = jax.random.split(key, 3)
            params = self.tasks.sample(task_key).init(init_key)
            step = jnp.zeros((), jnp.int32)
            if self.stagger:
                unrolls = -(-self.horizon // self.truncation)
                step = self.truncation * jax.random.randint(step_key, (), 0, unrolls)
            return Worker(jax.random.key_data(task_key), params, optimizer.init(params), step)

        return jax.vmap(one)(run_keys(key, self.num_tasks))

    def _unroll(
        self, tasks: TaskDistribution, optimizer: Optimizer, worker: Worker, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], tuple[Float[Array, ""], Worker]]:
        """The meta-loss of one worker's next unroll; auxiliary: mean inner loss, next worker."""
        task_key, init_key, batch_key = jax.random.split(key, 3)
        ended = worker.step >= self.horizon
        kept_key = jnp.where(ended, jax.random.key_data(task_key), worker.task_key)
        task = tasks.sample(jax.random.wrap_key_data(kept_key))
        params = select(ended, task.init(init_key), worker.params)
        # A worker's first state is the optimizer's own, so that a learned initial state is learned.
        fresh = ended | (worker.step == 0)
        state = select(fresh, optimizer.init(params), worker.optimizer_state)
        first = jnp.where(ended, 0, worker.step)
        inner = InnerState(params, state, first)

        @jax.checkpoint
        def step(inner: InnerState, index: Array) -> tuple[InnerState, tuple[Array, Array]]:
            after, record = inner_step(
                task,
                optimizer,
                inner,
                jax.random.fold_in(batch_key, index),
                second_order=self.second_order,
            )
            if self.horizon % self.truncation:
                # The last unroll is cut off: what lies past the horizon must not diverge.
                after = select(inner.step < self.horizon, after, inner)
            return after, (record.loss, self.objective.penalty(record))

        inner, (losses, penalties) = jax.lax.scan(step, inner, jnp.arange(self.truncation))
        steps = first + jnp.arange(self.truncation)
        inside = steps < self.horizon
        loss = self.objective(losses, penalties, jnp.minimum(steps, self.horizon - 1), inside)
        mean = jnp.sum(jnp.where(inside, losses, 0.0)) / jnp.sum(inside)
        worker = Worker(kept_key, inner.params, inner.optimizer_state, inner.step)
        return loss, (mean, worker)

    def estimate(
        self, optimizer: Optimizer, workers: Worker, key: PRNGKeyArray
    ) -> tuple[MetaGradient, Worker]:
        """The mean meta-gradient over the tasks' next unrolls."""
        meta_params, rest = eqx.partition(optimizer, eqx.is_inexact_array)
        data, structure = eqx.partition(self.tasks, eqx.is_array)

        def one(data: PyTree, meta_params: PyTree, item: tuple[Worker, Array]) -> tuple:
            worker, key = item
            tasks = eqx.combine(data, structure)

            def meta_loss(meta_params: PyTree) -> tuple[Array, tuple[Array, Worker]]:
                return self._unroll(tasks, eqx.combine(meta_params, rest), worker, key)

            (loss, (mean, worker)), gradient = jax.value_and_grad(meta_loss, has_aux=True)(
                meta_params
            )
            finite = jnp.isfinite(loss) & all_finite(gradient) & all_finite(worker.params)
            gradient = jax.tree.map(lambda leaf: jnp.where(finite, leaf, 0.0), gradient)
            worker = eqx.tree_at(
                lambda w: w.step, worker, jnp.where(finite, worker.step, self.horizon)
            )
            sums = {
                "loss": jnp.where(finite, loss, 0.0),
                "inner_loss": jnp.where(finite, mean, 0.0),
                "finite": finite.astype(jnp.float32),
                "gradient": gradient,
            }
            return sums, worker

        # Backpropagation keeps a task's state at every step of the unroll.
        bytes_each = self.truncation * num_bytes(workers) // self.num_tasks
        chunk = side_by_side(bytes_each, self.num_tasks // self.devices)
        sums, workers = sum_over_tasks(
            one,
            meta_params,
            workers,
            jax.random.split(key, self.num_tasks),
            data,
            self.devices,
            lambda function, items: map_chunked(function, items, chunk),
        )
        count = jnp.maximum(sums["finite"], 1.0)
        # No finite task at all: the loss says so, and the trainer skips the step.
        loss = jnp.where(sums["finite"] > 0, sums["loss"] / count, jnp.nan)
        aux = {
            "inner_loss": jnp.where(sums["finite"] > 0, sums["inner_loss"] / count, jnp.nan),
            "non_finite": self.num_tasks - sums["finite"],
        }
        gradient = jax.tree.map(lambda leaf: leaf / count, sums["gradient"])
        return MetaGradient(loss, gradient, aux), workers
