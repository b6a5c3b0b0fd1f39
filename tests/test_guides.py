"""Every snippet of the guides runs, every command line in them is one that the program takes."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import pytest

from optoscope import optimizers, tasks
from optoscope.cli import main
from optoscope.cli._main import COMMANDS
from optoscope.cli._named_optimizers import is_own_or_optax
from optoscope.cli._user_code import names_code
from support.weight_files import SHAPES, drawn, written

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "docs" / "index.md",
    *sorted((ROOT / "docs/guide").glob("*.md")),
]
# Its programs take longer to compile than a quick test may.
SLOW = ("meta-training.md",)
# Compiled quickly, 200 steps of an LSTM take seconds; 20 are the same program.
LONG_RUNS = re.compile(r"\b200, key=")


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its first line in the page, its text."""

    language: str
    line: int
    text: str


def blocks(page: Path) -> list[Block]:
    found, language, start, lines = [], None, 0, []
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        if not line.lstrip().startswith("```"):
            lines.append(line)
        elif language is None:
            named = re.search(r"\w+", line)
            language, start, lines = named[0] if named else "", number + 1, []
        else:
            found.append(Block(language, start, "\n".join(lines)))
            language = None
    assert language is None, f"{page}: a block does not end"
    return found


def published_files(place: Path) -> None:
    for kind, name in (("celo2", "celo2_weights.pt"), ("celo", "theta.state")):
        written(place / name, drawn(SHAPES[kind]))


# What a page says is there already.
PREPARED = {"published.md": published_files}


def pages_with(language: str) -> list[Path]:
    return [page for page in PAGES if any(block.language == language for block in blocks(page))]


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=page.name, marks=[pytest.mark.slow] if page.name in SLOW else [])
        for page in pages_with("python")
    ],
)
def test_the_snippets_of_a_page_run_one_after_the_other(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    PREPARED.get(page.name, lambda place: None)(tmp_path)
    namespace = {"__name__": "guide"}
    for block in blocks(page):
        if block.language != "python":
            continue
        for package in ("torch", "flax"):
            if f"import {package}" in block.text:
                pytest.importorskip(package)
        included = re.fullmatch(r'\s*--8<-- "(.+)"\s*', block.text)
        if included:  # it is run by test_examples
            assert (ROOT / included[1]).parent == ROOT / "examples"
            assert (ROOT / included[1]).is_file()
            continue
        # As many empty lines as stand above it, so that an error names the line of the page.
        program = "\n" * (block.line - 1) + LONG_RUNS.sub("20, key=", block.text)
        exec(compile(program, str(page), "exec"), namespace)


def commands(page: Path) -> list[str]:
    """The command lines of a page, in blocks and in the text, as they would be typed."""
    found = []
    for block in blocks(page):
        if block.language in ("console", "bash", "yaml"):
            text = block.text.replace("\\\n", " ")
            found += re.findall(r"(?:^|\s)(optoscope [^\n;]+|make [^\n;]+)", text)
    prose = re.sub(r"^\s*```.*?^\s*```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    found += [line for line in re.findall(r"`(optoscope [^`]+)`", prose) if "…" not in line]
    return found


LINES = [(page.name, line) for page in PAGES for line in commands(page)]


def test_lines_are_found():
    assert len(LINES) > 30


@pytest.mark.parametrize(("page", "line"), LINES, ids=lambda value: value[:60])
def test_a_command_line_is_one_that_the_program_takes(page, line, monkeypatch, capsys, tmp_path):
    del page
    monkeypatch.chdir(tmp_path)
    line = line.replace("$JOB_COMPLETION_INDEX", "1").replace("$WHERE", "").strip().rstrip('"')
    words = shlex.split(line, comments=True)
    if words[0] == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M)
        assert words[1] in targets
        return
    given = {}
    for kind in set(COMMANDS.values()):
        monkeypatch.setattr(kind, "run", lambda self: given.update(command=self) or 0)
    code = main(words[1:])
    assert code == 0, capsys.readouterr().err
    command = given.get("command")
    for task in (getattr(command, "task", None) or "").split(","):
        assert not task or names_code(task) or task in tasks.REGISTRY
    for name in filter(None, getattr(command, "against", "").split(",")):
        assert is_own_or_optax(name) or optimizers.entry(name)
