"""The figures of paper C, drawn from the records of its parts."""

from matplotlib.figure import Figure

from optoscope.report.papers._figure import PaperFigure, Records
from optoscope.report.papers.stability._arms import compared, single_seeds
from optoscope.report.papers.stability._marks import looks_of
from optoscope.report.papers.stability._text import (
    COMPARED_TEXT,
    NOMINAL_TEXT,
    PRECONDITIONING_TEXT,
    SCALE_TEXT,
    SEEDS_TEXT,
    UNSEEN_TEXT,
    WEIGHT_DECAY_TEXT,
)
from optoscope.report.papers.stability._theory import (
    CURVATURE_TEXT,
    EIGENVALUES_TEXT,
    VARIANCE_TEXT,
    curvature_figure,
    eigenvalue_figure,
    stability_figure,
)
from optoscope.report.papers.stability._unseen import unseen
from optoscope.report.papers.stability._words import STATEMENTS

__all__ = ["FIGURES", "STATEMENTS"]


def _eigenvalues(records: Records) -> Figure:
    return eigenvalue_figure(records["eigenvalues"])


def _stability(records: Records) -> Figure:
    return stability_figure(records["meta-gradient-variance"], records["quadratic-meta-training"])


def _curvature(records: Records) -> Figure:
    part, end = records["stable-curvature"], "/intervals"
    names = [key.removesuffix(end) for key in part if key.endswith(end)]
    shown = {name: records.labels.get(name, name) for name in names}
    return curvature_figure(part, shown, look=looks_of(names, records.labels))


FIGURES: dict[str, PaperFigure] = {
    "1": PaperFigure(_eigenvalues, EIGENVALUES_TEXT),
    "2": PaperFigure(_stability, VARIANCE_TEXT),
    "3": PaperFigure(compared, COMPARED_TEXT),
    "4": PaperFigure(unseen, UNSEEN_TEXT),
    "app-1": PaperFigure(single_seeds, SEEDS_TEXT),
    "app-2": PaperFigure(compared, WEIGHT_DECAY_TEXT),
    "app-3": PaperFigure(compared, PRECONDITIONING_TEXT),
    "app-4": PaperFigure(compared, NOMINAL_TEXT),
    "app-5": PaperFigure(unseen, UNSEEN_TEXT),
    "app-6": PaperFigure(unseen, UNSEEN_TEXT),
    "joint-stability": PaperFigure(_curvature, CURVATURE_TEXT),
    "blackbox-scale": PaperFigure(compared, SCALE_TEXT),
}
