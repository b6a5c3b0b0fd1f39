"""The figures of paper C, drawn from the records of its parts."""

from matplotlib.figure import Figure

from optoscope.report._paper_c._arms import arms_figure, compared, single_seeds
from optoscope.report._paper_c._marks import ALWAYS, LOOKS, SHOWN
from optoscope.report._paper_c._text import (
    COMPARED_TEXT,
    NOMINAL_TEXT,
    PRECONDITIONING_TEXT,
    SCALE_TEXT,
    SEEDS_TEXT,
    WEIGHT_DECAY_TEXT,
    unseen_text,
)
from optoscope.report._paper_c._theory import (
    CURVATURE_TEXT,
    EIGENVALUES_TEXT,
    VARIANCE_TEXT,
    curvature_figure,
    eigenvalue_figure,
    stability_figure,
)
from optoscope.report._paper_c._unseen import FIGURE_4, UNSEEN, unseen_figure
from optoscope.report._paper_figure import PaperFigure, Records, paper_figure
from optoscope.report._style import looks

_DECAYS = ("star-0", "star-0.1", "star-0.5", "star-1", "blackbox", "blackbox-0.5")
_NO_PRECONDITIONING = ("star-0.5", "no-preconditioning")
_NO_NOMINAL = ("star-0.5", "no-nominal")
_SCALES = ("star-0.5", "star-1e-4", "star-small", "star-1e-6", "blackbox", "hyperparam")
_HALF = len(UNSEEN) // 2
_KNOWN = {
    "sgd": "Gradient descent",
    "momentum-0.5": "Momentum 0.5",
    "momentum-0.7": "Momentum 0.7",
    "momentum-0.9": "Momentum 0.9",
}
_LEARNED = ("hyperparam", "blackbox", "star-0.5", "star-small")
_JOINT = _KNOWN | {name: SHOWN[name] for name in ("adam", *_LEARNED)}


def _eigenvalues(records: Records) -> Figure:
    return eigenvalue_figure(records["eigenvalues"])


def _stability(records: Records) -> Figure:
    return stability_figure(records["meta-gradient-variance"], records["quadratic-meta-training"])


def _curvature(records: Records) -> Figure:
    part = records["stable-curvature"]
    there = {name: words for name, words in _JOINT.items() if f"{name}/intervals" in part}
    colors = {name: LOOKS.get(name, look) for name, look in looks(there).items()}
    return curvature_figure(part, there, look=colors)


PAPER_C: tuple[PaperFigure, ...] = (
    paper_figure("1", ("eigenvalues",), _eigenvalues, EIGENVALUES_TEXT),
    paper_figure(
        "2", ("meta-gradient-variance", "quadratic-meta-training"), _stability, VARIANCE_TEXT
    ),
    arms_figure("3", ALWAYS, compared(ALWAYS), COMPARED_TEXT),
    unseen_figure("4", FIGURE_4, unseen_text("Figure 4", "tasks never seen in meta-training")),
    arms_figure("app-1", ALWAYS, single_seeds(ALWAYS), SEEDS_TEXT),
    arms_figure("app-2", _DECAYS, compared(_DECAYS), WEIGHT_DECAY_TEXT),
    arms_figure("app-3", _NO_PRECONDITIONING, compared(_NO_PRECONDITIONING), PRECONDITIONING_TEXT),
    arms_figure("app-4", _NO_NOMINAL, compared(_NO_NOMINAL), NOMINAL_TEXT),
    unseen_figure(
        "app-5", tuple(UNSEEN)[:_HALF], unseen_text("Appendix 5", "unseen tasks, the first half")
    ),
    unseen_figure(
        "app-6", tuple(UNSEEN)[_HALF:], unseen_text("Appendix 6", "unseen tasks, the other half")
    ),
    paper_figure("joint-stability", ("stable-curvature",), _curvature, CURVATURE_TEXT),
    arms_figure("blackbox-scale", _SCALES, compared(_SCALES), SCALE_TEXT),
)
