"""Runs of several processes, as a user starts them: they meet, resume, and say what is wrong."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import equinox as eqx
import jax
import numpy as np
import pytest

from optoscope import optimizers
from optoscope._core.locks import locked
from optoscope.cli import main

# The commands of two terminals, that wait for each other less long than clusters need.
_PROGRAM = """
import sys
import optoscope.cli._processes as processes
processes.SECONDS_TO_MEET = int(sys.argv[1])
from optoscope.cli import main
sys.exit(main(sys.argv[2:]))
"""
TRAIN = ["train", "mlp", "--task", "quadratic", "--estimator", "pes", "--num-tasks", "2"]
TRAIN += ["--horizon", "8", "--truncation", "4", "--evaluate-every", "2", "--checkpoint-every", "2"]


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return free.getsockname()[1]


def _start(words: list[str], port: int, process: int, seconds: int = 60) -> subprocess.Popen:
    where = ["--coordinator", f"localhost:{port}", "--processes", "2", "--process", str(process)]
    return subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, str(seconds), *words, *where],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
    )


def _ends(processes: list[subprocess.Popen], timeout: float = 300) -> list[tuple[int, str, str]]:
    try:
        answers = [process.communicate(timeout=timeout) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(p.returncode, out, err) for p, (out, err) in zip(processes, answers, strict=True)]


def _messages(err: str) -> list[str]:
    """What was said beside the note that a process waits for the others."""
    return [line for line in err.splitlines() if "meets the others" not in line]


def _run_both(words: list[str]) -> None:
    port = _free_port()
    ends = _ends([_start(words, port, index) for index in range(2)])
    assert [code for code, _, _ in ends] == [0, 0], ends


def _result(directory: Path) -> tuple[list[np.ndarray], list[dict]]:
    """The weights of the best optimizer, and what every report said without how long it took."""
    weights = jax.tree.leaves(eqx.filter(optimizers.load(directory), eqx.is_array))
    lines = (directory / "metrics.jsonl").read_text().splitlines()
    reports = [json.loads(line) for line in lines]
    return [np.asarray(leaf) for leaf in weights], [
        {name: value for name, value in report.items() if "second" not in name}
        for report in reports
    ]


@pytest.mark.slow
def test_a_run_of_two_processes_is_resumed_by_the_same_two_commands_bit_for_bit(tmp_path: Path):
    out = tmp_path / "run"
    _run_both([*TRAIN, "--meta-steps", "4", "--out", str(out)])
    weights, reports = _result(out)
    # Killed before its end, as far as its files can say.
    (out / "index.html").unlink()
    shutil.rmtree(out / "optimizer")
    shutil.rmtree(out / "checkpoints" / "4")
    _run_both(["train", "--resume", str(out)])
    weights_again, reports_again = _result(out)
    assert len(weights) == len(weights_again) > 0
    for before, after in zip(weights, weights_again, strict=True):
        np.testing.assert_array_equal(before, after)
    assert reports == reports_again
    assert (out / "index.html").exists()


@pytest.mark.slow
def test_a_run_that_another_one_holds_is_resumed_by_neither(tmp_path: Path):
    out = tmp_path / "run"
    main([*TRAIN, "--meta-steps", "2", "--out", str(out)])
    port = _free_port()
    with locked(out):
        ends = _ends([_start(["train", "--resume", str(out)], port, n) for n in range(2)])
    assert [code for code, _, _ in ends] == [2, 2], ends
    assert f"is in use by process {os.getpid()}" in ends[0][2]
    assert "the first process cannot begin or go on" in ends[1][2]


def test_a_coordinator_that_never_comes_is_given_up_in_one_message(tmp_path: Path):
    started = time.monotonic()
    words = [*TRAIN, "--out", str(tmp_path / "run")]
    ((code, out, err),) = _ends([_start(words, _free_port(), 1, seconds=2)])
    assert code == 2
    assert time.monotonic() - started < 60
    assert "process 1 of 2 meets the others at localhost" in err
    assert "waits for at most 2 seconds" in err
    (message,) = _messages(err)
    assert "waited 2 seconds for the first process at localhost" in message
    assert out == ""
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_coordinator_whose_others_never_come_gives_up_in_one_message(tmp_path: Path):
    words = [*TRAIN, "--out", str(tmp_path / "run")]
    ((code, _, err),) = _ends([_start(words, _free_port(), 0, seconds=3)])
    assert code == 2, err
    (message,) = _messages(err)
    assert "did not meet all the others" in message
    assert not (tmp_path / "run").exists()


def test_a_port_in_use_is_one_message(tmp_path: Path):
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        words = [*TRAIN, "--out", str(tmp_path / "run")]
        ((code, _, err),) = _ends([_start(words, taken.getsockname()[1], 0)])
    assert code == 2
    (message,) = _messages(err)
    assert "cannot meet at port" in message
    assert "another port" in message
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_lost_peer_ends_the_other_in_one_message(tmp_path: Path):
    words = [*TRAIN, "--meta-steps", "1000000", "--out", str(tmp_path / "run")]
    port = _free_port()
    processes = [_start(words, port, index) for index in range(2)]
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and not (tmp_path / "run" / "metrics.jsonl").exists():
        time.sleep(0.2)
    time.sleep(1)
    processes[1].kill()
    (code, _, err), (killed, _, _) = _ends(processes)
    assert (code, killed) == (2, -9), err
    (message,) = _messages(err)
    assert "it lost touch with another one" in message
    assert "Start all processes again" in message


@pytest.mark.slow
def test_a_directory_that_is_full_ends_both(tmp_path: Path):
    (tmp_path / "precious").write_text("")
    port = _free_port()
    words = [*TRAIN, "--out", str(tmp_path)]
    ends = _ends([_start(words, port, index) for index in range(2)])
    assert [code for code, _, _ in ends] == [2, 2], ends
    assert "is not an empty folder" in ends[0][2]
    assert "the first process cannot begin" in ends[1][2]
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]
