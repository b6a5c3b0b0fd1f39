"""Paper C: stability, robustness and inductive biases of learned optimizers (STAR).

`PAPER.figures` and `PAPER.claims` say what there is; `reproduce` measures it.
"""

from optoscope.papers._paper import Paper
from optoscope.papers.stability._claims import CLAIMS
from optoscope.papers.stability._figures import FIGURES
from optoscope.papers.stability._learn import load_learned
from optoscope.papers.stability._scales import SCALES, Recipe, Scale
from optoscope.papers.stability._setting import ARMS, Setting

PAPER = Paper("C", FIGURES, CLAIMS, SCALES, Setting)
reproduce = PAPER.reproduce

__all__ = [
    "ARMS",
    "CLAIMS",
    "FIGURES",
    "PAPER",
    "SCALES",
    "Recipe",
    "Scale",
    "load_learned",
    "reproduce",
]
