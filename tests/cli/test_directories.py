"""Run directories are claimed by one process, whoever comes at the same time, and whoever dies."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from optoscope._core.errors import RunDirectoryError
from optoscope._core.locks import LOCK
from optoscope.cli import main
from optoscope.cli._directories import claimed
from optoscope.cli._evaluate import distinct_labels, split_places

_CLAIMS = """
import os, sys
from optoscope.cli._directories import claimed
os.chdir(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
for _ in range(10):
    with claimed(None, "same") as directory:
        (directory / "mine").mkdir()
print("done")
"""
_TRAIN = ["train", "lstm", "--task", "quadratic", "--meta-steps", "4", "--num-tasks", "1"]
_TRAIN += ["--horizon", "8", "--truncation", "4", "--evaluate-every", "4", "--devices", "1"]


def test_commands_without_out_that_start_at_once_share_nothing(tmp_path: Path):
    started = [
        subprocess.Popen(
            [sys.executable, "-c", _CLAIMS, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for process in started:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    answers = [process.communicate("go\n", timeout=60)[0] for process in started]
    # Two in one directory would fail to make `mine` there.
    assert answers == ["done\n"] * 4
    assert len(list((tmp_path / "runs").iterdir())) == 40


def test_a_directory_in_use_is_refused_by_the_name_of_who_uses_it(tmp_path: Path):
    with claimed(tmp_path / "run", "") as directory:
        (directory / "config.json").write_text("{}")
        program = (
            "import sys; from pathlib import Path; from optoscope.cli._directories import claimed\n"
            "with claimed(Path(sys.argv[1]), ''): pass"
        )
        done = subprocess.run(
            [sys.executable, "-c", program, str(directory)], capture_output=True, text=True
        )
    assert f"is in use by process {os.getpid()} on" in done.stderr
    assert "RunInUseError" in done.stderr
    with pytest.raises(RunDirectoryError, match="not an empty folder"), claimed(directory, ""):
        pass


def test_what_a_killed_run_left_before_its_config_does_not_block(tmp_path: Path):
    (tmp_path / LOCK).write_text('{"process": 1, "host": "x", "since": "y"}')
    (tmp_path / ".config-abc123.json").write_text("{")
    assert main([*_TRAIN, "--resume", str(tmp_path)]) == 2
    with claimed(tmp_path, ""):
        assert [path.name for path in tmp_path.iterdir()] == [LOCK]
    assert list(tmp_path.iterdir()) == []


def test_resume_of_a_run_that_has_not_begun_says_so(tmp_path: Path, capsys):
    assert main(["train", "--resume", str(tmp_path)]) == 2
    assert "no run has begun there; start it with --out" in capsys.readouterr().err


def test_a_run_is_not_resumed_while_it_runs(tmp_path: Path, capsys):
    out = tmp_path / "run"
    assert main([*_TRAIN, "--out", str(out)]) == 0
    before = (out / "metrics.jsonl").read_text()
    holds = (
        "import sys, time; from pathlib import Path; from optoscope._core.locks import locked\n"
        "with locked(Path(sys.argv[1])): print('held', flush=True); time.sleep(600)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", holds, str(out)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    try:
        assert main(["train", "--resume", str(out)]) == 2
        message = capsys.readouterr().err
        assert f"{out} is in use by process {process.pid} on" in message
        assert (out / "metrics.jsonl").read_text() == before
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert main(["train", "--resume", str(out)]) == 0
    assert not (out / LOCK).exists()


def test_the_trainer_holds_its_directory_too(tmp_path: Path):
    import jax
    import optax

    from optoscope import meta, optimizers, tasks

    estimator = meta.TruncatedBackprop(tasks.get("quadratic"), truncation=2, horizon=4)
    seen: list[bool] = []
    meta.Trainer(estimator, optax.sgd(0.1)).run(
        optimizers.sgd(0.1),
        1,
        key=jax.random.key(0),
        directory=tmp_path,
        on_report=lambda report: seen.append((tmp_path / LOCK).exists()),
    )
    assert seen == [True]
    assert not (tmp_path / LOCK).exists()


def test_two_reproductions_share_a_directory(tmp_path: Path):
    words = ["reproduce", "A", "--figure", "2", "--scale", "smoke", "--out", str(tmp_path / "run")]
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "optoscope", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    answers = [process.communicate(timeout=300) for process in started]
    assert [process.returncode for process in started] == [0, 0], answers
    assert not list((tmp_path / "run").rglob("*.lock"))
    json.loads((tmp_path / "run" / "claims.json").read_text())


# Of evaluated optimizers: what is typed, with the folders there are, and what is meant.
PLACES = [
    ("a,b", [], ["a", "b"]),
    ("a,b", ["a,b"], ["a,b"]),
    ("x,a,b,c", ["a,b"], ["x", "a,b", "c"]),
    (" a , b ", [], ["a", "b"]),
    ("~/a,b", [], ["{home}/a", "b"]),
]


@pytest.mark.parametrize(("text", "folders", "places"), PLACES)
def test_a_folder_with_a_comma_is_one_place(text, folders, places, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in folders:
        (tmp_path / folder).mkdir()
    home = os.path.expanduser("~")  # noqa: PTH111
    assert split_places(text) == [place.format(home=home) for place in places]


LABELS = [
    (["run"], ["lstm"], ["lstm"]),
    (["a", "b"], ["lstm", "star"], ["lstm", "star"]),
    (
        ["seed0/optimizer", "seed1/optimizer", "seed2/optimizer"],
        ["lstm"] * 3,
        ["lstm-seed0", "lstm-seed1", "lstm-seed2"],
    ),
    (["x/s", "y/s", "z/t"], ["lstm"] * 3, ["lstm-x-s", "lstm-y-s", "lstm-t"]),
    (["b/c", "c"], ["lstm", "lstm"], None),
    (["b-c", "b/c", "d/c"], ["lstm"] * 3, None),
    (["given", "x"], ["lstm", "lstm"], ["given", "lstm"]),
    (["a/x"], ["taken"], ["taken-x"]),
]


@pytest.mark.parametrize(("places", "kinds", "labels"), LABELS)
def test_every_optimizer_has_a_label_of_its_own(places, kinds, labels, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = distinct_labels(places, [{"class": kind} for kind in kinds], ["given"], ["taken"])
    assert len(set(found)) == len(places)
    assert labels is None or found == labels


def test_a_lock_is_waited_for_where_work_is_shared(tmp_path: Path):
    from optoscope.papers._parts import Part, Store

    needed = Part("needed", {}, lambda needs, space: {"x": 1})
    free = Part("free", {}, lambda needs, space: {"x": 2})
    last = Part("last", {}, lambda needs, space: {"x": needs["needed"]["x"] + 1}, (needed,))
    holds = (
        "import sys, time; from pathlib import Path; from optoscope._core.locks import locked\n"
        "with locked(Path(sys.argv[1]), '.needed.lock'): print('held', flush=True); time.sleep(1.5)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", holds, str(tmp_path / "records")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    started = time.monotonic()
    store = Store(tmp_path)
    with pytest.warns(UserWarning, match=f"needed is being computed by process {process.pid}"):
        found = store.get_all([needed, free, last])
    assert time.monotonic() - started > 0.5
    # What another process computes is left for last, and then computed if that one has not.
    assert store.computed == ["free", "needed", "last"]
    assert {name: int(arrays["x"]) for name, arrays in found.items()} == {
        "needed": 1,
        "free": 2,
        "last": 2,
    }
    process.wait()
