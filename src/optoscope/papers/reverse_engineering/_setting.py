"""What all parts of one reproduction share."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from optoscope import tasks
from optoscope.papers import _setting
from optoscope.papers.reverse_engineering._scales import Recipe, Scale

TASKS = ("regression", "rosenbrock", "two-moons", "cnn")
RECOVERED = "recovered"
BASELINES = ("momentum", "rmsprop", "adam")


@dataclass(frozen=True)
class Setting(_setting.Setting):
    """The setting of paper B."""

    scale: Scale

    def recipe(self, name: str) -> Recipe:
        """The counts of a task."""
        return self.scale.recipes[name]

    def distribution(self, name: str) -> tasks.TaskDistribution:
        """The problems of a task."""
        recipe = self.recipe(name)
        known = tasks.REGISTRY[recipe.task].known(self.data_options)
        return tasks.as_distribution(tasks.get(recipe.task, **dict(recipe.options) | known))

    def described(self, name: str, **values: Any) -> dict[str, Any]:
        """The configuration of a part on a task, for its description."""
        recipe = self.recipe(name)
        problem = {"task": recipe.task, "options": dict(recipe.options)}
        return problem | {"seed": self.seed, "horizon": recipe.horizon, **values}

    def seeds(self, name: str) -> range:
        """The meta-seeds of a task."""
        return range(self.recipe(name).meta_seeds)


def meta_objective(
    losses: Float[np.ndarray, "*batch steps"], relative: bool
) -> Float[np.ndarray, "*batch"]:
    """The mean loss of each run, divided by its first one where the recipe says so.

    A run that diverges counts as infinitely bad.
    """
    losses = np.asarray(losses, np.float64)
    if relative:
        losses = losses / losses[..., :1]
    mean = losses.mean(axis=-1)
    return np.where(np.isfinite(mean), mean, np.inf)
