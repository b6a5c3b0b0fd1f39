"""The inner loop: one compiled program over steps, probes and runs."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import Array, Float, Key, PRNGKeyArray, PyTree

from optoscope._core.chunks import map_chunked, side_by_side
from optoscope._core.errors import check_count
from optoscope._core.keys import as_key, as_keys, new_key
from optoscope._core.programs import Program
from optoscope._core.trees import num_bytes
from optoscope.optimizers import Optimizer, evaluation_params
from optoscope.tasks import Task, TaskDistribution, as_distribution
from optoscope.training._memory import check_runs
from optoscope.training._precision import low_precision, unmoved_share, warn_unmoved
from optoscope.training._probes import Probe
from optoscope.training._step import (
    InnerState,
    StepRecord,
    draw_step,
    initial_state,
    inner_step,
    loss_at,
)


class Trajectory(eqx.Module):
    """The result of training: losses, final state and measurements of several runs.

    Args:
        losses: the loss before each step, shape (runs, steps).
        params: the final parameters, each leaf with a leading axis of runs. Where an optimizer is
            evaluated at another point than where it steps (`optimizers.evaluation_params`),
            losses and final parameters are those of the point of evaluation.
        state: the final optimizer state, each leaf with a leading axis of runs.
        model_state: the final model state in the same form; () for a task without one.
        records: for each probe its arrays, with leading axes (runs, measurements).
        measured_steps: for each probe the steps it was measured at.
    """

    losses: Float[Array, "runs steps"]
    params: PyTree[Array]
    state: PyTree[Array]
    records: dict[str, PyTree[Array]]
    measured_steps: dict[str, tuple[int, ...]] = eqx.field(static=True)
    model_state: PyTree[Array] = ()


def run_keys(key: PRNGKeyArray, num_runs: int) -> Key[Array, " runs"]:
    """The key of each run: run r's does not depend on how many runs there are."""
    key = as_key(key)
    return jax.vmap(lambda run: jax.random.fold_in(key, run))(jnp.arange(num_runs))


def split_run_key(key: PRNGKeyArray) -> tuple[PRNGKeyArray, PRNGKeyArray, PRNGKeyArray]:
    """A run's keys for its task, its initial parameters and its batches.

    No optimizer sees them: two optimizers given one key meet the same problem, the same start
    and the same batches.
    """
    task_key, init_key, batch_key = jax.random.split(key, 3)
    return task_key, init_key, batch_key


def _measure(probes: Mapping[str, Probe], record: StepRecord, step: Array) -> dict[str, Any]:
    measurements = {}
    for name, probe in probes.items():
        # A bound method would be hashed with the probe's arrays; a closure is not.
        def measure(record: StepRecord, probe: Probe = probe) -> PyTree[Array]:
            return probe.measure(record)

        shapes = jax.eval_shape(measure, record)
        measurements[name] = jax.lax.cond(
            step % probe.every == 0,
            measure,
            lambda _, shapes=shapes: jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes),
            record,
        )
    return measurements


