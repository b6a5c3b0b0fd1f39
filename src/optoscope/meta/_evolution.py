"""Perturbed optimizers on one problem: what every evolution-strategies estimator unrolls."""

import math
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from optoscope._core.errors import InvalidValueError, check_count
from optoscope._core.keys import from_data
from optoscope._core.trees import select
from optoscope.meta._objective import Objective
from optoscope.tasks import TaskDistribution
from optoscope.training import InnerState, inner_step
from optoscope.training._step import draw_batches, initial_model_state

Horizon = int | tuple[int, int]


def horizon_range(horizon: Horizon) -> tuple[int, int]:
    """The shortest and the longest horizon.

    Raises:
        InvalidValueError: below 1, or the shortest above the longest.

    Example:
        >>> horizon_range(200), horizon_range((20, 200))
        ((200, 200), (20, 200))
    """
    shortest, longest = (horizon, horizon) if isinstance(horizon, int) else horizon
    check_count("horizon", shortest, minimum=1)
    if shortest > longest:
        raise InvalidValueError(
            f"horizon is {horizon}; write the shortest first: ({longest}, {shortest})."
        )
    return shortest, longest


def draw_horizon(key: PRNGKeyArray, horizon: Horizon) -> Int[Array, ""]:
    """A horizon, log-uniform over the whole numbers of its range: P(h) ∝ log((h+1)/h)."""
    shortest, longest = horizon_range(horizon)
    if shortest == longest:
        return jnp.asarray(shortest, jnp.int32)
    exponent = jax.random.uniform(key, minval=math.log(shortest), maxval=math.log(longest + 1))
    return jnp.clip(jnp.floor(jnp.exp(exponent)), shortest, longest).astype(jnp.int32)


@jax.custom_batching.custom_vmap
def _anywhere(flag: Bool[Array, ""]) -> Bool[Array, ""]:
    """Whether the flag is up for any item of the surrounding `vmap`; not batched itself."""
    return flag


@_anywhere.def_vmap
def _any_of_the_batch(
    axis_size: int, in_batched: list[bool], flags: Bool[Array, " items"]
) -> tuple[Bool[Array, ""], bool]:
    del axis_size, in_batched
    return _anywhere(jnp.any(flags)), False


class Life(eqx.Module):
    """A problem and where the perturbed runs on it are.

    Args:
        task_key: draws the problem again.
        varying: the problem's leaves that differ between draws.
        inner: parameters, optimizer states and model states with a leading axis of signs; one
            step count.
        horizon: steps before the next problem begins.
        restarts: how often that happened in this unroll.
    """

    task_key: Array
    varying: PyTree[Array]
    inner: InnerState
    horizon: Int[Array, ""]
    restarts: Int[Array, ""]


class Unrolled(eqx.Module):
    """What an unroll saw, step by step.

    Args:
        losses: as the task gave them, for every sign.
        penalties: the objective's, for every sign.
        steps: each step's place in its life.
        restarts: how often a new life began before or at this step.
    """

    losses: Float[Array, "signs steps"]
    penalties: Float[Array, "signs steps"]
    steps: Int[Array, " steps"]
    restarts: Int[Array, " steps"]


