"""What an optimizer is judged by while it is meta-trained."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from optoscope.optimizers import Optimizer
from optoscope.optimizers._files import for_num_steps
from optoscope.tasks import Task, TaskDistribution
from optoscope.training import train


@dataclass(frozen=True)
class HeldOutLoss:
    """An evaluation: the mean training loss of fresh runs that are the same at every call.

    An optimizer that knows the length of training is told that of these runs.

    Args:
        task: what to run on.
        num_steps: steps per run.
        num_runs: runs to average.
        key: draws the runs.
        measure: computes the number from the losses of all runs, (runs, steps); their mean if
            not given.
    """

    task: Task | TaskDistribution
    num_steps: int
    num_runs: int
    key: PRNGKeyArray
    measure: Callable[[Array], Any] = jnp.mean

    def __call__(self, optimizer: Optimizer) -> float:
        """The mean loss over runs and steps, or their measure; infinite if it is not finite."""
        told = for_num_steps(optimizer, self.num_steps)
        losses = train(self.task, told, self.num_steps, key=self.key, num_runs=self.num_runs).losses
        measured = float(self.measure(losses))
        return measured if np.isfinite(measured) else float("inf")


@dataclass(frozen=True)
class GeometricMean:
    """An evaluation: the geometric mean of others, so that a loss of any size counts alike.

    Args:
        parts: the evaluations, whose losses are positive.
    """

    parts: tuple[Callable[[Optimizer], float], ...]

    def __call__(self, optimizer: Optimizer) -> float:
        """exp(mean of ln loss); infinite if a loss is not positive, or not finite.

        Example:
            >>> from optoscope.optimizers import adam
            >>> round(GeometricMean((lambda _: 2.0, lambda _: 8.0))(adam(0.1)), 3)
            4.0
        """
        losses = np.array([part(optimizer) for part in self.parts])
        if not np.all(np.isfinite(losses) & (losses > 0)):
            return float("inf")
        return float(np.exp(np.mean(np.log(losses))))
