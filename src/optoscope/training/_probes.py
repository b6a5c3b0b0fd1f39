"""Probes: what a person wants to see of a run, measured every k steps."""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from optoscope._core.errors import check_number
from optoscope._core.registry import Registry
from optoscope._core.trees import global_norm
from optoscope.optimizers import Optimizer
from optoscope.tasks import Task
from optoscope.training._step import StepRecord


class Probe(eqx.Module):
    """Measures a step record into arrays; the run itself is not disturbed.

    Subclass it with `measure`, and give it to `training.train(probes={"name": probe})`.

    Args:
        every: measure at steps 0, every, 2·every, …

    Example:
        >>> class Loss(Probe):
        ...     def measure(self, record):
        ...         return record.loss
        >>> Loss(every=10).every
        10
    """

    every: int = eqx.field(static=True, default=1)

    def __check_init__(self):
        check_number("every", self.every, minimum=1)

    def bind(self, task: Task, optimizer: Optimizer) -> "Probe":
        """The probe for runs of `optimizer` on `task`; every run calls it first.

        Override it where what is measured depends on them.
        """
        del task, optimizer
        return self

    @abc.abstractmethod
    def measure(self, record: StepRecord) -> PyTree[Array]:
        """The arrays to keep of this step."""


class Norms(Probe):
    """The Euclidean norms of parameters, gradient and updates."""

    def measure(self, record: StepRecord) -> dict[str, Float[Array, ""]]:
        """One number each."""
        return {
            "params": global_norm(record.params),
            "grads": global_norm(record.grads),
            "updates": global_norm(record.updates),
        }


class LayerUpdateSizes(Probe):
    """The root mean square update of every parameter array."""

    def measure(self, record: StepRecord) -> PyTree[Float[Array, ""]]:
        """One number an array, in the structure of the parameters."""
        return jax.tree.map(lambda u: jnp.sqrt(jnp.mean(jnp.square(u))), record.updates)


PROBES: Registry[type[Probe]] = Registry("probe")
PROBES.register("norms", Norms)
PROBES.register("layer_update_sizes", LayerUpdateSizes)
