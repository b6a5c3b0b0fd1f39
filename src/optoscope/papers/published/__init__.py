"""Optimizers that others published, looked into: what curriculum and imitation changed inside.

Not a paper, but written as one: `PAPER.figures` and `PAPER.claims` say what there is; `reproduce`
measures it. The weights do not come with the library: they are looked for in `weights/` of the
data folder (`optoscope fetch celo`), and what is missing is left out.
"""

from optoscope.papers._paper import Paper
from optoscope.papers.published._claims import CLAIMS
from optoscope.papers.published._figures import FIGURES, LABELS
from optoscope.papers.published._inside import COUNTERS
from optoscope.papers.published._scales import HOME, SCALES, TASKS, Problem, Scale
from optoscope.papers.published._setting import BASELINES, CONTESTANTS, PAIRS, Contestant, Setting

PAPER = Paper(
    "published",
    "published",
    FIGURES,
    CLAIMS,
    SCALES,
    Setting,
    labels=LABELS,
    missing_words=Setting.missing_words,
)
reproduce = PAPER.reproduce

__all__ = [
    "BASELINES",
    "CLAIMS",
    "CONTESTANTS",
    "COUNTERS",
    "FIGURES",
    "HOME",
    "PAIRS",
    "PAPER",
    "SCALES",
    "TASKS",
    "Contestant",
    "Problem",
    "Scale",
    "Setting",
    "reproduce",
]
