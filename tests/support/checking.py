"""How types are checked while the tests run.

jaxtyping has a hook of its own for this. It binds every call to the function's signature and
checks the arguments twice, and it builds two functions for each one, those that are made within
others at every call: a fifth of the time that tests spent in Python.
"""

import abc
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
from types import CodeType, FunctionType, ModuleType, UnionType
from typing import Any, Union, get_args, get_origin

import jax
from beartype import BeartypeConf, beartype
from jaxtyping import PyTree, jaxtyped

# A whole number may stand wherever a `float` is asked for, as for every type checker.
_CONFIGURATION = BeartypeConf(is_pep484_tower=True)
_NAME = "checked_while_testing"
# Where a function that beartype wrote finds the one that it calls.
_CALLED = "__beartype_func"
_WRITTEN: dict[tuple, FunctionType] = {}


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


def _checking(what: FunctionType) -> FunctionType:
    """The function with checks; those of a function within another are written once."""
    what.__annotations__ = {
        name: _named(hint, what.__globals__) for name, hint in what.__annotations__.items()
    }
    try:
        key = what.__code__, *what.__annotations__.items()
        written = _WRITTEN.get(key)
    except TypeError:  # a hint that cannot be looked up
        return beartype(conf=_CONFIGURATION)(what)
    if written is None:
        written = beartype(conf=_CONFIGURATION)(what)
        if _CALLED not in (written.__kwdefaults__ or {}):
            return written
        # Without the function: what it refers to would stay in memory.
        _WRITTEN[key] = written = _calling(written, None)
    return _calling(written, what)


def _calling(written: FunctionType, what: FunctionType | None) -> FunctionType:
    """The same checks before and after another call."""
    of = written.__code__, written.__globals__, written.__name__
    other = FunctionType(*of, written.__defaults__, written.__closure__)
    other.__kwdefaults__ = (written.__kwdefaults__ or {}) | {_CALLED: what}
    return other


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
    check_trees_quickly()


def check_trees_quickly() -> None:
    """Leaves of trees that may be of some classes are looked at by `isinstance`.

    jaxtyping calls typeguard for every leaf, twice. It stays so where the leaves have a shape or
    the tree a structure, and where jaxtyping is another one.
    """
    kind = type(PyTree)
    thoroughly = getattr(kind, "_check", None)
    if thoroughly is None:
        return

    def check(tree_type: Any, tree: Any, *memos: Any) -> bool:
        classes = _classes(getattr(tree_type, "leaftype", None))
        if not classes or getattr(tree_type, "structure", ...) is not None:
            return thoroughly(tree_type, tree, *memos)

        def fits(node: Any) -> bool:
            return isinstance(node, classes)

        return all(map(fits, jax.tree.leaves(tree, is_leaf=fits)))

    kind._check = check


@functools.cache
def _classes(hint: Any) -> tuple[type, ...]:
    """The classes that a hint asks for one of; none where it asks for more than a class."""
    found = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    if not all(type(one) in (type, abc.ABCMeta, type(jax.Array)) for one in found):
        return ()
    # A whole number may stand where another is asked for.
    return (*found, int) if float in found or complex in found else found


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
