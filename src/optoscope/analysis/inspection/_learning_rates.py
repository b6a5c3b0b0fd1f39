"""Effective learning rates: by layer and over time, with the schedule told apart."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from optoscope._core.errors import check_count
from optoscope._core.findings import Axis, Chart, Findings, Measured
from optoscope._core.programs import Program
from optoscope._core.trees import global_norm, size
from optoscope.analysis.inspection._geometry import layer_axis, layers_of
from optoscope.analysis.inspection._panels import Inspection, optimizer_axis, step_axis
from optoscope.analysis.inspection._recording import Recording
from optoscope.optimizers import Optimizer, as_optax, packed_state
from optoscope.optimizers._base import extra_arguments

_MOST_STEPS = 120


@Program
def _under_constant_gradient(
    optimizer: Optimizer, params: PyTree[Array], grads: PyTree[Array], num_steps: int
) -> Float[Array, " steps"]:
    value = jnp.ones(())
    extra = extra_arguments(value, grads, lambda _: value)

    def step(state: PyTree[Array], _: None) -> tuple[PyTree[Array], Array]:
        updates, state = as_optax(optimizer).update(grads, state, params, **extra)
        return state, global_norm(updates) / jnp.sqrt(size(params))

    return jax.lax.scan(step, packed_state(optimizer, params), None, length=num_steps)[1]


def time_part(
    optimizer: Optimizer, params: PyTree[Any], grads: PyTree[Any], num_steps: int
) -> Float[np.ndarray, " steps"]:
    """The size of each step's update under a gradient that never changes, counters running.

    What changes here depends on time alone: schedules, bias corrections and the filling of
    running averages. Parameters are held, the loss is 1 throughout.

    Args:
        optimizer: any pair of `init` and `update`.
        params: the parameters that are held.
        grads: the gradient at every step.
        num_steps: how many.

    Returns:
        The root mean square of each update.

    Example:
        >>> import optax
        >>> halves = optax.sgd(optax.exponential_decay(1.0, 1, 0.5))
        >>> time_part(halves, jnp.zeros(2), jnp.ones(2), 3).round(6).tolist()
        [1.0, 0.5, 0.25]
    """
    check_count("num_steps", num_steps, minimum=1)
    return np.asarray(_under_constant_gradient(optimizer, params, grads, num_steps), np.float64)


def learning_rates(recording: Recording) -> Findings:
    """How far each layer moves per unit of gradient, and what of that is a schedule.

    Args:
        recording: see `record`.

    Returns:
        `rate` (optimizer, layer, step): ‖update‖ / ‖gradient‖, the median over runs;
        `along` (optimizer, layer, step): −⟨u, g⟩ / ⟨g, g⟩; `time` (optimizer, time): the size of
        updates under a constant gradient, relative to the largest; `gradients` (optimizer, step):
        the size of the updates that were made over that under the constant gradient.
    """
    layers, names = layer_axis(recording), recording.names
    shape = (len(names), len(layers.values), len(recording.steps), recording.num_runs)
    rate, along = np.full(shape, np.nan), np.full(shape, np.nan)
    sizes = np.full((len(names), len(recording.steps), recording.num_runs), np.nan)
    for point, met in enumerate(recording.records):
        for run in range(recording.num_runs):
            grads = layers_of(met.grads, run)
            for row, name in enumerate(names):
                updates = layers_of(recording.updates[point][name], run)
                sizes[row, point, run] = np.sqrt(np.mean(np.square(updates[0])))
                for layer, (update, grad) in enumerate(zip(updates, grads, strict=True)):
                    square = float(grad @ grad)
                    if square > 0:
                        place = (row, layer, point, run)
                        rate[place] = np.linalg.norm(update) / np.sqrt(square)
                        along[place] = -float(update @ grad) / square
    first = jax.tree.map(lambda leaf: leaf[0], recording.records[0])
    constant = np.stack(
        [
            time_part(one, first.params, first.grads, recording.num_steps)
            for one in recording.optimizers.values()
        ]
    )
    shown = thinned(recording.num_steps, _MOST_STEPS)
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = constant / constant.max(axis=1, keepdims=True)
        by_gradients = np.median(sizes, axis=2) / constant[:, list(recording.steps)]
    own = ("optimizer", "layer", "step")
    return Findings(
        {
            "optimizer": optimizer_axis(recording),
            "layer": layers,
            "step": step_axis(recording),
            "time": Axis("step", shown),
        },
        {
            "rate": Measured(own, np.median(rate, axis=3)),
            "along": Measured(own, np.median(along, axis=3)),
            "time": Measured(("optimizer", "time"), relative[:, shown]),
            "gradients": Measured(("optimizer", "step"), by_gradients),
        },
        (
            Chart(
                "Effective learning rate", "rate", "‖update‖ / ‖gradient‖", "step",
                logarithmic=True, along_logarithmic=True,
            ),
            Chart(
                "Its part along the gradient", "along", "−⟨u, g⟩ / ⟨g, g⟩", "step",
                along_logarithmic=True,
            ),
            Chart(
                "What depends on time alone: the schedule", "time", "share of the largest step",
                "time",
            ),
            Chart(
                "What depends on the gradients", "gradients", "step over that of time alone",
                "step", logarithmic=True, along_logarithmic=True,
            ),
        ),
        tuple(_sentence(name, row) for name, row in zip(names, relative, strict=True)),
    )  # fmt: skip


def thinned(num_steps: int, most: int) -> np.ndarray:
    """At most so many steps from 0 to the last, evenly spaced and each of them once."""
    return np.unique(np.round(np.linspace(0, num_steps - 1, min(most, num_steps))).astype(int))


def _sentence(name: str, relative: Float[np.ndarray, " steps"]) -> str:
    if not np.isfinite(relative).all():
        return f"{name}: under a constant gradient its updates vanish or leave the finite numbers."
    if relative.min() > 0.99:
        return f"{name} has no schedule: under a constant gradient its step stays the same."
    # The largest itself may come late, by rounding, where an average has long been full.
    peak = int(np.argmax(relative >= 0.99))
    end, begin = 100 * relative[-1], 100 * relative[0]
    rises = f"rises from {begin:.0f}% at the first step" if begin < 99 else "is largest at first"
    at = f" to its full size at step {peak}" if begin < 99 else ""
    falls = f" and ends at {end:.0f}%" if end < 99 else ""
    return f"{name}: under a constant gradient the size of its step {rises}{at}{falls}."


def learning_rate_panel(inspection: Inspection) -> Findings:
    """The panel's computation: `learning_rates` of the shared recording."""
    return learning_rates(inspection.recording)
