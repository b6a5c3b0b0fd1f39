"""Explicit optimizers whose numbers are refined until they move as a learned one does."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PRNGKeyArray, PyTree
from scipy.optimize import least_squares

from optoscope._core.keys import as_key
from optoscope._core.programs import Program
from optoscope.analysis.dynamics._explicit import (
    Adaptation,
    Clipping,
    ExplicitOptimizer,
    Schedule,
)
from optoscope.analysis.dynamics._probes import StateProbe
from optoscope.optimizers import Optimizer
from optoscope.tasks import Task, TaskDistribution
from optoscope.training import train

_ROUNDS = 3
_EVALUATIONS = 25
_COORDINATES = 16
# Gradients beyond so many times the largest that the learned optimizer meets teach nothing.
_FARTHEST = 3.0
_LARGE = 1e6


class Examples(eqx.Module):
    """Gradients in sequence, and what the learned optimizer does on them.

    Args:
        gradients: a column for every coordinate of every run.
        updates: the learned optimizer's.
        weights: 0 where an example does not count; else what makes all columns count alike.
    """

    gradients: Float[Array, "steps columns"]
    updates: Float[Array, "steps columns"]
    weights: Float[Array, "steps columns"]


@Program
def _answers(optimizer: Optimizer, gradients: Float[Array, "steps columns"]) -> Array:
    """The updates for gradients that come whatever the optimizer does."""

    def step(state: PyTree, gradient: Array) -> tuple[PyTree, Array]:
        updates, state = optimizer.update(gradient, state, jnp.zeros_like(gradient))
        return state, updates

    return jax.lax.scan(step, optimizer.init(gradients[0]), gradients)[1]


class Imitation:
    """Fits explicit optimizers to a learned one, on runs where either is in charge.

    The learned optimizer's own runs are not enough: small errors lead a program to gradients
    that the learned one never meets, for which the fit has no examples. So the fit is
    repeated with the learned optimizer's answers to what the program has met (Ross et al. 2011,
    DAgger).

    Args:
        optimizer: the learned one; component-wise.
        task: what runs are on.
        num_steps: steps per run.
        num_runs: runs a round.
        key: draws the runs.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        task: Task | TaskDistribution,
        num_steps: int,
        num_runs: int,
        key: PRNGKeyArray,
    ):
        self._optimizer, self._task = optimizer, task
        self._num_steps, self._num_runs = num_steps, num_runs
        self._keys = jax.random.split(as_key(key), _ROUNDS)
        met = self._met(optimizer, self._keys[0])
        self._bound = _FARTHEST * np.abs(met[np.isfinite(met)]).max(initial=0.0)
        self._own = self._examples(met)

    def __call__(self, *starts: ExplicitOptimizer) -> ExplicitOptimizer:
        """The program with refined numbers; none of its parts are added or dropped.

        Args:
            *starts: programs of the same parts; the one that fits best is refined.
        """
        # Of one size in every round, so that one compiled program serves them all.
        nothing = jax.tree.map(jnp.zeros_like, self._own)
        rounds = [self._own] + [nothing] * (_ROUNDS - 1)
        program = min(starts, key=lambda start: _misfit(start, _joined(rounds)))
        for number in range(_ROUNDS):
            if number > 0:
                rounds[number] = self._examples(self._met(program, self._keys[number]))
            program = _fitted(program, _joined(rounds))
        return program

    def _met(self, optimizer: Optimizer, key: PRNGKeyArray) -> Float[np.ndarray, "steps columns"]:
        run = train(
            self._task,
            optimizer,
            self._num_steps,
            key=key,
            num_runs=self._num_runs,
            probes={"met": StateProbe(every=1, num_coordinates=_COORDINATES)},
        )
        gradients = np.asarray(run.records["met"].gradients, np.float64)
        return gradients.swapaxes(0, 1).reshape(self._num_steps, -1)

    def _examples(self, met: Float[np.ndarray, "steps columns"]) -> Examples:
        near = np.abs(np.nan_to_num(met, nan=np.inf)) <= self._bound
        near = np.logical_and.accumulate(near, axis=0)
        gradients = jnp.asarray(np.where(near, met, 0.0), jnp.float32)
        updates = _answers(self._optimizer, gradients)
        # Problems differ in scale; each is to be solved, not the largest alone.
        sizes = jnp.sqrt(jnp.mean(updates**2, axis=0))
        sizes = jnp.maximum(sizes, 1e-3 * jnp.max(sizes)) + 1e-30
        return Examples(gradients, updates, jnp.asarray(near, jnp.float32) / sizes)


