"""Verdicts of an earlier page, and which of them have changed since, and why."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from optoscope._core.criteria import Verdict
from optoscope._core.errors import FileFormatError
from optoscope._core.files import read_json
from optoscope.report._checks import as_format, as_mapping, as_number, as_sequence, as_text
from optoscope.report._claims import Claim
from optoscope.report._reading import parsed

EARLIER_FORMAT = "optoscope/earlier-verdicts"
EARLIER_VERSION = 1


@dataclass(frozen=True)
class EarlierVerdict:
    """What an earlier page said of a claim, with the numbers as they were printed.

    Args:
        id: of the claim.
        protocol: whose way of measuring it is.
        verdict: what was concluded.
        value: what was measured; in the unit that the claim had then.
        low: lower end of its interval.
        high: upper end.
    """

    id: str
    protocol: str
    verdict: str
    value: float
    low: float
    high: float

    @property
    def without_spread(self) -> bool:
        """Whether the verdict rests on an interval of zero width: all repetitions were equal."""
        return self.low == self.high


@dataclass(frozen=True)
class EarlierRun:
    """The verdicts of earlier pages, all from runs of one scale.

    Args:
        scale: its name.
        date: when the runs were made.
        papers: by letter.
    """

    scale: str
    date: str
    papers: Mapping[str, tuple[EarlierVerdict, ...]]


@dataclass(frozen=True)
class Change:
    """A claim whose verdict is another one than before.

    Args:
        before: what was said.
        after: what is said now; None where the claim is no longer measured.
        reasons: why the two may differ; only the first is sure to have changed the verdict by
            itself if `by_rule_alone`.
        by_rule_alone: whether the same numbers would not be judged so today.
    """

    before: EarlierVerdict
    after: Claim | None
    reasons: tuple[str, ...]
    by_rule_alone: bool


def read_earlier(path: str | Path) -> EarlierRun:
    """The verdicts of earlier pages.

    Raises:
        RunDirectoryError: the file cannot be read, or holds something else.
    """
    return parsed(Path(path), read_json, _earlier)


def changes(
    before: Sequence[EarlierVerdict], after: Sequence[Claim], *, other_scale: bool
) -> tuple[Change, ...]:
    """The claims whose verdicts changed, in the order of the earlier page.

    Args:
        before: the verdicts of the earlier page.
        after: the claims as they are now, also those that the scale leaves out.
        other_scale: whether the two were measured at different scales.
    """
    now = {(claim.id, claim.protocol): claim for claim in after if claim.measured}
    found = []
    for one in before:
        claim = now.get((one.id, one.protocol))
        if claim is None or claim.verdict != one.verdict:
            by_rule = one.without_spread and one.verdict != "inconclusive"
            reasons = _reasons(one, claim, other_scale=other_scale)
            found.append(Change(one, claim, reasons, by_rule))
    return tuple(found)


def _reasons(before: EarlierVerdict, after: Claim | None, *, other_scale: bool) -> tuple[str, ...]:
    found = ["equal values give no interval"] if before.without_spread else []
    if after is None:
        return (*found, "not measured at this scale")
    found.append(_rule(after))
    if after.revised:
        found.append("how it is measured was revised")
    if other_scale:
        found.append("other scale")
    return tuple(dict.fromkeys(found))


def _rule(claim: Claim) -> str:
    """The rule of today, not there before, that may have made the verdict."""
    if claim.chosen:
        return "units that were chosen get no interval: every one must meet the criterion"
    if "binomial" in claim.estimate.method:
        return "a share is judged as a proportion of runs"
    if claim.verdict != "inconclusive":
        return "other numbers"
    if claim.estimate.has_ends:
        return f"wider interval for {claim.estimate.count} repetitions"
    if claim.estimate.known and claim.estimate.count > 1:
        return "equal values give no interval"
    return f"no interval ({claim.estimate.method})"


def _earlier(value: Any) -> EarlierRun:
    fields = as_format(value, EARLIER_FORMAT, EARLIER_VERSION)
    papers = as_mapping(fields.get("papers"), "'papers'")
    return EarlierRun(
        scale=as_text(fields.get("scale"), "'scale'"),
        date=as_text(fields.get("date"), "'date'"),
        papers={
            letter: tuple(_verdict(one) for one in as_sequence(verdicts, repr(letter)))
            for letter, verdicts in papers.items()
        },
    )


def _verdict(value: Any) -> EarlierVerdict:
    fields = as_mapping(value, "a verdict")
    texts = {word: as_text(fields.get(word), repr(word)) for word in ("id", "protocol", "verdict")}
    if texts["verdict"] not in get_args(Verdict):
        raise FileFormatError(f"the verdict of {texts['id']} is {texts['verdict']!r}")
    value, low, high = (
        as_number(fields.get(word), repr(word)) for word in ("value", "low", "high")
    )
    return EarlierVerdict(**texts, value=value, low=low, high=high)
