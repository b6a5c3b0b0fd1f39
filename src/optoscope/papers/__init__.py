"""Papers as scripts: their figures and claims as data, and one function that measures them."""

from optoscope.papers import reverse_engineering, stability, symmetry_and_noise
from optoscope.papers._paper import Figure, Paper, Reproduction

PAPERS: dict[str, Paper] = {
    paper.letter: paper
    for paper in (symmetry_and_noise.PAPER, reverse_engineering.PAPER, stability.PAPER)
}

__all__ = [
    "PAPERS",
    "Figure",
    "Paper",
    "Reproduction",
    "reverse_engineering",
    "stability",
    "symmetry_and_noise",
]
