"""Suites: cells that are kept and claimed, fair trials, and selection that does not see itself."""

import json
import math
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from optoscope import bench, optimizers, tasks
from optoscope._core.arrays import read_arrays, write_arrays
from optoscope._core.errors import InvalidValueError, UnknownNameError
from optoscope._core.estimates import student
from optoscope._core.keys import stream
from optoscope._core.locks import locked
from optoscope.bench import _suite
from optoscope.bench._contestants import given as contestant_of
from optoscope.bench._entrants import baseline, best_trials, entrants, given
from optoscope.bench._identities import maker_identity, optimizer_identity, task_identity
from optoscope.bench._relative import NOT_RECORDED
from optoscope.bench._suite_tasks import suite_tasks
from optoscope.optimizers import SCHEDULES
from optoscope.training import train

TASKS = {"bowl": tasks.get("quadratic"), "valley": tasks.get("rosenbrock")}
SETTINGS = {"baselines": ["adamw-cosine", "sgd"], "num_steps": 12, "num_runs": 3, "num_rates": 4}


def ours(scale=1.0):
    made = optimizers.load("gru-quadratic")
    return jax.tree.map(lambda leaf: scale * leaf, made)


@pytest.fixture(scope="module")
def found():
    return bench.suite({"ours": ours()}, TASKS, **SETTINGS)


def test_cells_are_paired_runs_of_each_trial(found):
    assert found.labels == ("adamw-cosine", "sgd", "ours", "ours (tuned)")
    assert found.baselines == ("adamw-cosine", "sgd")
    key = stream(0, "suite")
    entrant = found.entrants[0]
    for trial, rate in enumerate(entrant.trials["learning_rate"]):
        optimizer = optimizers.get("adamw-cosine", learning_rate=float(rate), num_steps=12)
        alone = train(TASKS["bowl"], optimizer, 12, key=key, num_runs=3)
        np.testing.assert_allclose(
            found.losses["adamw-cosine"]["bowl"][trial], alone.losses, rtol=2e-4
        )
    alone = train(TASKS["valley"], ours(), 12, key=key, num_runs=3)
    np.testing.assert_allclose(found.curves("ours")["valley"], alone.losses, rtol=2e-4)


def test_everyone_has_as_many_trials():
    for rates in (1, 2, 3, 4, 10):
        own = given("ours", ours(), rates)
        assert own.num_trials == rates
        assert own.trials["multiplier"][own.shipped] == 1
        assert own.trials["schedule"][own.shipped] == SCHEDULES.index("constant")
        assert baseline("lion-cosine", rates).num_trials == rates
    assert given("ours", ours(), 10, tuned=False).num_trials == 1
    own = given("ours", ours(), 10)
    np.testing.assert_allclose(own.trials["multiplier"][:5], own.trials["multiplier"][5:])
    assert own.words(5) == "multiplier 0.1, cosine"


def test_who_is_tuned_can_be_named():
    made = {"ours": ours(), "twin": ours(0.5)}
    found = entrants(made, ["sgd"], 4, ["twin"])
    assert [(one.label, one.num_trials) for one in found] == [("sgd", 4), ("ours", 1), ("twin", 4)]
    for everyone, count in ((True, 4), (False, 1)):
        assert [one.num_trials for one in entrants(made, [], 4, everyone)] == [count, count]
    with pytest.raises(UnknownNameError, match="twin"):
        entrants(made, ["sgd"], 4, ["twins"])


def test_an_optimizer_without_a_rate_of_its_own_is_tuned_by_it():
    own = given("celo2", optimizers.get("celo2", learning_rate=0.01), 4)
    assert own.shipped is None
    np.testing.assert_allclose(0.01 * own.trials["multiplier"], [1e-4, 1e-3, 1e-2, 1e-1], rtol=1e-5)


def test_an_optimizer_with_a_schedule_of_its_own_is_tuned_by_factors_around_it():
    told = optimizers.get("general", num_steps=12)
    own = given("general", told, 4)
    assert own.trials["multiplier"][own.shipped] == 1
    np.testing.assert_allclose(own.trials["multiplier"], [1e-2, 1e-1, 1, 10], rtol=1e-5)
    assert set(own.trials["schedule"]) == {SCHEDULES.index("constant")}
    assert given("general", told, 10, tuned=False).num_trials == 1
    assert [contestant_of("it", one).takes_schedule for one in (told, ours())] == [False, True]


