"""The quantities of the claims: one number per repetition, from the parts' arrays.

The first argument says what a protocol reads; the last is the records. What a run does not hold,
because weights are missing, gives no repetition at all.
"""

from collections.abc import Sequence

import numpy as np
from scipy.stats import spearmanr

from optoscope.papers._claims import Records
from optoscope.papers._parts import Arrays

NONE = np.zeros(0)
# Steps between which the course of step sizes is read, as shares of a driven run.
_EARLY, _LATE = (0.1, 0.2), (0.9, 1.0)
# Gradients of ordinary sizes, over which the exponent of adaptation is fitted.
_ORDINARY = (1e-3, 1.0)


def _part(kind: str, name: str, records: Records) -> Arrays | None:
    return records.get(f"{kind}-{name}")


def rebound(part: Arrays) -> np.ndarray:
    """Decades from the least to the last moving average, one a run; infinite if it diverged."""
    return np.log10(part["last"] / part["least"])


def rises(quantity: str, task: str, name: str, records: Records) -> np.ndarray:
    """The rebound of an optimizer's long runs, one a run."""
    del quantity
    part = _part(f"long-{task}", name, records)
    return NONE if part is None else rebound(part)


def rises_less(quantity: str, task: str, name: str, other: str, records: Records) -> np.ndarray:
    """The other's rebound less this one's, in decades, run by run."""
    mine, others = rises(quantity, task, name, records), rises(quantity, task, other, records)
    return others - mine if len(mine) == len(others) else NONE


def ends_lower(quantity: str, task: str, name: str, other: str, records: Records) -> np.ndarray:
    """Decades from this one's last moving average up to the other's, run by run."""
    del quantity
    mine, others = (_part(f"long-{task}", one, records) for one in (name, other))
    if mine is None or others is None:
        return NONE
    return np.log10(others["last"] / mine["last"])


def adaptation(part: Arrays) -> float:
    """The exponent of the size of updates over the size of gradients: 1 is SGD, 0 is Adam.

    The slope of a line through the logarithms, of the last tenth of driven runs.
    """
    steps = part["updates"].shape[-1]
    last = part["updates"][..., -max(1, steps // 10) :].mean(axis=(1, 2))
    inside = (part["sizes"] >= 0.999 * _ORDINARY[0]) & (part["sizes"] <= 1.001 * _ORDINARY[1])
    x, y = np.log10(part["sizes"][inside]), np.log10(last[inside])
    return float(np.polyfit(x, y, 1)[0])


def adapts(quantity: str, names: Sequence[str], records: Records) -> np.ndarray:
    """The exponent of adaptation of each optimizer."""
    del quantity
    parts = [_part("driven", name, records) for name in names]
    return np.array([adaptation(part) for part in parts if part is not None])


def course(part: Arrays) -> np.ndarray:
    """Decades by which updates grow over a driven run, one a run; the middle size of gradients."""
    middle = part["updates"][len(part["sizes"]) // 2]
    steps = middle.shape[-1]

    def over(share: tuple[float, float]) -> np.ndarray:
        return middle[:, int(share[0] * steps) : int(share[1] * steps)].mean(axis=1)

    return np.log10(over(_LATE) / over(_EARLY))


def shrinks(quantity: str, name: str, records: Records) -> np.ndarray:
    """Decades by which an optimizer's updates grow over a driven run, one a run."""
    del quantity
    part = _part("driven", name, records)
    return NONE if part is None else course(part)


def slowest(part: Arrays) -> float:
    """The memory, in decades of steps, of the slowest mode with a twentieth of the response."""
    counted = part["shares"] >= 0.05
    if not counted.any():
        return np.nan
    slow = np.minimum(part["timescales"][counted].max(), 1 - 1e-9)
    return float(np.log10(1 / (1 - slow)))


def remembers_longer(
    quantity: str, pairs: Sequence[tuple[str, str]], records: Records
) -> np.ndarray:
    """Decades by which the memory of the first of each pair is longer."""
    del quantity
    found = [tuple(_part("inside", name, records) for name in pair) for pair in pairs]
    return np.array([slowest(a) - slowest(b) for a, b in found if a is not None and b is not None])


def drift(part: Arrays) -> float:
    """The update at rest without a gradient, over the response to a typical gradient there."""
    return float(abs(part["drift"]) / max(float(part["response"]), 1e-300))


def drifts_less(quantity: str, pairs: Sequence[tuple[str, str]], records: Records) -> np.ndarray:
    """Decades by which the drift of the second of each pair is above the first's."""
    del quantity
    found = [tuple(_part("inside", name, records) for name in pair) for pair in pairs]
    return np.array(
        [
            np.log10(max(drift(b), 1e-12)) - np.log10(max(drift(a), 1e-12))
            for a, b in found
            if a is not None and b is not None
        ]
    )


def foretells(
    quantity: str, names: Sequence[str], tasks: Sequence[str], records: Records
) -> np.ndarray:
    """Spearman's correlation over optimizers of a number of the inside and of the rebound.

    Args:
        quantity: "drift" or "memory" (with its sign turned: a longer one is to rise less).
        names: optimizers.
        tasks: one repetition each.
        records: the parts.
    """
    value = {"drift": drift, "memory": lambda part: -slowest(part)}[quantity]
    found = []
    for task in tasks:
        pairs = []
        for name in names:
            look, run = _part("inside", name, records), _part(f"long-{task}", name, records)
            if look is not None and run is not None:
                # A run that diverged rose more than any other.
                rose = np.nan_to_num(rebound(run), nan=np.inf, posinf=1e3)
                pairs.append((value(look), float(np.median(rose))))
        usable = [pair for pair in pairs if np.isfinite(pair).all()]
        if len(usable) >= 4:
            found.append(float(spearmanr(*zip(*usable, strict=True)).statistic))
    return np.array(found)


def breaks_symmetry(quantity: str, name: str, records: Records) -> np.ndarray:
    """The mean cosine of updates to a symmetry, over that of a direction that knows nothing."""
    del quantity
    part = _part("probed", name, records)
    return NONE if part is None else (part["cosine"] / part["isotropic"]).mean(axis=1)


def lighter_tails(quantity: str, name: str, records: Records) -> np.ndarray:
    """The tail index of the noise of updates less that of gradients, one a run."""
    part = _part("probed", name, records)
    if part is None:
        return NONE
    tails = part["alpha"] if quantity == "paper" else part["alpha"] - part["surrogate"] + 2
    return np.nanmean(tails - part["gradient_alpha"], axis=1)


def edge(part: Arrays) -> float:
    """The largest curvature up to which all runs on quadratics converge or stall; 0 if none."""
    stands = np.isin(part["outcomes"], ("converges", "stalls", "limit cycle"))
    count = int(np.argmin(stands)) if not stands.all() else len(stands)
    return float(part["curvatures"][count - 1]) if count else 0.0


def bounded(quantity: str, names: Sequence[str], records: Records) -> np.ndarray:
    """The share of all curvatures at which an optimizer's run does not diverge, one each."""
    del quantity
    parts = [_part("curvature", name, records) for name in names]
    return np.array([np.mean(part["outcomes"] != "diverges") for part in parts if part is not None])
