"""What a template may ask of a run, and the writing of the page."""

import functools
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from optoscope._core.arrays import read_arrays
from optoscope._core.errors import RunDirectoryError
from optoscope._core.files import read_json, write_json, write_text
from optoscope.report._claim_words import chance
from optoscope.report._claims import Claim, claims_as_json
from optoscope.report._explanation import Explanation
from optoscope.report._manifest import Manifest
from optoscope.report._mechanisms import in_words, worth_rows
from optoscope.report._reading import parsed
from optoscope.report._records import Run, read_run
from optoscope.report.papers import PAPERS, WORDS, figures_of
from optoscope.report.papers._figure import PageWords, Records, Table
from optoscope.report.results._earlier import Change, EarlierRun, changes
from optoscope.report.results._kept import keep_optimizers, meta_trained
from optoscope.report.results._over_papers import verdicts_path, write_over_papers
from optoscope.report.results._suite_page import write_suite
from optoscope.report.results._tables import change_table, revisions, table, tally, verdict_table
from optoscope.report.results._templates import rendered


@dataclass(frozen=True)
class Section:
    """A figure on the page.

    Args:
        title: the heading.
        image: the picture, relative to the page; empty where it was not drawn.
        other_image: the same picture from the run to compare with, if there is one.
        how_to_read: what its marks mean.
        what_it_does_not_show: what a reader could wrongly conclude.
        table: the verdicts of its claims; empty if it has none.
    """

    title: str
    image: str
    other_image: str
    how_to_read: str
    what_it_does_not_show: str
    table: str


@dataclass(frozen=True)
class ResultsPage:
    """What a template may ask for.

    Args:
        run: what the run directory holds.
        manifest: of the run.
        docs: the folder of the documentation, which has the pictures of an earlier run.
        earlier: verdicts of an earlier page, to say which have changed.
        beside: the claims of a run at another scale, to compare with.
    """

    run: Run
    manifest: Manifest
    docs: Path
    earlier: EarlierRun | None = None
    beside: tuple[Claim, ...] = ()

    @property
    def claims(self) -> tuple[Claim, ...]:
        """What was measured; what the scale leaves out has no verdict."""
        return tuple(claim for claim in self.run.claims if claim.measured)

    @property
    def not_measured(self) -> tuple[str, ...]:
        """The ids of the claims that the scale leaves out."""
        measured = {claim.id for claim in self.claims}
        return tuple(dict.fromkeys(c.id for c in self.run.claims if c.id not in measured))

    @property
    def command(self) -> str:
        """What was typed to make the run."""
        keys, known = [one.key for one in self.manifest.figures], PAPERS[self.manifest.paper]
        numbered = [key for key in known if key.removeprefix("app-")[0].isdigit()]
        named = {frozenset(numbered): "all", frozenset(known): "everything"}
        figures = named.get(frozenset(keys), ",".join(keys))
        letter, scale = self.manifest.letter, self.manifest.scale
        return (
            f"optoscope reproduce {letter} --figure {figures} --scale {scale} --out runs/{letter}"
        )

    @property
    def versions(self) -> str:
        """The versions that the run was made with, in a line."""
        found = self.run.config.get("versions")
        listed = found.items() if isinstance(found, Mapping) else ()
        return ", ".join(f"{name} {version}" for name, version in listed)

    @property
    def sections(self) -> tuple[Section, ...]:
        """The figures in the paper's order, each with the verdicts of its claims."""
        found = []
        for entry, figure in zip(self.manifest.figures, figures_of(self.manifest), strict=True):
            drawn = self.drawn(entry.name).is_file()
            claims = [claim for claim in self.claims if claim.id in entry.claims]
            found.append(
                Section(
                    title=entry.title,
                    image=_link(self.image(entry.name, self.manifest.scale)) if drawn else "",
                    other_image=self._other_image(entry.name),
                    how_to_read=figure.text.how_to_read,
                    what_it_does_not_show=figure.text.what_it_does_not_show,
                    table=verdict_table(claims) if claims else "",
                )
            )
        return tuple(found)

    @property
    def tally(self) -> str:
        """How many claims came out how, for each protocol."""
        return tally(self.claims)

    @property
    def chance(self) -> str:
        """How many verdicts chance alone explains, and which statistics were revised."""
        return "\n".join([chance(self.claims), *revisions(self.claims)])

    @property
    def changes(self) -> tuple[Change, ...]:
        """The claims whose verdict is another one than on the earlier page."""
        if self.earlier is None:
            return ()
        before = self.earlier.papers.get(self.manifest.letter, ())
        other = self.earlier.scale != self.manifest.scale
        return changes(before, self.run.claims, other_scale=other)

    @property
    def change_table(self) -> str:
        """The same as a table."""
        return change_table(self.changes)

    @property
    def num_before(self) -> int:
        """How many verdicts the earlier page had."""
        return len(self.earlier.papers.get(self.manifest.letter, ())) if self.earlier else 0

    @property
    def explained(self) -> tuple[str, ...]:
        """Names of the optimizers that `optoscope explain` was run on, in the run's `explain/`."""
        return tuple(sorted(path.stem for path in (self.run.directory / "explain").glob("*.json")))

    @functools.cached_property
    def words(self) -> PageWords:
        """What the page says at its head, read from those records that are there."""
        make = WORDS.get(self.manifest.paper)
        if make is None:
            return PageWords()
        folder = self.run.directory / "records"
        names = dict.fromkeys(part for figure in self.manifest.figures for part in figure.parts)
        paths = {name: folder / f"{name}.npz" for name in names}
        parts = {name: read_arrays(path) for name, path in paths.items() if path.is_file()}
        labels = self.manifest.labels
        return make(Records(parts, labels, claims=self.claims, beside=self.beside))

    @staticmethod
    def table(of: Table) -> str:
        """A table in Markdown."""
        return table(*of)

    @functools.cached_property
    def meta_trained(self) -> tuple[str, ...]:
        """The names of the parts that meta-trained an optimizer."""
        return meta_trained(self.run.directory)

    @property
    def minutes(self) -> str:
        """Minutes that their meta-training took, all added up."""
        records = self.run.directory / "records"
        parts = [read_arrays(records / f"{name}.npz") for name in self.meta_trained]
        total = sum(float(np.sum(arrays["seconds"])) for arrays in parts)
        return f"{total / 60:.0f}" if total >= 60 else "less than one"

    def explanation(self, name: str) -> str:
        """What `optoscope explain` found, from the `explain/<name>.json` in the run."""
        path = self.run.directory / "explain" / f"{name}.json"
        found = parsed(path, read_json, Explanation.from_json)
        lines = ["| " + " | ".join(row) + " |" for row in worth_rows(found)]
        head = ["| | mean loss | share of the gain, % |", "| --- | --- | --- |"]
        return "\n".join([in_words(found), "", *head, *lines])

    def drawn(self, name: str) -> Path:
        """Where the run has the picture of a figure."""
        return self.run.directory / "figures" / f"{name}.png"

    def image(self, name: str, scale: str) -> Path:
        """Where the documentation has the picture of a figure from a run of that scale."""
        return self.docs / "images" / f"{self.manifest.letter}-{scale}-{name}.png"

    @property
    def other_scale(self) -> str:
        """The scale of the run to compare with; empty if there is none, or none at another."""
        found = self.beside[0].scale if self.beside else self.earlier.scale if self.earlier else ""
        return "" if found == self.manifest.scale else found

    @property
    def beside_name(self) -> str:
        """What the verdicts of the run at another scale are kept as."""
        return f"{self.manifest.letter}-{self.beside[0].scale}" if self.beside else ""

    def _other_image(self, name: str) -> str:
        if not self.other_scale:
            return ""
        image = self.image(name, self.other_scale)
        return _link(image) if image.is_file() else ""


