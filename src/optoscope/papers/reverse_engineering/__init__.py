"""Paper B: reverse engineering learned optimizers (momentum, clipping, schedules, adaptation).

`PAPER.figures` and `PAPER.claims` say what there is; `reproduce` measures it.
"""

from optoscope.papers._paper import Paper
from optoscope.papers.reverse_engineering._claims import CLAIMS
from optoscope.papers.reverse_engineering._figures import ALIASES, FIGURES
from optoscope.papers.reverse_engineering._learn import load_learned
from optoscope.papers.reverse_engineering._scales import SCALES, Recipe, Scale
from optoscope.papers.reverse_engineering._setting import Setting

PAPER = Paper("B", FIGURES, CLAIMS, SCALES, Setting, aliases=ALIASES)
reproduce = PAPER.reproduce

__all__ = [
    "CLAIMS",
    "FIGURES",
    "PAPER",
    "SCALES",
    "Recipe",
    "Scale",
    "load_learned",
    "reproduce",
]
