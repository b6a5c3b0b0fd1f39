"""Published optimizers looked into, at smoke scale."""

import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from optoscope import optimizers
from optoscope._core.errors import InvalidValueError
from optoscope.analysis.dynamics import coordinate_map
from optoscope.papers import Workspace
from optoscope.papers.published import (
    BASELINES,
    CONTESTANTS,
    PAPER,
    SCALES,
    TASKS,
    Setting,
    _driven,
    _inside,
    _runs,
)
from optoscope.report.papers.published import _looks
from optoscope.report.papers.published._quantities import exponent
from support.published_files import published
from support.reproductions import at_smoke_scale

SETTING = Setting(SCALES["smoke"])
WITHOUT_FILES = ("ours_lstm", "ours_general", "ours_star", "adam", "lion", "muon")


def computed(part, needed=None):
    def report(done, total):
        assert done <= total

    found = part.compute(needed or {}, Workspace(Path(), {}, report))
    return {name: np.asarray(values) for name, values in found.items()}


@pytest.fixture
def without_weights(tmp_path, monkeypatch):
    monkeypatch.setenv("OPTOSCOPE_DATA", str(tmp_path))
    return tmp_path / "weights"


def test_what_is_missing_is_left_out_and_named(without_weights):
    assert SETTING.present == WITHOUT_FILES
    manifest = PAPER.manifest(("1", "2"), SETTING)
    assert set(manifest.figures[0].left_out) == set(CONTESTANTS) - set(WITHOUT_FILES)
    with pytest.raises(InvalidValueError, match=r"l2o-dm\.npz"):
        SETTING.load("dm", 10)
    said = PAPER.missing_words(SETTING)
    assert said[0] == f"L2O-DM is left out: put l2o-dm.npz into {without_weights}"
    assert len(said) == len(CONTESTANTS) - len(WITHOUT_FILES)
    (celo,) = (line for line in said if line.startswith("Celo is"))
    assert celo.endswith(
        f"put celo.theta.state into {without_weights}, or type: optoscope fetch celo"
    )


def test_weights_that_only_pytorch_reads_are_named(without_weights, monkeypatch):
    without_weights.mkdir()
    (without_weights / "celo2_weights.pt").write_bytes(b"any")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "celo2" not in SETTING.present
    (line,) = (line for line in SETTING.missing_words() if line.startswith("Celo2"))
    assert "pip install 'optoscope[torch]'" in line


def test_weights_are_found_below_the_data_folder_and_tell_runs_apart(without_weights):
    file = without_weights / "celo" / "theta.state"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"one")
    assert SETTING.find("celo") == file
    first = SETTING.described("celo")
    file.write_bytes(b"other")
    assert SETTING.described("celo") != first


def test_every_contestant_has_a_look_and_every_scale_every_task():
    assert set(_looks.LOOKS) == set(CONTESTANTS)
    assert sorted(name for of in _looks.FAMILIES.values() for name in of) == sorted(CONTESTANTS)
    assert _looks.BASELINES == BASELINES
    assert {tuple(scale.problems) for scale in SCALES.values()} == {tuple(TASKS)}
    assert all(SCALES[name].steps == 20_000 for name in ("laptop", "paper"))


def test_drawn_gradients_are_what_they_say():
    task = _driven.DrawnGradients(jnp.asarray(0.5))
    params = jnp.ones((8, 8))
    batch = task.sample_batch(jax.random.key(0))
    value, grads = jax.value_and_grad(task.loss)(params, batch)
    np.testing.assert_allclose(grads, 0.5 * batch)
    assert float(value) == pytest.approx(1 + 0.5 * float(batch.sum()), rel=1e-5)


def test_adaptation_of_known_optimizers(monkeypatch):
    known = {"adam": optimizers.sgd(0.1), "lion": optimizers.lion(0.1)}
    monkeypatch.setattr(Setting, "load", lambda self, name, num_steps: known[name])
    found = {name: exponent(computed(_driven.driven(SETTING, name))) for name in known}
    assert found["adam"] == pytest.approx(1.0, abs=1e-3)
    assert found["lion"] == pytest.approx(0.0, abs=1e-3)


