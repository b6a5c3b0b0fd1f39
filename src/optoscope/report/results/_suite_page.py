"""The page of a suite in the documentation."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optoscope._core.files import write_text
from optoscope._core.own_code import argument_words
from optoscope.report._records import Run
from optoscope.report._suite import SuiteRecord
from optoscope.report._suite_figures import SUITE_FIGURES
from optoscope.report._suite_words import (
    against_table,
    loss_table,
    ratio_table,
    score_table,
    suite_sentence,
    trial_table,
    validation_table,
)
from optoscope.report.results._tables import table
from optoscope.report.results._templates import rendered

Table = tuple[list[str], list[list[str]]]


@dataclass(frozen=True)
class SuiteFigure:
    """A figure of the page: its heading, its picture relative to the page, and its words."""

    title: str
    image: str
    how_to_read: str
    what_it_does_not_show: str


@dataclass(frozen=True)
class SuitePage:
    """What the template may ask for.

    Args:
        run: what the run directory holds.
        record: its suite.
    """

    run: Run
    record: SuiteRecord

    @property
    def sentence(self) -> str:
        """The first by each score."""
        return suite_sentence(self.record)

    @property
    def command(self) -> str:
        """What was typed to make the run."""
        given = self.run.config.get("arguments")
        arguments: Mapping[str, Any] = given if isinstance(given, Mapping) else {}
        words = ["optoscope", "suite", str(arguments.get("suite", "small"))]
        for name in ("optimizers", "against", "untuned", "tasks"):
            if arguments.get(name):
                words += argument_words(name, arguments[name])
        if arguments.get("tuned") is False:
            words.append("--no-tuned")
        if arguments.get("set"):
            words += argument_words("set", arguments["set"])
        record = self.record
        words += ["--steps", str(record.num_steps), "--runs", str(record.num_runs)]
        words += ["--rates", str(record.num_trials), "--out", "runs/suite"]
        return " ".join(words)

    @property
    def versions(self) -> str:
        """The versions that the run was made with, in a line."""
        found = self.run.config.get("versions")
        listed = found.items() if isinstance(found, Mapping) else ()
        return ", ".join(f"{name} {version}" for name, version in listed)

    @property
    def tasks(self) -> tuple[tuple[str, str], ...]:
        """Each task with its description."""
        return tuple((name, self.record.descriptions.get(name, "")) for name in self.record.tasks)

    @property
    def scores(self) -> Table:
        """Everyone by each score, the best first."""
        return score_table(self.record)

    @property
    def losses(self) -> Table:
        """The final losses."""
        return loss_table(self.record)

    @property
    def validation(self) -> Table:
        """The validation losses."""
        return validation_table(self.record)

    @property
    def ratios(self) -> Table:
        """Losses relative to the reference's."""
        return ratio_table(self.record)

    @property
    def against(self) -> Table:
        """Losses of who was given, relative to everyone else's."""
        return against_table(self.record)

    @property
    def trials(self) -> Table:
        """The trials and what a step takes."""
        return trial_table(self.record)

    @property
    def figures(self) -> tuple[SuiteFigure, ...]:
        """The figures with their words."""
        found = []
        for kind in SUITE_FIGURES:
            drawn = (self.run.directory / "figures" / f"{kind.name}.png").is_file()
            image = f"../images/{_image(kind.name)}" if drawn else ""
            text = kind.text
            found.append(
                SuiteFigure(text.title, image, text.how_to_read, text.what_it_does_not_show)
            )
        return tuple(found)

    @staticmethod
    def table(of: Table) -> str:
        """A table in Markdown."""
        return table(*of)


def _image(name: str) -> str:
    return f"{name.replace('_', '-')}.png"


def write_suite(run: Run, record: SuiteRecord, docs: Path) -> Path:
    """Writes `results/suite.md` and copies the pictures to `images/`."""
    (docs / "images").mkdir(parents=True, exist_ok=True)
    for kind in SUITE_FIGURES:
        picture = run.directory / "figures" / f"{kind.name}.png"
        if picture.is_file():
            shutil.copyfile(picture, docs / "images" / _image(kind.name))
    path = docs / "results" / "suite.md"
    write_text(path, rendered(["results/suite.md.jinja"], SuitePage(run, record)))
    return path
