"""The memory that runs need, estimated from the shapes of arrays."""

from collections.abc import Mapping

import equinox as eqx
from jaxtyping import PRNGKeyArray

from optoscope._core.keys import new_key
from optoscope._core.memory import check_memory
from optoscope._core.trees import num_bytes
from optoscope.optimizers import Optimizer
from optoscope.tasks import Task, TaskDistribution, as_distribution
from optoscope.training._probes import Probe
from optoscope.training._step import draw_batches, initial_state, inner_step

# Bytes per run: its loss before every step, in single precision, and its key.
_LOSS_BYTES = 4
_KEY_BYTES = 8


def draw_bytes(task: Task | TaskDistribution) -> int:
    """The memory of the random numbers that determine one batch, in bytes."""

    def draws(distribution: TaskDistribution, key: PRNGKeyArray) -> object:
        return draw_batches(distribution.sample(key), key, 1)

    return num_bytes(eqx.filter_eval_shape(draws, as_distribution(task), new_key(0)))


def probe_bytes(
    task: Task | TaskDistribution, optimizer: Optimizer, probes: Mapping[str, Probe]
) -> dict[str, int]:
    """The memory of one measurement of each probe, in bytes.

    Raises:
        InvalidValueError: a probe does not fit the task or the optimizer.
    """
    distribution, key = as_distribution(task), new_key(0)
    example = distribution.sample(key)
    bound = {name: probe.bind(example, optimizer) for name, probe in probes.items()}

    def measured(task: Task, optimizer: Optimizer, probes: Mapping[str, Probe]) -> object:
        _, record = inner_step(task, optimizer, initial_state(task, optimizer, key), key)
        return {name: probe.measure(record) for name, probe in probes.items()}

    shapes = eqx.filter_eval_shape(measured, example, optimizer, bound)
    return {name: num_bytes(shapes[name]) for name in probes}


def run_bytes(num_steps: int, num_runs: int, inner: int) -> dict[str, int]:
    """The bytes that runs need without probes, by purpose.

    Args:
        num_steps: steps per run.
        num_runs: runs whose results are kept at the same time.
        inner: bytes of one run's parameters and optimizer state.
    """
    return {
        "losses": _LOSS_BYTES * num_steps * num_runs,
        "final parameters and states": inner * num_runs,
        "keys": _KEY_BYTES * num_runs,
    }


def check_runs(num_steps: int, num_runs: int, inner: int) -> None:
    """Raises InvalidValueError where the runs of one call cannot fit into memory."""
    check_memory(run_bytes(num_steps, num_runs, inner), "Take fewer steps or runs.")
