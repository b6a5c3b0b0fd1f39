"""Learning from what other optimizers would do: part of the meta-loss is the distance to them."""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from optoscope._core.errors import InvalidValueError, check_count, check_number
from optoscope._core.trees import global_norm
from optoscope.meta._estimator import Estimator, MetaGradient
from optoscope.meta._objective import Objective
from optoscope.optimizers import Optimizer, as_optax, packed_state
from optoscope.optimizers._base import OptimizerModule
from optoscope.training import StepRecord

_FLOOR = 1e-12


class ImitatingState(NamedTuple):
    """The states of the optimizer that learns and of those it imitates, on one trajectory."""

    own: PyTree[Array]
    teachers: tuple[PyTree[Array], ...]


class _Fixed(eqx.Module):
    """An optimizer whose numbers are neither differentiated nor perturbed.

    Estimators take every array of real numbers in what they are given for a meta-parameter; here
    they are held as integers of the same bits.
    """

    bits: tuple[Array, ...]
    rest: Any
    structure: Any = eqx.field(static=True)
    types: tuple[Any, ...] = eqx.field(static=True)

    @classmethod
    def of(cls, optimizer: Optimizer) -> "_Fixed":
        arrays, rest = eqx.partition(optimizer, eqx.is_inexact_array)
        leaves, structure = jax.tree.flatten(arrays)
        leaves = [jnp.asarray(leaf) for leaf in leaves]
        bits = [jax.lax.bitcast_convert_type(x, f"uint{8 * x.dtype.itemsize}") for x in leaves]
        return cls(tuple(bits), rest, structure, tuple(leaf.dtype for leaf in leaves))

    @property
    def optimizer(self) -> Any:
        pairs = zip(self.bits, self.types, strict=True)
        leaves = [jax.lax.bitcast_convert_type(bits, dtype) for bits, dtype in pairs]
        return as_optax(eqx.combine(jax.tree.unflatten(self.structure, leaves), self.rest))


class _Imitating(OptimizerModule):
    """The optimizer, with the states of its teachers carried along its own trajectory."""

    learner: Any
    teachers: tuple[_Fixed, ...]

    def init(self, params: PyTree[Array]) -> ImitatingState:
        return self._start(as_optax(self.learner).init(params), params)

    def init_packed(self, params: PyTree[Array]) -> ImitatingState:
        return self._start(packed_state(self.learner, params), params)

    def _start(self, own: PyTree[Array], params: PyTree[Array]) -> ImitatingState:
        return ImitatingState(own, tuple(t.optimizer.init(params) for t in self.teachers))

    def update(
        self,
        grads: PyTree[Array],
        state: ImitatingState,
        params: PyTree[Array] | None = None,
        **extra: Any,
    ) -> tuple[PyTree[Array], ImitatingState]:
        updates, own = as_optax(self.learner).update(grads, state.own, params, **extra)
        after = tuple(
            teacher.optimizer.update(grads, taught, params, **extra)[1]
            for teacher, taught in zip(self.teachers, state.teachers, strict=True)
        )
        return updates, ImitatingState(own, jax.lax.stop_gradient(after))


class _Distance(eqx.Module):
    """The penalty: the squared relative distance to one teacher's update."""

    teachers: tuple[_Fixed, ...]
    weight: Float[Array, ""]
    turn: Int[Array, ""]

    def __call__(self, record: StepRecord) -> Float[Array, ""]:
        proposals = [
            teacher.optimizer.update(record.grads, taught, record.params, value=record.loss)[0]
            for teacher, taught in zip(self.teachers, record.state.teachers, strict=True)
        ]
        distances = [_relative_distance(record.updates, one) for one in proposals]
        return self.weight * jnp.stack(distances)[self.turn % len(distances)]


def _relative_distance(updates: PyTree[Array], others: PyTree[Array]) -> Float[Array, ""]:
    """|u − t|²/(|u|² + |t|²), from 0 to 2; 1 where they are orthogonal or one is zero."""
    difference = jax.tree.map(lambda u, t: u - jax.lax.stop_gradient(t), updates, others)
    total = global_norm(updates) ** 2 + jax.lax.stop_gradient(global_norm(others)) ** 2
    return global_norm(difference) ** 2 / jnp.maximum(total, _FLOOR)


