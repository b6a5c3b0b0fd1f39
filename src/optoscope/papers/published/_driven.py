"""The sizes of updates under drawn gradients: adaptation to their size, and schedule."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from optoscope import training
from optoscope._core.keys import stream
from optoscope.papers._parts import Arrays, Part, Workspace
from optoscope.papers.published._setting import Setting
from optoscope.tasks import Task

SIZES = np.geomspace(1e-8, 1e2, 11)
_SHAPE = (8, 8)


class DrawnGradients(Task):
    """A task whose gradient is drawn: normal numbers of a given size, whatever the parameters.

    Math: loss(p, z) = 1 + s·Σ p z, so that the gradient is s·z.

    Args:
        size: s.
    """

    size: Float[Array, ""]

    def init(self, key: PRNGKeyArray) -> Float[Array, "8 8"]:
        """A matrix of zeros."""
        del key
        return jnp.zeros(_SHAPE)

    def sample_batch(self, key: PRNGKeyArray) -> Float[Array, "8 8"]:
        """Normal numbers, which the size multiplies."""
        return jax.random.normal(key, _SHAPE)

    def loss(self, params: Float[Array, "8 8"], batch: Float[Array, "8 8"]) -> Float[Array, ""]:
        """Linear in the parameters."""
        return 1.0 + self.size * jnp.sum(params * batch)

    @property
    def metadata(self) -> dict:
        """What it is."""
        return {"name": "drawn-gradients", "num_params": _SHAPE[0] * _SHAPE[1]}


def driven(setting: Setting, name: str) -> Part:
    """The size of updates under drawn gradients of many sizes.

    `updates`, (sizes, runs, steps): the root mean square of each update; `sizes`.
    """
    scale = setting.scale

    def compute(needed: Mapping[str, Arrays], workspace: Workspace) -> Arrays:
        optimizer, found = setting.load(name, scale.driven_steps), []
        for index, size in enumerate(SIZES):
            run = training.train(
                DrawnGradients(jnp.asarray(size, jnp.float32)),
                optimizer,
                scale.driven_steps,
                key=stream(setting.seed, "driven"),
                probes={"norms": training.Norms()},
                num_runs=scale.runs,
            )
            found.append(np.asarray(run.records["norms"]["updates"]) / np.sqrt(np.prod(_SHAPE)))
            workspace.report(index + 1, len(SIZES))
        return {"updates": np.stack(found), "sizes": SIZES}

    counts = {"steps": scale.driven_steps, "runs": scale.runs, "sizes": SIZES.tolist()}
    return Part(f"driven-{name}", setting.described(name, **counts), compute)
