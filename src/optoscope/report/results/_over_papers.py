"""The page over all papers: what learned optimizers do, and which findings a null takes away."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from optoscope._core.files import write_text
from optoscope.report._claim_words import claim_number
from optoscope.report._claims import Claim, read_claims
from optoscope.report.papers import STATEMENTS
from optoscope.report.papers._statements import TOPICS, sentence
from optoscope.report.results._tables import MARKS, table
from optoscope.report.results._templates import rendered

# A run at this scale is about no optimizer that was meta-trained long enough to speak of.
_WIRING = "smoke"


@dataclass(frozen=True)
class Topic:
    """A question, and what the papers' statements about it came to.

    Args:
        question: the heading.
        answers: one sentence a statement, each with its paper.
    """

    question: str
    answers: tuple[str, ...]


@dataclass(frozen=True)
class OverPapers:
    """What the template may ask for.

    Args:
        claims: what was measured, by the papers' letters.
    """

    claims: Mapping[str, Sequence[Claim]]

    @property
    def told(self) -> dict[str, str]:
        """The scale of each paper that the page speaks of."""
        scales = {letter: found[0].scale for letter, found in self.claims.items() if found}
        return {letter: scale for letter, scale in scales.items() if scale != _WIRING}

    @property
    def left_out(self) -> tuple[str, ...]:
        """Papers whose page is made from a run that only shows that everything works."""
        return tuple(letter for letter in self.claims if letter not in self.told)

    @property
    def topics(self) -> tuple[Topic, ...]:
        """The questions of which something was measured, in order."""
        found: dict[str, list[str]] = {topic: [] for topic in TOPICS}
        for letter in self.told:
            for statement in STATEMENTS.get(letter, ()):
                if words := sentence(statement, self.claims[letter]):
                    found[statement.topic].append(f"[{letter}]({letter}.md). {words}")
        return tuple(
            Topic(TOPICS[topic], tuple(answers)) for topic, answers in found.items() if answers
        )

    @property
    def taken_away(self) -> str:
        """The claims that hold by their paper's own reading and not by the corrected one."""
        return self._held_by_one("paper")

    @property
    def added(self) -> str:
        """The claims that hold by the corrected reading and not by their paper's own."""
        return self._held_by_one("corrected")

    def _held_by_one(self, reading: str) -> str:
        """A table of the claims that have both readings and hold by this one alone."""
        rows = []
        for letter in self.told:
            known = {(one.id, one.protocol): one for one in self.claims[letter] if one.measured}
            for name in dict.fromkeys(name for name, _ in known):
                readings = [known.get((name, protocol)) for protocol in ("paper", "corrected")]
                both = [one for one in readings if one is not None]
                holding = [one.protocol for one in both if one.verdict == "holds"]
                if len(both) == 2 and holding == [reading] and not any(map(_was_single, both)):
                    words = (
                        f"{both[0].statement}<br><small>[{letter}]({letter}.md) `{name}`</small>"
                    )
                    rows.append([words, *map(_cell, both)])
        return table(["claim", "as the paper measures it", "corrected"], rows) if rows else ""


def _was_single(claim: Claim) -> bool:
    """Whether nothing was decided for want of a second repetition alone."""
    return claim.verdict == "inconclusive" and claim.estimate.known and claim.estimate.count == 1


def _cell(claim: Claim) -> str:
    return f"{MARKS[claim.verdict]}<br>{claim_number(claim)}<br><small>{claim.quantity}</small>"


def verdicts_path(docs: Path, name: str) -> Path:
    """Where the documentation keeps the verdicts that a paper's page was made from.

    Args:
        docs: the folder of the documentation.
        name: the paper's letter, with the scale behind it for a run that stands beside it.
    """
    return docs / "results" / "verdicts" / f"{name}.json"


def write_over_papers(docs: str | Path) -> Path:
    """Writes `results/index.md` from the verdicts that the documentation keeps.

    Args:
        docs: the folder of the documentation.

    Returns:
        The path of the page.

    Raises:
        RunDirectoryError: verdicts are damaged.
    """
    docs = Path(docs)
    paths = {letter: verdicts_path(docs, letter) for letter in STATEMENTS}
    found = {letter: read_claims(path) for letter, path in paths.items() if path.is_file()}
    path = docs / "results" / "index.md"
    write_text(path, rendered(["results/index.md.jinja"], OverPapers(found)))
    return path
