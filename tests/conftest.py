"""Types of every public signature are checked; what one test compiles no other compiles again."""

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import jax
import pytest
from _pytest import runner

from support.checking import check_types_of
from support.quick_programs import (
    choose_flags,
    compress_less,
    draw_coarsely,
    share_contexts,
    with_room,
)

choose_flags()
# As many workers as cores: threads of PyTorch would spin while they wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# No program says which line of which file each of its operations comes from: writing it down
# takes a tenth of the time that a small one takes to compile.
os.environ.setdefault("JAX_TRACEBACK_IN_LOCATIONS_LIMIT", "0")
jax.config.update("jax_traceback_in_locations_limit", 0)
# Two devices, as the command line sets up on two cores, so that sharding is tested everywhere.
jax.config.update("jax_num_cpu_devices", 2)
jax.devices()
forget_context = share_contexts()
compress_less()

# Must come before any module of the library is imported.
check_types_of(
    *(
        f"optoscope.{name}"
        for name in (
            "_core",
            "analysis",
            "bench",
            "cli",
            "data",
            "meta",
            "optimizers",
            "papers",
            "report",
            "tasks",
            "training",
        )
    )
)


# What takes longest begins first, so that no worker waits for another's last file; pytest-xdist
# would begin with the files that have the most tests.
_LONGEST = (
    "test_examples.py",
    "tasks/test_contract.py",
    "analysis/test_symmetry_discovery.py",
    "meta/test_trainer.py",
    "pytorch/test_learned_optimizer.py",
    "test_file_kinds.py",
    "optimizers/test_contract.py",
    "optimizers/test_in_other_loops.py",
    "meta/test_evolution.py",
    "meta/test_contract.py",
    "analysis/test_symmetry.py",
    "core/test_keys.py",
    "optimizers/test_star.py",
    "cli/test_commands.py",
    "cli/test_inspect.py",
    "meta/test_full_backprop.py",
    "meta/test_truncated_backprop.py",
    "cli/test_train_schemes.py",
    "analysis/inspection/test_panels.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the longest files first."""
    places = {Path(__file__).parent / name: place for place, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


def pytest_configure(config: pytest.Config) -> None:
    """One cache of compiled programs for all workers and modules, kept for the next run.

    Commands that tests start as processes find it by the environment.
    """
    config.option.loadscopereorder = False
    from optoscope._core.compilation_cache import VARIABLE, enable_compilation_cache

    cache = getattr(config, "cache", None)
    if cache is not None and not hasattr(config, "workerinput"):
        os.environ.setdefault(VARIABLE, str(cache.mkdir("programs")))
    enable_compilation_cache()


def pytest_collection_finish(session: pytest.Session) -> None:
    """What has been imported stays: looking through it for garbage took a tenth of the time.

    Tracing makes millions of small objects, nearly all of which go by themselves.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(200_000, 10, 10)
    draw_coarsely()


@pytest.hookimpl(tryfirst=True)
def pytest_unconfigure() -> None:
    """What is left is not looked through for garbage five times before the process ends."""
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def programs_are_forgotten_when_there_are_many() -> Iterator[None]:
    """Thousands of compiled programs in one process run out of memory maps, and XLA aborts."""
    from optoscope._core.programs import forget_now_and_then

    yield
    forget_context()
    forget_now_and_then()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> object:
    """Runs a test as pytest does."""
    return with_room(runner.pytest_runtest_protocol, item, nextitem)
