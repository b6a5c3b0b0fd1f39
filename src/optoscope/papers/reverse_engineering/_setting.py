"""The setting that all parts of one reproduction share."""

import numpy as np
from jaxtyping import Float

from optoscope.papers import _recipe
from optoscope.papers.reverse_engineering._scales import Scale

TASKS = ("regression", "rosenbrock", "two-moons", "cnn")
RECOVERED = "recovered"
BASELINES = ("momentum", "rmsprop", "adam")


Setting = _recipe.Setting[Scale]


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
