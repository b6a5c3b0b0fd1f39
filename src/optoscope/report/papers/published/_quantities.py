"""What is read from the records of one optimizer: the numbers behind claims, pictures and words.

Plain arithmetic on arrays, so that the pictures, the sentences of the page and the claims (in
`papers.published`) cannot disagree.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from optoscope._core.ranks import rank_correlation
from optoscope._core.windows import tenth

Arrays = Mapping[str, np.ndarray]

# Steps between which the course of step sizes is read, as shares of a driven run.
_EARLY, _LATE = (0.1, 0.2), (0.9, 1.0)
# Gradients of ordinary sizes, over which the exponent of adaptation is fitted.
_ORDINARY = (1e-3, 1.0)
# A mode counts from this share of the impulse response on.
_LEAST_SHARE = 0.05
_LONGEST = 1e9
_LEAST_DRIFT = 1e-9
# Fewer optimizers than this show no relation.
LEAST_OPTIMIZERS = 4


def sizes_of_steps(part: Arrays) -> Float[np.ndarray, " sizes"]:
    """Of a `driven` part: the size of updates in the last tenth, for each size of gradients."""
    steps = part["updates"].shape[-1]
    return part["updates"][..., -tenth(steps) :].mean(axis=(1, 2))


def exponent(part: Arrays) -> float:
    """Of a `driven` part: how updates grow with gradients, as a power: SGD has 1, Adam 0.

    The slope of a line through the logarithms, for gradients of 0.001 to 1.
    """
    low, high = _ORDINARY
    inside = (part["sizes"] >= 0.999 * low) & (part["sizes"] <= 1.001 * high)
    x, y = np.log10(part["sizes"][inside]), np.log10(sizes_of_steps(part)[inside])
    return float(np.polyfit(x, y, 1)[0])


def left_of_steps(part: Arrays) -> float:
    """Of a `driven` part: decades from updates at ordinary gradients to those at tiny ones.

    At gradients of 1e-8 against those of 0.001; SGD has −5, and who never comes to rest has 0.
    """
    steps, sizes = sizes_of_steps(part), part["sizes"]
    ordinary = int(np.argmin(np.abs(np.log10(sizes / _ORDINARY[0]))))
    return float(np.log10(max(steps[0], 1e-30) / max(steps[ordinary], 1e-30)))


def course(part: Arrays) -> Float[np.ndarray, " runs"]:
    """Of a `driven` part: decades by which updates grow over the run, gradients being the same.

    From the second to the last tenth, at gradients of 0.001.
    """
    place = int(np.argmin(np.abs(np.log10(part["sizes"] / _ORDINARY[0]))))
    updates = part["updates"][place]
    steps = updates.shape[-1]

    def over(share: tuple[float, float]) -> np.ndarray:
        first, last = int(share[0] * steps), int(share[1] * steps)
        return updates[:, first : max(last, first + 1)].mean(axis=1)

    return np.log10(over(_LATE) / over(_EARLY))


def memory(part: Arrays) -> float:
    """Of an `inside` part: decades of steps that the slowest mode of some weight remembers.

    Math: log₁₀ of 1/(1 − |β|), with a share of the impulse response of a twentieth or more.
    """
    counted = np.nan_to_num(part["shares"]) >= _LEAST_SHARE
    if not counted.any():
        return np.nan
    slowest = part["timescales"][counted].max()
    return float(np.log10(min(1 / max(1 - slowest, 1 / _LONGEST), _LONGEST)))


def drift(part: Arrays) -> float:
    """Of an `inside` part: decades of the update without a gradient, over that to one of 0.001.

    0 where it moves as much without a gradient as with one; at least −9.
    """
    share = abs(float(part["drift"])) / max(float(part["response"]), 1e-300)
    return float(np.log10(max(share, _LEAST_DRIFT)))


def unrest(part: Arrays) -> float:
    """Of an `inside` part: decades of what its state changes by at every step, in silence.

    At least −9, which is rest.
    """
    return float(np.log10(max(float(part["unrest"]), _LEAST_DRIFT)))


def distance(part: Arrays) -> float:
    """Of a `curvature` part: decades of how far from the minimum runs end; median of curvatures.

    As a share of where they began, in the last quarter of the run; between −6 and 6.
    """
    return float(np.median(np.log10(np.clip(part["final_sizes"], 1e-6, 1e6))))


def stood(part: Arrays) -> float:
    """Of a `curvature` part: the share of curvatures at which a run does not diverge."""
    return float(np.mean(part["outcomes"] != "diverges"))


def deviation(part: Arrays) -> Float[np.ndarray, " runs"]:
    """Of a `probed` part: the cosine of updates to the symmetry, over that of any direction."""
    return np.abs(part["cosine"] / part["isotropic"]).mean(axis=1)


def known_mean(values: Float[np.ndarray, "runs measurements"]) -> Float[np.ndarray, " runs"]:
    """The mean of each run's numbers, of those that there are; NaN of none."""
    known = np.isfinite(values)
    counts = known.sum(axis=1)
    totals = np.where(known, values, 0.0).sum(axis=1)
    return np.where(counts > 0, totals / np.maximum(counts, 1), np.nan)


def loss_of_gain(part: Arrays) -> float:
    """Of a `long` part: the share of the decrease that runs have given back, their mean."""
    return float(part["given_back"].mean())


@dataclass(frozen=True)
class Measure:
    """A number of an optimizer's inside that could tell how long it lasts.

    Args:
        words: what it is.
        kind: of part that it is read from.
        value: of the part; more is expected to last less.
        unit: of the value.
    """

    words: str
    kind: str
    value: Callable[[Arrays], float]
    unit: str = "decades"


MEASURES: Mapping[str, Measure] = {
    "drift": Measure("updates without a gradient", "inside", drift),
    "unrest": Measure("a state that does not come to rest", "inside", unrest),
    "memory": Measure("shortness of its memory", "inside", lambda part: -memory(part)),
    "tiny": Measure("updates at tiny gradients", "driven", left_of_steps),
    "distance": Measure("distance from minima of quadratics", "curvature", distance),
}


def pairs_of(
    records: Mapping[str, Arrays], measure: str, task: str, names: Iterable[str]
) -> dict[str, tuple[float, float]]:
    """A measure of each optimizer, and the share of its gain that it gave back on a task."""
    known, found = MEASURES[measure], {}
    for name in names:
        part, run = records.get(f"{known.kind}-{name}"), records.get(f"long-{task}-{name}")
        if part is not None and run is not None:
            pair = known.value(part), loss_of_gain(run)
            if np.isfinite(pair).all():
                found[name] = pair
    return found


def correlation(
    records: Mapping[str, Arrays], measure: str, task: str, names: Iterable[str]
) -> float:
    """Spearman's rank correlation, over optimizers, of a measure and of what is given back.

    NaN for fewer than four optimizers, or where all of them are alike.
    """
    found = np.array(list(pairs_of(records, measure, task, names).values()))
    if len(found) < LEAST_OPTIMIZERS:
        return np.nan
    return rank_correlation(found[:, 0], found[:, 1])
