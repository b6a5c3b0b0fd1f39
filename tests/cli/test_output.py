"""What is printed: literal, whole, in any encoding, and to nobody if nobody reads."""

import io
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

import optoscope
from optoscope import errors, tasks
from optoscope._core.keys import new_key
from optoscope._core.platforms import check_platform
from optoscope.cli import main
from optoscope.cli._console import Steps, command_line, console, show_table
from optoscope.tasks._registry import TaskEntry

SOURCE = Path(optoscope.__file__).parent
AWKWARD = ["[exp1]", "[/x]", "[bold]b[/bold]", ":smile:", "a b", "ß–日本", "x" * 120, "$(true)"]


def _start(words: list[str]) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "optoscope", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.mark.parametrize("name", AWKWARD)
def test_what_came_from_a_user_is_printed_literally_and_whole(name: str, capsys):
    console.print(f"Page: {name}/index.html")
    again = command_line("train", "--resume", name)
    console.print(f"Go on with: {again}", style="bold")
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"Page: {name}/index.html", f"Go on with: {again}"]
    assert shlex.split(again) == ["optoscope", "train", "--resume", name]


def test_cells_of_tables_are_literal_too(capsys):
    from rich.table import Table

    table = Table("name")
    table.add_row("[/x] [bold]")
    show_table(table)
    assert "[/x] [bold]" in capsys.readouterr().out


def test_time_left_counts_neither_compiling_nor_what_an_earlier_run_did(monkeypatch, capsys):
    show = Steps(None)
    said = [(100, 0, 1), (160, 17_000, 50_000), (175, 17_300, 50_000)]
    compiled = [(200, 0, 80), (260, 10, 80), (275, 40, 80)]
    for name, times in (("a part", said), ("training", compiled)):
        for seconds, done, total in times:
            monkeypatch.setattr("time.monotonic", lambda now=seconds: now)
            show(name, done, total)
    # 300, and 30, in 15 seconds.
    assert capsys.readouterr().out.splitlines() == [
        "a part: 0/1", "a part: 17000/50000", "a part: 17300/50000, 1635 s left",
        "training: 0/80", "training: 10/80", "training: 40/80, 20 s left",
    ]  # fmt: skip


def test_there_is_one_console_and_no_markup():
    for path in (SOURCE / "cli").glob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert "from_markup" not in text, path
        assert "Console(" not in text or path.name == "_console.py", path
        assert "rich.print" not in text, path


@pytest.mark.parametrize("name", ["[exp1]", "[/x]"])
def test_a_run_in_an_awkward_folder_ends_well(name: str, tmp_path: Path, capsys):
    out = tmp_path / name / "lr"
    words = ["tune", "sgd", "--task", "quadratic", "--steps", "3", "--runs", "1", "--points", "2"]
    assert main([*words, "--out", str(out)]) == 0
    assert f"Page: {out / 'index.html'}\n" in capsys.readouterr().out
    assert main(["plot", str(out)]) == 0


def test_every_encoding_can_show_everything():
    lines = (["--help"], ["train", "--help"], ["list", "tasks"], ["plot", "日本–ß"])
    # All in one process: Python and JAX take longer to start than the commands do.
    program = f"""
import io, sys
from optoscope.cli import main
for encoding in (None, "cp1252", "latin-1", "utf-8"):
    if encoding:
        sys.stdout, sys.stderr = (
            io.TextIOWrapper(stream.detach(), encoding) for stream in (sys.stdout, sys.stderr)
        )
    print([main(words) for words in {lines!r}], sys.stdout.encoding, flush=True)
"""
    done = subprocess.run(
        [sys.executable, "-c", program.encode("ascii", "backslashreplace").decode()],
        capture_output=True,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        timeout=120,
        check=False,
    )
    out, err = (text.decode("utf-8", "replace") for text in (done.stdout, done.stderr))
    assert "Traceback" not in err
    encodings = re.findall(r"^\[0, 0, 0, 2\] (\S+)$", out, re.MULTILINE)
    assert encodings == ["ascii", "cp1252", "latin-1", "utf-8"]
    for shown in re.split(r"^\[.*\n", out, flags=re.MULTILINE)[:-1]:
        words = ("usage: optoscope", "--meta-steps", "digits-mlp-sigmoid")
        assert all(word in shown for word in words)
    said = err.splitlines()
    assert len(said) == len(encodings)
    assert all(line.startswith("optoscope: ") for line in said)


