"""Paper A at smoke scale; everything is measured once, in one directory."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from optoscope import optimizers
from optoscope._core.errors import InvalidValueError, UnknownNameError
from optoscope.papers import symmetry_and_noise as paper
from optoscope.papers._meta_trained import learned, load_learned
from optoscope.papers._parts import Store
from optoscope.papers.symmetry_and_noise import _runs as runs
from optoscope.papers.symmetry_and_noise._learn import training_of
from optoscope.papers.symmetry_and_noise._setting import Setting
from optoscope.report import read_claims
from optoscope.report.papers.symmetry_and_noise import FIGURES
from support.paper_figures import assert_described, manifest_of
from support.printed_verdicts import check_verdicts
from support.reproductions import at_smoke_scale

MEASURED_FROM_NOTHING = ("2", "7")
SMOKE = paper.SCALES["smoke"]


def test_every_figure_has_a_picture_and_its_words():
    assert_described(FIGURES, manifest_of(paper.PAPER))


def test_the_paper_scale_has_the_papers_counts():
    scale = paper.SCALES["paper"]
    for recipe in scale.recipes.values():
        counts = (recipe.meta_steps, recipe.truncation, recipe.horizon, recipe.meta_learning_rate)
        assert counts == (10_000, 20, 200, 1e-3)
    assert (scale.noise_batches, scale.covariance_batches, scale.steps) == (469, 93, 100)
    # At length its own protocol stands beside the recipe, and what is measured is the paper's.
    long = paper.SCALES["long"]
    (printed,) = long.printed.values()
    assert dataclasses.replace(printed, meta_seeds=3) == scale.recipes["leaky-relu"]
    assert (long.noise_batches, long.noise_steps, long.image_size) == (469, 1000, None)


def test_names_of_figures():
    assert paper.PAPER.figure_keys("7, 4") == ("4", "7")
    assert paper.PAPER.figure_keys("3") == ("2",)
    assert "sweep-beta" not in paper.PAPER.figure_keys("all")
    with pytest.raises(UnknownNameError, match="Did you mean 'sweep-beta'"):
        paper.PAPER.figure_keys("sweep-bta")
    with pytest.raises(InvalidValueError, match="no figure is named"):
        paper.PAPER.figure_keys(" ,")
    with pytest.raises(UnknownNameError, match="laptop"):
        paper.PAPER.get_scale("laptob")


def first_part(scale: str = "smoke", variant: str = "sigmoid", *, seed=0, data_dir=None, **how):
    setting = Setting(paper.SCALES[scale], seed, data_dir)
    return learned(setting, training_of(setting, variant, **how), 0)


def test_another_count_is_another_part():
    first = first_part()
    setting = Setting(paper.SCALES["smoke"])
    others = [
        first_part("laptop"),
        first_part(seed=1),
        first_part(beta=0.5),
        first_part(protocol="released"),
        first_part(optimizer="rnn"),
        learned(setting, training_of(setting, "sigmoid"), 1),
    ]
    assert all(part.description() != first.description() for part in others)
    assert first_part(data_dir=Path("/x")).description() == first.description()


def test_what_needs_no_meta_training(tmp_path: Path):
    result = paper.reproduce(MEASURED_FROM_NOTHING, "smoke", tmp_path)
    assert result.computed == ("illustration", "lion-sgd")
    assert {path.stem for path in (tmp_path / "figures").iterdir()} == {"figure-2", "figure-7"}
    assert {claim.figure for claim in result.claims} == {"figure 7"}
    again = paper.reproduce(MEASURED_FROM_NOTHING, "smoke", tmp_path)
    assert again.computed == ()
    assert again.claims == result.claims
    with np.load(tmp_path / "records" / "illustration.npz") as part:
        # Gradient descent keeps to the symmetry, Adam turns off the line to the center.
        np.testing.assert_allclose(part["sgd/deviation"], 0, atol=1e-7)
        assert np.abs(part["adam/deviation"]).max() > 1e-3


def test_others_stand_beside_the_learned_ones_where_their_weights_are(tmp_path: Path):
    asked = dataclasses.replace(
        SMOKE, published=("dm", "dm_cl"), printed={"sigmoid": SMOKE.recipes["sigmoid"]}
    )
    without, claims = Setting(asked, data_dir=tmp_path), paper.PAPER.manifest
    assert (without.guests("sigmoid"), without.guests("batch-norm")) == (("printed",), ())
    assert [line.split(" is ")[0] for line in without.missing_words()] == [
        "L2O-DM", "L2O-DM, curriculum",
    ]  # fmt: skip
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "l2o-dm.npz").write_bytes(b"weights")
    found = Setting(asked, data_dir=tmp_path)
    assert found.guests("sigmoid") == ("printed", "dm")
    (figure,) = claims(["others"], found).figures
    (before,) = claims(["others"], Setting(SMOKE)).figures
    assert figure.left_out == ("dm_cl", "dm_il", "dm_cl_il")
    assert before.claims == ()
    # The claims of the learned optimizer, each for either of the two where it is.
    assert {claim.rsplit("-", 1)[1] for claim in figure.claims} == {"printed", "dm"}
    assert {"A4-above-leaky-relu-dm", "A11-late-loss-sigmoid-printed"} <= set(figure.claims)
    assert set(figure.parts) - set(before.parts) == {
        f"{kind}-{one}"
        for kind in ("deviations", "noise")
        for one in ("sigmoid-printed", "sigmoid-dm", "leaky-relu-dm", "batch-norm-dm")
    }
    first = runs.deviations(found, "sigmoid", "dm").description()
    (folder / "l2o-dm.npz").write_bytes(b"other weights")
    assert runs.deviations(found, "sigmoid", "dm").description() != first


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return at_smoke_scale(paper.PAPER, "everything", tmp_path_factory.mktemp("papers") / "A")


@pytest.mark.slow
def test_every_figure_is_drawn_and_every_claim_is_judged(everything: Path):
    drawn = {path.stem for path in (everything / "figures").glob("*.png")}
    assert drawn == {figure.name for figure in paper.FIGURES.values()}
    claims = read_claims(everything / "claims.json")
    # No optimizer of others stands beside those of the smallest scale.
    assert {claim.id for claim in claims} == {c.id for c in paper.CLAIMS if not c.only_with}
    check_verdicts(everything)
    page = (everything / "index.html").read_text()
    assert all(figure.heading in page for figure in paper.FIGURES.values())


@pytest.mark.slow
def test_a_second_call_computes_nothing(everything: Path):
    again = paper.reproduce("everything", "smoke", everything)
    assert again.computed == ()


@pytest.mark.slow
def test_the_measurements_make_sense(everything: Path):
    records = everything / "records"
    with np.load(records / "deviations-sigmoid.npz") as part:
        # Momentum keeps to a constant generator, up to rounding; Adam does not.
        assert part["momentum/cosine"].max() < 1e-5
        assert part["adam/cosine"][..., 5:].min() > 1e-3
    with np.load(records / "deviations-leaky-relu.npz") as part:
        # The first step of momentum is a gradient's.
        assert part["momentum/cosine"][..., 0].max() < 1e-5
        # All optimizers meet the same first batch at the same parameters.
        for name in ("adam", "lion", "lstm"):
            first = np.broadcast_to(
                part["momentum/losses"][..., 0], part[f"{name}/losses"].shape[:2]
            )
            np.testing.assert_allclose(part[f"{name}/losses"][..., 0], first, rtol=1e-6)
    with np.load(records / "histograms-sigmoid.npz") as part:
        inside = part["lstm/counts"].sum(axis=-1) + part["lstm/underflow"]
        assert np.all(inside == 1510 * paper.SCALES["smoke"].runs)


@pytest.mark.slow
def test_a_meta_trained_optimizer_comes_back_from_its_record(everything: Path):
    setting, store = Setting(paper.SCALES["smoke"]), Store(everything)
    plain, penalized = (training_of(setting, "sigmoid", beta) for beta in (0.0, 1.0))
    arrays = store.get(learned(setting, plain, 0))
    other = store.get(learned(setting, penalized, 0))
    assert store.computed == []
    for path, leaf in optimizers.named_leaves(load_learned(arrays, plain)):
        np.testing.assert_array_equal(np.asarray(leaf), arrays[f"best/{path}"])
    assert not np.array_equal(arrays["best/readout"], other["best/readout"])


@pytest.mark.slow
def test_only_what_is_damaged_is_recomputed(everything: Path):
    (everything / "records" / "lion-sgd.npz").write_bytes(b"no archive")
    again = paper.reproduce(("4", "7"), "smoke", everything)
    assert again.computed == ("lion-sgd",)
