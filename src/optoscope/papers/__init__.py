"""Papers as scripts: their figures and claims as data, and one function that measures them."""

from optoscope.papers import symmetry_and_noise
from optoscope.papers._paper import Figure, Paper, Reproduction

PAPERS: dict[str, Paper] = {paper.letter: paper for paper in (symmetry_and_noise.PAPER,)}

__all__ = ["PAPERS", "Figure", "Paper", "Reproduction", "symmetry_and_noise"]
