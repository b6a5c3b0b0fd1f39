"""What an optimizer costs: the memory of its state, and the time of a step beside Adam's."""

import functools
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from optoscope._core.errors import UnknownNameError
from optoscope._core.trees import num_bytes
from optoscope.optimizers._base import Optimizer

# Written by benchmarks/optimizer_steps.py.
MEASURED = Path(__file__).with_name("step_times.json")
_SIDE = 1024


def state_bytes(optimizer: Optimizer) -> float:
    """The bytes of state that an optimizer keeps for each parameter of one large matrix.

    The matrix has 1024 × 1024 parameters in float32. Nothing is computed: it is the size of what
    `init` would give. Optimizers that treat matrices in another way than vectors (Adafactor,
    Muon) keep more for vectors.

    Example:
        >>> from optoscope import optimizers
        >>> state_bytes(optimizers.adam(0.1)), state_bytes(optimizers.sgd(0.1))
        (8.0, 0.0)
    """
    state = jax.eval_shape(optimizer.init, jax.ShapeDtypeStruct((_SIDE, _SIDE), jnp.float32))
    return round(num_bytes(state) / _SIDE**2, 1)


def step_time(name: str) -> float:
    """The time of one update of a registered or shipped optimizer, in updates of Adam.

    It was measured on one machine, see `step_times`; on another the order is much the same, the
    numbers are not.

    Args:
        name: of `names()`, or of `pretrained_names()`.

    Raises:
        UnknownNameError: it has not been measured.

    Example:
        >>> step_time("adam")
        1.0
    """
    times = step_times()["times"]
    if name not in times:
        raise UnknownNameError("measured optimizer", name, times)
    return times[name]


@functools.cache
def step_times() -> dict[str, Any]:
    """The measured times by name under "times", and under "measured" how that was done."""
    return json.loads(MEASURED.read_text(encoding="utf-8"))


def how_measured() -> str:
    """Where and when the times were measured, and whether the machine had other work to do."""
    found = step_times()["measured"]
    machine = found["machine"]
    busy = ", busy with other work" if machine["load_average"][0] > machine["cores"] else ""
    return f"{machine['cores']} cores ({machine['cpu']}{busy}, {found['date']})"
