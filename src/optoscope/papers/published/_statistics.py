"""The quantities of the claims: one number per repetition, from the parts' arrays.

The first argument says what a protocol reads; the last is the records. What a run does not hold,
because weights are missing, gives no repetition at all.
"""

from collections.abc import Callable, Sequence

import numpy as np

from optoscope.papers._claims import Records
from optoscope.papers._parts import Arrays
from optoscope.report.papers.published import _quantities as quantities

NONE = np.zeros(0)
Pairs = Sequence[tuple[str, str]]


def _of_each(
    kind: str, names: Sequence[str], value: Callable[[Arrays], float], records: Records
) -> np.ndarray:
    parts = [records.get(f"{kind}-{name}") for name in names]
    return np.array([value(part) for part in parts if part is not None])


def _of_pairs(
    kind: str, pairs: Pairs, value: Callable[[Arrays], float], records: Records
) -> np.ndarray:
    """The value of the first of each pair less that of the second."""
    found = [tuple(records.get(f"{kind}-{name}") for name in pair) for pair in pairs]
    return np.array([value(a) - value(b) for a, b in found if a is not None and b is not None])


def adapts(quantity: str, names: Sequence[str], records: Records) -> np.ndarray:
    """The power with which each optimizer's updates grow with gradients."""
    del quantity
    return _of_each("driven", names, quantities.exponent, records)


def adapts_more(quantity: str, pairs: Pairs, records: Records) -> np.ndarray:
    """That of the second of each pair less that of the first."""
    del quantity
    return -_of_pairs("driven", pairs, quantities.exponent, records)


def leaves_less(quantity: str, pairs: Pairs, records: Records) -> np.ndarray:
    """Decades by which the first of each pair steps less at tiny gradients than the second."""
    del quantity
    return -_of_pairs("driven", pairs, quantities.left_of_steps, records)


def grows(quantity: str, name: str, records: Records) -> np.ndarray:
    """Decades by which an optimizer's updates grow over a driven run, one a run."""
    del quantity
    part = records.get(f"driven-{name}")
    return NONE if part is None else quantities.course(part)


def remembers_longer(quantity: str, pairs: Pairs, records: Records) -> np.ndarray:
    """Decades by which the memory of the first of each pair is longer."""
    del quantity
    return _of_pairs("inside", pairs, quantities.memory, records)


def drifts_less(quantity: str, pairs: Pairs, records: Records) -> np.ndarray:
    """Decades by which the first of each pair moves less without a gradient than the second."""
    del quantity
    return -_of_pairs("inside", pairs, quantities.drift, records)


def settles_more(quantity: str, pairs: Pairs, records: Records) -> np.ndarray:
    """Decades by which the state of the first of each pair changes less in silence."""
    del quantity
    return -_of_pairs("inside", pairs, quantities.unrest, records)


def ends_nearer(quantity: str, pairs: Pairs, records: Records) -> np.ndarray:
    """Decades by which the first of each pair ends nearer to the minima of quadratics."""
    del quantity
    return -_of_pairs("curvature", pairs, quantities.distance, records)


def bounded(quantity: str, names: Sequence[str], records: Records) -> np.ndarray:
    """The share of all curvatures at which an optimizer's run does not diverge, one each."""
    del quantity
    return _of_each("curvature", names, quantities.stood, records)


def breaks_symmetry(quantity: str, name: str, records: Records) -> np.ndarray:
    """The mean cosine of updates to a symmetry, over that of a direction that knows nothing."""
    del quantity
    part = records.get(f"probed-{name}")
    return NONE if part is None else quantities.deviation(part)


def lighter_tails(quantity: str, name: str, records: Records) -> np.ndarray:
    """The tail index of the noise of updates less that of gradients, one a run."""
    part = records.get(f"probed-{name}")
    if part is None:
        return NONE
    tails = part["alpha"] if quantity == "paper" else part["alpha"] - part["surrogate"] + 2
    return quantities.known_mean(tails - part["gradient_alpha"])


def gives_back(quantity: str, task: str, name: str, records: Records) -> np.ndarray:
    """The share of its decrease that each run has given back."""
    del quantity
    part = records.get(f"long-{task}-{name}")
    return NONE if part is None else part["given_back"]


def gives_back_less(
    quantity: str, task: str, name: str, other: str, records: Records
) -> np.ndarray:
    """The other's share less this one's, run by run."""
    mine, others = (gives_back(quantity, task, one, records) for one in (name, other))
    return others - mine if len(mine) == len(others) else NONE


def is_lower(quantity: str, task: str, name: str, other: str, records: Records) -> np.ndarray:
    """Decades from this one's loss up to the other's, run by run.

    Args:
        quantity: "early" or "final".
        task: where.
        name: this one.
        other: the other.
        records: the parts.
    """
    mine, others = (records.get(f"long-{task}-{one}") for one in (name, other))
    if mine is None or others is None:
        return NONE
    return np.log10(others[quantity] / mine[quantity])


def foretells(
    quantity: str, names: Sequence[str], tasks: Sequence[str], records: Records
) -> np.ndarray:
    """The rank correlation over optimizers of a measure and of what they give back, by task.

    Args:
        quantity: of `quantities.MEASURES`.
        names: optimizers.
        tasks: one repetition each; none where fewer than four optimizers are known.
        records: the parts.
    """
    found = [quantities.correlation(records, quantity, task, names) for task in tasks]
    return np.array([value for value in found if np.isfinite(value)])
