"""Everything that a run prints about claims, checked for false certainty."""

import html
import math
import re
from pathlib import Path

from optoscope.report import read_claims

_ENDS = re.compile(r"\[(-?[0-9][^\s,\]]*), (-?[0-9][^\s,\]]*)\]")


def printed_intervals(text: str) -> list[tuple[str, str]]:
    """All that looks like "[low, high]" in a text."""
    return _ENDS.findall(html.unescape(text))


def check_verdicts(directory: Path) -> None:
    """Asserts that every verdict has a ground, and that no printed interval has no width."""
    for claim in read_claims(directory / "claims.json"):
        estimate = claim.estimate
        if claim.verdict != "inconclusive":
            assert claim.chosen or estimate.low < estimate.high, claim.id
            assert estimate.count > 0, claim.id
        if len(set(claim.repetitions)) == 1 and estimate.method.startswith("mean"):
            assert claim.chosen or claim.verdict == "inconclusive", claim.id
        assert math.isnan(estimate.low) or estimate.low < estimate.high, claim.id
    # The configuration at the end may hold pairs of its own.
    page, _, _ = (directory / "index.html").read_text().partition('<section id="configuration">')
    for low, high in printed_intervals(page):
        assert low != high, f"[{low}, {high}]"