def write_results(
    run: str | Path,
    docs: str | Path,
    *,
    earlier: EarlierRun | None = None,
    beside: Sequence[Claim] = (),
) -> Path:
    """Writes `results/<letter>.md` and copies the run's pictures to `images/`.

    The optimizers that it meta-trained are kept in `results/<letter>/`. Its verdicts, and
    those of `beside`, are kept in `results/verdicts/`, and `results/index.md`, the page over all
    papers, is written anew from them. For a run of `optoscope suite` it writes `results/suite.md`.

    Args:
        run: the directory of a finished run of `reproduce` or `suite`.
        docs: the folder of the documentation.
        earlier: verdicts of an earlier page, to say which have changed.
        beside: the claims of a run of the same paper at another scale, to compare with.

    Returns:
        The path of the page.

    Raises:
        RunDirectoryError: it is no such run, or it has not finished.
    """
    found, docs = read_run(run), Path(docs)
    if found.suite is not None:
        return write_suite(found, found.suite, docs)
    manifest = found.manifest
    if manifest is None or manifest.paper not in PAPERS:
        raise RunDirectoryError(
            f"{run} is no run of a paper: it has no manifest.json that names one of "
            f"{', '.join(PAPERS)}, and no suite.json. Give the folder of `optoscope reproduce` or "
            "`optoscope suite`."
        )
    if not found.claims:
        raise RunDirectoryError(
            f"{run} has not finished: it has no claims.json. Call `optoscope reproduce` again "
            "with the same --out."
        )
    known = earlier if earlier is not None and manifest.letter in earlier.papers else None
    keep_optimizers(found.directory, docs / "results" / manifest.letter)
    page = ResultsPage(found, manifest, docs, known, tuple(beside))
    (docs / "images").mkdir(parents=True, exist_ok=True)
    for entry in manifest.figures:
        if page.drawn(entry.name).is_file():
            shutil.copyfile(page.drawn(entry.name), page.image(entry.name, manifest.scale))
    path = docs / "results" / f"{manifest.letter}.md"
    names = [f"papers/{manifest.paper}/results.md.jinja", "results/page.md.jinja"]
    write_text(path, rendered(names, page))
    verdicts_path(docs, manifest.letter).parent.mkdir(exist_ok=True)
    for name, claims in ((manifest.letter, found.claims), (page.beside_name, page.beside)):
        if claims:
            write_json(verdicts_path(docs, name), claims_as_json(claims))
    write_over_papers(docs)
    return path


def _link(image: Path) -> str:
    """From a page to a picture."""
    return f"../images/{image.name}"
