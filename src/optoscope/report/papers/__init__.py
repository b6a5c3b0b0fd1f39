"""The pictures of the papers: a folder for each, named as the paper is."""

from collections.abc import Callable, Mapping

from optoscope.report._manifest import Manifest
from optoscope.report.papers import published, reverse_engineering, stability, symmetry_and_noise
from optoscope.report.papers._figure import (
    FigureOfRun,
    PageWords,
    PaperFigure,
    Records,
    figure_of_run,
)
from optoscope.report.papers._statements import Statement, told

PAPERS: dict[str, Mapping[str, PaperFigure]] = {
    "symmetry_and_noise": symmetry_and_noise.FIGURES,
    "reverse_engineering": reverse_engineering.FIGURES,
    "stability": stability.FIGURES,
    "published": published.FIGURES,
}

# What the papers say above all, by their letters, and what is said of published optimizers.
STATEMENTS: dict[str, tuple[Statement, ...]] = {
    "A": symmetry_and_noise.STATEMENTS,
    "B": reverse_engineering.STATEMENTS,
    "C": stability.STATEMENTS,
    "published": published.STATEMENTS,
}

# What a page of results says at its head.
WORDS: dict[str, Callable[[Records], PageWords]] = {
    "symmetry_and_noise": symmetry_and_noise.words,
    "reverse_engineering": told(reverse_engineering.STATEMENTS),
    "stability": told(stability.STATEMENTS),
    "published": published.words,
}

__all__ = ["PAPERS", "STATEMENTS", "WORDS", "figures_of"]


def figures_of(manifest: Manifest) -> tuple[FigureOfRun, ...]:
    """The figures that there are pictures for, of the paper that the run is of and no other."""
    known = PAPERS.get(manifest.paper, {})
    return tuple(
        figure_of_run(entry, known[entry.key], manifest.labels)
        for entry in manifest.figures
        if entry.key in known
    )
