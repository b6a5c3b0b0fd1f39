"""Probes: measurements of a run, taken every k steps."""

import abc
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from optoscope._core.drawings import Drawing, ProbeText
from optoscope._core.errors import check_count
from optoscope._core.registry import Registry
from optoscope._core.roots import safe_root
from optoscope._core.trees import global_norm
from optoscope.optimizers import Optimizer
from optoscope.tasks import Task, TaskDistribution
from optoscope.training._step import StepRecord


class Probe(eqx.Module):
    """Measures a step record into arrays; the run itself is not disturbed.

    Subclass it with `measure`, and give it to `training.train(probes={"name": probe})`. How its
    arrays are drawn it says itself in `text`; the report knows nothing else of it. Without a
    `text` of its own every single number that it measures is drawn as a curve.

    Args:
        every: measure at steps 0, every, 2·every, …

    Example:
        >>> class Loss(Probe):
        ...     def measure(self, record):
        ...         return record.loss
        >>> Loss(every=10).every
        10
    """

    text: ClassVar[ProbeText] = ProbeText(
        "The line is the median over runs of what the probe measured, the band holds the middle "
        "half of them.",
        "Whether larger or smaller is better.",
        (Drawing("curve", "", "measured"),),
    )

    every: int = eqx.field(static=True, default=1)

    def __check_init__(self):
        check_count("every", self.every, minimum=1)

    def prepared(self, task: Task | TaskDistribution) -> "Probe":
        """The probe with what has to be computed once, before the runs are compiled.

        Override it where `bind`, which is called while a run is traced, comes too late.
        """
        del task
        return self

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

    text = ProbeText(
        "The Euclidean norm over all parameters. An update whose norm follows that of the gradient "
        "is a rescaled gradient; one whose norm hardly moves has its size from elsewhere.",
        "Directions: two updates of one norm can have nothing else in common. A norm also grows "
        "with the number of parameters.",
        (
            Drawing("curve", "['updates']", "norm of the update", logarithmic=True),
            Drawing("curve", "['grads']", "norm of the gradient", logarithmic=True),
            Drawing("curve", "['params']", "norm of the parameters", logarithmic=True),
        ),
    )

    def measure(self, record: StepRecord) -> dict[str, Float[Array, ""]]:
        """The norms of parameters, gradients and updates, one number each."""
        return {
            "params": global_norm(record.params),
            "grads": global_norm(record.grads),
            "updates": global_norm(record.updates),
        }


class LayerUpdateSizes(Probe):
    """The root mean square update of every parameter array."""

    text = ProbeText(
        "One picture for each array of parameters: the root mean square of its update. Arrays "
        "that move at very different rates show where in the network the optimizer works.",
        "How large the parameters themselves are: the same update is a lot for a small array and "
        "little for a large one.",
        (Drawing("curve", "", "root mean square update", logarithmic=True),),
    )

    def measure(self, record: StepRecord) -> PyTree[Float[Array, ""]]:
        """One number per array, in the structure of the parameters."""
        return jax.tree.map(lambda u: safe_root(jnp.mean(jnp.square(u))), record.updates)


PROBES: Registry[type[Probe]] = Registry("probe")
PROBES.register("norms", Norms)
PROBES.register("layer_update_sizes", LayerUpdateSizes)