def test_a_run_has_no_part_in_the_choice_of_its_trial():
    final = np.array([[1.0, 5.0, 5.0], [2.0, 2.0, 9.0], [4.0, 4.0, 4.0]])
    # Means over the others: (5, 7, 4.5), (5.5, 5.5, 2), (4, 4, 4) without run 0, 1 and 2.
    expected = [int(np.argmin([np.delete(row, run).mean() for row in final])) for run in range(3)]
    assert best_trials(final).tolist() == expected == [2, 0, 1]
    # A run that diverged on its own does not spoil the choice for itself, but for the others.
    assert best_trials(np.array([[np.inf, 1.0, 1.0], [2.0, 2.0, 2.0]])).tolist() == [0, 1, 1]
    assert best_trials(np.array([[np.inf, np.inf], [3.0, 4.0]])).tolist() == [1, 1]
    assert best_trials(np.array([[3.0], [2.0]])).tolist() == [1]


def test_targets_and_scores_follow_from_the_curves(found):
    smooth = {
        label: np.median(bench.smoothed(found.curves(label)["bowl"]), axis=0)
        for label in found.baselines
    }
    assert found.targets()["bowl"] == pytest.approx(min(curve[8] for curve in smooth.values()))
    scores = found.scores()
    assert set(scores) == set(found.labels)
    assert scores["adamw-cosine"].final_ratio.value == pytest.approx(1.0)
    assert 0 <= scores["ours"].profile.value <= 1
    assert 0 < scores["ours"].equivalent_steps.value <= 1


