"""Shapes and types of every public signature are checked while the tests run."""

from collections.abc import Iterator

import jax
import pytest
from jaxtyping import install_import_hook

# Two devices, as the command line sets up on two cores, so that sharding is tested everywhere.
jax.config.update("jax_num_cpu_devices", 2)
jax.devices()

# Must come before any module of the library is imported.
_HOOK = install_import_hook(
    [
        f"optoscope.{name}"
        for name in (
            "_core",
            "analysis",
            "bench",
            "data",
            "meta",
            "optimizers",
            "tasks",
            "training",
        )
    ],
    "beartype.beartype",
)


@pytest.fixture(scope="module", autouse=True)
def compiled_programs_are_forgotten() -> Iterator[None]:
    """Thousands of compiled programs in one process run out of memory maps, and XLA aborts."""
    yield
    jax.clear_caches()
