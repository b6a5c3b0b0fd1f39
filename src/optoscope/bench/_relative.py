"""Losses over several tasks, relative to another optimizer's on the same runs."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from optoscope._core.estimates import Estimate, not_finite, nothing
from optoscope._core.inference import geometric_mean

# What is compared at the end of paired runs: the training loss there, that over the whole run,
# and the loss on data that were not trained on.
MEASURES = ("final", "mean", "validation")
# Why there is no number for cells of a version that did not measure on validation data.
NOT_RECORDED = "not recorded: computed by an earlier version"

Runs = Float[np.ndarray, " runs"]


def relative_loss(own: Mapping[str, Runs], other: Mapping[str, Runs]) -> Estimate:
    """How many times the losses of another optimizer one's own are, over several tasks.

    Runs are paired and tasks were chosen: the number of a run is the geometric mean over the
    tasks, and the interval is over runs.

    Math: exp(mean over runs r and tasks k of ln(ℓₖᵣ / ℓ'ₖᵣ)), with Student's interval of the
    means over tasks.

    Args:
        own: for each task the loss of every run. NaN stands for what was not recorded; a run that
            diverged has an infinite loss.
        other: the other optimizer's, of the same tasks and runs.

    Returns:
        The estimate; without a value where there is no task, where something was not recorded or
        is not finite, and where a loss is not positive.

    Example:
        >>> own = {"bowl": np.array([1.0, 1.0]), "valley": np.array([4.0, 1.0])}
        >>> found = relative_loss(own, {"bowl": np.full(2, 2.0), "valley": np.full(2, 2.0)})
        >>> round(found.value, 4), found.count
        (0.7071, 2)
    """
    if not own:
        return nothing(0, "nothing was measured")
    mine, others = (np.stack([of[task] for task in own], axis=1) for of in (own, other))
    if np.isnan(mine).any() or np.isnan(others).any():
        return nothing(len(mine), NOT_RECORDED)
    if (mine <= 0).any() or (others <= 0).any():
        return nothing(len(mine), "not a ratio: a loss is zero or negative")
    # An infinite loss of the other one must not count as a ratio of zero either.
    finite = (np.isfinite(mine) & np.isfinite(others)).all(axis=1)
    if not finite.all():
        return nothing(len(mine), not_finite(np.where(finite, 0.0, np.inf)))
    return geometric_mean(np.exp(np.mean(np.log(mine) - np.log(others), axis=1)))