def test_finished_cells_are_not_computed_again(tmp_path, monkeypatch):
    calls = []
    compute = _suite._trained

    def counted(*arguments):
        calls.append(len(arguments[3]))
        return compute(*arguments)

    monkeypatch.setattr(_suite, "_trained", counted)
    first = bench.suite({"ours": ours()}, TASKS, directory=tmp_path, **SETTINGS)
    num_calls, progress = len(calls), []
    again = bench.suite(
        {"ours": ours()},
        TASKS,
        directory=tmp_path,
        on_progress=lambda *now: progress.append(now),
        **SETTINGS,
    )
    assert len(calls) == num_calls
    assert progress == [(24, 24, "done")]
    np.testing.assert_array_equal(first.losses["sgd"]["bowl"], again.losses["sgd"]["bowl"])
    # One damaged cell alone is made again, and so are those of other weights.
    cell = tmp_path / "cells" / "bowl" / "sgd" / "2.npz"
    cell.write_bytes(cell.read_bytes()[:100])
    bench.suite({"ours": ours()}, TASKS, directory=tmp_path, **SETTINGS)
    assert len(calls) == num_calls + 1
    other = bench.suite({"ours": ours(1.5)}, TASKS, directory=tmp_path, **SETTINGS)
    assert len(calls) > num_calls + 1
    assert (other.losses["ours"]["bowl"] != first.losses["ours"]["bowl"]).any()
    np.testing.assert_array_equal(first.losses["sgd"]["bowl"], other.losses["sgd"]["bowl"])
    # No other file is left, half-written or as a lock.
    left = {path.suffix for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {".npz"}


X = np.linspace(-1, 1, 8).astype(np.float32)


def hold_out():
    """The mean of numbers; its validation loss is the squared distance to 2, and 1 more."""
    return tasks.from_functions(
        lambda key: jax.random.normal(key),
        lambda params, batch: jnp.mean((params - batch) ** 2),
        X,
        batch_size=4,
        validation=np.float32([1.0, 3.0]),
        name="hold-out",
    )


@pytest.fixture(scope="module")
def held_out(tmp_path_factory):
    directory = tmp_path_factory.mktemp("held-out")
    settings = {"baselines": ["schedule_free_adamw"], "num_steps": 9, "num_runs": 2, "num_rates": 2}
    both = {"mean": hold_out(), "bowl": tasks.get("quadratic")}

    def again():
        return bench.suite({"sgd": optimizers.sgd(0.3)}, both, directory=directory, **settings)

    return directory, again(), again


def test_runs_end_with_the_loss_on_validation_data(held_out):
    _, found, _ = held_out
    assert set(found.validation["sgd"]) == {"mean"}  # the quadratic holds nothing out
    for label, options in (("schedule_free_adamw", {}), ("sgd", {"multiplier": 1.0})):
        entrant = next(one for one in found.entrants if one.label == label)
        trial = entrant.shipped or 0
        one = {name: float(values[trial]) for name, values in entrant.trials.items()} | options
        alone = train(
            hold_out(), entrant.maker(9)(**one), 9, key=stream(0, "suite"), num_runs=2
        )  # `train` gives the point at which schedule-free optimizers are evaluated
        expected = (np.asarray(alone.params) - 2) ** 2 + 1
        np.testing.assert_allclose(found.validation[label]["mean"][trial], expected, rtol=1e-5)


def test_losses_relative_to_the_reference_are_those_of_the_chosen_runs(held_out):
    _, found, _ = held_out
    described = found.as_json()["optimizers"]["sgd (tuned)"]
    chosen = found.chosen("sgd (tuned)", "mean"), np.arange(2)
    own = found.validation["sgd"]["mean"][chosen]
    reference = found.measured("schedule_free_adamw", "validation")["mean"]
    ratio = np.exp(np.mean(np.log(own / reference)))
    relative = described["relative"]["schedule_free_adamw"]
    assert relative["validation"]["value"] == pytest.approx(ratio)
    assert described["ratios"]["mean"]["validation"]["value"] == pytest.approx(ratio)
    assert set(described["ratios"]["bowl"]) == {"final", "mean"}
    assert described["validation_loss"]["mean"]["value"] == pytest.approx(own.mean())
    means = [
        np.log(
            found.curves("sgd (tuned)")[task].mean(axis=1)
            / found.curves("schedule_free_adamw")[task].mean(axis=1)
        )
        for task in found.tasks
    ]
    assert relative["mean"]["value"] == pytest.approx(np.exp(np.mean(means)), rel=1e-6)
    assert any("without validation data: bowl" in note for note in found.notes())


def test_cells_of_an_earlier_version_are_taken_as_they_are(held_out, monkeypatch):
    directory, before, again = held_out
    for place in directory.glob("cells/mean/sgd/*.npz"):
        arrays = read_arrays(place)
        later = ("validation", "data")
        write_arrays(place, {name: x for name, x in arrays.items() if name not in later})
    monkeypatch.setattr(_suite, "_trained", None)  # nothing is computed
    found = again()
    np.testing.assert_array_equal(found.losses["sgd"]["mean"], before.losses["sgd"]["mean"])
    assert np.isnan(found.validation["sgd"]["mean"]).all()
    assert any("computed sgd on mean without" in note for note in found.notes())
    described = found.as_json()["optimizers"]["sgd"]
    missing = described["validation_loss"]["mean"]
    assert (missing["value"], missing["method"]) == (None, NOT_RECORDED)
    assert described["relative"]["schedule_free_adamw"]["validation"]["value"] is None
    assert described["relative"]["schedule_free_adamw"]["final"]["value"] > 0


def test_relative_losses_by_hand():
    own = {"a": np.array([1.0, 4.0]), "b": np.array([2.0, 1.0])}
    other = {"a": np.array([2.0, 2.0]), "b": np.array([1.0, 4.0])}
    # Run 0: √(1/2 · 2) = 1; run 1: √(2 · 1/4) = 2^(−1/2). Their geometric mean is 2^(−1/4).
    found = bench.relative_loss(own, other)
    assert found.value == pytest.approx(2**-0.25)
    spread = math.log(2) / 2 / math.sqrt(2) / math.sqrt(2)  # of two logarithms, over √2
    assert found.low == pytest.approx(2**-0.25 * math.exp(-student(2) * spread))
    assert found.count == 2
    assert bench.relative_loss(other, own).value == pytest.approx(2**0.25)


@pytest.mark.parametrize(
    ("loss", "why"),
    [(math.nan, NOT_RECORDED), (math.inf, "not finite"), (0.0, "not a ratio"), (-1.0, "not a r")],
)
def test_a_relative_loss_that_is_none_says_why(loss, why):
    odd, ones = {"a": np.array([1.0, loss])}, {"a": np.ones(2)}
    for pair in ((odd, ones), (ones, odd)):
        found = bench.relative_loss(*pair)
        assert not found.known
        assert why in found.method


@pytest.mark.parametrize(
    "optimizer",
    [ours(), optimizers.get("general", num_steps=12), optimizers.get("celo2", learning_rate=0.01)],
    ids=["factors", "a schedule of its own", "a rate to tune"],
)
def test_who_runs_as_it_is_and_who_is_tuned_share_their_cells(optimizer, tmp_path, monkeypatch):
    settings = SETTINGS | {"num_steps": 3, "baselines": ["sgd"], "directory": tmp_path}
    run = partial(bench.suite, {"it": optimizer}, {"bowl": TASKS["bowl"]}, **settings)
    alone, tuned = run(tuned=False), run()
    monkeypatch.setattr(_suite, "_trained", None)
    np.testing.assert_array_equal(run().losses["it"]["bowl"], tuned.losses["it"]["bowl"])
    np.testing.assert_array_equal(run(tuned=False).losses["it"]["bowl"], alone.losses["it"]["bowl"])
    if "it (tuned)" in tuned.labels:
        np.testing.assert_array_equal(tuned.curves("it")["bowl"], alone.curves("it")["bowl"])


def test_other_counts_are_other_cells(tmp_path):
    bench.suite({}, TASKS, directory=tmp_path, **SETTINGS)
    more = bench.suite({}, TASKS, directory=tmp_path, **(SETTINGS | {"num_steps": 15}))
    assert more.losses["sgd"]["bowl"].shape == (4, 3, 15)


def shifted(shift):
    return tasks.from_functions(
        lambda key: jax.random.normal(key, (3,)),
        lambda params, batch: jnp.sum((params - shift) ** 2) + 1,
        np.zeros((8, 1), np.float32),
    )


def heavy_ball(momentum):
    return bench.Contestant(
        "mine",
        lambda learning_rate: optax.sgd(learning_rate, momentum),
        {"learning_rate": (0.01, 0.1)},
    )


@pytest.mark.parametrize(
    "arguments",
    [
        lambda x: ({"mine": optax.sgd(x)}, {"bowl": TASKS["bowl"]}, ["sgd"]),
        lambda x: ({}, {"bowl": TASKS["bowl"]}, [heavy_ball(x)]),
        lambda x: ({}, {"own": shifted(x)}, ["sgd"]),
        lambda x: ({}, {"own": shifted(np.full(3, x, np.float32))}, ["sgd"]),
        lambda x: ({}, {"moons": tasks.get("two-moons", seed=int(10 * x), num_points=8)}, ["sgd"]),
    ],
    ids=["an Optax optimizer", "a contestant", "a loss", "an array of a loss", "other data"],
)
def test_what_has_the_same_name_is_no_other_ones_cell(arguments, tmp_path):
    def run(value, directory):
        optimizer, task, baselines = arguments(value)
        settings = SETTINGS | {"baselines": baselines, "num_rates": 2, "num_steps": 5}
        found = bench.suite(optimizer, task, directory=directory, tuned=False, **settings)
        return found.losses[found.labels[-1]][found.tasks[0]]

    first, other = (run(value, tmp_path) for value in (0.1, 0.2))
    assert (first != other).any()
    np.testing.assert_array_equal(other, run(0.2, None))


def identities():
    """Of an Optax optimizer, of a contestant's maker and of tasks of functions; as JSON."""
    found = [optimizer_identity(optax.adam(0.1)), optimizer_identity(optimizers.adam(0.1))]
    found += [maker_identity(heavy_ball(0.9).create, learning_rate=0.1)]
    found += [task_identity(shifted(np.full(3, 0.5, np.float32))), task_identity(hold_out())]
    return json.dumps(found)


def test_identities_are_the_same_in_another_process():
    program = "import conftest; from bench.test_suite import identities; print(identities())"
    place = Path(__file__).parents[1]
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=place, capture_output=True, text=True, check=True
    )
    assert run.stdout.strip().splitlines()[-1] == identities()


