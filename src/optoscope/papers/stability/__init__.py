"""Paper C: stability, robustness and inductive biases of learned optimizers (STAR).

`PAPER.figures` and `PAPER.claims` say what there is; `reproduce` measures it.
"""

from optoscope.papers._meta_trained import load_learned
from optoscope.papers._paper import Paper
from optoscope.papers._recipe import Recipe
from optoscope.papers.stability._claims import CLAIMS
from optoscope.papers.stability._figures import FIGURES, LABELS
from optoscope.papers.stability._learn import training_of
from optoscope.papers.stability._scales import SCALES, Scale
from optoscope.papers.stability._setting import ARMS, Setting

PAPER = Paper("C", "stability", FIGURES, CLAIMS, SCALES, Setting, labels=LABELS)
reproduce = PAPER.reproduce

__all__ = [
    "ARMS",
    "CLAIMS",
    "FIGURES",
    "PAPER",
    "SCALES",
    "Recipe",
    "Scale",
    "Setting",
    "load_learned",
    "reproduce",
    "training_of",
]
