"""Parameters that the loss does not depend on: dead inputs, dead units, biases that vanish."""

from collections.abc import Collection, Sequence

import numpy as np
from jaxtyping import Bool

from optoscope.analysis.symmetry._structures import Leaf


def dead_names(
    leaves: Sequence[Leaf], live: Bool[np.ndarray, " params"], meeting: Collection[str]
) -> dict[str, np.ndarray]:
    """Names parameters without any derivative, by the slices that they fill.

    - "unused": an array, or entries of one, that nothing depends on.
    - "dead_units": what leads into a unit, its bias, and what reads it.
    - "dead_inputs": what reads an input that is always 0, such as a dark pixel or an unseen token.
    - "key_bias": a softmax ignores what every key's score has in common.
    - "norm_translation": a bias that the mean of a norm takes away.

    Args:
        leaves: the arrays of the parameters.
        live: which parameters any derivative was seen for.
        meeting: the paths of the arrays that meet in an attention's scores.

    Returns:
        The positions of the parameters of each name.
    """
    found: dict[str, np.ndarray] = {}
    named = live.copy()

    def name(entries: np.ndarray, what: str) -> None:
        new = entries[~named[entries]]
        named[new] = True
        if new.size:
            found[what] = np.append(found.get(what, np.zeros(0, int)), new)

    matrices = [leaf for leaf in leaves if len(leaf.shape) > 1 and leaf.index.size]
    for leaf in matrices:
        if not live[leaf.index].any():
            name(leaf.index.ravel(), "unused")
    slices = [
        (leaf, axis, unit)
        for leaf in matrices
        for axis in range(len(leaf.shape))
        for unit in np.flatnonzero(~live[leaf.by(axis)].any(axis=1))
        if live[leaf.index].any()
    ]
    for leaf, axis, unit in slices:
        length = leaf.shape[axis]
        others = {
            other.path
            for other, _, position in slices
            if other is not leaf and position == unit and length in other.shape
        }
        biases = [
            one for one in leaves
            if one.shape == (length,) and not live[one.index[unit]]
            and live[one.index].any() | (one.parent == leaf.parent)
        ]  # fmt: skip
        if others or biases:
            name(leaf.by(axis)[unit], "dead_units")
            for one in biases:
                name(one.index[[unit]], "dead_units")
        else:
            name(leaf.by(axis)[unit], "dead_inputs")
    met = [leaf for leaf in leaves if leaf.path in meeting]
    for leaf in leaves:
        dead = leaf.index[~named[leaf.index]]
        if not dead.size:
            continue
        in_scores = any(leaf.shape == one.shape[-len(leaf.shape) :] for one in met if leaf.shape)
        if not live[leaf.index].any() and in_scores:
            name(dead, "key_bias")
        else:
            name(dead, "norm_translation" if len(leaf.shape) == 1 else "unused")
    return found
