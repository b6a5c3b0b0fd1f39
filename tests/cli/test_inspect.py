"""optoscope inspect: one page and its arrays, of optimizers of every kind."""

import json
from pathlib import Path

import numpy as np
import pytest

from optoscope import optimizers
from optoscope.cli import main
from optoscope.report._findings import read_panels

OWN = """
import numpy as np
import optax
from optoscope.analysis.inspection import Axis, Chart, Findings, Measured, Panel

def mine(learning_rate=0.1):
    return optax.sgd(learning_rate, momentum=0.5)

fixed = optax.sgd(0.03)

def count(looked):
    steps = np.array(looked.recording.steps)
    axes = {"step": Axis("step", steps)}
    chart = Chart("Steps", "count", "how many", "step", None)
    return Findings(axes, {"count": Measured(("step",), steps + 1)}, (chart,), ("Counted.",))

panel = Panel("Counting", count, "It grows.", "Anything else.")
"""


def inspect(*words: str) -> int:
    tiny = ["--steps", "12", "--runs", "2", "--trials", "3", "--points", "3"]
    return main(["inspect", *words, *tiny])


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "own.py"
    path.write_text(OWN)
    return path


def test_optimizers_of_every_kind_are_inspected(own, tmp_path, capsys):
    out = tmp_path / "out"
    names = f"adam-cosine,gru-quadratic,{own}:mine,{own}:fixed,optax.sgd"
    words = ["--task", "quadratic", "--panels", f"geometry,learning-rate,{own}:panel"]
    assert inspect(names, *words, "--out", str(out)) == 0
    labels = ["adam-cosine", "gru-quadratic", "mine", "fixed", "optax.sgd"]
    results = json.loads((out / "results.json").read_text())
    trials = {name: one["trials"] for name, one in results["optimizers"].items()}
    assert set(trials) == set(labels)
    # What has a learning rate was tuned; what is learned or made already was not.
    assert min(trials[name] for name in ("adam-cosine", "mine", "optax.sgd")) >= 3
    assert trials["gru-quadratic"] == trials["fixed"] == 0
    panels = read_panels(out)
    assert [panel.name for panel in panels] == ["geometry", "learning-rate", "panel"]
    assert panels[0].findings.axes["optimizer"].values.tolist() == labels
    assert panels[2].findings.at("count").tolist() == [1, 3, 12]
    text = (out / "index.html").read_text()
    assert "Counting" in text
    printed = capsys.readouterr().out
    assert "Counted." in printed
    assert str(out / "index.html") in printed.replace("\n", "")
    assert (out / "index.html").stat().st_size < 2_500_000


def test_a_run_is_repeated_from_its_config(tmp_path):
    first, again = tmp_path / "first", tmp_path / "again"
    words = ["sgd", "--task", "quadratic", "--panels", "geometry", "--out", str(first)]
    assert inspect(*words) == 0
    assert main(["inspect", "--config", str(first / "config.json"), "--out", str(again)]) == 0
    arrays = [read_panels(run)[0].findings.arrays["size"].values for run in (first, again)]
    np.testing.assert_array_equal(*arrays)


def test_without_trials_all_are_taken_as_they_are(tmp_path):
    out = tmp_path / "out"
    words = ["adam,lion", "--task", "quadratic", "--panels", "cost", "--steps", "5", "--runs", "1"]
    assert main(["inspect", *words, "--trials", "0", "--out", str(out)]) == 0
    results = json.loads((out / "results.json").read_text())
    assert {one["trials"] for one in results["optimizers"].values()} == {0}
    assert set(results["optimizers"]) <= set(optimizers.names())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "which optimizer?"),
        (["adam", "--task", "quadratic", "--panels", "geometri"], "'geometry'"),
        (["adam", "--task", "quadratic", "--panels", "cost,cost"], "named twice"),
        (["adam", "--task", "quadratic", "--panels", "{own}:fixed"], "must be a Panel"),
        (["adm", "--task", "quadratic"], "adm"),
        (["adam"], "adam was trained on none. Name one: --task digits-mlp-relu"),
    ],
)
def test_what_cannot_be_inspected_is_refused(words, message, own, tmp_path, capsys):
    words = [word.format(own=own) for word in words]
    assert inspect(*words, "--out", str(tmp_path / "out")) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_one_trial_is_no_search(tmp_path, capsys):
    words = ["adam", "--task", "quadratic", "--trials", "1", "--out", str(tmp_path / "out")]
    assert main(["inspect", *words]) == 2
    assert "--trials is 1" in capsys.readouterr().err
