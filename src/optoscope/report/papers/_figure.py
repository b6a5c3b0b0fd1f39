"""Figures that are drawn from the parts of a reproduced paper."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from matplotlib.figure import Figure

from optoscope._core.arrays import read_arrays
from optoscope.report._claims import Claim
from optoscope.report._figures import FigureKind, FigureText
from optoscope.report._manifest import ManifestFigure
from optoscope.report._records import Run

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Records(Mapping[str, Arrays]):
    """The arrays of a figure's parts by name, in the order of the manifest.

    Args:
        parts: by name.
        labels: what to call optimizers and tasks, by their short names.
        left_out: the short names of what the figure compares and the run's scale leaves out.
        claims: the paper's claims with what was measured of them; only a page of results has them.
        beside: the same claims with what a run at another scale measured, if there is one to
            compare with.
    """

    parts: Mapping[str, Arrays]
    labels: Mapping[str, str] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    claims: tuple[Claim, ...] = ()
    beside: tuple[Claim, ...] = ()

    def __getitem__(self, name: str) -> Arrays:
        return self.parts[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.parts)

    def __len__(self) -> int:
        return len(self.parts)


@dataclass(frozen=True)
class Reading:
    """The text beside a figure of a paper, whose title is in the manifest.

    Args:
        how_to_read: what the marks mean and where to look.
        what_it_does_not_show: what a reader could wrongly conclude from it.
    """

    how_to_read: str
    what_it_does_not_show: str


Table = tuple[list[str], list[list[str]]]


@dataclass(frozen=True)
class PageWords:
    """What a paper's page of results says at its head, made from the records.

    Args:
        sentences: what one would tell a colleague, each with its numbers.
        tables: by name, a head and rows.
    """

    sentences: tuple[str, ...] = ()
    tables: Mapping[str, Table] = field(default_factory=dict)


@dataclass(frozen=True)
class PaperFigure:
    """How a figure of a paper is drawn.

    What it is called, what it is drawn from and where it stands among the others is the paper's
    to say, in the manifest of the run.

    Args:
        picture: draws it from the records of its parts.
        text: the text beside it.
    """

    picture: Callable[[Records], Figure]
    text: Reading


@dataclass(frozen=True)
class FigureOfRun(FigureKind):
    """A figure of a paper in a run, which is drawn once all of its parts are there.

    Args:
        parts: the names of the records `records/<part>.npz`.
    """

    parts: tuple[str, ...] = ()

    def can_draw(self, run: Run) -> bool:
        """Whether all of its parts are finished."""
        folder = run.directory / "records"
        # The description is written last: without it the arrays belong to something unfinished.
        return bool(self.parts) and all((folder / f"{one}.json").is_file() for one in self.parts)


def figure_of_run(
    entry: ManifestFigure, figure: PaperFigure, labels: Mapping[str, str]
) -> FigureOfRun:
    """The figure as the manifest's entry names it."""

    def draw(run: Run) -> Figure:
        folder = run.directory / "records"
        parts = {part: read_arrays(folder / f"{part}.npz") for part in entry.parts}
        return figure.picture(Records(parts, labels, entry.left_out))

    text = FigureText(entry.title, figure.text.how_to_read, figure.text.what_it_does_not_show)
    return FigureOfRun(entry.name, (), draw, text, entry.parts)
