"""How types are checked while the tests run.

jaxtyping has a hook of its own for this. It binds every call to the function's signature and
checks the arguments twice, and it builds two functions for each one, those that are made within
others at every call: a fifth of the time that tests spent in Python.
"""

import ast
import dataclasses
import functools
import importlib
import inspect
import pkgutil
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType, ModuleType
from typing import Any

from beartype import BeartypeConf, beartype
from jaxtyping import jaxtyped

# A whole number may stand wherever a `float` is asked for, as for every type checker.
_CONFIGURATION = BeartypeConf(is_pep484_tower=True)
_NAME = "checked_while_testing"


def checked(what: Any) -> Any:
    """The function with its types checked at every call; of a dataclass, what it is made with.

    What comes out is checked after the arguments, and a name of a dimension stands for one size in
    both. What checks is made at the first call: most functions of a run of a few tests have none.
    """
    if isinstance(what, type):
        made = vars(what).get("__init__")
        if dataclasses.is_dataclass(what) and made is not None and not hasattr(made, _NAME):
            what.__init__ = checked(made)
        return what
    if not what.__annotations__:
        return what
    inner = None

    @functools.wraps(what)
    def call(*args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        nonlocal inner
        if inner is None:
            inner = _checking(what)
        with jaxtyped("context"):
            return inner(*args, **kwargs)

    setattr(call, _NAME, True)
    return call


def _checking(what: Any) -> Any:
    what.__annotations__ = {
        name: _named(hint, what.__globals__) for name, hint in what.__annotations__.items()
    }
    return beartype(conf=_CONFIGURATION)(what)


def _named(hint: Any, names: dict[str, Any]) -> Any:
    """The type that a hint names; anything where that does not exist before a later import."""
    if not isinstance(hint, str):
        return hint
    try:
        return eval(hint, names)
    except (NameError, AttributeError):
        return Any


class _Decorating(ast.NodeTransformer):
    """Puts `checked` next to every function, and around every class."""

    def generic_visit(self, node: ast.AST) -> ast.AST:
        # There are none of them within an expression, of which most of a program consists.
        return node if isinstance(node, ast.expr) else super().generic_visit(node)

    def visit_Module(self, node: ast.Module) -> ast.Module:
        self.generic_visit(node)
        statement = f"from {__name__} import {checked.__name__} as {_NAME}"
        # The docstring stays first.
        node.body.insert(1, ast.parse(statement).body[0])
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        self.generic_visit(node)
        node.decorator_list.append(ast.copy_location(ast.Name(_NAME, ast.Load()), node))
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.ClassDef:
        self.generic_visit(node)
        node.decorator_list.insert(0, ast.copy_location(ast.Name(_NAME, ast.Load()), node))
        return node


class _Loader(SourceFileLoader):
    def get_code(self, fullname: str) -> CodeType:
        """Of the source, never of a file that was compiled without checks."""
        path = self.get_filename(fullname)
        tree = _Decorating().visit(ast.parse(self.get_data(path), path))
        return compile(tree, path, "exec", dont_inherit=True)


class _Finder(MetaPathFinder):
    def __init__(self, names: Sequence[str]) -> None:
        self._names = names

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not any(fullname == name or fullname.startswith(f"{name}.") for name in self._names):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


def check_types_of(*names: str) -> None:
    """From now on, whatever is imported of these modules and packages is checked."""
    sys.meta_path.insert(0, _Finder(names))


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
