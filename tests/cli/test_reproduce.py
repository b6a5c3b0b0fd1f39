"""`optoscope reproduce` as a user types it."""

import json
from pathlib import Path

import pytest

from optoscope.cli import main
from optoscope.papers import Paper, Reproduction

ARGUMENTS = ["reproduce", "A", "--figure", "2", "--scale", "smoke"]

CASES = {
    "no paper": (["reproduce"], "which paper?"),
    "paper": (["reproduce", "Q"], "unknown paper 'Q'"),
    "figure": (["reproduce", "A", "--figure", "sweep-bta"], "Did you mean 'sweep-beta'"),
    "number": (["reproduce", "A", "--figure", "44"], "unknown figure of paper A '44'"),
    "no figure": (["reproduce", "A", "--figure", ""], "no figure is named"),
    "scale": (["reproduce", "A", "--scale", "laptob"], "Did you mean 'laptop'"),
    "no other run": ([*ARGUMENTS, "--reuse", "nowhere"], "--reuse nowhere: there are no records/"),
    "nothing of it at this scale": (
        ["reproduce", "B", "--figure", "lines", "--scale", "smoke"],
        "lines has nothing to measure at the scale 'smoke': take another --scale.",
    ),
    "nothing of it on this machine": (
        ["reproduce", "B", "--figure", "lines", "--scale", "long", "--data-dir", "nowhere"],
        "RNNProp is left out: put l2o-rnnprop.npz into nowhere/weights",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_one_message_exit_2_nothing_left(case: str, tmp_path: Path, capsys):
    words, expected = CASES[case]
    assert main([*words, "--out", str(tmp_path / "out")]) == 2
    message = capsys.readouterr().err
    assert expected in message
    assert "Traceback" not in message
    assert list(tmp_path.iterdir()) == []


def test_it_says_which_weights_to_put_where(tmp_path: Path, capsys, monkeypatch):
    """What others trained does not come with the library; it is left out, and not in silence."""
    found = Reproduction(tmp_path / "index.html", (), ())
    monkeypatch.setattr(Paper, "reproduce", lambda *arguments, **options: found)
    monkeypatch.setenv("OPTOSCOPE_DATA", str(tmp_path / "data"))
    words = ["reproduce", "Published", "--scale", "smoke", "--out", str(tmp_path / "run")]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "Reproducing published, figures 1,2,3,4,5,6:" in said
    assert f"L2O-DM is left out: put l2o-dm.npz into {tmp_path / 'data' / 'weights'}" in said
    assert "or type: optoscope fetch celo" in said


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("reproduce") / "run"
    assert main([*ARGUMENTS, "--out", str(out)]) == 0
    return out


def test_it_leaves_a_complete_run_directory(run: Path):
    names = {path.name for path in run.iterdir()}
    assert {"config.json", "records", "figures", "claims.json", "index.html"} <= names
    config = json.loads((run / "config.json").read_text())
    assert config["arguments"]["figure"] == "2"


def test_the_same_folder_goes_on_and_keeps_its_figures(run: Path):
    before = (run / "records" / "illustration.npz").stat().st_mtime_ns
    assert main([*ARGUMENTS, "--out", str(run)]) == 0
    assert (run / "records" / "illustration.npz").stat().st_mtime_ns == before


def test_it_says_first_what_is_to_be_computed(run: Path, tmp_path: Path, capsys):
    assert main([*ARGUMENTS, "--out", str(tmp_path / "fresh")]) == 0
    assert "2 needs illustration" in capsys.readouterr().out
    assert main([*ARGUMENTS, "--out", str(run)]) == 0
    assert "needs" not in capsys.readouterr().out


def test_what_another_folder_has_finished_is_taken_over(run: Path, tmp_path: Path, capsys):
    other = tmp_path / "other"
    assert main([*ARGUMENTS, "--reuse", str(run), "--out", str(other)]) == 0
    assert "needs" not in capsys.readouterr().out
    for name in ("records/illustration.npz", "claims.json"):
        assert (other / name).read_bytes() == (run / name).read_bytes()


def test_it_can_be_repeated_from_its_config(run: Path, tmp_path: Path):
    again = tmp_path / "again"
    assert main(["reproduce", "--config", str(run / "config.json"), "--out", str(again)]) == 0
    assert (again / "figures" / "figure-2.png").is_file()


def test_another_scale_needs_another_folder(run: Path, capsys):
    arguments = ["reproduce", "A", "--figure", "2", "--scale", "paper", "--out", str(run)]
    assert main(arguments) == 2
    assert "was made with --scale smoke" in capsys.readouterr().err


def test_the_page_is_drawn_again_by_plot(run: Path):
    (run / "figures" / "figure-2.png").unlink()
    assert main(["plot", str(run)]) == 0
    assert (run / "figures" / "figure-2.png").is_file()
