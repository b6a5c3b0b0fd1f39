"""Train, use and look inside optimizers, above all learned ones.

Importing this package starts nothing: subpackages load when they are first used.
"""

import importlib
from types import ModuleType

__version__ = "0.1.0"

_SUBPACKAGES = (
    "analysis",
    "bench",
    "data",
    "meta",
    "optimizers",
    "papers",
    "report",
    "tasks",
    "training",
)


def __getattr__(name: str) -> ModuleType:
    if name in _SUBPACKAGES:
        return importlib.import_module(f"optoscope.{name}")
    raise AttributeError(f"module 'optoscope' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*_SUBPACKAGES, "__version__"]
