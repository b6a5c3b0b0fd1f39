"""Paper B: reverse engineering learned optimizers (momentum, clipping, schedules, adaptation).

`PAPER.figures` and `PAPER.claims` say what there is; `reproduce` measures it.
"""

from optoscope.papers._meta_trained import load_learned
from optoscope.papers._paper import Paper
from optoscope.papers._recipe import Recipe
from optoscope.papers.published import CONTESTANTS
from optoscope.papers.reverse_engineering._claims import CLAIMS
from optoscope.papers.reverse_engineering._figures import ALIASES, FIGURES
from optoscope.papers.reverse_engineering._learn import training_of
from optoscope.papers.reverse_engineering._scales import SCALES, Scale
from optoscope.papers.reverse_engineering._setting import Setting

PAPER = Paper(
    "B",
    "reverse_engineering",
    FIGURES,
    CLAIMS,
    SCALES,
    Setting,
    aliases=ALIASES,
    labels={name: one.words for name, one in CONTESTANTS.items()},
    missing_words=Setting.missing_words,
)
reproduce = PAPER.reproduce

__all__ = [
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
