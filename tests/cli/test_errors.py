"""Bad input gives one clear message, exit code 2, and leaves nothing behind."""

import errno
import json
import os
import sys
from pathlib import Path

import pytest

from optoscope._core.errors import ProcessLostError
from optoscope.cli import main
from optoscope.cli._list import List

CASES = {
    "command": (["trian"], "Did you mean 'train'"),
    "optimizer": (["train", "lsmt"], "Did you mean 'lstm'"),
    "no optimizer": (["train"], "which optimizer?"),
    "task": (["train", "lstm", "--task", "digits-mlp-sigmod"], "Did you mean 'digits-mlp-sigmoid'"),
    "meta-steps": (["train", "lstm", "--meta-steps", "0"], "--meta-steps is 0"),
    "rate": (["train", "lstm", "--meta-learning-rate", "-1"], "--meta-learning-rate is -1.0"),
    "nan": (["train", "lstm", "--meta-learning-rate", "nan"], "--meta-learning-rate is nan"),
    "estimator": (["train", "lstm", "--estimator", "pse"], "Did you mean 'pes'"),
    "truncation": (["train", "lstm", "--truncation", "300"], "longer than the horizon"),
    "devices": (["train", "lstm", "--devices", "-1"], "--devices is -1"),
    "uneven": (["train", "lstm", "--num-tasks", "3", "--devices", "2"], "spread evenly"),
    "resume": (["train", "--resume", "no/such/run"], "does not exist"),
    "config": (["train", "--config", "no/such.json"], "does not exist"),
    "run": (["evaluate", "no/such/run", "--task", "quadratic"], "no such folder"),
    "baseline": (["evaluate", "{saved}", "--task", "quadratic", "--against", "adm"], "'adam'"),
    "probe": (["evaluate", "{saved}", "--task", "quadratic", "--probe", "norm"], "'norms'"),
    "steps": (["evaluate", "{saved}", "--task", "quadratic", "--steps", "0"], "--steps is 0"),
    "plot": (["plot", "no/such/run"], "no/such/run"),
    "tune a network": (["tune", "lstm"], "meta-train it"),
    "range": (["tune", "adam", "--search", "learning_rate=a:b"], "low:high"),
    "range order": (["tune", "adam", "--search", "learning_rate=1:0.1"], "must be below"),
    "argument": (["tune", "adam", "--search", "speed=0.1:1"], "no argument 'speed'"),
    "symmetry": (["evaluate", "{saved}", "--task", "quadratic", "--probe", "symmetry"], "symmetr"),
    "network": (
        ["evaluate", "{saved}", "--task", "quadratic", "--against", "lstm"],
        "no hyper-parameters to search",
    ),
    "no baseline": (["evaluate", "{saved}", "--task", "quadratic", "--against", "a,a"], "twice"),
    "stateless": (
        ["evaluate", "{saved}", "--task", "quadratic", "--against", "sgd", "--probe", "states"],
        "a probe does not fit 'sgd'",
    ),
    "no name": (["evaluate", ""], "no optimizer is named"),
    "commas": (["evaluate", " , "], "no optimizer is named"),
    "twice": (["evaluate", "{saved},{saved}", "--task", "quadratic"], "is named twice"),
    "also": (["evaluate", "{saved},{saved}/.", "--task", "quadratic"], "is named also as"),
    "board": (["train", "lstm", "--task", "quadratic", "--tensorboard"], "needs an extra"),
    "two ranges": (["tune", "adam", "--search", "eps=1:2,eps=2:3"], "eps twice"),
    "tune steps": (["tune", "adam", "--task", "quadratic", "--steps", "2147483647"], "of memory"),
    "tune points": (["tune", "adam", "--task", "quadratic", "--points", "2147483647"], "of memory"),
    "tune runs": (["tune", "adam", "--task", "quadratic", "--runs", "2147483647"], "of memory"),
    "samples": (["tune", "adam", "--task", "quadratic", "--samples", "2147483647"], "of memory"),
    "horizon": (
        ["train", "lstm", "--horizon", "2147483647", "--estimator", "full-es"],
        "of memory",
    ),
    "network as a baseline": (
        ["evaluate", "{saved}", "--task", "quadratic", "--against", "mlp"],
        "no hyper-parameters",
    ),
    "truncation's memory": (
        ["train", "lstm", "--horizon", "2147483647", "--truncation", "2147483647"],
        "of memory",
    ),
    "tasks": (["train", "lstm", "--num-tasks", "2147483647", "--devices", "1"], "of memory"),
    "particles": (
        ["train", "lstm", "--num-tasks", "2147483647", "--devices", "1", "--estimator", "pes"],
        "of memory",
    ),
    "many devices": (["train", "lstm", "--devices", "1000000"], "must be at most"),
    "evaluate runs": (
        ["evaluate", "{saved}", "--task", "quadratic", "--runs", "2147483647"],
        "of memory (losses: ",
    ),
    "evaluate steps": (
        ["evaluate", "{saved}", "--task", "quadratic", "--steps", "2147483647"],
        "of memory",
    ),
    "points": (
        ["evaluate", "{saved}", "--task", "quadratic", "--search-points", "2147483647"],
        "of memory",
    ),
    "demo runs": (["demo", "--runs", "2147483647"], "of memory"),
    "explain": (["explain", "gru-quadratic", "--samples", "2147483647"], "of memory"),
    "a URL": (["train", "lstm", "--out", "gs://bucket/run"], "an address on the net"),
    "a URL after =": (["train", "lstm", "--out=s3://bucket/run"], "an address on the net"),
    "no such home": (["train", "lstm", "--out=~nobody-at-all/x"], "home"),
    "not a folder": (["train", "lstm", "--task", "quadratic", "--out", "{file}/x"], "cannot write"),
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from optoscope import optimizers

    return optimizers.save(tmp_path_factory.mktemp("saved"), optimizers.get("lstm"))


@pytest.mark.parametrize("case", CASES)
def test_one_message_exit_2_nothing_left(
    case: str, saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
):
    words, expected = CASES[case]
    file = tmp_path / "file"
    file.write_text("")
    monkeypatch.chdir(tmp_path)
    # Without the extra, whether it is installed or not.
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    words = [word.format(saved=saved, file=file) for word in words]
    if words[0] != "plot" and not any(w.startswith(("--out", "--resume")) for w in words):
        words += ["--out", str(tmp_path / "out")]
    assert main(words) == 2
    message = capsys.readouterr().err
    assert expected in message
    assert "Traceback" not in message
    assert message.startswith("optoscope: ")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_missing_data_says_where_to_put_them(tmp_path: Path, monkeypatch, capsys):
    # A mirror that does not exist stands for a machine without network.
    monkeypatch.setenv("OPTOSCOPE_DATA_URL", "http://127.0.0.1:9")
    words = ["train", "lstm", "--task", "mnist-mlp-sigmoid", "--data-dir", str(tmp_path / "data")]
    assert main([*words, "--out", str(tmp_path / "out")]) == 2
    message = capsys.readouterr().err
    assert "train-images-idx3-ubyte" in message
    assert "OPTOSCOPE_DATA" in message
    assert not (tmp_path / "out").exists()


def test_a_full_directory_is_not_overwritten(tmp_path: Path, capsys):
    (tmp_path / "precious").write_text("data")
    assert main(["train", "lstm", "--task", "quadratic", "--out", str(tmp_path)]) == 2
    assert "--resume" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]


