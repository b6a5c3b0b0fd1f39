"""optoscope list: families on one screen, every name on request, costs that are complete."""

import importlib.util
import itertools
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from optoscope import meta, optimizers, tasks, training
from optoscope.cli import _console, main
from optoscope.cli._list import _FAMILIES, _ROWS
from optoscope.cli._optimizer_table import hand_designed, learned
from optoscope.cli._recipes import recipe_names
from optoscope.optimizers._costs import step_times
from support.registered import registered

ROOT = Path(__file__).resolve().parents[2]
SCREEN = 50
ALL = (*optimizers.names(), *optimizers.pretrained_names())


def lines(words, capsys, width=80):
    _console.console.width = width
    try:
        assert main(["list", *words]) == 0
    finally:
        _console.console.width = None
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("words", [[], ["tasks"], ["optimizers"], ["estimators"], ["probes"]])
def test_it_fits_a_screen(words, capsys):
    found = lines(words, capsys)
    assert 3 < len(found) <= SCREEN
    # Sentences may be broken by the terminal; tables are laid out for it.
    assert sum(len(line) > 80 for line in found) <= 3


def test_the_families_of_tasks_are_all_tasks():
    """The names are the products of what the families show, each once."""
    found = []
    for _, text in _FAMILIES["tasks"]():
        parts = [part.split(", ") for part in text.split(" × ")]
        found += ["-".join(name) for name in itertools.product(*parts)]
    assert sorted(found) == sorted(tasks.names())


def test_the_families_of_optimizers_are_all_optimizers():
    shown = [name for _, text in _FAMILIES["optimizers"]() for name in text.split(", ")]
    # A published format may be called like the class that it is of.
    assert set(shown) == {*ALL, *optimizers.PUBLISHED}
    assert len(shown) == len(ALL) + len(optimizers.PUBLISHED.names())


@pytest.mark.parametrize("kind", ["all", *_ROWS])
def test_every_registered_name_is_there_on_request(kind, capsys):
    shown = {line.split()[0] for line in lines([kind, "--all"], capsys) if line.split()}
    wanted = {
        "tasks": tasks.names(),
        "optimizers": optimizers.names(),
        "estimators": meta.ESTIMATORS,
        "recipes": recipe_names(),
        "pretrained": optimizers.pretrained_names(),
        "datasets": ("digits", "mnist"),
        "probes": training.PROBES,
    }
    for name, names in wanted.items():
        assert kind not in ("all", name) or shown >= set(names)


def test_the_whole_name_of_a_task_shows_what_it_takes(capsys):
    shown = lines(["tasks", "deep-cnn"], capsys)
    options = {words[0]: words[1:] for words in map(str.split, shown) if words}
    assert set(tasks.REGISTRY["deep-cnn"].option_types) <= set(options)
    assert options["label_noise"] == ["a", "number", "0.0"]
    assert options["channels"][-2:] == ["by", "scale"]
    assert not any("options of" in line for line in lines(["tasks", "deep"], capsys))


def test_a_word_chooses_names(capsys):
    shown = lines(["tasks", "digits-mlp-100"], capsys)
    names = [line.split()[0] for line in shown[2:] if line[:1].strip()]
    assert len(names) == 6
    assert all(name.startswith("digits-mlp-100-100-") for name in names)
    found = " ".join(" ".join(lines(["optimizers", "lion"], capsys)).split())
    assert "takes learning_rate, b1, b2, weight_decay" in found


def test_a_word_that_is_nowhere_suggests_the_nearest(capsys):
    assert main(["list", "tasks", "digits-mlp-relo"]) == 2
    assert "digits-mlp-relu" in capsys.readouterr().err


def test_every_optimizer_is_in_the_table_with_what_it_costs():
    rows = [row for family in hand_designed().values() for row in family] + learned()
    own = [row.name for row in rows if not row.name.startswith(" ")]
    assert sorted(own) == sorted(optimizers.names())
    shipped = [
        name for row in rows if row.name.startswith(" ") for name in row.description.split(", ")
    ]
    assert {name.partition(";")[0] for name in shipped} >= set(optimizers.pretrained_names())
    for name in optimizers.PUBLISHED:
        assert optimizers.PUBLISHED[name].registered in optimizers.names()
        assert any(name in row.description for row in rows)


def test_all_times_are_measured_and_none_that_is_not_there():
    assert set(step_times()["times"]) == set(ALL), (
        "measure it: python benchmarks/optimizer_steps.py --write --only NAME"
    )
    assert all(time > 0 for time in step_times()["times"].values())
    assert optimizers.step_time("adam") == 1.0


@pytest.mark.parametrize("name", ALL)
def test_the_memory_is_that_of_a_real_state(name):
    """Counted on the arrays of a smaller matrix; counters and factors weigh less in a larger."""
    made = optimizers.load(name) if name not in optimizers.names() else registered(name)
    state = made.init(jnp.ones((256, 256)))
    found = sum(leaf.nbytes for leaf in jax.tree.leaves(state)) / 256**2
    assert optimizers.state_bytes(made) == pytest.approx(found, abs=0.15)


def test_the_guide_shows_the_same():
    benchmarks = ROOT / "benchmarks"
    sys.path.append(str(benchmarks))
    try:
        path = benchmarks / "optimizer_steps.py"
        spec = importlib.util.spec_from_file_location("optimizer_steps", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(benchmarks))
    guide = (ROOT / "docs" / "guide" / "optimizers.md").read_text(encoding="utf-8")
    assert module.table() in guide, "python benchmarks/optimizer_steps.py --write"
