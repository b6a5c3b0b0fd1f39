"""Paper B at smoke scale; everything is measured once, in one directory."""

import dataclasses
import html
from pathlib import Path

import numpy as np
import pytest

from optoscope import optimizers
from optoscope.papers import _meta_trained
from optoscope.papers import reverse_engineering as paper
from optoscope.papers._meta_trained import load_snapshots
from optoscope.papers._parts import Store, Workspace
from optoscope.papers.reverse_engineering import _searches
from optoscope.papers.reverse_engineering._learn import training_of
from optoscope.papers.reverse_engineering._scales import Search
from optoscope.papers.reverse_engineering._searches import Range, heavy_ball_optimum, search_space
from optoscope.papers.reverse_engineering._setting import (
    BASELINES,
    TASKS,
    Setting,
    meta_objective,
)
from optoscope.report import read_claims
from support.printed_verdicts import check_verdicts
from support.reproductions import at_smoke_scale


def test_every_claim_names_a_figure_and_is_unique():
    ids = [claim.id for claim in paper.CLAIMS]
    assert len(set(ids)) == len(ids)
    assert {claim.figure for claim in paper.CLAIMS} <= set(paper.FIGURES)


def test_all_of_the_papers_figures_have_a_name():
    keys = set(paper.PAPER.figures) | set(paper.PAPER.aliases)
    # Figure 16 is a drawing of an unrolled graph.
    numbers = {str(number) for number in range(1, 22)} - {"16"}
    assert keys - numbers == {"lines"}
    assert numbers <= keys


def test_the_paper_scale_has_the_papers_counts():
    for name in TASKS:
        recipe = paper.SCALES["paper"].recipes[name]
        assert (recipe.meta_steps, recipe.num_tasks, recipe.horizon) == (5000, 32, 200)
    for name in ("regression", "rosenbrock"):
        for scale in ("laptop", "long"):
            recipe = paper.SCALES[scale].recipes[name]
            assert (recipe.meta_steps, recipe.num_tasks, recipe.horizon) == (5000, 32, 200)
    assert {recipe.horizon for recipe in paper.SCALES["long"].recipes.values()} == {200}
    assert {recipe.meta_seeds for recipe in paper.SCALES["long"].recipes.values()} == {3}
    assert paper.SCALES["laptop"].samples == paper.SCALES["paper"].samples == 2500
    assert paper.SCALES["laptop"].runs == 64


def learned(setting: Setting, name: str, meta_seed: int):
    return _meta_trained.learned(setting, training_of(setting, name), meta_seed)


def test_another_count_is_another_part():
    scale = paper.SCALES["smoke"]
    first = learned(Setting(scale), "regression", 0)
    slower = dataclasses.replace(scale.recipes["regression"], meta_learning_rate=1e-4)
    changed = dataclasses.replace(scale, recipes={**scale.recipes, "regression": slower})
    others = [
        learned(Setting(paper.SCALES["laptop"]), "regression", 0),
        learned(Setting(scale, seed=1), "regression", 0),
        learned(Setting(scale), "regression", 1),
        learned(Setting(scale), "rosenbrock", 0),
        learned(Setting(changed), "regression", 0),
    ]
    assert all(part.description() != first.description() for part in others)
    same = learned(Setting(changed), "rosenbrock", 0)
    assert same.description() == learned(Setting(scale), "rosenbrock", 0).description()
    moved = learned(Setting(scale, data_dir=Path("/x")), "cnn", 0)
    assert moved.description() == learned(Setting(scale), "cnn", 0).description()


def test_ranges_widen_past_an_edge_but_not_below_zero_decay():
    rates = Range(1e-3, 1.0)
    assert rates.beyond(1.0, 4) == Range(1.0, 10.0)
    assert rates.beyond(float(np.float32(1e-3)), 4) == Range(1e-4, 1e-3)
    assert rates.beyond(0.1, 4) is None
    assert rates.joined(Range(1.0, 10.0)) == Range(1e-3, 10.0)
    decays = Range(1e-2, 1.0, decay=True)
    assert decays.values(3).tolist() == pytest.approx([0.99, 0.9, 0.0])
    assert decays.beyond(0.0, 3) is None
    assert decays.beyond(float(np.float32(0.99)), 3) == Range(1e-3, 1e-2, decay=True)
    assert set(search_space("cnn", "adam")) == {"learning_rate", "b1", "b2"}


def test_what_the_second_round_takes_is_looked_for_at_the_edges(monkeypatch, tmp_path: Path):
    scale = dataclasses.replace(
        paper.SCALES["smoke"], samples=200, widenings=0,
        searches={"rosenbrock": Search(runs=1, finalists=100, finalist_runs=2)},
    )  # fmt: skip

    def scored(setting, name, baseline, configurations, runs):
        rates = np.log10(configurations["learning_rate"].astype(float))
        # First the second rate of the grid is the best, then the least of those that run again.
        second = np.abs(rates - np.unique(rates)[1])
        return _searches._Found(dict(configurations), second if runs == 1 else rates + 10)

    monkeypatch.setattr(_searches, "_scored", scored)
    part = _searches.tuned(Setting(scale), "rosenbrock")
    arrays = part.compute({}, Workspace(tmp_path, {}, lambda *_: None))
    for baseline in BASELINES:
        least = arrays[f"{baseline}/learning_rate"].min()
        assert arrays[f"{baseline}/best/learning_rate"] == pytest.approx(least)
        assert arrays[f"{baseline}/on_edge"]


