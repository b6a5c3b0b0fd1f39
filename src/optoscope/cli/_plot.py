"""optoscope plot: draw a run again."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import tyro

from optoscope.cli._command import Command
from optoscope.cli._console import console
from optoscope.cli._evaluate import show_results


@dataclass(frozen=True, kw_only=True)
class Plot(Command):
    """Draw a run's figures and page again, from its saved records.

    Args:
        directory: the run directory.
    """

    name: ClassVar[str] = "plot"

    directory: tyro.conf.Positional[Path]

    def run(self) -> int:
        """Draws the results that lie in the folder and prints where the page is."""
        page = show_results(self.directory)
        for figure in sorted((self.directory / "figures").glob("*.png")):
            console.print(str(figure))
        console.print(f"Page: {page}")
        return 0
