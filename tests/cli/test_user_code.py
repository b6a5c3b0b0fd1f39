"""Tasks and optimizers of a person's own, named on the command line."""

import json
import sys
from pathlib import Path

import jax.numpy as jnp
import pytest

from optoscope import optimizers
from optoscope._core.errors import FileFormatError, InvalidValueError, UnknownNameError
from optoscope.cli import main
from optoscope.cli._named_optimizers import contestant, is_made_here, load_saved, trusted_classes
from optoscope.cli._user_code import load_object, made, parse_settings

PROBLEM = """
import jax, jax.numpy as jnp, optax
from optoscope import tasks

x = jnp.linspace(-1.0, 1.0, 40)

def line(degree=2):
    return tasks.from_functions(
        lambda key: jax.random.normal(key, (degree,)),
        lambda params, batch: jnp.mean((jnp.polyval(params, batch[0]) - batch[1]) ** 2),
        (x, 3 * x), validation=(x, 3 * x), metrics={"error": lambda p, b: jnp.abs(p[0] - 3)},
    )

task = line()

def mine(learning_rate=0.1):
    return optax.sgd(learning_rate, momentum=0.5)

fixed = optax.sgd(0.1)
number = 3
"""


@pytest.fixture
def problem(tmp_path: Path) -> Path:
    path = tmp_path / "problem.py"
    path.write_text(PROBLEM)
    return path


def evaluate(*words: str) -> int:
    tiny = ["--steps", "20", "--runs", "3", "--search-points", "3", "--metric-steps", "10"]
    return main(["evaluate", *words, *tiny])


def test_evaluate_on_a_task_of_a_file_against_optimizers_of_every_kind(problem, tmp_path, capsys):
    out = tmp_path / "out"
    assert evaluate(
        "adam", "--task", f"{problem}:line", "--set", "degree=3", "--out", str(out),
        "--against", f"adamw,optax.contrib.prodigy,{problem}:mine,{problem}:fixed",
        "--schedules", "constant",
    ) == 0  # fmt: skip
    results = json.loads((out / "results.json").read_text())
    names = ["adam", "adamw", "optax.contrib.prodigy", "mine", "fixed", "adam (tuned)"]
    assert list(results["optimizers"]) == names
    assert results["task"]["num_params"] == 3
    assert {"loss", "error"} == set(results["optimizers"]["adam"]["validation"])
    trials = {name: entry["trials"] for name, entry in results["optimizers"].items()}
    assert trials["adam"] == 0
    assert all(trials[name] >= 3 for name in names[1:])
    sources = json.loads((out / "config.json").read_text())["sources"]
    assert {source["path"] for source in sources} == {str(problem)}
    assert all(len(source["sha256"]) == 64 for source in sources)
    printed = capsys.readouterr().out
    assert "Trials to tune" in " ".join(printed.split())


def test_a_saved_run_never_runs_code_that_nobody_has_typed(problem, tmp_path, capsys):
    out, again = tmp_path / "out", tmp_path / "again"
    words = ["--task", f"{problem}:task", "--against", "sgd", "--schedules", "constant"]
    assert evaluate("adam", *words, "--out", str(out)) == 0
    repeat = ["evaluate", "--config", str(out / "config.json"), "--out", str(again)]
    assert main(repeat) == 2
    assert f"--task {problem}:task" in "".join(capsys.readouterr().err.split("\n"))
    assert not again.exists()
    assert main([*repeat, "--task", f"{problem}:task"]) == 0
    first, second = (
        json.loads((place / "results.json").read_text())["optimizers"]["adam"]["mean_loss"]
        for place in (out, again)
    )
    assert first == second


CLASS = """
import jax
from optoscope import optimizers

class Rate(optimizers.OptimizerModule):
    rate: jax.Array

    def init(self, params):
        return ()

    def update(self, grads, state, params=None, **extra):
        return jax.tree.map(lambda g: -self.rate * g, grads), state

print("it ran")
"""