def test_heavy_ball_optimum():
    rate, decay = heavy_ball_optimum(1e-3, 1.0)
    # At the optimum both ends of the spectrum converge at the rate √β.
    for curvature in (1e-3, 1.0):
        matrix = np.array([[1 + decay - rate * curvature, -decay], [1.0, 0.0]])
        radius = np.abs(np.linalg.eigvals(matrix)).max()
        assert radius == pytest.approx(decay**0.5, abs=1e-6)


def test_the_meta_objective_counts_divergence_as_infinite():
    losses = np.array([[2.0, 1.0], [4.0, np.nan]])
    assert meta_objective(losses, relative=False).tolist() == [1.5, np.inf]
    assert meta_objective(losses, relative=True).tolist() == [0.75, np.inf]


def test_figure_2_needs_no_meta_training(tmp_path: Path):
    result = paper.reproduce("2", "smoke", tmp_path)
    assert result.computed == ("known-updates",)
    with np.load(tmp_path / "records" / "known-updates.npz") as part:
        np.testing.assert_allclose(part["sgd"], -0.5 * part["grid"], atol=1e-7)
        middle = len(part["grid"]) // 2
        # Momentum shifts the function, RMSProp turns it.
        offsets = part["momentum"][:, middle]
        np.testing.assert_allclose(offsets, -0.45 * part["momentum_states"], atol=1e-6)
        np.testing.assert_allclose(part["rmsprop"][:, middle], 0, atol=1e-6)
        slopes = np.diff(part["rmsprop"], axis=1)[:, middle]
        assert np.all(np.diff(slopes) > 0)


def test_published_optimizers_are_looked_into_where_their_weights_are(tmp_path: Path):
    scale = paper.SCALES["long"]
    without, manifest = Setting(scale, data_dir=tmp_path), paper.PAPER.manifest
    (figure,) = manifest(["lines"], without).figures
    assert (figure.parts, figure.claims) == ((), ())
    assert len(without.missing_words()) == len(figure.left_out) == 3
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "l2o-rnnprop.npz").write_bytes(b"weights")
    (figure,) = manifest(["lines"], Setting(scale, data_dir=tmp_path)).figures
    assert (figure.parts, figure.claims) == (("line-rnnprop",), ("B-lines-rnnprop",))
    assert figure.left_out == ("dm_cl_il", "rnnprop_cl_il")


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return at_smoke_scale(paper.PAPER, "all", tmp_path_factory.mktemp("papers") / "B")


@pytest.mark.slow
def test_every_figure_is_drawn_and_every_claim_is_judged(everything: Path):
    drawn = {path.stem for path in (everything / "figures").glob("*.png")}
    # No published optimizer stands beside those of the smallest scale.
    figures = [figure for key, figure in paper.FIGURES.items() if key != "lines"]
    assert drawn == {figure.name for figure in figures}
    claims = read_claims(everything / "claims.json")
    assert {claim.id for claim in claims} == {c.id for c in paper.CLAIMS if not c.only_with}
    check_verdicts(everything)
    page = html.unescape((everything / "index.html").read_text())
    assert [one.heading for one in figures if one.heading not in page] == []


@pytest.mark.slow
def test_a_second_call_computes_nothing(everything: Path):
    assert paper.reproduce("all", "smoke", everything).computed == ()


@pytest.mark.slow
def test_the_measurements_make_sense(everything: Path):
    records = everything / "records"
    with np.load(records / "performance-regression.npz") as part:
        # All optimizers meet the same problems.
        for name in (*BASELINES, "learned"):
            first = np.broadcast_to(
                part["momentum/losses"][..., 0], part[f"{name}/losses"].shape[:2]
            )
            np.testing.assert_allclose(part[f"{name}/losses"][..., 0], first, rtol=1e-6)
    with np.load(records / "fixed-points-regression.npz") as part:
        known = np.isfinite(part["residuals"])
        assert part["residuals"][known].max() < 1e-10
        assert np.all(part["count"] >= known.sum(axis=1))
    with np.load(records / "adaptation-regression.npz") as part:
        middle = len(part["gradients"]) // 2
        with np.load(records / "fixed-points-regression.npz") as points:
            at_zero = part["points"][:, middle]
            held = np.isfinite(at_zero).all(axis=1) & points["is_fixed"]
            np.testing.assert_allclose(at_zero[held], points["convergence"][held], atol=1e-8)


@pytest.mark.slow
def test_a_meta_trained_optimizer_and_its_snapshots_come_back(everything: Path):
    setting = Setting(paper.SCALES["smoke"])
    how = training_of(setting, "recovered")
    store = Store(everything)
    arrays = store.get(learned(setting, "recovered", 0))
    assert store.computed == []
    for path, leaf in optimizers.named_leaves(paper.load_learned(arrays, how)):
        np.testing.assert_array_equal(np.asarray(leaf), arrays[f"best/{path}"])
    snapshots = load_snapshots(arrays, how)
    assert len(snapshots) == len(how.snapshot_steps) == 2
    weights = [np.asarray(one.readout) for one in snapshots]  # type: ignore[attr-defined]
    assert not np.array_equal(weights[0], weights[1])
