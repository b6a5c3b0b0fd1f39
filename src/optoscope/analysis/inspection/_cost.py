"""What an optimizer costs: the time of its update and the memory of its state, per parameter."""

import time
from collections.abc import Mapping

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, PyTree

from optoscope._core.findings import Axis, Chart, Findings, Measured
from optoscope._core.programs import Program
from optoscope._core.trees import num_bytes, size
from optoscope.analysis.inspection._panels import Inspection
from optoscope.analysis.inspection._recording import Recording, proposed_updates
from optoscope.optimizers import Optimizer
from optoscope.tasks import Task
from optoscope.training import StepRecord
from optoscope.training._step import loss_at

_SECONDS, _ROUNDS = 0.05, 5


@Program
def _update_alone(task: Task, optimizer: Optimizer, met: StepRecord) -> PyTree[Array]:
    return proposed_updates(task, optimizer, met)


@Program
def _gradient_alone(task: Task, met: StepRecord) -> PyTree[Array]:
    return jax.grad(lambda params: loss_at(task, params, met))(met.params)


def _seconds(call: object, *arguments: object) -> float:
    """The least time of a call over a few rounds of at least a twentieth of a second."""
    assert callable(call)
    jax.block_until_ready(call(*arguments))
    started = time.perf_counter()
    jax.block_until_ready(call(*arguments))
    each = max(time.perf_counter() - started, 1e-7)
    repeats = max(1, int(_SECONDS / each))
    rounds = []
    for _ in range(_ROUNDS if repeats > 1 else 2):
        started = time.perf_counter()
        jax.block_until_ready([call(*arguments) for _ in range(repeats)])
        rounds.append((time.perf_counter() - started) / repeats)
    return min(rounds)


def costs(recording: Recording) -> Findings:
    """The time of one update and the memory of the state, on this machine, beside the gradient's.

    Args:
        recording: see `record`; its parameters, gradients and states are used.

    Returns:
        `time` (work), in nanoseconds per parameter; `memory` (optimizer), in bytes per parameter.
    """
    task, last = recording.task_of_run(), len(recording.steps) - 1
    met = recording.of_run(recording.names[0], last)
    coordinates = size(met.params)
    bare = eqx.tree_at(lambda r: (r.state, r.updates), met, ((), ()))
    seconds = {"gradient of the loss": _seconds(_gradient_alone, task, bare)}
    memory = {}
    for name, optimizer in recording.optimizers.items():
        own = recording.of_run(name, last)
        seconds[f"update of {name}"] = _seconds(_update_alone, task, optimizer, own)
        memory[name] = num_bytes(own.state) / coordinates
    return Findings(
        {
            "work": Axis("what is computed", np.array(list(seconds))),
            "optimizer": Axis("optimizer", np.array(list(memory))),
        },
        {
            "time": Measured(("work",), 1e9 * np.array(list(seconds.values())) / coordinates),
            "memory": Measured(("optimizer",), np.array(list(memory.values()))),
        },
        (
            Chart("Time", "time", "nanoseconds per parameter", "work", None, kind="bars"),
            Chart(
                "Memory of the state", "memory", "bytes per parameter", "optimizer", None,
                kind="bars",
            ),
        ),
        _sentences(seconds, memory, coordinates),
    )  # fmt: skip


def _sentences(
    seconds: Mapping[str, float], memory: Mapping[str, float], coordinates: int
) -> tuple[str, ...]:
    gradient = seconds["gradient of the loss"]
    return tuple(
        f"{name}: an update of {coordinates:,} parameters takes "
        f"{1e6 * seconds[f'update of {name}']:,.0f} µs, "
        f"{seconds[f'update of {name}'] / gradient:.2g} times the gradient's time, and its state "
        f"{each:.3g} bytes per parameter."
        for name, each in memory.items()
    )


def cost_panel(inspection: Inspection) -> Findings:
    """The panel's computation: `costs` of the shared recording."""
    return costs(inspection.recording)
