"""Others' weights and the golden trajectories of their code, where a machine has them."""

import os
from pathlib import Path

import pytest


def published(*parts):
    """The path of such a file; the test is skipped, with the reason, where it is missing."""
    folder = os.environ.get("OPTOSCOPE_DATA")
    if not folder:
        pytest.skip("OPTOSCOPE_DATA is not set, so that others' weights cannot be found")
    path = Path(folder, *parts)
    if not path.is_file():
        pytest.skip(f"{path} does not exist; it is not part of the project")
    return path
