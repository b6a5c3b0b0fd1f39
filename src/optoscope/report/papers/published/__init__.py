"""The figures of the published optimizers, drawn from the records of their parts."""

from optoscope.report.papers._figure import PaperFigure
from optoscope.report.papers.published._insides import curvature, driven, inside
from optoscope.report.papers.published._runs import foretold, long_runs, probed
from optoscope.report.papers.published._statements import STATEMENTS
from optoscope.report.papers.published._text import (
    CURVATURE_TEXT,
    DRIVEN_TEXT,
    FORETOLD_TEXT,
    INSIDE_TEXT,
    LONG_TEXT,
    PROBED_TEXT,
)
from optoscope.report.papers.published._words import words

__all__ = ["FIGURES", "STATEMENTS", "words"]

FIGURES: dict[str, PaperFigure] = {
    "1": PaperFigure(driven, DRIVEN_TEXT),
    "2": PaperFigure(inside, INSIDE_TEXT),
    "3": PaperFigure(probed, PROBED_TEXT),
    "4": PaperFigure(curvature, CURVATURE_TEXT),
    "5": PaperFigure(long_runs, LONG_TEXT),
    "6": PaperFigure(foretold, FORETOLD_TEXT),
}
