"""Published optimizers looked into, at smoke scale."""

import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optoscope import optimizers, training
from optoscope._core.errors import InvalidValueError
from optoscope._core.keys import stream
from optoscope.papers import Workspace
from optoscope.papers.published import CONTESTANTS, PAPER, SCALES, Setting
from optoscope.papers.published import _parts as parts
from optoscope.papers.published._statistics import adaptation
from support.published_files import published
from support.reproductions import at_smoke_scale

SETTING = Setting(SCALES["smoke"])
WITHOUT_FILES = ("ours", "ours_star", "adam", "lion", "muon")


def computed(part):
    def report(done, total):
        assert done <= total

    found = part.compute({}, Workspace(Path(), {}, report))
    return {name: np.asarray(values) for name, values in found.items()}


@pytest.fixture
def without_weights(tmp_path, monkeypatch):
    monkeypatch.setenv("OPTOSCOPE_DATA", str(tmp_path))


def test_what_is_missing_is_left_out(without_weights):
    assert SETTING.present == WITHOUT_FILES
    manifest = PAPER.manifest(("1", "2"), SETTING)
    assert set(manifest.figures[0].left_out) == set(CONTESTANTS) - set(WITHOUT_FILES)
    with pytest.raises(InvalidValueError, match=r"l2o-dm\.npz"):
        SETTING.load("dm", 10)


def test_weights_are_found_below_the_data_folder_and_tell_runs_apart(tmp_path, monkeypatch):
    monkeypatch.setenv("OPTOSCOPE_DATA", str(tmp_path))
    (tmp_path / "weights" / "celo").mkdir(parents=True)
    file = tmp_path / "weights" / "celo" / "theta.state"
    file.write_bytes(b"one")
    assert SETTING.find("celo") == file
    first = SETTING.described("celo")
    file.write_bytes(b"other")
    assert SETTING.described("celo") != first


def test_drawn_gradients_are_what_they_say():
    task = parts.DrawnGradients(jnp.asarray(0.5))
    params = jnp.ones((8, 8))
    batch = task.sample_batch(jax.random.key(0))
    value, grads = jax.value_and_grad(task.loss)(params, batch)
    np.testing.assert_allclose(grads, 0.5 * batch)
    assert float(value) == pytest.approx(1 + 0.5 * float(batch.sum()), rel=1e-5)


def test_adaptation_of_known_optimizers(monkeypatch):
    known = {"adam": optimizers.sgd(0.1), "lion": optimizers.lion(0.1)}
    monkeypatch.setattr(Setting, "load", lambda self, name, num_steps: known[name])
    found = {name: adaptation(computed(parts.driven(SETTING, name))) for name in known}
    assert found["adam"] == pytest.approx(1.0, abs=1e-3)
    assert found["lion"] == pytest.approx(0.0, abs=1e-3)


def test_the_inside_of_momentum_is_known(monkeypatch):
    monkeypatch.setattr(
        Setting, "load", lambda self, name, num_steps: optimizers.momentum(0.1, 0.75)
    )
    found = computed(parts.inside(SETTING, "adam"))
    assert found["is_fixed"]
    assert found["drift"] == pytest.approx(0.0, abs=1e-12)
    assert found["timescales"][0] == pytest.approx(0.75)
    assert found["learning_rates"][0] == pytest.approx(0.1)
    assert found["response"] == pytest.approx(0.1 * found["typical"])
    np.testing.assert_allclose(found["updates"], -0.1 * found["grid"], atol=1e-12)


def test_long_runs_are_those_of_train_and_are_summed_up():
    part = parts.long_run(SETTING, "adam", "home")
    found = computed(part)
    run = training.train(
        SETTING.task("home"), SETTING.load("adam", 60), 60, key=stream(0, "long home"), num_runs=2
    )
    np.testing.assert_allclose(found["first"], np.asarray(run.losses)[:, 0], rtol=1e-5)
    hand = parts.summary(np.array([[4.0] * 60 + [1.0] * 400 + [3.0] * 40, [1.0] * 499 + [np.nan]]))
    assert hand["last"][0] == pytest.approx(3.0, abs=1.0)
    assert hand["least"][0] == pytest.approx(1.0, abs=0.01)
    assert np.isinf(hand["last"][1])


@pytest.mark.parametrize("name", ["dm_cl_il", "rnnprop", "celo", "celo2"])
def test_every_kind_of_published_optimizer_can_be_looked_into(name):
    one = CONTESTANTS[name]
    published("weights", one.files[0])
    if one.files[0].endswith(".pt"):
        pytest.importorskip("torch")
    scale = dataclasses.replace(SCALES["smoke"], driven_steps=8, short_steps=6, steps=8)
    setting = Setting(scale)
    assert name in setting.present
    assert np.isfinite(computed(parts.driven(setting, name))["updates"]).all()
    assert np.isfinite(computed(parts.long_run(setting, name, "deep"))["last"]).all()
    assert np.isfinite(computed(parts.probed(setting, name))["cosine"]).all()
    assert len(computed(parts.curvature(setting, name))["outcomes"]) == len(parts.CURVATURES)
    if one.by_coordinate:
        found = computed(parts.inside(setting, name))
        assert np.isfinite(found["updates"]).all()
        assert found["response"] > 0


@pytest.mark.slow
def test_it_is_reproduced_without_weights(tmp_path, without_weights):
    directory = at_smoke_scale(PAPER, "all", tmp_path / "run")
    assert {path.name for path in (directory / "figures").glob("*.png")} == {
        f"figure-{key}.png" for key in PAPER.figures
    }
    claims = json.loads((directory / "claims.json").read_text())["claims"]
    verdicts = {claim["id"]: claim["verdict"] for claim in claims}
    assert verdicts["P5-dm-rises"] == "inconclusive"
