"""Modes followed from checkpoint to checkpoint."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Complex, Float
from scipy.optimize import linear_sum_assignment

from optoscope._core.errors import InvalidValueError
from optoscope._core.showing import shown
from optoscope.analysis.dynamics._modes import Modes


@shown
@dataclasses.dataclass(frozen=True)
class ModeTracks:
    """Timescales and learning rates of matched modes; column j is one mode throughout.

    Args:
        timescales: β.
        learning_rates: α.
        overlaps: between each checkpoint and the next; 1 for a mode that has not turned. Low
            values say that the match is a guess.
    """

    timescales: Complex[np.ndarray, "checkpoints modes"]
    learning_rates: Complex[np.ndarray, "checkpoints modes"]
    overlaps: Float[np.ndarray, "transitions modes"]


def track_modes(checkpoints: Sequence[Modes]) -> ModeTracks:
    """Matches the modes of successive checkpoints one to one, by overlap of their eigenvectors.

    Columns are in the order of the last checkpoint: the mode that dominates in the end is first.

    Math: the assignment with the largest sum of √(|l_i·r'_j| |l'_j·r_i|), at most 1 each,
    which does not depend on the scale of eigenvectors nor on the basis of h.

    Source: paper B, figure 15 (which does not say how modes are matched).

    Args:
        checkpoints: modes of one optimizer in the course of meta-training.

    Raises:
        InvalidValueError: no checkpoints, or modes of different numbers.
    """
    if not checkpoints:
        raise InvalidValueError("no checkpoints; give the modes of at least one.")
    sizes = {len(modes.timescales) for modes in checkpoints}
    if len(sizes) > 1:
        raise InvalidValueError(
            f"modes of {sorted(sizes)} numbers cannot be matched; they must be of one optimizer."
        )
    order = np.arange(sizes.pop())
    orders, overlaps = [order], []
    for before, after in zip(checkpoints[-2::-1], checkpoints[:0:-1], strict=True):
        overlap = np.sqrt(
            np.abs(after.left.T @ before.right) * np.abs(before.left.T @ after.right).T
        )
        overlap = np.nan_to_num(np.minimum(overlap, 1.0))
        rows, columns = linear_sum_assignment(overlap, maximize=True)
        partner = np.empty_like(order)
        partner[rows] = columns
        overlaps.append(overlap[order, partner[order]])
        order = partner[order]
        orders.append(order)
    orders, overlaps = orders[::-1], overlaps[::-1]
    return ModeTracks(
        np.stack([m.timescales[o] for m, o in zip(checkpoints, orders, strict=True)]),
        np.stack([m.learning_rates[o] for m, o in zip(checkpoints, orders, strict=True)]),
        np.array(overlaps, np.float64).reshape(len(overlaps), len(order)),
    )
