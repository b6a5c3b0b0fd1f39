"""Figures that are drawn from the parts of a reproduced paper."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from optoscope.report._figures import FigureKind, FigureText
from optoscope.report._reading import read_arrays
from optoscope.report._records import Run

Arrays = Mapping[str, np.ndarray]
Records = Mapping[str, Arrays]


@dataclass(frozen=True)
class PaperFigure(FigureKind):
    """A figure that is drawn from parts: `records/<part>.npz`.

    Args:
        parts: their names.
        picture: draws it from their arrays.

    """

    parts: tuple[str, ...] = ()
    picture: Callable[[Records], Figure] | None = None

    def can_draw(self, run: Run) -> bool:
        """Whether all parts are there."""
        folder = run.directory / "records"
        # The description is written last: without it the arrays belong to something unfinished.
        return all((folder / f"{part}.json").is_file() for part in self.parts)


def paper_figure(
    key: str, parts: tuple[str, ...], picture: Callable[[Records], Figure], text: FigureText
) -> PaperFigure:
    """The figure of a paper that the key names, drawn from the arrays of its parts."""

    def draw(run: Run) -> Figure:
        folder = run.directory / "records"
        return picture({part: read_arrays(folder / f"{part}.npz") for part in parts})

    name = f"figure-{key}" if key[0].isdigit() else key
    return PaperFigure(name, (), draw, text, parts, picture)
