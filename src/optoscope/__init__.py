"""Train, use and look inside optimizers, above all learned ones.

Importing this package starts nothing: subpackages load when they are first used. A program that
is run more than once calls `optoscope.enable_compilation_cache()` at its start: then what it has
compiled is kept on disk for the next time.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_SUBPACKAGES = (
    "analysis",
    "bench",
    "data",
    "errors",
    "meta",
    "optimizers",
    "papers",
    "report",
    "tasks",
    "torch",
    "training",
)


def __getattr__(name: str) -> Any:
    if name in _SUBPACKAGES:
        return importlib.import_module(f"optoscope.{name}")
    if name == "enable_compilation_cache":
        return importlib.import_module("optoscope._core.compilation_cache").enable_compilation_cache
    raise AttributeError(f"module 'optoscope' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*_SUBPACKAGES, "enable_compilation_cache", "__version__"]
