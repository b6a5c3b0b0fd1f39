"""One run inside a compiled program: its keys, its steps, its measurements, its end."""

import math
from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PRNGKeyArray, PyTree

from optoscope._core.keys import as_key
from optoscope.optimizers import Optimizer, evaluation_params
from optoscope.tasks import Task
from optoscope.training._precision import low_precision, unmoved_share
from optoscope.training._probes import Probe
from optoscope.training._step import (
    InnerState,
    StepRecord,
    draw_step,
    initial_state,
    inner_step,
    loss_at,
)


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
    inner = initial_state(task, optimizer, init_key)
    return run_from(task, optimizer, inner, num_steps, batch_key, probes)


def run_from(
    task: Task,
    optimizer: Optimizer,
    inner: InnerState,
    num_steps: int,
    batch_key: PRNGKeyArray,
    probes: Mapping[str, Probe] | None = None,
) -> tuple[Float[Array, " steps"], InnerState, dict[str, PyTree[Array]]]:
    """`run_once` from a state: so many steps more.

    Where there are probes the steps that were taken before must be a multiple of every interval.
    """
    probes = {name: probe.bind(task, optimizer) for name, probe in (probes or {}).items()}

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


def finished(
    task: Task,
    optimizer: Optimizer,
    inner: InnerState,
    init_key: PRNGKeyArray,
    batch_key: PRNGKeyArray,
) -> tuple[InnerState, Array | None]:
    """The end of a run, where the optimizer is evaluated, and the share that never moved."""
    unmoved = None
    if low_precision(inner.params):
        next_key = jax.random.fold_in(batch_key, inner.step)
        _, record = inner_step(task, optimizer, inner, next_key)
        unmoved = unmoved_share(task.init(init_key), inner.params, record.updates)
    params = evaluation_params(optimizer, inner.optimizer_state, inner.params)
    return eqx.tree_at(lambda i: i.params, inner, params), unmoved