def test_a_saved_optimizer_of_a_class_of_yours_is_loaded_where_the_class_is_named(
    problem, tmp_path, capsys, monkeypatch
):
    file, saved, out = tmp_path / "rates.py", tmp_path / "saved", tmp_path / "out"
    file.write_text(CLASS)
    rate = load_object(f"{file}:Rate")[0]
    optimizers.save(saved, rate(jnp.asarray(0.1)))
    # As in another process, where nothing has run the file yet.
    monkeypatch.delitem(sys.modules, rate.__module__)
    capsys.readouterr()
    words = [str(saved), "--task", f"{problem}:task", "--against", "sgd"]
    words += ["--schedules", "constant", "--no-tuned", "--out", str(out)]
    assert evaluate(*words) == 2
    printed = capsys.readouterr()
    assert "it ran" not in printed.out
    assert "type where it is: --trust FILE.py:Rate" in " ".join(printed.err.split())
    assert evaluate(*words, "--trust", f"{file}:Rate") == 0
    assert "it ran" in capsys.readouterr().out
    assert "Rate" in json.loads((out / "results.json").read_text())["optimizers"]
    named = {source["path"] for source in json.loads((out / "config.json").read_text())["sources"]}
    assert named == {str(problem), str(file)}
    repeat = ["evaluate", "--config", str(out / "config.json"), "--out", str(tmp_path / "again")]
    assert main([*repeat, "--task", f"{problem}:task"]) == 2
    assert f"--trust {file}:Rate" in "".join(capsys.readouterr().err.split("\n"))


def test_what_is_trusted_is_a_class_of_optimizers(problem):
    assert trusted_classes("") == {}
    with pytest.raises(InvalidValueError, match=r"--trust has 'Rate'; write .*FILE.py:CLASS"):
        trusted_classes("Rate")
    with pytest.raises(InvalidValueError, match=r"problem.py:mine, which is no class"):
        trusted_classes(f"{problem}:mine")
    with pytest.raises(UnknownNameError, match="Rate"):
        trusted_classes(f"{problem}:Rate")


def test_the_module_of_a_class_of_yours_is_told(tmp_path):
    saved = optimizers.save(tmp_path / "saved", optimizers.sgd())
    path = saved / "optimizer.json"
    path.write_text(path.read_text().replace('"class": "sgd"', '"class": "wicked.rates:Rate"'))
    with pytest.raises(
        FileFormatError, match=r"--trust wicked.rates:Rate, or --trust FILE.py:Rate"
    ):
        load_saved(str(saved), "", 10)
    with pytest.raises(InvalidValueError, match=r"wicked.rates could not be run"):
        contestant(str(saved), {}, 10, "wicked.rates:Rate")


def test_a_metric_of_the_task_is_tuned_for_and_compared(problem, tmp_path):
    out = tmp_path / "out"
    words = ["--task", f"{problem}:task", "--against", "sgd", "--schedules", "constant"]
    assert evaluate("adam", *words, "--metric", "error", "--out", str(out)) == 0
    comparison = json.loads((out / "results.json").read_text())["comparison"]
    assert comparison["metric"] == "error on the validation data after 20 steps"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("missing.py:task", "no file missing.py"),
        ("no_such_module_here:task", "could not be run: ModuleNotFoundError"),
        ("{}:tasks_", "did you mean"),
    ],
)
def test_objects_that_are_not_there(problem, text, message):
    with pytest.raises((InvalidValueError, UnknownNameError), match=f"(?i){message}"):
        load_object(text.format(problem))


def test_a_file_that_fails_is_one_message_with_its_line(tmp_path):
    path = tmp_path / "broken.py"
    path.write_text("x = 1\ny = x / 0\n")
    with pytest.raises(InvalidValueError, match=r"ZeroDivisionError.*line 2"):
        load_object(f"{path}:task")


def test_settings_are_checked_before_anything_is_made(problem):
    with pytest.raises(InvalidValueError, match="takes degree"):
        made(load_object(f"{problem}:line")[0], "line", {"width": 3}, ("loss",))
    with pytest.raises(InvalidValueError, match="is no function"):
        made(load_object(f"{problem}:task")[0], "task", {"degree": 3}, ("loss",))
    with pytest.raises(InvalidValueError, match="is a int"):
        made(load_object(f"{problem}:number")[0], "number", {}, ("loss",))
    with pytest.raises(InvalidValueError, match="name=value"):
        parse_settings(("degree",))
    with pytest.raises(InvalidValueError, match="twice"):
        parse_settings(("a=1", "a=2"))


@pytest.mark.parametrize("text", ["optax.contrib.no_such", "optax.tree.map", "adamm", "optax.adam"])
def test_names_of_optimizers(text):
    if text == "optax.adam":
        assert contestant(text, {}, 10).search
        with pytest.raises(InvalidValueError, match=r"optax\.adam takes"):
            contestant(text, {"b9": 1}, 10)
        return
    with pytest.raises((UnknownNameError, InvalidValueError)):
        contestant(text, {}, 10)


def test_a_shipped_name_means_the_trained_optimizer_unless_it_has_settings():
    """`general` is registered and shipped; a name that is one of these alone is what it was."""
    assert not is_made_here("general")
    assert is_made_here("general", {"learning_rate": 0.1})
    assert is_made_here("adamw-cosine")
    assert is_made_here("optax.lamb", {})
    assert not is_made_here("star-mnist-mlp")
