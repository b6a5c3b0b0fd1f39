"""Runs of perturbed optimizers on one inner problem, unrolled by all evolution strategies."""

import math
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from optoscope._core.batching import anywhere
from optoscope._core.errors import InvalidValueError, check_count
from optoscope._core.keys import from_data
from optoscope._core.trees import select
from optoscope.meta._objective import Objective
from optoscope.optimizers import packed_state
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


class Episode(eqx.Module):
    """An inner problem together with the present state of the perturbed runs on it.

    Args:
        task_key: draws the problem again.
        varying: the problem's leaves that differ between draws.
        inner: parameters, optimizer states and model states with a leading axis of signs; one
            step count.
        horizon: steps before the next problem begins.
        restarts: how many times a new problem has begun in this unroll.
    """

    task_key: Array
    varying: PyTree[Array]
    inner: InnerState
    horizon: Int[Array, ""]
    restarts: Int[Array, ""]


class Unrolled(eqx.Module):
    """The record of an unroll, step by step.

    Args:
        losses: the task's losses, for every sign.
        penalties: the objective's penalties, for every sign.
        steps: each step's place in its episode.
        restarts: how often a new episode began before or at this step.
    """

    losses: Float[Array, "signs steps"]
    penalties: Float[Array, "signs steps"]
    steps: Int[Array, " steps"]
    restarts: Int[Array, " steps"]


@dataclass(frozen=True)
class PerturbedRuns:
    """Runs of one optimizer under several perturbations, sharing data, keys and problem.

    Args:
        tasks: where every new episode's problem is drawn from.
        meta_params: one set a perturbation, stacked on a leading axis of signs.
        rest: the leaves of the optimizer that are not meta-parameters.
        horizon: the number of steps of an episode, fixed or a range.
        objective: gives the penalties.
    """

    tasks: TaskDistribution
    meta_params: PyTree[Array]
    rest: PyTree
    horizon: Horizon
    objective: Objective

    def _sample(self, task_key: Array) -> tuple[PyTree[Array], PyTree]:
        """The drawn task as its leaves that depend on the draw, and everything else.

        Arrays that the distribution merely passes on, such as the data, are kept out of the loop.
        """
        passed_on = {id(leaf) for leaf in jax.tree.leaves(self.tasks)}
        task = self.tasks.sample(from_data(task_key))
        return eqx.partition(task, lambda leaf: eqx.is_array(leaf) and id(leaf) not in passed_on)

    def initial_states(self, params: PyTree[Array]) -> PyTree[Array]:
        """Every perturbed optimizer's own state before its first step."""

        def one(meta_params: PyTree[Array], params: PyTree[Array]) -> PyTree[Array]:
            return packed_state(eqx.combine(meta_params, self.rest), params)

        return jax.vmap(one)(self.meta_params, params)

    def begin(self, key: PRNGKeyArray) -> Episode:
        """A new episode: another problem, one start for all signs, fresh optimizer states."""
        task_key, init_key, horizon_key = jax.random.split(key, 3)
        task_key = jax.random.key_data(task_key)
        varying, shared = self._sample(task_key)
        task = eqx.combine(varying, shared)
        params, model_state = self.for_every_sign(
            (task.init(init_key), initial_model_state(task, init_key))
        )
        zero = jnp.zeros((), jnp.int32)
        inner = InnerState(params, self.initial_states(params), zero, model_state=model_state)
        return Episode(task_key, varying, inner, draw_horizon(horizon_key, self.horizon), zero)

    def resume(self, task_key: Array, inner: InnerState, horizon: Int[Array, ""]) -> Episode:
        """Continues a stored episode; at step 0 it starts from the optimizers' initial states.

        An initial state that is a meta-parameter is thereby perturbed, and learned, as well.
        """
        states = select(inner.step == 0, self.initial_states(inner.params), inner.optimizer_state)
        inner = eqx.tree_at(lambda a: a.optimizer_state, inner, states)
        varying, _ = self._sample(task_key)
        return Episode(task_key, varying, inner, horizon, jnp.zeros((), jnp.int32))

    def for_every_sign(self, tree: PyTree[Array]) -> PyTree[Array]:
        """The tree repeated on a leading axis of signs."""
        signs = jax.tree.leaves(self.meta_params)[0].shape[0]
        return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (signs, *leaf.shape)), tree)

    def _renewed(self, episode: Episode, key: PRNGKeyArray, index: Int[Array, ""]) -> Episode:
        """The next episode where this one is over."""
        over = episode.inner.step >= episode.horizon

        def renew(episode: Episode) -> Episode:
            after = select(over, self.begin(jax.random.fold_in(key, index)), episode)
            return eqx.tree_at(
                lambda a: a.restarts, after, episode.restarts + over.astype(jnp.int32)
            )

        # Starting an episode costs more than a step, so it is done only where one is over.
        return jax.lax.cond(anywhere(over), renew, lambda episode: episode, episode)

    def _step(
        self, episode: Episode, shared: PyTree, draw: PyTree[Array]
    ) -> tuple[Episode, tuple[Array, Array]]:
        task = eqx.combine(episode.varying, shared)

        # All signs are at the same step.
        moving = episode.inner.params, episode.inner.optimizer_state, episode.inner.model_state

        def one(meta_params: PyTree[Array], moving: PyTree[Array]) -> tuple[PyTree[Array], tuple]:
            optimizer = eqx.combine(meta_params, self.rest)
            params, state, model_state = moving
            inner = InnerState(params, state, episode.inner.step, model_state=model_state)
            after, record = inner_step(task, optimizer, inner, draw=draw)
            values = record.loss, self.objective.penalty(record)
            return (after.params, after.optimizer_state, after.model_state), values

        (params, states, model_states), values = jax.vmap(one)(self.meta_params, moving)
        inner = InnerState(params, states, episode.inner.step + 1, model_state=model_states)
        return eqx.tree_at(lambda a: a.inner, episode, inner), values

    def unroll(
        self, episode: Episode, key: PRNGKeyArray, num_steps: int
    ) -> tuple[Unrolled, Episode]:
        """The next `num_steps` steps of all signs; where an episode is over, a new one begins."""
        batch_key, restart_key = jax.random.split(key)
        _, shared = self._sample(episode.task_key)
        task = eqx.combine(episode.varying, shared)
        steps = jnp.arange(num_steps)
        # All random numbers at once: in the loop they would be many small operations.
        began = from_data(episode.task_key), episode.inner.step
        draws = draw_batches(task, batch_key, num_steps, began)

        def step(episode: Episode, item: tuple[Array, PyTree[Array]]) -> tuple[Episode, tuple]:
            index, draw = item
            episode = self._renewed(episode, restart_key, index)
            place = episode.inner.step
            episode, values = self._step(episode, shared, draw)
            return episode, (*values, place, episode.restarts)

        episode, (losses, penalties, places, restarts) = jax.lax.scan(step, episode, (steps, draws))
        return Unrolled(losses.T, penalties.T, places, restarts), episode