def test_a_reader_that_goes_away_ends_a_command_quietly():
    for words in (["train", "--help"], ["list", "tasks"]):
        process = _start(words)
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        errors = process.stderr.read().decode()
        assert process.wait(60) == 141
        assert errors == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is full")
def test_output_to_a_full_disk_is_one_message():
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "optoscope", "list", "probes"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "optoscope: No space left on device. Check the space and the permissions there."
    ]


def test_a_platform_that_is_not_there_is_one_message(tmp_path: Path):
    out = tmp_path / "out"
    lines = [
        ["train", "lstm", "--task", "quadratic", "--out", str(out)],
        ["evaluate", "lstm-mnist-sigmoid", "--task", "quadratic", "--out", str(out)],
        ["tune", "adam", "--task", "quadratic", "--out", str(out)],
    ]
    # All in one process: Python and JAX take longer to start than the commands do.
    program = f"from optoscope.cli import main; print([main(words) for words in {lines!r}])"
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env=os.environ | {"JAX_PLATFORMS": "cuda"},
        timeout=120,
        check=False,
    )
    assert "Traceback" not in done.stderr
    assert done.stdout.splitlines()[-1] == "[2, 2, 2]"
    said = [line for line in done.stderr.splitlines() if line.startswith("optoscope: ")]
    assert len(said) == len(lines)
    assert all("JAX_PLATFORMS is 'cuda'" in line for line in said)
    assert not out.exists()


def test_a_platform_that_is_not_there_is_one_error_from_python(monkeypatch: pytest.MonkeyPatch):
    def fails() -> str:
        raise AssertionError

    monkeypatch.setattr(jax, "default_backend", fails)
    with pytest.raises(errors.InvalidValueError, match=r"cannot use the device .*JAX_PLATFORMS"):
        check_platform()
    with pytest.raises(errors.InvalidValueError, match="cannot use the device"):
        new_key(0)


def test_nothing_is_compiled_where_that_is_disabled(tmp_path: Path):
    # That a learned update works without is seen for each of them in optimizers/test_contract.py.
    words = ["evaluate", "momentum", "--task", "quadratic", "--against", "sgd"]
    words += ["--steps", "2", "--metric-steps", "2", "--runs", "1", "--search-points", "2"]
    with jax.disable_jit():
        assert main([*words, "--out", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "index.html").exists()


def test_problems_that_were_left_out_are_counted_on_the_terminal_and_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
):
    def loss(params: jax.Array, batch: jax.Array) -> jax.Array:
        return jnp.where(batch > 1, jnp.nan, jnp.sum((params - batch) ** 2))

    def build() -> tasks.Task:
        return tasks.from_functions(lambda key: jnp.ones(3), loss, jax.random.normal, name="holes")

    monkeypatch.setitem(tasks.REGISTRY._entries, "holes", TaskEntry(build, "sometimes not finite"))
    out = tmp_path / "out"
    words = ["train", "lstm", "--task", "holes", "--num-tasks", "4", "--meta-steps", "4"]
    words += ["--horizon", "4", "--truncation", "2", "--evaluate-every", "2", "--devices", "1"]
    assert main([*words, "--out", str(out)]) == 0
    said = re.search(r"(\d+) of 16 problems were not finite", capsys.readouterr().out)
    last = json.loads((out / "metrics.jsonl").read_text().splitlines()[-1])
    assert said is not None
    assert 0 < int(said[1]) == last["non_finite_tasks"] < 16
    page = (out / "index.html").read_text(encoding="utf-8")
    assert f"{said[1]} problems left out of a meta-gradient as not finite" in page


def test_streams_that_are_no_files_are_left_alone(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    monkeypatch.setattr(sys, "stderr", None)
    assert main(["list", "probes"]) == 0
