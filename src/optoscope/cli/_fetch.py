"""optoscope fetch: weights that others published, from where they published them."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import tyro

from optoscope.cli._command import Command
from optoscope.cli._console import console


@dataclass(frozen=True, kw_only=True)
class Fetch(Command):
    """Fetch published weights: celo2 or celo. What is there already is checked and kept.

    Args:
        weights: celo2 or celo.
        data_dir: where to put them (default: $OPTOSCOPE_DATA, else the user's cache).
    """

    name: ClassVar[str] = "fetch"

    weights: tyro.conf.Positional[str]
    data_dir: Path | None = None

    def run(self) -> int:
        """Fetches, checks, and says how to go on."""
        from optoscope import data, optimizers
        from optoscope._core.errors import DataError
        from optoscope._core.files import read_bytes
        from optoscope.data._fetch import RemoteFile, obtain, verified

        known = optimizers.WEIGHTS[self.weights]
        file = RemoteFile(known.url, content_sha256=known.sha256, size=known.size)
        folder = data.data_directory(self.data_dir) / "weights" / self.weights
        path = obtain(file, folder, verify=True)
        verified(file, path, read_bytes(path, most=file.most_bytes, error=DataError))
        for line in (
            f"{path}",
            f"License: {known.license}. Please cite: {known.cite}.",
            f"Next: optoscope import {known.format} {path} --out {self.weights}",
        ):
            console.print(line, highlight=False, soft_wrap=True, markup=False)
        return 0
