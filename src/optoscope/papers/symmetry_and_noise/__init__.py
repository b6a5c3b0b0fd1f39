"""Paper A: training dynamics of learned optimizers (symmetry, noise, covariance, update sizes).

`PAPER.figures` and `PAPER.claims` say what there is; `reproduce` measures it.
"""

from optoscope.papers._meta_trained import load_learned
from optoscope.papers._paper import Paper
from optoscope.papers.symmetry_and_noise._claims import CLAIMS
from optoscope.papers.symmetry_and_noise._figures import FIGURES
from optoscope.papers.symmetry_and_noise._learn import training_of
from optoscope.papers.symmetry_and_noise._scales import SCALES, Scale
from optoscope.papers.symmetry_and_noise._setting import Setting

# Figures 2 and 3 are one picture here.
PAPER = Paper(
    "A",
    "symmetry_and_noise",
    FIGURES,
    CLAIMS,
    SCALES,
    Setting,
    aliases={"3": "2"},
    missing_words=Setting.missing_words,
)
reproduce = PAPER.reproduce

__all__ = [
    "CLAIMS",
    "FIGURES",
    "PAPER",
    "SCALES",
    "Scale",
    "Setting",
    "load_learned",
    "reproduce",
    "training_of",
]