def test_cells_of_what_is_registered_are_described_as_by_earlier_versions(tmp_path):
    assert task_identity(TASKS["bowl"]) == task_identity(tasks.get("two-moons")) == []
    bench.suite({}, TASKS, directory=tmp_path, **SETTINGS)
    place = tmp_path / "cells" / "bowl" / "sgd" / "0.npz"
    arrays = read_arrays(place)
    assert json.loads(str(arrays["description"])) == {
        "steps": 12, "runs": 3, "seed": 0, "version": 1, "optimizer": {"baseline": "sgd"},
        "task": ["bowl", {"name": "quadratic", "rows": 10, "num_params": 5}],
        "trial": {"learning_rate": pytest.approx(3e-3)},
    }  # fmt: skip


def test_a_cell_that_another_one_computes_is_waited_for(tmp_path):
    """A thread holds one entrant's place as another process would; all else is done meanwhile."""
    told, held, release = [], threading.Event(), threading.Event()

    def hold():
        with locked(tmp_path / "cells" / "bowl" / "adamw-cosine"):
            held.set()
            release.wait(60)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(60)

    def progress(done, total, what):
        told.append(what)
        if (tmp_path / "cells" / "valley" / "sgd" / "3.npz").exists():
            release.set()

    found = bench.suite({}, TASKS, directory=tmp_path, on_progress=progress, **SETTINGS)
    holder.join()
    assert told[0] == "adamw-cosine on bowl"
    assert told.index("sgd on valley") < max(i for i, w in enumerate(told) if w == told[0])
    assert found.losses["adamw-cosine"]["bowl"].shape == (4, 3, 12)


