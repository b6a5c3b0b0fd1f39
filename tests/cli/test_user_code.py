"""Tasks and optimizers of a person's own, named on the command line."""

import html
import json
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from optoscope import optimizers
from optoscope._core.errors import FileFormatError, InvalidValueError, UnknownNameError
from optoscope.bench._contestants import Raced
from optoscope.cli import main
from optoscope.cli._named_optimizers import (
    as_shipped,
    contestant,
    is_made_here,
    load_saved,
    trusted_classes,
)
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
    page = html.unescape((out / "index.html").read_text())
    shown = re.search(r"<code>optoscope (evaluate --config .*)</code>", page)
    assert shown is not None
    assert main([*shlex.split(shown[1]), "--out", str(again)]) == 0
    assert "<title>evaluate: problem.py:task" in page
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
    assert is_made_here("adamw-cosine")
    assert is_made_here("optax.lamb")
    assert not is_made_here("star-mnist-mlp")


def same(first, second) -> bool:
    return bool(eqx.tree_equal(first, second))


def test_a_trained_optimizer_is_told_another_length_and_takes_no_other_setting():
    told = load_saved("general", "", 20, {"num_steps": 300})
    assert same(told, optimizers.load("general", num_steps=300))
    tuned: Any = contestant("general", {"num_steps": 300}, 20).create()
    assert same(tuned.optimizer, told)
    assert same(load_saved("general", "", 20), optimizers.load("general", num_steps=20))
    trained = r"general comes trained; --set general.learning_rate=… would make an untrained one\."
    with pytest.raises(InvalidValueError, match=trained):
        load_saved("general", "", 20, {"learning_rate": 0.1})
    with pytest.raises(InvalidValueError, match=trained):
        contestant("general", {"learning_rate": 0.1}, 20)
    with pytest.raises(InvalidValueError, match="the same for every length"):
        load_saved("star-mnist-mlp", "", 20, {"num_steps": 300})
    with pytest.raises(InvalidValueError, match="num_steps is 0"):
        load_saved("general", "", 20, {"num_steps": 0})


@pytest.mark.parametrize("command", ["evaluate", "inspect", "tune", "explain", "suite"])
def test_no_command_makes_an_untrained_optimizer_of_a_trained_name(
    command, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    words = ["smoke", "--optimizers", "general"] if command == "suite" else ["general"]
    task = [] if command == "suite" else ["--task", "quadratic"]
    assert main([command, *words, *task, "--set", "general.learning_rate=0.1"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "general comes trained; --set general.learning_rate=…" in said
    assert "optimizers.get('general', learning_rate=…)" in said
    assert not any(tmp_path.iterdir())


def test_settings_of_a_saved_folder_are_not_passed_over(tmp_path):
    optimizers.save(tmp_path / "mine", optimizers.get("rnn"))
    with pytest.raises(InvalidValueError, match="comes trained"):
        load_saved(str(tmp_path / "mine"), "", 20, {"hidden_size": 3})


def test_a_length_that_is_typed_wins():
    settings = {"num_steps": 100}
    assert int(as_shipped("adamw-cosine", settings, 20).num_steps) == 100
    one = contestant("adamw-cosine", settings, 20)
    raced: Any = Raced(one.create, 20, one.takes_num_steps)(learning_rate=0.1)
    assert int(raced.num_steps) == 100
    assert not one.takes_schedule
    assert int(as_shipped("adamw-cosine", {}, 20).num_steps) == 20


def moved(optimizer: Any) -> np.ndarray:
    """The second update, which knows of the first one by the momentum alone."""
    params, grads = jnp.ones(2), jnp.array([1.0, 2.0])
    _, state = optimizer.update(grads, optimizer.init(params), params)
    return np.asarray(optimizer.update(-grads, state, params)[0])


@pytest.mark.parametrize("text", ["adam", "optax.adam"])
def test_what_is_set_is_not_searched(text):
    one = contestant(text, {"b1": 0.5}, 20)
    found, wanted = moved(one.create(learning_rate=0.1)), moved(optax.adam(0.1, b1=0.5))
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    assert set(one.search) == {"learning_rate"}
    assert set(contestant(text, {"learning_rate": 0.1}, 20).search) == {"multiplier"}
    with pytest.raises(InvalidValueError, match="b9"):
        contestant(text, {"b9": 0.5}, 20)


def test_values_that_nothing_can_be_made_of_are_one_message(monkeypatch):
    with pytest.raises(InvalidValueError, match=r"adam cannot be made of b1=1000\d*\.\.\.0+: int"):
        as_shipped("adam", {"b1": 10**400}, 20)
    # As it is where no type is checked on the way.
    monkeypatch.setattr(optimizers, "get", lambda name, betas: len(betas))
    with pytest.raises(InvalidValueError, match=r"aggmo cannot be made of betas=3: .*no len"):
        as_shipped("aggmo", {"betas": 3}, 20)


@pytest.mark.parametrize("name", ["general", "problem.py:mine", "adam"])
def test_a_range_of_what_an_optimizer_does_not_take_is_one_message(
    name, problem, capsys, monkeypatch
):
    monkeypatch.chdir(problem.parent)
    assert main(["tune", name, "--task", "quadratic", "--search", "b9=0.1:1"]) == 2
    assert "b9" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("genral", "general"),
        ("adamm", "adam"),
        ("nadam-cosin", "nadamw-cosine"),
        ("fromag", "optax.fromage"),
        ("optax.lam", "optax.lamb"),
    ],
)
def test_a_mistyped_optimizer_is_looked_for_among_all(typed, meant, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for words in ([typed, "--against", "sgd"], ["sgd", "--against", typed]):
        assert main(["evaluate", *words, "--task", "quadratic"]) == 2
        said = " ".join(capsys.readouterr().err.split())
        assert f"unknown optimizer '{typed}'. Did you mean '{meant}'" in said
        assert "`optoscope list optimizers` shows what there is." in said
        assert "optax.NAME, FILE.py:NAME, MODULE:NAME" in said


def test_a_file_without_a_name_in_it_is_said_to_lack_one(problem, capsys, monkeypatch):
    monkeypatch.chdir(problem.parent)
    assert main(["evaluate", "adam", "--task", "problem.py"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "problem.py is a file; name what in it is meant: problem.py:number." in said
    assert "It defines x, line, task, mine, fixed, number." in said
    for words in (["problem.py"], ["adam", "--against", "problem.py:"]):
        assert main(["evaluate", *words, "--task", "quadratic"]) == 2
        assert "name what in it is meant" in " ".join(capsys.readouterr().err.split())
    assert main(["evaluate", "adam", "--task", "problems.py"]) == 2
    assert "there is no file problems.py" in capsys.readouterr().err