class ImitatingWorkers(eqx.Module):
    """The workers of the estimator that is wrapped, and how many estimates were made so far."""

    workers: PyTree[Array]
    count: Int[Array, ""]


class Imitation(Estimator):
    """Adds, to the meta-loss of another estimator, the distance to what other optimizers do.

    The optimizers that are imitated see the gradients that the learned one meets, on its own
    trajectory, and keep their own states; each estimate compares with one of them, in turn. The
    weight decays to zero, so that in the end the losses alone count.

    Math: at estimate i the penalty of a step is w_i·|u − t|²/(|u|² + |t|²), with the update u,
    the update t that the imitated optimizer proposes, and w_i = `weight`·max(0, 1 − i/`steps`).
    The objective of the wrapped estimator adds it as it adds other penalties.

    Source: Chen et al. (2020), "Training stronger baselines for learning to optimize", where
    whole meta-updates imitate; the relative distance is this library's own.

    Args:
        estimator: backpropagation or an evolution strategy.
        teachers: the optimizers to imitate, with their numbers.
        weight: of the distance at the first estimate.
        steps: estimates after which the weight is zero.
        first: estimates that were made before, in an earlier stage of a curriculum.

    Raises:
        InvalidValueError: no optimizer to imitate, a weight that is not positive, fewer than one
            step, or a negative number before.
    """

    estimator: Estimator
    teachers: tuple[Any, ...]
    weight: float = eqx.field(static=True, default=1.0)
    steps: int = eqx.field(static=True, default=500)
    first: int = eqx.field(static=True, default=0)

    def __init__(
        self,
        estimator: Estimator,
        teachers: Sequence[Optimizer],
        weight: float | int = 1.0,
        steps: int = 500,
        first: int = 0,
    ):
        if not teachers:
            raise InvalidValueError("teachers is empty; name at least one optimizer to imitate.")
        check_number("weight", weight, minimum=0, exclusive_minimum=True)
        check_count("steps", steps, minimum=1)
        check_count("first", first, minimum=0)
        self.estimator = estimator
        self.teachers = tuple(teachers)
        self.weight = float(weight)
        self.steps = steps
        self.first = first
        self.devices = estimator.devices

    @property
    def tasks(self) -> Any:
        """The distribution of problems of the wrapped estimator."""
        return self.estimator.tasks  # type: ignore[attr-defined]

    @property
    def episode_length(self) -> int | None:
        """That of the estimator that is wrapped."""
        return self.estimator.episode_length

    def init(self, optimizer: Optimizer, key: PRNGKeyArray) -> ImitatingWorkers:
        """The wrapped estimator's workers, and the count of estimates that were made before."""
        workers = self.estimator.init(self._imitating(optimizer), key)
        return ImitatingWorkers(workers, jnp.asarray(self.first, jnp.int32))

    def estimate(
        self, optimizer: Optimizer, workers: ImitatingWorkers, key: PRNGKeyArray
    ) -> tuple[MetaGradient, ImitatingWorkers]:
        """The wrapped estimator's estimate of the meta-loss with the distance in it."""
        imitating = self._imitating(optimizer)
        weight = self.weight * jnp.maximum(0.0, 1.0 - workers.count / self.steps)
        distance = _Distance(imitating.teachers, weight, workers.count)
        objective: Objective = self.estimator.objective  # type: ignore[attr-defined]
        objective = dataclasses.replace(objective, penalties=(*objective.penalties, distance))
        estimator: Any = dataclasses.replace(self.estimator, objective=objective)  # type: ignore[call-arg]
        estimate, after = estimator.estimate(imitating, workers.workers, key)
        estimate = dataclasses.replace(estimate, gradient=estimate.gradient.learner)
        return estimate, ImitatingWorkers(after, workers.count + 1)

    def _imitating(self, optimizer: Optimizer) -> _Imitating:
        return _Imitating(optimizer, tuple(map(_Fixed.of, self.teachers)))