def test_a_quick_look_at_a_candidate_runs_it_as_it_is():
    found = bench.suite({"ours": ours()}, TASKS, tuned=False, **SETTINGS)
    assert found.labels == ("adamw-cosine", "sgd", "ours")
    assert found.losses["ours"]["bowl"].shape == (1, 3, 12)
    assert np.isfinite(found.scores()["ours"].final_ratio.value)
    assert found.final("ours")["bowl"].count == 3


def test_what_diverges_is_ranked_last():
    found = bench.suite({"wild": optimizers.sgd(1e9)}, TASKS, tuned=False, **SETTINGS)
    scores = found.scores()["wild"]
    assert scores.diverged == 6
    assert scores.speed_up.value == scores.final_ratio.value == scores.equivalent_steps.value == 0
    json.dumps(found.as_json(), allow_nan=False)


def test_where_every_baseline_diverges_there_is_no_target(tmp_path):
    big = bench.Contestant("big", optimizers.sgd, {"learning_rate": (1e8, 1e9)})
    found = bench.suite(
        {"ours": ours(), "wild": optimizers.sgd(1e9)}, {"bowl": TASKS["bowl"]}, tuned=False,
        **(SETTINGS | {"baselines": [big], "num_steps": 40}),
    )  # fmt: skip
    found.write(tmp_path)
    content = json.loads((tmp_path / "suite.json").read_text())
    assert content["targets"] == {"bowl": None}
    assert any("every baseline diverged on bowl" in note for note in content["notes"])
    scores = found.scores()
    assert [scores[label].reached for label in ("big", "ours", "wild")] == [0, 1, 0]


def test_weights_and_configuration_tell_optimizers_apart():
    found = optimizer_identity(ours())
    assert found == optimizer_identity(ours())
    assert found != optimizer_identity(ours(2.0))
    assert found != optimizer_identity(optimizers.get("rnn", hidden_size=4))
    assert set(found) == {"class", "weights", "configuration"}  # as earlier versions had it


@pytest.mark.parametrize("name", bench.SUITES)
def test_suites_hold_tasks_that_are_registered(name):
    for one in bench.SUITES[name].values():
        entry = tasks.REGISTRY[one.task]
        assert set(one.options) <= entry.known_options


def test_the_small_suite_has_the_kinds_of_tasks_that_it_must():
    registered = " ".join(one.task for one in bench.SUITES["small"].values())
    assert len(bench.SUITES["small"]) == 8
    for kind in ("autoencoder", "cnn", "lstm", "transformer"):
        assert kind in registered


def test_no_pretrained_optimizer_saw_a_task_of_the_suite():
    seen = {
        optimizers.read_description(name)["metadata"]["task"]["name"]
        for name in optimizers.pretrained_names()
    }
    assert not seen & {one.task for one in bench.SUITES["small"].values()}


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: suite_tasks("smal"), UnknownNameError, "small"),
        (lambda: suite_tasks("small", ["lstmm"]), UnknownNameError, "lstm"),
        (lambda: suite_tasks({}), InvalidValueError, "no task"),
        (lambda: bench.suite({}, TASKS, baselines=[]), InvalidValueError, "no optimizer"),
        (lambda: bench.suite({}, TASKS, baselines=["adan-cosin"]), UnknownNameError, "adan"),
        (lambda: bench.suite({"sgd": ours()}, TASKS, baselines=["sgd"]), InvalidValueError, "sgd"),
        (lambda: bench.suite({}, TASKS, num_steps=0), InvalidValueError, "num_steps"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_computed(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_scores_need_a_baseline():
    found = bench.suite({"ours": ours()}, TASKS, tuned=False, **(SETTINGS | {"baselines": []}))
    with pytest.raises(InvalidValueError, match="no baseline"):
        found.scores()
    assert found.final("ours")["bowl"].known
