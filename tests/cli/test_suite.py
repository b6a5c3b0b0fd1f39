"""`optoscope suite` as a user types it."""

import json

import pytest

from optoscope.cli import main
from optoscope.cli._suite import published_place
from optoscope.errors import InvalidValueError, UnknownNameError

TINY = ["suite", "smoke", "--tasks", "autoencoder", "--steps", "6", "--runs", "2", "--rates", "2"]
AGAINST = ["--against", "adamw-cosine,sgd"]


def test_a_suite_is_ranked_and_goes_on(tmp_path, capsys):
    out = tmp_path / "suite"
    assert main([*TINY, *AGAINST, "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "First of 2 over 1 task, 6 steps and 2 runs" in said
    # The terminal of a test has 80 columns: what has no room is left out, nothing is cut.
    assert "Final ratio" in said
    assert not any(words in said for words in ("below all", "…"))
    first = json.loads((out / "suite.json").read_text())
    assert set(first["optimizers"]) == {"adamw-cosine", "sgd"}
    stamps = {path: path.stat().st_mtime_ns for path in out.rglob("cells/**/*.npz")}
    assert len(stamps) == 4
    more = ["--optimizers", "gru-quadratic,gru-rosenbrock", "--untuned", "gru-rosenbrock"]
    assert main([*TINY, *AGAINST, *more, "--out", str(out)]) == 0
    second = json.loads((out / "suite.json").read_text())
    given = set(second["optimizers"]) - set(first["optimizers"])
    assert given == {"gru-quadratic", "gru-quadratic (tuned)", "gru-rosenbrock"}
    # What was there is still there, untouched.
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    assert second["optimizers"]["sgd"]["final_loss"] == first["optimizers"]["sgd"]["final_loss"]
    assert (out / "index.html").stat().st_size > 10_000
    config = json.loads((out / "config.json").read_text())
    assert config["arguments"]["optimizers"] == "gru-quadratic,gru-rosenbrock"
    assert main([*TINY, *AGAINST, "--seed", "1", "--out", str(out)]) == 2
    assert "was made with seed 0, not 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["suite", "smal"], "small"),
        (["suite", "smoke", "--tasks", "mpl"], "mlp"),
        (["suite", "smoke", "--against", "adm"], "adam"),
        (["suite", "smoke", "--against", ""], "no baseline to rank with"),
        (["suite", "smoke", "--optimizers", "no-such"], "no-such"),
        (["suite", "smoke", "--optimizers", "l2o-dx@file"], "l2o-dm"),
        (["suite", "smoke", "--optimizers", "l2o-dm@no/such/file.npz"], "does not exist"),
        (["suite", "smoke", "--set", "hidden=3"], "has no optimizer"),
        (["suite", "smoke", "--set", "ours.scale=3"], "ours"),
        (["suite", "smoke", "--optimizers", "gru-quadratic,gru-quadratic"], "twice"),
        (["suite", "smoke", "--optimizers", "gru-quadratic", "--untuned", "gru"], "gru-quadratic"),
        (["suite", "smoke", "--optimizers", "celo2"], "optoscope fetch celo2"),
    ],
)
def test_what_cannot_be_is_one_message_and_leaves_nothing(
    words, said, tmp_path, capsys, monkeypatch
):
    monkeypatch.setenv("OPTOSCOPE_DATA", str(tmp_path / "data"))
    out = tmp_path / "out"
    assert main([*words, "--out", str(out)]) == 2
    assert said in capsys.readouterr().err
    assert not out.exists()


def test_published_weights_are_named_by_kind_and_file(tmp_path):
    file = tmp_path / "l2o-dm_cl.npz"
    file.write_bytes(b"weights")
    assert published_place(f"l2o-dm@{file}") == ("l2o-dm_cl", "l2o-dm", file)
    assert published_place(f"ours=l2o-dm@{file}") == ("ours", "l2o-dm", file)
    assert published_place("gru-quadratic") is None
    with pytest.raises(UnknownNameError, match="rnnprop"):
        published_place("rnnpro@file")
    with pytest.raises(InvalidValueError, match="celo@FILE"):
        published_place("celo", tmp_path)
