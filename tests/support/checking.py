"""How types are checked while the tests run."""

import ast
import importlib
import inspect
import pkgutil
from collections.abc import Callable
from typing import Any

from beartype import BeartypeConf, beartype

# A whole number may stand wherever a `float` is asked for, as for every type checker.
_CONFIGURATION = BeartypeConf(is_pep484_tower=True)


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, or class, with its types checked at every call."""
    return beartype(function, conf=_CONFIGURATION)


def import_for_types(package: str) -> None:
    """Imports what the modules of a package import under `if TYPE_CHECKING:` alone.

    The command line imports what is heavy inside its commands, but names it in its annotations:
    the names must be there when these are checked.
    """
    for found in pkgutil.iter_modules(importlib.import_module(package).__path__):
        module = importlib.import_module(f"{package}.{found.name}")
        for node in ast.parse(inspect.getsource(module)).body:
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
                body = ast.Module(node.body, type_ignores=[])
                exec(compile(body, found.name, "exec"), vars(module))
