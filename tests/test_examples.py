"""Every example and every notebook runs, as a user would run it."""

import ast
import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from optoscope._core.showing import MOST_LINES

PLACE = Path(__file__).parent.parent / "examples"
EXAMPLES = sorted(PLACE.glob("*.py"))
NOTEBOOKS = sorted(PLACE.glob("*.ipynb"))
# What answers "is it better on my problem?", in a loop of one's own and by a table.
SHORT = (
    "learned_optimizer_in_pytorch",
    "my_flax_model",
    "my_problem",
    "own_loop",
    "pytorch_model_as_a_task",
)


def need(text: str) -> None:
    for package in ("torch", "flax"):
        if f"import {package}" in text:
            pytest.importorskip(package)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_example_runs_and_prints(example: Path, tmp_path: Path, monkeypatch, capsys):
    need(example.read_text())
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(example), run_name="__main__")
    assert capsys.readouterr().out.strip()
    assert not list(tmp_path.iterdir()), "an example leaves nothing behind"


def test_an_example_runs_in_a_process_of_its_own(tmp_path: Path):
    command = [sys.executable, str(PLACE / "my_problem.py")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


@pytest.mark.parametrize("name", SHORT)
def test_what_most_people_want_takes_twenty_lines(name: str):
    assert len((PLACE / f"{name}.py").read_text().splitlines()) <= 20


def shown(code: str, namespace: dict) -> object:
    """Runs a cell; what its last line gives, which a notebook would show."""
    tree = ast.parse(code)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "<cell>", "exec"), namespace)
    if last is None:
        return None
    assert isinstance(last, ast.Expr)
    return eval(compile(ast.Expression(last.value), "<cell>", "eval"), namespace)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs_and_shows_what_it_finds(notebook: Path, tmp_path: Path, monkeypatch):
    content = json.loads(notebook.read_text(encoding="utf-8"))
    assert (content["nbformat"], content["nbformat_minor"]) == (4, 5)
    cells = ["".join(cell["source"]) for cell in content["cells"] if cell["cell_type"] == "code"]
    assert len({cell["id"] for cell in content["cells"]}) == len(content["cells"])
    assert not any(cell.get("outputs") for cell in content["cells"]), "clear the outputs"
    need("\n".join(cells))
    monkeypatch.chdir(tmp_path)
    namespace: dict = {"__name__": "__main__"}
    results = [shown(cell, namespace) for cell in cells]
    assert all(len(repr(one).splitlines()) <= MOST_LINES for one in results)
    assert "looking" not in notebook.stem or any(hasattr(one, "_repr_html_") for one in results)
    assert not list(tmp_path.iterdir()), "a notebook leaves nothing behind"


def test_there_are_three_notebooks():
    assert [path.stem for path in NOTEBOOKS] == [
        "looking_inside_adamw",
        "my_flax_model",
        "my_pytorch_model",
    ]
