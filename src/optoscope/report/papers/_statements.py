"""What a paper says, with what was measured of it, as one sentence a statement."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from optoscope._core.criteria import Verdict
from optoscope.report._claims import Claim
from optoscope.report._summary import format_number
from optoscope.report.papers._figure import PageWords, Records

# The readings of a claim, the first that there is counts.
_PROTOCOLS = ("corrected", "released", "paper")
_TALLIES: Mapping[Verdict, str] = {
    "holds": "holds",
    "does not hold": "does not hold",
    "inconclusive": "is undecided",
}

# What statements of several papers are about, in the order in which one would ask.
TOPICS: Mapping[str, str] = {
    "better": "Are they better than tuned hand-designed optimizers?",
    "adaptation": "Do they adapt, clip and follow a schedule of their own?",
    "momentum": "What do they remember?",
    "symmetry": "Do they leave the symmetries that gradients keep?",
    "noise": "What is the noise of their updates?",
    "lasting": "Do they last longer than they were trained for?",
    "meta-training": "What makes meta-training work?",
}


@dataclass(frozen=True)
class Statement:
    """A statement of a paper, and the claims that measure it, here and there.

    Args:
        words: the statement, without a full stop.
        quantity: what the numbers after it are.
        claims: ids of claims by the place that they speak of ("the CNN"); empty for a statement
            that speaks of no place. Of several ids of a place the least number is shown, and it
            takes all of them to hold.
        topic: what it is about, of `TOPICS`.
        form: how a number is written, if not as everywhere.
        protocol: the reading that is shown; if it is empty, "corrected" where there is one.
    """

    words: str
    quantity: str
    claims: Mapping[str, Sequence[str]]
    topic: str
    form: Callable[[float], str] = format_number
    protocol: str = ""


def told(statements: Iterable[Statement]) -> Callable[[Records], PageWords]:
    """The words of a page: the statements of which something was measured."""

    def words(records: Records) -> PageWords:
        return PageWords(
            tuple(text for one in statements if (text := sentence(one, records.claims)))
        )

    return words


def sentence(statement: Statement, claims: Sequence[Claim]) -> str:
    """One statement in words: where it holds, and the numbers with their intervals.

    Returns:
        The sentence in Markdown; empty if nothing of it was measured.
    """
    found = {
        place: [claim for name in ids if (claim := preferred(claims, name, statement.protocol))]
        for place, ids in statement.claims.items()
    }
    measured = {place: those for place, those in found.items() if those}
    if not measured:
        return ""
    numbers = ", ".join(
        _number(min(those, key=lambda claim: claim.estimate.value), statement.form)
        + (f" ({place})" if place else "")
        for place, those in measured.items()
    )
    where = _tally({place: _joint(those) for place, those in measured.items()})
    return f"**{statement.words}**: {where}. {statement.quantity}: {numbers}."


def preferred(claims: Sequence[Claim], name: str, protocol: str = "") -> Claim | None:
    """The claim of that id by the reading that counts, if it was measured and is a number.

    Args:
        claims: to look in.
        name: the id.
        protocol: the reading that is asked for; else "corrected", where there is one.
    """
    known = {
        claim.protocol: claim
        for claim in claims
        if claim.id == name and claim.measured and claim.estimate.known
    }
    return next((known[one] for one in (protocol, *_PROTOCOLS) if one in known), None)


def percent(share: float) -> str:
    """A share as a percentage, with a decimal where it is small.

    >>> percent(0.853), percent(0.0123), percent(-0.46)
    ('85%', '1.2%', '-46%')
    """
    return f"{100 * share:.0f}%" if abs(share) >= 0.095 else f"{100 * share:.1f}%"


def times(factor: float) -> str:
    """A factor.

    >>> times(0.01234), times(12.0)
    ('0.0123×', '12×')
    """
    return f"{factor:.3g}×"


def percent_below(decades: float) -> str:
    """A ratio in decades as how far the one lies below the other.

    >>> percent_below(0.0969), percent_below(-0.0414)
    ('20%', '-10%')
    """
    return percent(1 - 10**-decades)


def _joint(claims: Sequence[Claim]) -> Verdict:
    verdicts = {claim.verdict for claim in claims}
    if verdicts == {"holds"}:
        return "holds"
    return "does not hold" if "does not hold" in verdicts else "inconclusive"


def _tally(verdicts: Mapping[str, Verdict]) -> str:
    """Where it holds, where it does not, and where it is undecided."""
    parts = []
    for verdict, words in _TALLIES.items():
        places = [place for place, one in verdicts.items() if one == verdict]
        if places:
            listed = " and ".join(filter(None, [", ".join(places[:-1]), places[-1]]))
            parts.append(f"{words} on {listed}" if listed else words)
    return ", ".join(parts)


def _number(claim: Claim, form: Callable[[float], str]) -> str:
    estimate = claim.estimate
    text = form(estimate.value)
    if estimate.has_ends:
        text += f" [{form(estimate.low)}, {form(estimate.high)}]"
    return text
