"""`optoscope.errors` holds every error, and nothing else is raised on purpose."""

import ast
import builtins
from collections.abc import Iterator
from pathlib import Path

import pytest

import optoscope
from optoscope import errors

SOURCES = sorted(Path(optoscope.__file__).parent.rglob("*.py"))

# What the language or a caller asks for by name, and what is caught again in the same module.
OTHERS = {
    "__init__.py": {"AttributeError"},
    "_core/compilation_cache.py": {"FileNotFoundError"},
    "_core/files.py": {"OSError", "ValueError"},
    "cli/_command.py": {"NotImplementedError"},
    "cli/_signals.py": {"KeyboardInterrupt"},
    "data/_cifar.py": {"EOFError"},
    "data/_download.py": {"ConnectionError", "TimeoutError"},
    "meta/_checkpoints.py": {"ValueError"},
    "papers/_meta_trained.py": {"KeyboardInterrupt"},
    "torch/_recurrent.py": {"NotImplementedError"},
    "torch/_small_network.py": {"NotImplementedError"},
}


def _names(node: ast.expr) -> Iterator[str]:
    """The names by which an expression is called, without the modules they are in."""
    if isinstance(node, ast.Call):
        yield from _names(node.func)
    elif isinstance(node, ast.Attribute):
        yield node.attr
    elif isinstance(node, ast.Name):
        yield node.id


def _is_error(name: str) -> bool:
    kind = getattr(errors, name, None) or getattr(builtins, name, None)
    return isinstance(kind, type) and issubclass(kind, BaseException)


def _defined() -> set[str]:
    """The exception classes that are defined anywhere in the library, by their bases' names."""
    return {
        node.name
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
        and any(_is_error(name) for base in node.bases for name in _names(base))
    }


def test_every_error_class_of_the_library_is_public():
    assert _defined() == set(errors.__all__)


def test_errors_are_found_by_the_search():
    assert {"InvalidValueError", "OptoscopeError"} <= _defined()


@pytest.mark.parametrize("name", errors.__all__)
def test_one_base_catches_all(name):
    assert issubclass(getattr(errors, name), errors.OptoscopeError)


def test_only_these_errors_are_raised_on_purpose():
    root = Path(optoscope.__file__).parent
    found: dict[str, set[str]] = {}
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Raise) and node.exc is not None:
                for name in _names(node.exc):
                    if name not in errors.__all__ and _is_error(name):
                        found.setdefault(path.relative_to(root).as_posix(), set()).add(name)
    allowed = {path: names & OTHERS.get(path, set()) for path, names in found.items()}
    assert found == allowed
