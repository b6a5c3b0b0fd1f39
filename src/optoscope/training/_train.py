"""The inner loop: one compiled program over steps, probes and runs."""

from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
from jax.core import Tracer
from jaxtyping import Array, Float, Key, PRNGKeyArray, PyTree

from optoscope._core.chunks import map_chunked, side_by_side
from optoscope._core.errors import check_count
from optoscope._core.keys import as_keys, new_key
from optoscope._core.programs import Program
from optoscope._core.showing import shown
from optoscope._core.trees import num_bytes
from optoscope.optimizers import Optimizer
from optoscope.tasks import Task, TaskDistribution, as_distribution
from optoscope.training._memory import check_runs
from optoscope.training._precision import low_precision, warn_unmoved
from optoscope.training._probes import Probe
from optoscope.training._progress import Report, train_in_blocks
from optoscope.training._run import finished, run_keys, run_once, split_run_key
from optoscope.training._step import InnerState, initial_state


@shown
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
        interrupted: whether training was stopped before its last step; all else is then that of
            the steps that were taken.
    """

    losses: Float[Array, "runs steps"]
    params: PyTree[Array]
    state: PyTree[Array]
    records: dict[str, PyTree[Array]]
    measured_steps: dict[str, tuple[int, ...]] = eqx.field(static=True)
    model_state: PyTree[Array] = ()
    interrupted: bool = eqx.field(static=True, default=False)


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
    def run(key: PRNGKeyArray) -> tuple[Array, InnerState, Array | None, dict[str, Any]]:
        task_key, init_key, batch_key = split_run_key(key)
        task = distribution.sample(task_key)
        losses, inner, measured = run_once(task, optimizer, num_steps, init_key, batch_key, probes)
        return losses, *finished(task, optimizer, inner, init_key, batch_key), measured

    losses, inner, unmoved, measured = map_chunked(run, keys, chunk_size)
    return losses, inner, measured, unmoved


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
    interrupted, num_steps = losses.shape[1] < num_steps, losses.shape[1]
    if unmoved is not None and not isinstance(unmoved, Tracer):
        warn_unmoved(unmoved, low_precision(inner.params))
    steps = measured_steps(probes, num_steps)
    return Trajectory(
        losses,
        inner.params,
        inner.optimizer_state,
        records,
        steps,
        inner.model_state,
        interrupted,
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
    progress: bool | Report = False,
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
        progress: whether to show a bar with the loss and the time left, or what to call instead
            with (steps done, steps in all, mean loss). The steps are then taken in some twenty
            blocks, and an interrupt (Ctrl-C, the stop button of a notebook) returns what is done,
            marked as `interrupted`, with a warning. Numbers are the same to rounding.

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
    keys, distribution = run_keys(key, num_runs), as_distribution(task)
    if progress:
        outcome = train_in_blocks(
            distribution, optimizer, num_steps, keys, probes, chunk_size, progress
        )
    else:
        outcome = _train(distribution, optimizer, num_steps, keys, probes, chunk_size)
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
