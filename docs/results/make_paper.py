"""Writes a paper's results page and its figures from a finished run of `optoscope reproduce`.

    python docs/results/make_paper.py A RUN

The words are `A.md.jinja`; every number in them is looked up in the run's `claims.json` or its
records, so that a page cannot say what was not measured.
"""

import json
import shutil
import sys
from pathlib import Path

import jinja2
import numpy as np

from optoscope import report

HERE = Path(__file__).parent
IMAGES = HERE.parent / "images"
_MARKS = {"holds": "✓ holds", "does not hold": "✗ does not hold", "inconclusive": "? inconclusive"}


class Page:
    """What a template may ask for.

    Args:
        letter: of the paper.
        run: the run directory.
    """

    def __init__(self, letter: str, run: Path):
        self.letter, self.run = letter, run
        # What the scale leaves out has no verdict.
        self.claims = [one for one in report.read_claims(run / "claims.json") if one.measured]

    def claim(self, name: str) -> str:
        """ "0.31 [0.2, 0.42], holds" for the claim called `<id>/<protocol>`."""
        (found,) = (one for one in self.claims if f"{one.id}/{one.protocol}" == name)
        return f"{report.claim_number(found)}, {found.verdict}"

    def verdicts(self, figure: str) -> str:
        """The table of all claims of a figure, a column a protocol."""
        name = f"figure {figure}" if figure[0].isdigit() else figure
        claims = [claim for claim in self.claims if claim.figure == name]
        protocols = list(dict.fromkeys(claim.protocol for claim in claims))
        rows: dict[str, list[report.Claim]] = {}
        for claim in claims:
            rows.setdefault(claim.statement, []).append(claim)
        lines = ["| claim | " + " | ".join(protocols) + " |", "|" + " --- |" * (len(protocols) + 1)]
        for statement, found in rows.items():
            cells = {claim.protocol: _cell(claim) for claim in found}
            tests: dict[str, list[str]] = {}
            for claim in found:
                tests.setdefault(report.claim_test(claim), []).append(claim.protocol)
            how = " ".join(
                f"{', '.join(read)}: holds if {test}." if len(tests) > 1 else f"Holds if {test}."
                for test, read in tests.items()
            )
            words = f"{statement}<br><small>{how}</small>".replace("|", r"\|")
            lines.append(f"| {words} | " + " | ".join(cells.get(p, "") for p in protocols) + " |")
        return "\n".join(lines)

    def chance(self) -> str:
        """How many verdicts chance alone explains, and which statistics were revised."""
        revised = [one for one in self.claims if one.revised]
        lines = [f"- † {one.id} ({one.protocol}): {one.revised}" for one in revised]
        return "\n".join([report.chance(self.claims), *([""] if lines else []), *lines])

    def tally(self) -> str:
        """How many claims came out how, for each protocol."""
        lines = ["| protocol | holds | does not hold | inconclusive |", "|" + " --- |" * 4]
        for protocol in dict.fromkeys(claim.protocol for claim in self.claims):
            verdicts = [c.verdict for c in self.claims if c.protocol == protocol]
            counts = [str(verdicts.count(verdict)) for verdict in _MARKS]
            lines.append(f"| {protocol} | " + " | ".join(counts) + " |")
        return "\n".join(lines)

    def figure(self, name: str, words: str) -> str:
        """The figure, copied beside the page."""
        image = f"{self.letter}-{name}.png"
        IMAGES.mkdir(exist_ok=True)
        shutil.copy(self.run / "figures" / f"{name}.png", IMAGES / image)
        return f"![{words}](../images/{image})"

    def mean(self, part: str, array: str, digits: int = 3, column: int | None = None) -> str:
        """The mean over everything of an array of a part, or of one column of its sizes."""
        with np.load(self.run / "records" / f"{part}.npz", allow_pickle=False) as arrays:
            values = arrays[array] if column is None else np.abs(arrays[array][..., column])
            return f"{np.nanmean(values):.{digits}g}"

    def percent(self, part: str, array: str) -> str:
        """The mean of an array of shares, in percent."""
        return f"{100 * float(self.mean(part, array)):.0f}%"

    def count(self, part: str, array: str) -> int:
        """How many entries an array of a part has."""
        with np.load(self.run / "records" / f"{part}.npz", allow_pickle=False) as arrays:
            return int(arrays[array].size)

    def diverged(self, optimizer: str) -> str:
        """How many runs of an optimizer diverged, of all on the parts `unseen-…`."""
        runs = []
        for part in sorted((self.run / "records").glob("unseen-*.npz")):
            with np.load(part, allow_pickle=False) as arrays:
                runs.append(arrays[f"{optimizer}/diverged"].ravel())
        found = np.concatenate(runs)
        return f"{found.sum()} of {found.size}"

    def explanation(self, name: str) -> str:
        """What `optoscope explain NAME` found, from its explanation.json in the run's explain/."""
        path = self.run / "explain" / f"{name}.json"
        found = report.Explanation.from_json(json.loads(path.read_text(encoding="utf-8")))
        lines = ["| " + " | ".join(row) + " |" for row in report.worth_rows(found)]
        head = ["| | mean loss | share of the gain, % |", "| --- | --- | --- |"]
        return "\n".join([report.in_words(found), "", *head, *lines])

    def minutes(self, prefix: str) -> str:
        """Minutes that the parts of that prefix spent computing, all added up."""
        total = 0.0
        for part in (self.run / "records").glob(f"{prefix}*.npz"):
            with np.load(part, allow_pickle=False) as arrays:
                total += float(arrays["seconds"])
        return f"{total / 60:.0f}"


def _cell(claim: report.Claim) -> str:
    mark = _MARKS[claim.verdict] + (" †" if claim.revised else "")
    return f"{mark}<br>{report.claim_number(claim)}<br><small>{report.claim_basis(claim)}</small>"


def main(letter: str, run: Path) -> None:
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        keep_trailing_newline=True, autoescape=False,
    )  # fmt: skip
    template = (HERE / f"{letter}.md.jinja").read_text(encoding="utf-8")
    page = environment.from_string(template).render(page=Page(letter, run))
    (HERE / f"{letter}.md").write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
