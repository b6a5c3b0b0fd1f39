"""Claims of a paper as data, and how a measured number becomes a verdict."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
from jaxtyping import Float
from scipy import stats

from optoscope.papers._parts import Arrays

Records = Mapping[str, Arrays]
Statistic = Callable[..., Float[np.ndarray, " repetitions"]]
Verdict = Literal["holds", "does not hold", "inconclusive"]
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Claim:
    """A checkable statement of a paper. It is written down before anything is measured.

    Args:
        id: unique, and stable between versions.
        figure: the figure (a key of the paper's `FIGURES`) whose parts it is measured from.
        statement: what the paper says.
        measures: for each protocol ("paper", "released", "corrected") the statistic, one number
            an independent repetition: a meta-training seed where a learned optimizer is
            involved, else a run.
        counts_as: what the statistic is, in words.
        threshold: it holds if the whole interval of the mean lies above this.
    """

    id: str
    figure: str
    statement: str
    measures: Mapping[str, Callable[[Records], Float[np.ndarray, " repetitions"]]]
    counts_as: str
    threshold: float = 0.0


def measures(
    statistic: Statistic, protocols: Mapping[str, str], *arguments: str
) -> dict[str, Callable[[Records], Float[np.ndarray, " repetitions"]]]:
    """The statistic for each protocol, which differ in the quantity they read.

    Args:
        statistic: of (quantity, *arguments, records).
        protocols: the quantity that each protocol reads.
        arguments: the same for all, such as the name of a part.
    """
    return {
        protocol: partial(statistic, quantity, *arguments)
        for protocol, quantity in protocols.items()
    }


@dataclass(frozen=True)
class Judgement:
    """A mean over repetitions, its 95% interval, and what follows from it.

    Args:
        measured: the mean, or None if a repetition is not finite.
        interval: Student's, or None with fewer than two repetitions.
        verdict: "holds", "does not hold" or "inconclusive".
        repetitions: how many there were.
    """

    measured: float | None
    interval: tuple[float, float] | None
    verdict: Verdict
    repetitions: int


def judge(values: Float[np.ndarray, " repetitions"], threshold: float = 0.0) -> Judgement:
    """Holds above the threshold, does not hold below it, by the whole 95% interval.

    The interval is Student's t: with two or three meta-training seeds a bootstrap would be far
    too narrow. A single repetition, or one that is not finite, is always inconclusive.

    Example:
        >>> judge(np.array([1.0, 1.2, 1.1])).verdict, judge(np.array([-1.0, 1.2])).verdict
        ('holds', 'inconclusive')
    """
    values = np.asarray(values, np.float64).ravel()
    count = len(values)
    if count == 0 or not np.isfinite(values).all():
        return Judgement(None, None, "inconclusive", count)
    mean = float(values.mean())
    if count == 1:
        return Judgement(mean, None, "inconclusive", count)
    error = float(values.std(ddof=1)) / math.sqrt(count)
    half = float(stats.t.ppf(0.5 + CONFIDENCE / 2, count - 1)) * error
    low, high = mean - half, mean + half
    verdict: Verdict = "inconclusive"
    if low > threshold:
        verdict = "holds"
    elif high < threshold:
        verdict = "does not hold"
    return Judgement(mean, (low, high), verdict, count)


def measured_claims(claim: Claim, records: Records, paper: str, scale: str) -> list[dict[str, Any]]:
    """The claim's entries for `claims.json`, one a protocol."""
    entries = []
    for protocol, measure in claim.measures.items():
        with np.errstate(divide="ignore", invalid="ignore"):
            judgement = judge(measure(records), claim.threshold)
        beyond = f"above {claim.threshold:g}"
        entries.append(
            {
                "id": f"{claim.id}/{protocol}",
                "paper": paper,
                "figure": f"figure {claim.figure}" if claim.figure[0].isdigit() else claim.figure,
                "statement": f"{claim.statement} Holds if {claim.counts_as} is {beyond}.",
                "protocol": protocol,
                "scale": f"{scale}, {judgement.repetitions} repetitions",
                "measured": judgement.measured,
                "interval": None if judgement.interval is None else list(judgement.interval),
                "verdict": judgement.verdict,
            }
        )
    return entries
