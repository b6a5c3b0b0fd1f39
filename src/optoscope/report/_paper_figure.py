"""Figures that are drawn from the parts of a reproduced paper."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from optoscope._core.arrays import read_arrays
from optoscope.report._figures import FigureKind, FigureText
from optoscope.report._records import Run

Arrays = Mapping[str, np.ndarray]
Records = Mapping[str, Arrays]


@dataclass(frozen=True)
class PaperFigure(FigureKind):
    """A figure that is drawn from parts: `records/<part>.npz`.

    Args:
        parts: the names of those that it cannot do without.
        picture: draws it from their arrays.
        optional: the names of those that it also shows where they are there, as when not all
            are measured at every scale; with no other parts it needs one of them.

    """

    parts: tuple[str, ...] = ()
    picture: Callable[[Records], Figure] | None = None
    optional: tuple[str, ...] = ()

    def can_draw(self, run: Run) -> bool:
        """Whether the parts are there that it cannot do without."""
        needed = len(_present(run, self.parts)) == len(self.parts)
        return needed and bool(self.parts or _present(run, self.optional))


def _present(run: Run, parts: tuple[str, ...]) -> tuple[str, ...]:
    folder = run.directory / "records"
    # The description is written last: without it the arrays belong to something unfinished.
    return tuple(part for part in parts if (folder / f"{part}.json").is_file())


def paper_figure(
    key: str,
    parts: tuple[str, ...],
    picture: Callable[[Records], Figure],
    text: FigureText,
    *,
    optional: tuple[str, ...] = (),
) -> PaperFigure:
    """The figure of a paper that the key names, drawn from the arrays of its parts."""

    def draw(run: Run) -> Figure:
        folder, found = run.directory / "records", (*parts, *_present(run, optional))
        return picture({part: read_arrays(folder / f"{part}.npz") for part in found})

    name = f"figure-{key}" if key[0].isdigit() else key
    return PaperFigure(name, (), draw, text, parts, picture, optional)
