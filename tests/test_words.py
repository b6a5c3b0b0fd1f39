"""The words of the project: American spelling, and docstrings that say something."""

import ast
import re
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[1]
_CODE = ("src", "tests", "benchmarks", "examples", "docs")
_PAGES = ("README.md", "CONTRIBUTING.md", "docs")
_FEWEST_WORDS = 3

# Written in pieces, so that this file does not contain them.
_VERBS = (
    "diagonal|emphas|general|initial|linear|material|maxim|minim|normal|optim|parametr|penal|"
    "recogn|regular|serial|stabil|standard|summar|vector"
)
_BRITISH = re.compile(
    "col" "our|cent" "re(s|d)?(?![a-z])|cent" "ring|neighb" "our|fav" "our|behavi" "our|"
    "label" "led|label" "ling|model" "led|model" "ling|cancel" "led|travel" "led|art" "efact|"
    "judg" "ement|gr" "ey(?![a-z])|"
    f"({_VERBS})is" "(e|ed|es|ing|ation|ations|able)(?![a-z])",
    re.IGNORECASE,
)  # fmt: skip


def _code() -> list[Path]:
    return [path for folder in _CODE for path in sorted((_ROOT / folder).rglob("*.py"))]


def _pages() -> list[Path]:
    pages = []
    for name in _PAGES:
        place = _ROOT / name
        pages += sorted(place.rglob("*.md*")) if place.is_dir() else [place]
    # Results pages quote the claims of a run, in the words that it was made with.
    return [path for path in pages if not (path.parent.name == "results" and path.suffix == ".md")]


def british(text: str) -> list[str]:
    """The words of a text, with their line, that are spelled the British way."""
    return [
        f"{number}: {found.group()}"
        for number, line in enumerate(text.splitlines(), 1)
        for found in _BRITISH.finditer(line)
    ]


def too_short(source: str) -> list[str]:
    """The docstrings of a module, with their line, that have too few words to say anything."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    short = []
    for node in ast.walk(ast.parse(source)):
        text = ast.get_docstring(node) if isinstance(node, documented) else None
        if text is not None and len(text.split()) < _FEWEST_WORDS:
            short.append(f"{getattr(node, 'lineno', 1)}: {text}")
    return short


def _named(path: Path, found: list[str]) -> list[str]:
    return [f"{path.relative_to(_ROOT)}:{line}" for line in found]


def test_words_are_spelled_the_american_way():
    paths = [*_code(), *_pages()]
    assert len(paths) > 300
    found = [line for path in paths for line in _named(path, british(path.read_text("utf-8")))]
    assert not found, "\n".join(["write these in American spelling:", *found])


def test_docstrings_say_something():
    found = [line for path in _code() for line in _named(path, too_short(path.read_text("utf-8")))]
    assert not found, "\n".join(["write these docstrings as sentences:", *found])


@pytest.mark.parametrize(
    "word",
    ["the col" "our bar", "vector" "ised", "Cent" "red", "label" "led", "is norm" "alised_here"],
)  # fmt: skip
def test_british_words_are_found(word):
    assert british(f"first\nA line with {word}.") == [
        f"2: {found.group()}" for found in _BRITISH.finditer(word)
    ]
    assert british(word)


@pytest.mark.parametrize(
    "text", ["The color at the center", "the promise of noise is advised", "a concentrated mean"]
)
def test_other_words_are_not_found(text):
    assert not british(text)


def test_short_docstrings_are_found():
    source = 'class A:\n    """Both."""\n    def b(self):\n        """Draws one random value."""\n'
    assert too_short(source) == ["1: Both."]