def run_once(
    task: Task,
    optimizer: Optimizer,
    num_steps: int,
    init_key: PRNGKeyArray,
    batch_key: PRNGKeyArray,
    probes: Mapping[str, Probe] | None = None,
) -> tuple[Float[Array, " steps"], InnerState, dict[str, PyTree[Array]]]:
    """One run, to be called inside a compiled program: losses, final state, measurements.

    The losses are taken where the optimizer wants to be evaluated; the final state is what its
    next step would start from.

    Steps are grouped into blocks as long as the greatest common divisor of the probes' intervals.
    A probe can only be due at the first step of a block, so the other steps need no branch.
    """
    probes = {name: probe.bind(task, optimizer) for name, probe in (probes or {}).items()}
    inner = initial_state(task, optimizer, init_key)

    def step(inner: InnerState, _: None) -> tuple[InnerState, StepRecord]:
        return inner_step(task, optimizer, inner, draw=draw_step(task, batch_key, inner.step))

    def loss_of(record: StepRecord) -> Float[Array, ""]:
        params = evaluation_params(optimizer, record.state, record.params)
        return record.loss if params is record.params else loss_at(task, params, record)

    def plain(inner: InnerState, _: None) -> tuple[InnerState, Array]:
        inner, record = step(inner, None)
        return inner, loss_of(record)

    if not probes:
        inner, losses = jax.lax.scan(plain, inner, None, length=num_steps)
        return losses, inner, {}

    block = math.gcd(*(probe.every for probe in probes.values()))
    # The step is counted outside the vectorized state, so that `cond` stays a branch under vmap.

    def measured_block(inner: InnerState, first: Array) -> tuple[InnerState, Any]:
        inner, record = step(inner, None)
        measurements = _measure(probes, record, first)
        inner, losses = jax.lax.scan(plain, inner, None, length=block - 1)
        return inner, (jnp.concatenate([loss_of(record)[None], losses]), measurements)

    num_blocks, rest = divmod(num_steps, block)
    inner, (losses, measurements) = jax.lax.scan(
        measured_block, inner, block * jnp.arange(num_blocks)
    )
    losses = losses.reshape(num_blocks * block)
    if rest:
        inner, record = step(inner, None)
        last = _measure(probes, record, jnp.asarray(num_blocks * block))
        inner, tail = jax.lax.scan(plain, inner, None, length=rest - 1)
        losses = jnp.concatenate([losses, loss_of(record)[None], tail])
        measurements = jax.tree.map(
            lambda all_, one: jnp.concatenate([all_, one[None]]), measurements, last
        )
    due = {
        name: jax.tree.map(lambda leaf, k=probe.every // block: leaf[::k], measurements[name])
        for name, probe in probes.items()
    }
    return losses, inner, due


# Losses, final state, measurements, and for low precision the share that never moved.
_Outcome = tuple[Array, InnerState, dict[str, Any], Array | None]


@Program
def _train(
    distribution: TaskDistribution,
    optimizer: Optimizer,
    num_steps: int,
    keys: Key[Array, " runs"],
    probes: dict[str, Probe],
    chunk_size: int,
) -> _Outcome:
    def run(key: PRNGKeyArray) -> _Outcome:
        task_key, init_key, batch_key = split_run_key(key)
        task = distribution.sample(task_key)
        losses, inner, measured = run_once(task, optimizer, num_steps, init_key, batch_key, probes)
        unmoved = None
        if low_precision(inner.params):
            next_key = jax.random.fold_in(batch_key, inner.step)
            _, record = inner_step(task, optimizer, inner, next_key)
            unmoved = unmoved_share(task.init(init_key), inner.params, record.updates)
        params = evaluation_params(optimizer, inner.optimizer_state, inner.params)
        inner = eqx.tree_at(lambda i: i.params, inner, params)
        return losses, inner, measured, unmoved

    return map_chunked(run, keys, chunk_size)


def inner_bytes(task: Task | TaskDistribution, optimizer: Optimizer) -> int:
    """The memory of one run's parameters and optimizer state, in bytes."""
    distribution = as_distribution(task)
    key = new_key(0)
    shapes = eqx.filter_eval_shape(
        lambda t, o: initial_state(t.sample(key), o, key), distribution, optimizer
    )
    return num_bytes(shapes)


def _checked_chunk_size(
    task: Task | TaskDistribution,
    optimizer: Optimizer,
    num_steps: int,
    num_runs: int,
    chunk_size: int | None,
) -> int:
    check_count("num_steps", num_steps, minimum=1)
    check_count("num_runs", num_runs, minimum=1)
    inner = inner_bytes(task, optimizer)
    check_runs(num_steps, num_runs, inner)
    if chunk_size is None:
        # A step's temporaries are a few times the state.
        chunk_size = side_by_side(4 * inner, num_runs)
    check_count("chunk_size", chunk_size, minimum=1)
    return chunk_size


def _trajectory(outcome: _Outcome, probes: dict[str, Probe], num_steps: int) -> Trajectory:
    losses, inner, records, unmoved = outcome
    if unmoved is not None and not isinstance(unmoved, Tracer):
        warn_unmoved(unmoved, low_precision(inner.params))
    steps = measured_steps(probes, num_steps)
    return Trajectory(
        losses, inner.params, inner.optimizer_state, records, steps, inner.model_state
    )


def measured_steps(probes: Mapping[str, Probe], num_steps: int) -> dict[str, tuple[int, ...]]:
    """For each probe the steps of a run it is measured at."""
    return {name: tuple(range(0, num_steps, probe.every)) for name, probe in probes.items()}


def train(
    task: Task | TaskDistribution,
    optimizer: Optimizer,
    num_steps: int,
    *,
    key: PRNGKeyArray,
    probes: Mapping[str, Probe] | None = None,
    num_runs: int = 1,
    chunk_size: int | None = None,
) -> Trajectory:
    """Runs an optimizer on a task, several times if asked, in one compiled program.

    Run r's problem, initial parameters and batches depend on `key` and r alone, so two
    optimizers trained with the same key are compared pair by pair. Values (learning rates,
    weights, data, keys) can change without recompiling; for Optax's own transformations the
    learning rate is part of the program, for this library's it is not.

    Args:
        task: what to train on; from a distribution every run draws its own.
        optimizer: any pair of `init` and `update`.
        num_steps: steps per run, at least 1.
        key: PRNG key.
        probes: what to measure on the way, by name.
        num_runs: independent runs.
        chunk_size: runs that advance side by side; chosen from their memory if not given.

    Returns:
        The trajectory; `.losses` has shape (runs, steps).

    Raises:
        InvalidValueError: fewer than one step, run or run a chunk.

    Example:
        >>> from optoscope import optimizers, tasks
        >>> problem = tasks.get("quadratic")
        >>> run = train(problem, optimizers.sgd(0.1), 50, key=jax.random.key(0), num_runs=3)
        >>> run.losses.shape, bool((run.losses[:, -1] < run.losses[:, 0]).all())
        ((3, 50), True)
    """
    probes = {name: probe.prepared(task) for name, probe in (probes or {}).items()}
    chunk_size = _checked_chunk_size(task, optimizer, num_steps, num_runs, chunk_size)
    keys = run_keys(key, num_runs)
    outcome = _train(as_distribution(task), optimizer, num_steps, keys, probes, chunk_size)
    return _trajectory(outcome, probes, num_steps)


def compile_train(
    task: Task | TaskDistribution,
    optimizer: Optimizer,
    num_steps: int,
    *,
    probes: Mapping[str, Probe] | None = None,
    num_runs: int = 1,
    chunk_size: int | None = None,
) -> Callable[[Key[Array, " runs"]], Trajectory]:
    """`train` compiled ahead of time: a function of the runs' keys, shape (num_runs,).

    Use it to time runs without their compilation, or to do many runs in several calls: with
    `run_keys(key, n)` cut into pieces, the runs are those of `train(key=key, num_runs=n)`.

    Raises:
        InvalidValueError: fewer than one step, run or run a chunk.
    """
    probes = {name: probe.prepared(task) for name, probe in (probes or {}).items()}
    chunk_size = _checked_chunk_size(task, optimizer, num_steps, num_runs, chunk_size)
    distribution = as_distribution(task)
    keys = run_keys(new_key(0), num_runs)
    program = _train
    # Where JAX is told to compile nothing, for debugging, there is nothing to compile ahead.
    if not getattr(jax.config, "jax_disable_jit"):  # noqa: B009
        arguments = (distribution, optimizer, num_steps, keys, probes, chunk_size)
        program = _train.lower(*arguments).compile()

    def run(keys: Key[Array, " runs"]) -> Trajectory:
        keys = as_keys(keys)
        outcome = program(distribution, optimizer, num_steps, keys, probes, chunk_size)
        return _trajectory(outcome, probes, num_steps)

    return run
