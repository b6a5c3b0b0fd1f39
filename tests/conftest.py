"""Types of every public signature are checked; what one test compiles no other compiles again."""

import os
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


def pytest_configure(config: pytest.Config) -> None:
    """One cache of compiled programs for all workers and modules, kept for the next run.

    Commands that tests start as processes find it by the environment.
    """
    from optoscope._core.compilation_cache import VARIABLE, enable_compilation_cache

    if not hasattr(config, "workerinput") and config.cache is not None:
        os.environ[VARIABLE] = str(config.cache.mkdir("programs"))
    enable_compilation_cache()


@pytest.fixture(scope="module", autouse=True)
def programs_are_forgotten_when_there_are_many() -> Iterator[None]:
    """Thousands of compiled programs in one process run out of memory maps, and XLA aborts."""
    from optoscope._core.programs import forget_programs

    yield
    forget_programs()
