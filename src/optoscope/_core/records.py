"""The records of a run: named arrays in one compressed file, written whole or not at all."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from optoscope._core.files import replacing


def save_records(directory: Path, name: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes `records/<name>.npz`, atomically."""
    with replacing(directory / "records" / f"{name}.npz") as temporary:
        np.savez_compressed(temporary, **arrays)  # type: ignore[arg-type]
