"""Papers as scripts: their figures and claims as data, and one function that measures them.

To write a paper of your own: a `Paper` has `Figure`s, which name the `Part`s that they are measured
from, and `Claim`s, whose `Reading`s say what is measured and what would count as holding. See
CONTRIBUTING.md.
"""

from optoscope.papers import published, reverse_engineering, stability, symmetry_and_noise
from optoscope.papers._claims import Claim, Reading, readings
from optoscope.papers._meta_trained import MetaTraining, all_learned, learned, load_learned
from optoscope.papers._paper import Figure, Paper, Reproduction
from optoscope.papers._parts import Arrays, Part, Workspace
from optoscope.papers._recipe import Recipe, Scale, Setting

PAPERS: dict[str, Paper] = {
    paper.letter: paper
    for paper in (
        symmetry_and_noise.PAPER,
        reverse_engineering.PAPER,
        stability.PAPER,
        published.PAPER,
    )
}

__all__ = [
    "PAPERS",
    "Arrays",
    "Claim",
    "Figure",
    "MetaTraining",
    "Paper",
    "Part",
    "Reading",
    "Recipe",
    "Reproduction",
    "Scale",
    "Setting",
    "Workspace",
    "all_learned",
    "learned",
    "load_learned",
    "published",
    "readings",
    "reverse_engineering",
    "stability",
    "symmetry_and_noise",
]
