"""Claims and what was measured of them, in words."""

from collections.abc import Mapping, Sequence

from optoscope._core.criteria import Verdict, expected_false_holds
from optoscope.report._claims import Claim
from optoscope.report._summary import format_interval, format_number

# Before or in the place of a verdict.
SIGNS: Mapping[Verdict, str] = {"holds": "✓", "does not hold": "✗", "inconclusive": "?"}
# After a claim whose way of measuring was revised.
REVISED = "†"


def claim_number(claim: Claim) -> str:
    """The measured value with its interval and unit.

    Without an interval for units that were chosen, but with how many of them meet the criterion.
    """
    estimate = claim.estimate
    if not estimate.known:
        return "not measurable" if claim.measured else "–"
    text = format_number(estimate.value)
    if estimate.has_ends:
        text += f" {format_interval(estimate.low, estimate.high)}"
    if claim.unit:
        text += f" {claim.unit}"
    if claim.chosen:
        text += f"; {claim.num_met} of {estimate.count} {claim.criterion}"
    return text


def claim_test(claim: Claim) -> str:
    """When the claim holds, as the end of a sentence: "the share of … is below 0.1"."""
    every = f" for every {claim.repeated_over} that was chosen" if claim.chosen else ""
    unit = f" {claim.unit}" if claim.unit not in ("", "share", "factor") else ""
    return f"{claim.quantity} is {claim.criterion}{unit}{every}"


def claim_basis(claim: Claim) -> str:
    """The basis of the number: how many repetitions, of what, and the method."""
    count = claim.estimate.count
    plural = "" if count == 1 else "es" if claim.repeated_over.endswith("x") else "s"
    return f"{count} {claim.repeated_over}{plural}; {claim.estimate.method}"


def chance(claims: Sequence[Claim]) -> str:
    """How many verdicts chance alone explains, and which statistics were revised, in words."""
    judged = [claim for claim in claims if claim.estimate.has_ends and not claim.chosen]
    if not judged:
        return ""
    hold = sum(claim.verdict == "holds" for claim in judged)
    most = expected_false_holds(len(judged))
    if len(judged) == 1:
        words = (
            "One of these verdicts rests on a 95% interval. If its statement were not true, it "
            "would still hold, by chance, in up to 2.5% of cases."
        )
    else:
        words = (
            f"{len(judged)} of these verdicts rest on a 95% interval, and {hold} of them "
            f"hold{'s' if hold == 1 else ''}. If none of those statements were true, up to "
            f"{most:.1f} would be expected to hold by chance (2.5% each)."
        )
    revised = sum(claim.measured and bool(claim.revised) for claim in claims)
    if revised:
        are = "is" if revised == 1 else "are"
        words += (
            f" {revised} {are} marked {REVISED}: how it is measured was revised after a first look "
            "at results, so that the error rate is not known."
        )
    return words
