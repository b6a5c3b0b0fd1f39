"""The commands as a user types them; tiny runs on random least-squares problems."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from optoscope import optimizers
from optoscope._core.errors import FileFormatError
from optoscope.cli import main
from optoscope.cli._command import get_task_or_own
from optoscope.cli._evaluate import _horizon
from optoscope.report import read_claims
from support.printed_verdicts import check_verdicts

TINY_TRAIN = ["--task", "quadratic", "--set", "columns=6", "--meta-steps", "12", "--num-tasks", "2"]
TINY_TRAIN += ["--horizon", "20", "--truncation", "5"]
TINY_TRAIN += ["--evaluate-every", "10", "--checkpoint-every", "10"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("cli") / "trained"
    assert main(["train", "lstm", *TINY_TRAIN, "--devices", "1", "--out", str(out)]) == 0
    return out


def weights(directory: Path) -> list[np.ndarray]:
    optimizer = optimizers.load(directory)
    return [np.asarray(leaf) for _, leaf in optimizers.named_leaves(optimizer)]


def test_train_leaves_a_complete_run_directory(trained: Path):
    names = {path.name for path in trained.iterdir()}
    assert {"config.json", "metrics.jsonl", "checkpoints", "optimizer", "index.html"} <= names
    lines = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [10, 12]
    config = json.loads((trained / "config.json").read_text())
    assert config["command"] == "train"
    assert config["arguments"]["optimizer"] == "lstm"
    provenance = optimizers.read_description(trained)["metadata"]
    assert provenance["meta_training"]["meta_steps"] == 12
    assert provenance["task"]["name"] == "quadratic"
    assert provenance["task"]["options"] == {"columns": 6}
    assert get_task_or_own(None, str(trained))[1].metadata["num_params"] == 6


def test_an_optimizer_that_knows_the_length_of_training_is_made_for_the_horizon(tmp_path: Path):
    out = tmp_path / "celo"
    # By PES, which compiles no derivative of it.
    words = ["--task", "quadratic", "--meta-steps", "2", "--estimator", "pes", "--num-tasks", "2"]
    words += ["--horizon", "20", "--truncation", "5", "--devices", "1"]
    words += ["--set", "celo.hidden_size=1", "celo.scheduler_size=2"]
    assert main(["train", "celo", *words, "--out", str(out)]) == 0
    assert optimizers.read_description(out)["configuration"]["num_steps"] == 20


def test_a_run_is_repeated_bit_by_bit_from_its_config(trained: Path, tmp_path: Path):
    again = tmp_path / "again"
    arguments = ["train", "--config", str(trained / "config.json"), "--out", str(again)]
    assert main(arguments) == 0
    for first, second in zip(weights(trained), weights(again), strict=True):
        np.testing.assert_array_equal(first, second)


def test_a_finished_run_resumes_to_itself(trained: Path):
    before = weights(trained)
    assert main(["train", "--resume", str(trained)]) == 0
    for first, second in zip(before, weights(trained), strict=True):
        np.testing.assert_array_equal(first, second)


def test_another_seed_gives_other_weights(trained: Path, tmp_path: Path):
    other = tmp_path / "other"
    arguments = ["train", "lstm", *TINY_TRAIN, "--devices", "1", "--seed", "1", "--out", str(other)]
    assert main(arguments) == 0
    assert any((a != b).any() for a, b in zip(weights(trained), weights(other), strict=True))


def test_evaluate_writes_results_in_their_lasting_form(trained: Path, tmp_path: Path, capsys):
    out = tmp_path / "evaluation"
    words = ["evaluate", str(trained), "--task", "quadratic", "--against", "sgd,adam"]
    words += ["--steps", "30", "--runs", "4", "--search-points", "5", "--probe", "norms"]
    assert main([*words, "--probe-every", "10", "--out", str(out)]) == 0
    results = json.loads((out / "results.json").read_text())
    assert set(results["optimizers"]) == {"lstm", "sgd", "adam", "lstm (tuned)"}
    assert results["learned"] == ["lstm", "lstm (tuned)"]
    assert results["num_runs"] == len(results["seeds"]) == 4
    sgd = results["optimizers"]["sgd"]
    assert set(sgd["hyperparameters"]) == {"learning_rate"}
    assert {"value", "low", "high", "count", "method"} <= set(sgd["final_loss"])
    assert set(sgd["mean_loss"]) == {"30"}
    assert sgd["horizon"] is None
    assert results["optimizers"]["lstm"]["horizon"] == 20
    with np.load(out / "records" / "probes.npz", allow_pickle=False) as probes:
        assert probes["adam/norms['grads']"].shape == (4, 3)
        assert probes["adam/norms/steps"].tolist() == [0, 10, 20]
    with np.load(out / "records" / "evaluation.npz", allow_pickle=False) as curves:
        losses = curves["losses/adam"]
    assert losses.shape == (4, 30)
    assert np.mean(losses) == pytest.approx(
        results["optimizers"]["adam"]["mean_loss"]["30"]["value"], rel=1e-5
    )
    assert (out / "index.html").exists()
    assert str(out / "index.html") in capsys.readouterr().out.replace("\n", "")


@pytest.mark.parametrize(
    ("training", "horizon"),
    [
        ({"horizon": 200}, 200),
        ({"horizon": 100, "curriculum": [150, 200]}, 200),
        ({"horizon": 200, "task_horizons": [500, 50], "curriculum": []}, 500),
        ({"horizon": 200, "task_horizons": [100, 50]}, 100),
        ({"horizon": "long", "curriculum": 7}, None),
        (None, None),
    ],
)
def test_the_horizon_of_an_optimizer_is_that_of_its_longest_runs(training, horizon):
    assert _horizon({"metadata": {"meta_training": training}}) == horizon


def test_plot_draws_a_run_again(trained: Path, capsys):
    page = trained / "index.html"
    page.unlink()
    assert main(["plot", str(trained)]) == 0
    assert page.exists()
    assert "Page:" in capsys.readouterr().out


def test_tune_finds_and_reports_the_best(tmp_path: Path, capsys):
    out = tmp_path / "tuned"
    words = ["tune", "momentum", "--task", "quadratic", "--steps", "20", "--runs", "2"]
    words += ["--samples", "20", "--search", "learning_rate=1e-3:1,momentum=0.1:0.95"]
    assert main([*words, "--out", str(out)]) == 0
    found = json.loads((out / "search.json").read_text())
    with np.load(out / "records" / "search.npz", allow_pickle=False) as records:
        best = int(np.argmin(records["momentum/score"]))
        rates = records["momentum/learning_rate"]
        decays = records["momentum/momentum"]
    assert found["best"]["learning_rate"] == pytest.approx(rates[best], rel=1e-6)
    assert len(rates) == 20
    assert decays.min() >= 0.1
    assert decays.max() <= 0.95
    assert "Best of 20" in capsys.readouterr().out


@pytest.mark.slow
def test_explain_distils_a_program_that_runs_alone(tmp_path: Path, capsys):
    out = tmp_path / "run"
    saved = optimizers.save(tmp_path / "saved", optimizers.momentum(0.1, 0.8))
    words = ["explain", str(saved), "--task", "quadratic", "--steps", "20", "--runs", "4"]
    # With two settings to try, tuned momentum is worse than a sensible one.
    words += ["--samples", "2", "--most-modes", "1", "--out", str(out)]
    assert main(words) == 0
    assert "gains over tuned momentum on quadratic" in " ".join(capsys.readouterr().out.split())
    scope: dict = {}
    exec((out / "distilled.py").read_text(), scope)
    assert scope["distilled"]().init(np.zeros(3)) is not None
    assert json.loads((out / "explanation.json").read_text())["mechanisms"] == []
    assert "Mechanisms" in (out / "index.html").read_text()


@pytest.mark.slow
def test_explain_fits_a_formula_to_an_optimizer_that_was_never_trained(tmp_path: Path, capsys):
    out = tmp_path / "run"
    words = ["explain", "adam", "--steps", "20", "--runs", "4", "--set", "adam.learning_rate=0.1"]
    assert main([*words, "--out", str(out)]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "Δ = − 0.1·m̂[0.9]/√v̂[0.999]" in shown
    assert "over standing still on quadratic" in shown
    assert "As a formula" in (out / "index.html").read_text()
    scope: dict = {}
    exec((out / "distilled.py").read_text(), scope)
    assert scope["distilled"]().init(np.zeros(3)) is not None


@pytest.mark.slow
def test_symmetries_are_printed(capsys):
    assert main(["symmetries", "digits-mlp-relu", "--set", "hidden=(2,)"]) == 0
    shown = capsys.readouterr().out
    assert "dead_inputs" in shown
    assert "change no loss" in shown


@pytest.mark.parametrize(
    "command", [[], ["demo"], ["train"], ["evaluate"], ["tune"], ["explain"], ["list"]]
)
def test_help_does_not_import_jax(command: list[str]):
    program = (
        "import sys\nfrom optoscope.cli import main\n"
        f"code = main({[*command, '--help']!r})\n"
        "assert 'jax' not in sys.modules and 'matplotlib' not in sys.modules\nsys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "usage: optoscope" in done.stdout


@pytest.mark.slow
def test_demo_runs_from_end_to_end(tmp_path: Path, capsys):
    out = tmp_path / "demo"
    words = ["demo", "--meta-steps", "2", "--runs", "3", "--steps", "120", "--out", str(out)]
    assert main(words) == 0
    results = json.loads((out / "results.json").read_text())
    assert set(results["optimizers"]) == {"general", "momentum", "adam", "lion"}
    assert set(results["optimizers"]["general"]["mean_loss"]) == {"100", "120"}
    (claim,) = read_claims(out / "claims.json")
    assert claim.verdict == "does not hold", "two meta-steps cannot win"
    assert (claim.estimate.count, len(claim.repetitions)) == (3, 3)
    check_verdicts(out)
    page = (out / "index.html").read_text()
    assert "did not beat" in page
    assert "did not beat" in capsys.readouterr().out


def test_without_a_task_it_is_the_optimizers_own_with_its_options(tmp_path: Path):
    options = {"hidden": [4], "batch_size": 8, "gone": 1}
    provenance = {"task": {"name": "digits-mlp-relu", "options": options}}
    place = str(optimizers.save(tmp_path / "saved", optimizers.get("mlp"), provenance))
    name, task = get_task_or_own(None, place)
    assert (name, task.metadata["widths"], task.batch_size) == ("digits-mlp-relu", [64, 4, 10], 8)
    name, task = get_task_or_own("digits-mlp-tanh", place)
    assert (name, task.metadata["widths"]) == ("digits-mlp-tanh", [64, 20, 10])


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ({"options": {"hidden": "x"}}, "hidden is 'x'; it must be whole numbers in a list"),
        ({"options": {"hidden": [10**9]}}, "this needs at least .* of memory"),
        ({"options": {"data_dir": "/etc"}}, "data_dir is '/etc', which a file does not decide"),
        ({"options": {"verify": False}}, "verify is False, which a file does not decide"),
        ({"name": "digits-mlp-relo"}, "unknown task"),
        ({"name": "mine.py:task"}, "'mine.py:task' names code"),
        ({"name": "os:getcwd"}, "'os:getcwd' names code"),
    ],
)
def test_the_task_of_a_saved_optimizer_is_checked_as_if_it_were_typed(tmp_path, task, message):
    provenance = {"task": {"name": "digits-mlp-relu"} | task}
    place = str(optimizers.save(tmp_path / "saved", optimizers.get("mlp"), provenance))
    with pytest.raises(FileFormatError, match=f"cannot be built as it says there: {message}"):
        get_task_or_own(None, place)
