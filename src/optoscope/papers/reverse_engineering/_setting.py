"""The setting that all parts of one reproduction share."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from optoscope.papers import _recipe, published
from optoscope.papers.reverse_engineering._scales import Scale

TASKS = ("regression", "rosenbrock", "two-moons", "cnn")
RECOVERED = "recovered"
BASELINES = ("momentum", "rmsprop", "adam")


@dataclass(frozen=True)
class Setting(_recipe.Setting[Scale]):
    """The setting of paper B, beside whose optimizers published ones can stand."""

    @property
    def others(self) -> published.Setting:
        """Where published optimizers are, and their home: the size it has in their own study."""
        return published.Setting(published.SCALES["laptop"], self.seed, self.data_dir)

    @property
    def guests(self) -> tuple[str, ...]:
        """The published optimizers of the scale whose weights are there."""
        return tuple(name for name in self.scale.published if self.others.find(name) is not None)

    def missing_words(self) -> tuple[str, ...]:
        """For each published optimizer that is left out, where to put its weights."""
        return self.others.missing_words(self.scale.published)


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