def test_a_config_of_another_command_is_refused(tmp_path: Path, capsys):
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"command": "tune", "arguments": {}}))
    assert main(["train", "--config", str(config)]) == 2
    assert "optoscope tune" in capsys.readouterr().err


def test_arguments_beside_a_config_are_refused(tmp_path: Path, capsys):
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"command": "train", "arguments": {"optimizer": "lstm"}}))
    assert main(["train", "--config", str(config), "--meta-steps", "3"]) == 2
    assert "meta_steps is given together with --config" in capsys.readouterr().err


def test_a_full_disk_is_one_message(tmp_path: Path, monkeypatch, capsys):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    assert main(["train", "lstm", "--task", "quadratic", "--out", str(tmp_path / "out")]) == 2
    message = capsys.readouterr().err
    assert "No space left on device" in message
    assert not list((tmp_path / "out").iterdir())


def test_debug_shows_the_traceback():
    with pytest.raises(LookupError, match="lstm"):
        main(["train", "lsmt", "--debug"])


def test_a_lost_process_ends_the_others_at_once(monkeypatch: pytest.MonkeyPatch, capsys):
    def lost(command: List) -> int:
        raise ProcessLostError("process 0 of 2 cannot go on")

    codes: list[int] = []
    monkeypatch.setattr(List, "run", lost)
    # JAX's own way out would wait for the process that is gone.
    monkeypatch.setattr(os, "_exit", codes.append)
    assert main(["list"]) == 2
    assert codes == [2]
    assert capsys.readouterr().err == "optoscope: process 0 of 2 cannot go on\n"
