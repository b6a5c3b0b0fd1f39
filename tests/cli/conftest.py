"""What the command line names in its annotations is there to be checked."""

import pytest

from support.checking import import_for_types


@pytest.fixture(scope="session", autouse=True)
def names_for_types():
    """Once, before the first command."""
    import_for_types("optoscope.cli")
