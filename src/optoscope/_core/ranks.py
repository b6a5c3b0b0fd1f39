"""How far two numbers order the same things alike."""

import numpy as np
from jaxtyping import Float, Int

_LEAST = 3

Numbers = Float[np.ndarray, " things"] | Int[np.ndarray, " things"]


def rank_correlation(first: Numbers, second: Numbers) -> float:
    """Spearman's rank correlation; not a number where one is constant or there are fewer than 3.

    Math: Pearson's correlation of the ranks; what is equal has the mean of its ranks.

    Args:
        first: a number of each thing.
        second: another number of each.

    Example:
        >>> round(rank_correlation(np.array([1.0, 2.0, 9.0]), np.array([0.1, 0.3, 0.2])), 6)
        0.5
    """
    if len(first) < _LEAST or np.ptp(first) == 0 or np.ptp(second) == 0:
        return float("nan")
    # Takes longer to import than most commands to start.
    from scipy import stats

    return float(np.corrcoef(stats.rankdata(first), stats.rankdata(second))[0, 1])