def test_the_inside_of_momentum_is_known():
    # One accumulator: from 1 it is at rest after the silence, and it remembers four steps.
    coordinates = coordinate_map(optimizers.momentum(0.1, 0.75))
    found = _inside.looked_into(coordinates, np.ones((2, 3, 4, 1)), 4)
    assert found["kinds"].tolist() == ["stable"]
    assert found["drift"] == pytest.approx(0.0, abs=1e-12)
    assert found["unrest"] == pytest.approx(0.0, abs=1e-12)
    assert (found["timescales"][0], found["radius"]) == pytest.approx((0.75, 0.75))
    assert found["learning_rates"][0] == pytest.approx(0.1)
    assert found["response"] == pytest.approx(0.1 * _inside.TYPICAL)
    np.testing.assert_allclose(found["updates"], -0.1 * found["grid"], atol=1e-12)
    # Before the silence the accumulator adds its three quarters to each update.
    np.testing.assert_allclose(found["late_updates"] - found["updates"], -0.075)


def test_a_state_that_counts_steps_has_no_rest():
    counter = optax.GradientTransformation(
        jnp.zeros_like,
        lambda grads, clock, params=None: (-clock * grads, clock + 1.0),
    )
    found = _inside.looked_into(coordinate_map(counter), np.full((1, 1, 1, 1), 5.0), 1)
    assert found["kinds"].size == 0
    assert found["unrest"] == pytest.approx(1.0)
    # The silence is what it counts: with it, the response grows.
    growth = found["response"] / found["late_response"]
    assert growth == pytest.approx((5 + _inside.SILENCE - 1) / 5)


def test_long_runs_are_summed_up():
    losses = np.array([[4.0] + [1.0] * 89 + [3.0] * 10, [4.0] + [2.0] * 98 + [np.nan]])
    found = _runs.summary(losses, 2)
    np.testing.assert_allclose(found["early"], [2.5, 3.0])
    np.testing.assert_allclose(found["final"], [3.0, np.inf])
    np.testing.assert_allclose(found["given_back"], [2 / 3, 1.0])
    assert found["steps"][-1] == 100
    assert found["smoothed"].shape == (2, len(found["steps"]))


def test_a_long_run_has_the_rate_that_was_best(monkeypatch):
    scale = dataclasses.replace(SETTING.scale, steps=30, runs=1, rates=2)
    setting = Setting(scale)
    tuned = _runs.rate(setting, "adam", "moons")
    found = computed(tuned)
    best = found["rates"][np.argmin(found["scores"])]
    assert float(found["best"]) == pytest.approx(best)
    run = computed(_runs.long_run(setting, "adam", "moons"), {tuned.name: found})
    assert float(run["rate"]) == pytest.approx(best)
    assert run["given_back"].shape == (1,)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dm_cl_il", "rnnprop", "celo", "celo2"])
def test_every_kind_of_published_optimizer_can_be_looked_into(name):
    one = CONTESTANTS[name]
    published("weights", one.files[0])
    if one.files[0].endswith(".pt"):
        pytest.importorskip("torch")
    scale = dataclasses.replace(SCALES["smoke"], driven_steps=8, short_steps=6, steps=8)
    setting = Setting(scale)
    assert name in setting.present
    assert np.isfinite(computed(_driven.driven(setting, name))["updates"]).all()
    needed = {}
    if one.rates:
        tuned = _runs.rate(setting, name, "moons")
        needed[tuned.name] = computed(tuned)
    run = computed(_runs.long_run(setting, name, "moons"), needed)
    assert np.isfinite(run["final"]).all()
    assert np.isfinite(computed(_runs.probed(setting, name))["cosine"]).all()
    if one.by_coordinate:
        part = _inside.inside(setting, name)
        needed[part.name] = computed(part)
        assert np.isfinite(needed[part.name]["updates"]).all()
        assert needed[part.name]["response"] > 0
    found = computed(_inside.curvature(setting, name), needed)
    assert len(found["outcomes"]) == len(_inside.CURVATURES)


@pytest.mark.slow
def test_it_is_reproduced_without_weights(tmp_path, without_weights):
    directory = at_smoke_scale(PAPER, "all", tmp_path / "run")
    assert {path.name for path in (directory / "figures").glob("*.png")} == {
        f"figure-{key}.png" for key in PAPER.figures
    }
    claims = json.loads((directory / "claims.json").read_text())["claims"]
    verdicts = {claim["id"]: claim["verdict"] for claim in claims}
    assert verdicts["P5-dm-rises"] == "inconclusive"
