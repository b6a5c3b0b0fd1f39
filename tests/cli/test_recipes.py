"""Recipes: what they add to a command line, and what is typed counts."""

import jax
import pytest

from optoscope import data
from optoscope._core.errors import FileFormatError, InvalidValueError, UnknownNameError
from optoscope._core.trees import size
from optoscope.bench._suite_tasks import suite_tasks
from optoscope.cli._main import COMMANDS
from optoscope.cli._recipes import read_recipe, recipe_names, with_recipe
from optoscope.cli._train import Train
from support.stand_in_data import write_images, write_text

RECIPE = """
description = "a trial"
optimizer = "rnnprop"
task = "digits-mlp-dm,digits-mlp-sigmoid"
set = ["rnnprop.log_inputs=True"]
meta_steps = 40
clip = 0.5
stagger = true
curriculum = [60, 80]
"""


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(RECIPE)
    return str(path)


def parsed(words):
    import tyro

    return tyro.extras.subcommand_cli_from_dict(COMMANDS, args=with_recipe(words))


def test_a_recipe_says_what_is_not_typed(recipe):
    command = parsed(["train", "--recipe", recipe])
    assert isinstance(command, Train)
    assert (command.optimizer, command.meta_steps, command.clip) == ("rnnprop", 40, 0.5)
    assert (command.stagger, command.curriculum) == (True, (60, 80))
    assert command.set == ("rnnprop.log_inputs=True",)


def test_what_is_typed_counts(recipe):
    typed = ["train", "lstm", f"--recipe={recipe}", "--meta-steps", "10000", "--no-stagger"]
    command = parsed(typed)
    assert (command.optimizer, command.meta_steps, command.stagger) == ("lstm", 10_000, False)
    assert command.clip == 0.5


@pytest.mark.parametrize(
    "line", [["lstm", "--recipe", "{}"], ["--recipe", "{}", "lstm"], ["--recipe={}", "lstm"]]
)
def test_another_optimizer_can_be_typed_on_either_side(line, recipe):
    command = parsed(["train", *(word.format(recipe) for word in line), "--seed", "3"])
    assert (command.optimizer, command.seed, command.meta_steps) == ("lstm", 3, 40)
    # What is set of the recipe's own optimizer is nothing to this one.
    assert command.set == ()


MIXED = """
task = "digits-mlp-dm,two-moons"
task_horizons = [20, 40]
set = [
  "rnnprop.log_inputs=True", "rnnprop.hidden_size=4", "two-moons.num_points=64", "batch_size=8",
]
"""


@pytest.mark.parametrize("joined", [False, True])
def test_typed_settings_are_added_and_other_tasks_leave_those_of_its_own_out(joined, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(MIXED)
    line = ["train", "rnnprop", "--recipe", str(path)]
    own = ["--set=rnnprop.hidden_size=9"] if joined else ["--set", "rnnprop.hidden_size=9"]
    command = parsed([*line, *own, "--seed", "3"])
    kept = ("rnnprop.log_inputs=True", "two-moons.num_points=64", "batch_size=8")
    assert command.set == (*kept, "rnnprop.hidden_size=9")
    assert (command.task_horizons, command.seed) == ((20, 40), 3)
    command = parsed([*line, "--task", "digits-mlp-dm,mine.py:task"])
    assert command.set == ("rnnprop.log_inputs=True", "rnnprop.hidden_size=4", "batch_size=8")
    assert command.task_horizons == ()
    assert parsed([*line, "--task", "two-moons", *own]).set[1] == "two-moons.num_points=64"


def test_other_commands_and_lines_without_one_are_left_alone(recipe):
    for words in (["evaluate", "--recipe", recipe], ["train", "lstm"], []):
        assert with_recipe(words) == words


@pytest.mark.parametrize(
    ("content", "error", "words"),
    [
        ("meta_steps = ", FileFormatError, "no TOML"),
        ("[table]\nx = 1", FileFormatError, "is a dict"),
        (None, FileFormatError, "mine"),
    ],
)
def test_a_bad_file_is_refused(tmp_path, content, error, words):
    path = tmp_path / "mine.toml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(error, match=words):
        with_recipe(["train", "--recipe", str(path)])


def test_unknown_names_are_refused():
    with pytest.raises(UnknownNameError, match="nosuch"):
        with_recipe(["train", "--recipe", "nosuch"])
    with pytest.raises(InvalidValueError, match="needs a name"):
        with_recipe(["train", "--recipe"])


@pytest.mark.parametrize("name", recipe_names())
def test_every_shipped_recipe_is_a_command(name):
    assert len(read_recipe(name)["description"]) > 20
    command = parsed(["train", "--recipe", name])
    assert command.recipe == name
    assert command.optimizer is not None


def test_the_general_optimizer_sees_no_network_of_the_suite_nor_a_larger_one(tmp_path, monkeypatch):
    write_images(tmp_path)
    write_text(tmp_path)

    def load(name, **options):
        few = {} if name == "tinyshakespeare" else {"validation_size": 2}
        return real(name, **{**options, **few, "data_dir": tmp_path, "verify": False})

    real = data.load
    monkeypatch.setattr(data, "load", load)
    suite = [shapes(task) for task in suite_tasks("small").values()]
    scheme = parsed(["train", "--recipe", "general", "--devices", "1"])._scheme()
    seen = [shapes(task) for task in scheme.problems]
    assert max(size(network) for network in seen) <= max(size(network) for network in suite)
    assert not any(network == other for network in seen for other in suite)


def shapes(task):
    return jax.eval_shape(task.init, jax.random.key(0))
