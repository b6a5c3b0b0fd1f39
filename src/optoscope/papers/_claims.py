"""Claims of a paper as data, and the verdicts on them from measurements."""

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Bool, Float

from optoscope._core.criteria import Criterion, Verdict
from optoscope._core.errors import InvalidValueError
from optoscope._core.estimates import Estimate
from optoscope._core.inference import (
    every,
    geometric_mean,
    mean,
    mean_correlation,
    mean_share,
    proportion,
)
from optoscope.papers._parts import Arrays
from optoscope.report import Claim as MeasuredClaim

Records = Mapping[str, Arrays]
Repetitions = (
    Float[np.ndarray, " repetitions"]
    | Bool[np.ndarray, " repetitions"]
    | Bool[np.ndarray, "groups members"]
)
Statistic = Callable[..., Repetitions]

META_SEED = "meta-seed"
RUN = "run"


@dataclass(frozen=True)
class Reading:
    """One way of measuring a claim.

    Args:
        statistic: of the records: the quantity in its own unit, one number per repetition;
            booleans where the quantity is the share of repetitions in which something happens,
            with two axes (groups, members) where repetitions come in groups, such as the runs
            of each meta-seed.
        quantity: what it is, in words.
        unit: of the quantity, such as "decades", "share" or "factor"; empty for a plain number.
        criterion: where the quantity is to lie if the statement is true.
        over: what a repetition is: "meta-seed", "run", "problem", "task" and so on. They, or
            their groups, are to be independent of each other.
        chosen: whether somebody chose the repetitions (momenta, networks). They stand for no
            others, get no interval, and the claim holds if every one meets the criterion.
        logarithmic: whether the geometric mean is judged: for ratios, and for what spans decades.
        signed: whether the quantity can have either sign, so that its mean gets Student's interval
            alone; if not given, what is in decades or is compared with zero can.
        correlation: whether the quantity is a correlation, which lies from -1 to 1.
        revised: why and how this reading was changed after a first look at results.
    """

    statistic: partial[Repetitions]
    quantity: str
    unit: str
    criterion: Criterion
    over: str = META_SEED
    chosen: bool = False
    logarithmic: bool = False
    signed: bool | None = None
    correlation: bool = False
    revised: str = ""

    @property
    def can_have_either_sign(self) -> bool:
        """Whether the quantity can: said by `signed`, or by its unit and what it is compared with.

        Example:
            >>> from optoscope._core.criteria import above
            >>> Reading(partial(abs), "", "decades", above(0.5)).can_have_either_sign
            True
        """
        if self.signed is not None:
            return self.signed
        return self.unit == "decades" or self.criterion.bound == 0

    @property
    def is_share(self) -> bool:
        """Whether the quantity is a share of a whole, so that its mean lies between 0 and 1.

        Example:
            >>> from optoscope._core.criteria import above
            >>> [Reading(partial(abs), "", "share", above(b)).is_share for b in (0.5, 0.0)]
            [True, False]
        """
        return self.unit == "share" and not self.can_have_either_sign

    def __post_init__(self):
        if self.criterion.relation == "within a factor of" and not self.logarithmic:
            raise InvalidValueError(
                f"{self.quantity!r} is to lie {self.criterion}, which is said of ratios; set "
                "logarithmic=True."
            )


@dataclass(frozen=True)
class Claim:
    """A checkable statement of a paper. It is written down before anything is measured.

    Args:
        id: unique, and stable between versions.
        figure: the figure (a key of the paper's `FIGURES`) whose parts it is measured from.
        statement: what the paper says.
        readings: for each protocol ("paper", "released", "corrected") how it is measured.
        only_with: the part without which there is nothing to judge; where the figure has no such
            part, by its scale or for want of somebody's files, the claim is left out.
    """

    id: str
    figure: str
    statement: str
    readings: Mapping[str, Reading]
    only_with: str = ""

    def is_judged(self, parts: Container[str]) -> bool:
        """Whether it is, where its figure has these parts."""
        return not self.only_with or self.only_with in parts


def readings(
    statistic: Statistic,
    protocols: Mapping[str, str],
    *arguments: object,
    quantity: str,
    criterion: Criterion,
    unit: str = "",
    over: str = META_SEED,
    chosen: bool = False,
    logarithmic: bool = False,
    signed: bool | None = None,
    correlation: bool = False,
    revised: str = "",
) -> dict[str, Reading]:
    """One statistic by several protocols, which differ in the array that they read.

    Protocols that differ in more are put together: `readings(…) | readings(…)`.

    Args:
        statistic: of (what the protocol reads, *arguments, records).
        protocols: for each protocol what it reads.
        arguments: the same for all, such as the name of a part.
        quantity: as in `Reading`, like all that follows.
        criterion: see there.
        unit: see there.
        over: see there.
        chosen: see there.
        logarithmic: see there.
        signed: see there.
        correlation: see there.
        revised: see there.
    """
    return {
        protocol: Reading(
            partial(statistic, read, *arguments),
            quantity,
            unit,
            criterion,
            over,
            chosen,
            logarithmic,
            signed,
            correlation,
            revised,
        )
        for protocol, read in protocols.items()
    }


def judge(values: Repetitions, reading: Reading) -> tuple[Estimate, Verdict]:
    """The estimate of a reading's quantity from its repetitions, and what follows from it."""
    values = np.asarray(values)
    numbers = values.ravel().astype(np.float64)
    if reading.chosen:
        return every(numbers), reading.criterion.verdict_of_every(numbers)
    if values.dtype == bool:
        estimate = proportion(values)
    elif reading.logarithmic:
        estimate = geometric_mean(numbers)
    elif reading.correlation and (np.abs(numbers) <= 1).all():
        estimate = mean_correlation(numbers)
    elif reading.is_share and ((numbers >= 0) & (numbers <= 1)).all():
        estimate = mean_share(numbers)
    else:
        estimate = mean(numbers, signed=reading.can_have_either_sign)
    return estimate, reading.criterion.verdict(estimate)


def measured_claims(
    claim: Claim, records: Records, paper: str, scale: str
) -> tuple[MeasuredClaim, ...]:
    """The claim's entries for `claims.json`, one per protocol."""
    entries = []
    for protocol, reading in claim.readings.items():
        with np.errstate(divide="ignore", invalid="ignore"):
            values = np.asarray(reading.statistic(records))
            estimate, verdict = judge(values, reading)
        entries.append(
            MeasuredClaim(
                id=claim.id,
                paper=paper,
                figure=f"figure {claim.figure}" if claim.figure[0].isdigit() else claim.figure,
                statement=claim.statement,
                protocol=protocol,
                scale=scale,
                quantity=reading.quantity,
                unit=reading.unit,
                criterion=reading.criterion,
                repeated_over=reading.over,
                chosen=reading.chosen,
                repetitions=tuple(float(value) for value in values.ravel()),
                estimate=estimate,
                verdict=verdict,
                revised=reading.revised,
            )
        )
    return tuple(entries)
