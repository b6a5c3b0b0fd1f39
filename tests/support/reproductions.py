"""Papers reproduced at smoke scale, once for all tests of a module."""

from pathlib import Path

import jax

from optoscope.papers import Paper


def at_smoke_scale(paper: Paper, figures: str, directory: Path) -> Path:
    """The directory, with the figures measured in it and drawn.

    Compiled as the command does it: hardly anything is computed, nearly all of the time goes into
    compiling.
    """
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    try:
        paper.reproduce(figures, "smoke", directory)
    finally:
        jax.config.update("jax_disable_most_optimizations", before)
    return directory
