"""Figures 2 and 3: what a symmetry is, on x² + y²."""

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from optoscope import optimizers, training
from optoscope._core.keys import new_key
from optoscope.papers._parts import Arrays, Part, Workspace
from optoscope.tasks import Task, from_action


class _Bowl(Task):
    """x² + y² from a fixed start, without noise."""

    def init(self, key: Array) -> Float[Array, "2"]:
        """The fixed initial parameters, whatever the key."""
        del key
        return jnp.array([1.0, 0.6])

    def sample_batch(self, key: Array) -> None:
        """None: the loss has no noise, so it needs no batch."""
        del key

    def loss(self, params: Float[Array, "2"], batch: None) -> Float[Array, ""]:
        """The loss x² + y² of the parameters."""
        del batch
        return jnp.sum(params**2)


class _Position(training.Probe):
    def measure(self, record: training.StepRecord) -> dict[str, Array]:
        rotation = from_action(_rotated)
        deviation = rotation.contract(record.updates, record.params)[0]
        return {"position": record.params, "deviation": deviation}


def _rotated(point: Array, angle: Array) -> Array:
    c, s = jnp.cos(angle[0]), jnp.sin(angle[0])
    return jnp.array([[c, -s], [s, c]]) @ point


def illustration() -> Part:
    """Gradient descent, Adam and Lion on x² + y²: `<name>/position`, `<name>/deviation`."""
    rates, num_steps = {"sgd": 0.05, "adam": 0.05, "lion": 0.05}, 60

    def compute(needed: Mapping[str, Arrays], workspace: Workspace) -> Arrays:
        arrays = {}
        for name, rate in rates.items():
            run = training.train(
                _Bowl(),
                optimizers.get(name, learning_rate=rate),
                num_steps,
                key=new_key(0),
                probes={"position": _Position()},
            )
            for key, value in run.records["position"].items():
                arrays[f"{name}/{key}"] = np.asarray(value)[0]
        workspace.report(1, 1)
        return arrays

    return Part("illustration", {"learning_rates": rates, "num_steps": num_steps}, compute)