@dataclass(frozen=True)
class PerturbedRuns:
    """Runs of one optimizer under several perturbations, sharing data, keys and problem.

    Args:
        tasks: where every new life's problem is drawn from.
        meta_params: one set a perturbation, stacked on a leading axis of signs.
        rest: the rest of the optimizer.
        horizon: of a life, fixed or a range.
        objective: for its penalties.
    """

    tasks: TaskDistribution
    meta_params: PyTree[Array]
    rest: PyTree
    horizon: Horizon
    objective: Objective

    def _sample(self, task_key: Array) -> tuple[PyTree[Array], PyTree]:
        """The drawn task as its leaves that depend on the draw, and everything else.

        What the distribution only passes on (the data) must not travel through the loop.
        """
        passed_on = {id(leaf) for leaf in jax.tree.leaves(self.tasks)}
        task = self.tasks.sample(from_data(task_key))
        return eqx.partition(task, lambda leaf: eqx.is_array(leaf) and id(leaf) not in passed_on)

    def initial_states(self, params: PyTree[Array]) -> PyTree[Array]:
        """Every perturbed optimizer's own state before its first step."""
        return jax.vmap(lambda meta, params: eqx.combine(meta, self.rest).init(params))(
            self.meta_params, params
        )

    def begin(self, key: PRNGKeyArray) -> Life:
        """A new life: another problem, one start for all signs, fresh optimizer states."""
        task_key, init_key, horizon_key = jax.random.split(key, 3)
        task_key = jax.random.key_data(task_key)
        varying, shared = self._sample(task_key)
        task = eqx.combine(varying, shared)
        params, model_state = self.for_every_sign(
            (task.init(init_key), initial_model_state(task, init_key))
        )
        zero = jnp.zeros((), jnp.int32)
        inner = InnerState(params, self.initial_states(params), zero, model_state=model_state)
        return Life(task_key, varying, inner, draw_horizon(horizon_key, self.horizon), zero)

    def resume(self, task_key: Array, inner: InnerState, horizon: Int[Array, ""]) -> Life:
        """A life that was put away; at step 0 the optimizers' own initial states are taken.

        So a learned initial state is perturbed, and learned, too.
        """
        states = select(inner.step == 0, self.initial_states(inner.params), inner.optimizer_state)
        inner = eqx.tree_at(lambda a: a.optimizer_state, inner, states)
        varying, _ = self._sample(task_key)
        return Life(task_key, varying, inner, horizon, jnp.zeros((), jnp.int32))

    def for_every_sign(self, tree: PyTree[Array]) -> PyTree[Array]:
        """The tree repeated on a leading axis of signs."""
        signs = jax.tree.leaves(self.meta_params)[0].shape[0]
        return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (signs, *leaf.shape)), tree)

    def _renewed(self, life: Life, key: PRNGKeyArray, index: Int[Array, ""]) -> Life:
        """The next life where this one is over."""
        over = life.inner.step >= life.horizon

        def renew(life: Life) -> Life:
            after = select(over, self.begin(jax.random.fold_in(key, index)), life)
            return eqx.tree_at(lambda a: a.restarts, after, life.restarts + over.astype(jnp.int32))

        # A new start costs more than a step: it is only made when someone's life is over.
        return jax.lax.cond(_anywhere(over), renew, lambda life: life, life)

    def _step(
        self, life: Life, shared: PyTree, draw: PyTree[Array]
    ) -> tuple[Life, tuple[Array, Array]]:
        task = eqx.combine(life.varying, shared)

        # All signs are at the same step.
        moving = life.inner.params, life.inner.optimizer_state, life.inner.model_state

        def one(meta_params: PyTree[Array], moving: PyTree[Array]) -> tuple[PyTree[Array], tuple]:
            optimizer = eqx.combine(meta_params, self.rest)
            params, state, model_state = moving
            inner = InnerState(params, state, life.inner.step, model_state=model_state)
            after, record = inner_step(task, optimizer, inner, draw=draw)
            values = record.loss, self.objective.penalty(record)
            return (after.params, after.optimizer_state, after.model_state), values

        (params, states, model_states), values = jax.vmap(one)(self.meta_params, moving)
        inner = InnerState(params, states, life.inner.step + 1, model_state=model_states)
        return eqx.tree_at(lambda a: a.inner, life, inner), values

    def unroll(self, life: Life, key: PRNGKeyArray, num_steps: int) -> tuple[Unrolled, Life]:
        """The next `num_steps` steps of all signs; a life that is over is followed by a new one."""
        batch_key, restart_key = jax.random.split(key)
        _, shared = self._sample(life.task_key)
        task = eqx.combine(life.varying, shared)
        steps = jnp.arange(num_steps)
        # All random numbers at once: in the loop they would be many small operations.
        draws = draw_batches(task, batch_key, num_steps)

        def step(life: Life, item: tuple[Array, PyTree[Array]]) -> tuple[Life, tuple]:
            index, draw = item
            life = self._renewed(life, restart_key, index)
            place = life.inner.step
            life, values = self._step(life, shared, draw)
            return life, (*values, place, life.restarts)

        life, (losses, penalties, places, restarts) = jax.lax.scan(step, life, (steps, draws))
        return Unrolled(losses.T, penalties.T, places, restarts), life