def _joined(rounds: list[Examples]) -> Examples:
    return jax.tree.map(lambda *parts: jnp.concatenate(parts, axis=1), *rounds)


def _misfit(program: ExplicitOptimizer, examples: Examples) -> float:
    values, unravel = ravel_pytree(_numbers(program))
    return float(jnp.sum(_errors(values, unravel, program, examples) ** 2))


def _fitted(program: ExplicitOptimizer, examples: Examples) -> ExplicitOptimizer:
    """Least squares on the updates, from the program's own numbers on."""
    start, unravel = ravel_pytree(_numbers(program))

    def evaluated(function: Any) -> Any:
        return lambda values: np.asarray(
            function(jnp.asarray(values, jnp.float32), unravel, program, examples),
            np.float64,
        )

    # A step that goes too far is tried and taken back.
    with np.errstate(invalid="ignore", over="ignore"):
        fit = least_squares(
            evaluated(_errors), np.asarray(start), jac=evaluated(_slopes), x_scale="jac",
            max_nfev=_EVALUATIONS,
        )  # fmt: skip
    return _with_numbers(program, unravel(jnp.asarray(fit.x, jnp.float32)))


@Program
def _errors(
    values: Array, unravel: Any, program: ExplicitOptimizer, examples: Examples
) -> Float[Array, " errors"]:
    updates = _answers(_with_numbers(program, unravel(values)), examples.gradients)
    errors = (updates - examples.updates) * examples.weights
    return jnp.clip(jnp.nan_to_num(errors, nan=_LARGE), -_LARGE, _LARGE).ravel()


@Program
def _slopes(values: Array, *rest: Any) -> Float[Array, "errors numbers"]:
    slopes = jax.jacfwd(lambda values: _errors(values, *rest))(values)
    return jnp.clip(jnp.nan_to_num(slopes), -_LARGE, _LARGE)


def _numbers(program: ExplicitOptimizer) -> dict[str, Any]:
    """The program's numbers, in coordinates that no step can take out of their domains."""
    momentum = program.momentum
    # Velocities can be scaled at will, so that their inputs stay as they are.
    numbers: dict[str, Any] = {"momentum": (momentum.transition, momentum.readout, momentum.direct)}
    if program.clipping is not None:
        numbers["clipping"] = (jnp.log(program.clipping.threshold),)
    if program.schedule is not None:
        schedule = program.schedule
        numbers["schedule"] = (jnp.log1p(schedule.excess), jnp.log(schedule.duration))
    if program.adaptation is not None:
        parts = program.adaptation
        decay = jnp.clip(parts.decay, 1e-6, 1 - 1e-6)
        numbers["adaptation"] = (
            jnp.log(parts.scale),
            jnp.log(parts.power),
            jax.scipy.special.logit(decay),
        )
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), numbers)


def _with_numbers(program: ExplicitOptimizer, numbers: dict[str, Any]) -> ExplicitOptimizer:
    """The program with other numbers; entries of A that no mode uses stay zero."""
    transition, readout, direct = numbers["momentum"]
    transition = jnp.where(program.momentum.transition != 0, transition, 0.0)
    momentum = eqx.tree_at(
        lambda m: (m.transition, m.readout, m.direct),
        program.momentum,
        (transition, readout, direct),
    )
    parts: dict[str, Any] = {}
    if "clipping" in numbers:
        parts["clipping"] = Clipping(jnp.exp(numbers["clipping"][0]))
    if "schedule" in numbers:
        excess, duration = numbers["schedule"]
        parts["schedule"] = Schedule(jnp.expm1(excess), jnp.exp(duration))
    if "adaptation" in numbers:
        size, power, decay = numbers["adaptation"]
        parts["adaptation"] = Adaptation(jnp.exp(size), jnp.exp(power), jax.nn.sigmoid(decay))
    return ExplicitOptimizer(momentum, **parts)
