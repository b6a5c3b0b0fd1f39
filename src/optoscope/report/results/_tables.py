"""Claims as tables in Markdown."""

from collections.abc import Sequence

from optoscope.report._claim_words import REVISED, SIGNS, claim_basis, claim_number, claim_test
from optoscope.report._claims import Claim
from optoscope.report._summary import format_interval, format_number
from optoscope.report.results._earlier import Change, EarlierVerdict

MARKS = {verdict: f"{sign} {verdict}" for verdict, sign in SIGNS.items()}


def verdict_table(claims: Sequence[Claim]) -> str:
    """A row a statement, a column a protocol."""
    protocols = list(dict.fromkeys(claim.protocol for claim in claims))
    statements: dict[str, list[Claim]] = {}
    for claim in claims:
        statements.setdefault(claim.id, []).append(claim)
    rows = []
    for name, found in statements.items():
        cells = {claim.protocol: _cell(claim) for claim in found}
        words = f"{found[0].statement}<br><small>`{name}`: {_tests(found)}</small>"
        rows.append([words, *(cells.get(protocol, "") for protocol in protocols)])
    return table(["claim", *protocols], rows)


def tally(claims: Sequence[Claim]) -> str:
    """How many claims came out how, for each protocol."""
    rows = []
    for protocol in dict.fromkeys(claim.protocol for claim in claims):
        verdicts = [claim.verdict for claim in claims if claim.protocol == protocol]
        rows.append([protocol, *(str(verdicts.count(verdict)) for verdict in MARKS)])
    return table(["protocol", *MARKS], rows)


def revisions(claims: Sequence[Claim]) -> list[str]:
    """Why statistics were revised after a first look, as lines of a list."""
    lines = [
        f"- {REVISED} {one.id} ({one.protocol}): {one.revised}" for one in claims if one.revised
    ]
    return ["", *lines] if lines else []


def change_table(changes: Sequence[Change]) -> str:
    """A row a claim whose verdict changed: what it was, what it is, and why."""
    rows = []
    for change in changes:
        before, after = change.before, change.after
        now = (
            "not measured" if after is None else f"{MARKS[after.verdict]}<br>{claim_number(after)}"
        )
        first, *others = change.reasons
        why = "; ".join([f"**{first}**" if change.by_rule_alone else first, *others])
        rows.append([f"`{before.id}` ({before.protocol})", _before(before), now, why])
    return table(["claim", "before", "now", "why"], rows)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown; what would end a cell is escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines
    )


def _cell(claim: Claim) -> str:
    mark = MARKS[claim.verdict] + (f" {REVISED}" if claim.revised else "")
    return f"{mark}<br>{claim_number(claim)}<br><small>{claim_basis(claim)}</small>"


def _tests(claims: Sequence[Claim]) -> str:
    """When the statement holds, for each protocol where they differ."""
    tests: dict[str, list[str]] = {}
    for claim in claims:
        tests.setdefault(claim_test(claim), []).append(claim.protocol)
    if len(tests) == 1:
        return f"holds if {next(iter(tests))}."
    return " ".join(f"{', '.join(read)}: holds if {test}." for test, read in tests.items())


def _before(one: EarlierVerdict) -> str:
    ends = ", without spread" if one.without_spread else f" {format_interval(one.low, one.high)}"
    return f"{MARKS[one.verdict]}<br>{format_number(one.value)}{ends}"
