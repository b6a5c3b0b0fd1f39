"""The records of a run: named arrays in one compressed file, written whole or not at all."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from optoscope._core.arrays import write_arrays


def save_records(directory: Path, name: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes arrays to `records/<name>.npz`, whole or not at all."""
    write_arrays(directory / "records" / f"{name}.npz", arrays)
