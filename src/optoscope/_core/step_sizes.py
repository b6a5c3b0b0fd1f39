"""How sizes of steps follow the problem: what JAX's optimizers and PyTorch's have in common."""

import math

# A size grows to at most so many times what it was.
LARGEST_LOG_FACTOR = math.log(8)
# Of a run, from its start: where sizes change.
ADAPTATION_SHARE = 0.25
# The least that the sum of squares in a cosine counts as: where there was no step, the cosine is 0.
SMALLEST_SQUARE = 1e-30
# A shorter run counts as one of so many steps: what holds for longer ones is too much for it.
SHORTEST_RUN = 100
_RATE = 100.0


def adaptation_rate(num_steps: int) -> float:
    """How far a cosine of 1 moves the logarithm of a size in one step of a run of that length.

    So a cosine that stays does as much over a long run as over a short one, above the shortest.

    Example:
        >>> adaptation_rate(1000), adaptation_rate(10) == adaptation_rate(100)
        (0.1, True)
    """
    return _RATE / max(num_steps, SHORTEST_RUN)
