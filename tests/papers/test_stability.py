"""Paper C at smoke scale; everything is measured once, in one directory."""

import dataclasses
import importlib
from pathlib import Path
from types import SimpleNamespace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from optoscope import bench, meta, optimizers, tasks, training
from optoscope._core.inference import proportion
from optoscope.papers import _meta_trained
from optoscope.papers import stability as paper
from optoscope.papers._claims import measured_claims
from optoscope.papers._meta_trained import load_learned, weights
from optoscope.papers._parts import Store, Workspace
from optoscope.papers.stability import _figures, _theory
from optoscope.papers.stability._far import diverged, kept_steps, smoothed, summary
from optoscope.papers.stability._learn import blank, training_of
from optoscope.papers.stability._setting import ARMS, MAIN, REFERENCE, SMALL, Arm, Setting
from optoscope.papers.stability._theory import lowered_up_to, stable_curvature
from optoscope.papers.stability._unseen import (
    FIGURE_4,
    of_figure,
    schedule,
    scheduled_nadamw,
    tuned,
    unseen,
    unseen_names,
)
from optoscope.report import read_claims
from optoscope.report.papers.stability._marks import looks_of
from support.printed_verdicts import check_verdicts
from support.reproductions import at_smoke_scale


def test_every_claim_names_a_figure_and_is_unique():
    ids = [claim.id for claim in paper.CLAIMS]
    assert len(set(ids)) == len(ids)
    assert {claim.figure for claim in paper.CLAIMS} <= set(paper.FIGURES)


def test_all_of_the_papers_figures_have_a_name():
    numbered = {str(number) for number in range(1, 5)}
    appendix = {f"app-{number}" for number in range(1, 7)}
    assert set(paper.FIGURES) == numbered | appendix | {"joint-stability", "blackbox-scale"}


def test_the_paper_scale_has_the_papers_counts():
    scale = paper.SCALES["paper"]
    assert set(scale.recipes) == {"mlp", "cnn"}
    for recipe in scale.recipes.values():
        counts = (
            recipe.truncation,
            recipe.estimator["std"],
            recipe.horizon,
            recipe.meta_learning_rate,
        )
        assert counts == (50, 0.01, 2000, 1e-4)
        assert recipe.clip == 1.0
    assert (scale.nadamw_samples, scale.adam_points, scale.variance_seeds) == (1000, 15, 500)
    assert scale.multiples == (10, 100)
    laptop = paper.SCALES["laptop"]
    assert (laptop.recipes["mlp"].horizon, laptop.multiples) == (2000, (10, 20))


def learned(setting: Setting, name: str, arm: str, meta_seed: int):
    return _meta_trained.learned(setting, training_of(setting, name, arm), meta_seed)


def test_another_count_is_another_part():
    scale = paper.SCALES["smoke"]
    first = learned(Setting(scale), "mlp", "star-0", 0)
    slower = dataclasses.replace(scale.recipes["mlp"], meta_learning_rate=1e-4)
    changed = dataclasses.replace(scale, recipes={"mlp": slower})
    others = [
        learned(Setting(paper.SCALES["laptop"]), "mlp", "star-0", 0),
        learned(Setting(scale, seed=1), "mlp", "star-0", 0),
        learned(Setting(scale), "mlp", "star-0", 1),
        learned(Setting(scale), "mlp", "star-1", 0),
        learned(Setting(scale), "mlp", "blackbox", 0),
        learned(Setting(changed), "mlp", "star-0", 0),
    ]
    assert all(part.description() != first.description() for part in others)
    moved = learned(Setting(scale, data_dir=Path("/x")), "mlp", "star-0", 0)
    assert moved.description() == first.description()


def test_arms_have_the_terms_that_their_names_say():
    def terms(arm: str) -> tuple[bool, bool, bool]:
        found = blank(arm, jax.random.key(0))
        return found.blackbox, found.nominal != "none", found.preconditioning

    assert terms("hyperparam") == (False, True, False)
    assert terms("blackbox") == terms("blackbox-0.5") == (True, False, False)
    assert terms(REFERENCE) == terms("star-0") == (True, True, True)
    assert terms("no-preconditioning") == (True, True, False)
    assert terms("no-nominal") == (True, False, True)
    assert terms(SMALL) == terms(REFERENCE)
    decays = {arm.weight_decay for name, arm in ARMS.items() if "star-" in name}
    assert decays == {0.0, 0.1, 0.5, 1.0}
    assert MAIN == ("hyperparam", "blackbox", REFERENCE, SMALL)


def test_meta_optimizer_is_adamw_that_clips_and_decays_the_weights_alone():
    recipe = dataclasses.replace(paper.SCALES["paper"].recipes["mlp"], meta_learning_rate=0.1)
    params = {"weights": jnp.full((2, 2), 3.0), "bias": jnp.full(2, 3.0), "decay": jnp.array(3.0)}
    ours, plain = recipe.meta_optimizer(0.5), optax.adam(0.1)
    state, reference = ours.init(params), plain.init(params)
    for size in (100.0, 0.5, -7.0):
        grads = jax.tree.map(lambda leaf, size=size: jnp.full_like(leaf, size), params)
        clipped = jax.tree.map(lambda leaf: jnp.clip(leaf, -1, 1), grads)
        updates, state = ours.update(grads, state, params)
        moves, reference = plain.update(clipped, reference, params)
        decayed = {"weights": 0.1 * 0.5 * params["weights"], "bias": 0.0, "decay": 0.0}
        expected = jax.tree.map(jnp.subtract, moves, decayed)
        assert eqx.tree_equal(updates, expected, rtol=1e-5, atol=1e-7)


def test_weight_decays_share_one_program():
    recipe = paper.SCALES["smoke"].recipes["mlp"]
    first, second = (jax.tree.structure(recipe.meta_optimizer(decay)) for decay in (0.0, 1.0))
    assert first == second
    other = dataclasses.replace(recipe, clip=2.0).meta_optimizer(0.0)
    assert jax.tree.structure(other) == first


def test_smoothing_is_an_average_that_starts_at_the_first_value():
    losses = np.random.default_rng(0).normal(size=(2, 50))
    expected = losses.copy()
    for index in range(1, 50):
        expected[:, index] = 0.98 * expected[:, index - 1] + 0.02 * losses[:, index]
    np.testing.assert_allclose(smoothed(losses), expected, rtol=1e-12)
    losses[0, 10] = np.inf
    assert np.isfinite(smoothed(losses)).sum(axis=1).tolist() == [10, 50]


def test_kept_steps_reach_both_ends_in_bounded_number():
    steps = kept_steps(40_000, 300)
    assert steps[0] == 0
    assert steps[-1] == 39_999
    assert len(steps) <= 302
    assert np.all(np.diff(steps) > 0)
    assert kept_steps(1, 5).tolist() == [0]


def test_divergence_and_what_is_kept_past_the_horizon():
    steps, horizon = 400, 20
    falling = np.linspace(2.0, 1.0, steps)
    rising = np.linspace(2.0, 4.0, steps)
    lost = falling.copy()
    lost[100:] = np.nan
    losses = np.stack([falling, rising, lost])
    assert diverged(losses, smoothed(losses)).tolist() == [False, True, True]
    found = summary(losses, horizon, (2, 20), 50, meta.Objective(maximum=3.0))
    assert found["diverged"].tolist() == [[False, False], [True, True], [False, True]]
    assert found["lost_at"].tolist() == [np.inf, np.inf, 100]
    np.testing.assert_allclose(found["at_horizon"], losses[:, 18:20].mean(axis=1), 1e-5)
    # Clipped to the maximum, as in meta-training, and so is what is not finite.
    np.testing.assert_allclose(found["at_multiples"][1:, 1], 3.0)
    assert found["worst"][0, 1] <= 2.0
    assert found["worst"][2].tolist() == [found["worst"][0, 0], np.inf]
    assert found["smoothed"].shape == (3, len(kept_steps(steps, 50)))


def test_unseen_tasks_fall_into_two_halves():
    assert of_figure("app-5") + of_figure("app-6") == tasks.UNSEEN
    assert set(FIGURE_4) < set(tasks.UNSEEN)
    for name in ("laptop", "paper"):
        assert len(unseen_names(Setting(paper.SCALES[name]), "4")) == 4
    smoke = Setting(paper.SCALES["smoke"])
    assert all(unseen_names(smoke, key) for key in ("4", "app-5", "app-6"))


def test_learning_rate_rises_holds_and_falls():
    rates = [float(schedule(s, 2.0, 0.2, 0.4, 50)) for s in range(51)]
    assert rates[0] == pytest.approx(0.2)
    assert rates[9:31] == pytest.approx([2.0] * 22)
    assert rates[40] == pytest.approx(1.0)
    assert rates[50] == pytest.approx(0.0, abs=1e-6)
    # Neither a warm-up nor a decay is a constant rate.
    flat = [float(schedule(s, 2.0, 0.0, 0.0, 50)) for s in range(50)]
    assert flat == pytest.approx([2.0] * 50)


def test_scheduled_nadamw_is_optax_nadamw():
    values = {"b1": 0.8, "b2": 0.9, "eps": 1e-3, "weight_decay": 0.01}
    ours = scheduled_nadamw(20, learning_rate=0.1, warmup=0.0, cosine=0.0, **values)
    theirs = optax.nadamw(0.1, 0.8, 0.9, 1e-3, weight_decay=0.01)
    params = jnp.array([1.0, -2.0])
    state, other = ours.init(params), theirs.init(params)
    for gradient in ([1.0, 2.0], [-1.0, 0.5], [0.1, 0.1]):
        updates, state = ours.update(jnp.array(gradient), state, params)
        expected, other = theirs.update(jnp.array(gradient), other, params)
        assert eqx.tree_equal(updates, expected, rtol=1e-5, atol=1e-7)


def test_the_share_of_the_range_that_lowers_variance():
    part = {
        "nominals": np.array([0.0, 0.25, 0.5, 1.0]),
        "limit": np.array(1.0),
        "trace_variance": np.array([[1.0, 10.0], [0.5, 1.0], [0.1, np.nan], [0.2, np.inf]]),
    }
    np.testing.assert_allclose(lowered_up_to(part), [1.0, 0.25])


def _untrained(setting: Setting) -> dict[str, dict[str, np.ndarray]]:
    """What the parts of the main arms would hold, had nothing been meta-trained."""
    return {
        learned(setting, "mlp", arm, seed).name: {
            f"best/{path}": leaf for path, leaf in weights(blank(arm, jax.random.key(seed))).items()
        }
        for arm in MAIN
        for seed in range(setting.seeds("mlp", arm))
    }


def test_an_unseen_task_is_met_by_all_main_arms_and_both_baselines(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    scale = dataclasses.replace(paper.SCALES["smoke"], arms={}, unseen_seeds=2, unseen_runs=3)
    setting, met = Setting(scale), []

    def train(task, optimizer, num_steps, *, key, num_runs):
        met.append(optimizer)
        return SimpleNamespace(losses=np.full((num_runs, num_steps), 2.0, np.float32))

    def search(task, create, space, *_, **__):
        values = {name: np.full(2, 0.5, np.float32) for name in space}
        return bench.SearchResult(values, np.ones((2, 1)), ())

    monkeypatch.setattr(training, "train", train)
    monkeypatch.setattr(bench, "evaluate_configurations", search)
    monkeypatch.setattr(bench, "random_search", search)
    workspace = Workspace(tmp_path, {}, lambda *_: None)
    baselines = tuned(setting, "autoencoder")
    # More meta-seeds leave the searches as they are.
    assert baselines.needs == ()
    needed = {baselines.name: baselines.compute({}, workspace)} | _untrained(setting)
    assert len(met) == 2
    part = unseen(setting, "autoencoder")
    assert baselines.name in {need.name for need in part.needs}
    arrays = part.compute(needed, workspace)
    assert len(met) == 2 + 2 * len(MAIN)
    assert arrays["initial"].tolist() == [2.0] * 3
    assert arrays["nadamw/best/cosine"] == 0.5
    for label, seeds in (("adam", 1), ("nadamw", 1), *((arm, 2) for arm in MAIN)):
        assert arrays[f"{label}/final"].tolist() == [[2.0] * 3] * seeds
        assert not arrays[f"{label}/diverged"].any()
        assert arrays[f"{label}/smoothed"].shape == (seeds, 3, len(arrays["steps"]))


def test_joint_stability_is_of_the_first_seeds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    setting = Setting(dataclasses.replace(paper.SCALES["smoke"], arms={}))

    def arrays(contenders, num_steps):
        return {name: np.asarray(num_steps) for name in contenders}

    monkeypatch.setattr(_theory, "stable_curvature_arrays", arrays)
    part = stable_curvature(setting)
    assert {need.name for need in part.needs} == {f"learned-mlp-{arm}-seed-0" for arm in MAIN}
    told = []
    found = part.compute(_untrained(setting), Workspace(tmp_path, {}, lambda *so: told.append(so)))
    assert set(found) >= {"sgd", "adam", "momentum-0.5", *MAIN}
    assert told == [(done, len(found)) for done in range(1, len(found) + 1)]


def test_an_arm_is_declared_in_one_place(monkeypatch: pytest.MonkeyPatch):
    # An entry of ARMS is all that a newcomer writes; everything else follows from it.
    arm = Arm("A new arm", {"blackbox_scale": 1e-7}, 0.2, figures=("app-2",))
    setting = Setting(paper.SCALES["laptop"])
    monkeypatch.setitem(ARMS, "new", arm)
    try:
        figures = importlib.reload(_figures)
        parts = {part.name for part in figures.FIGURES["app-2"].parts(setting)}
        assert parts >= {"training-mlp-new", "far-mlp-new"}
        assert figures.LABELS["new"] == "A new arm"
        assert looks_of(["new"], figures.LABELS)["new"].learned
    finally:
        monkeypatch.undo()
        importlib.reload(_figures)


def test_every_arm_is_compared_somewhere():
    parts = {
        part.name
        for figure in paper.FIGURES.values()
        for part in figure.parts(Setting(paper.SCALES["laptop"]))
    }
    assert parts >= {f"{kind}-mlp-{arm}" for kind in ("training", "far") for arm in ARMS}
    assert parts >= {f"unseen-{name}" for name in tasks.UNSEEN}
    smoke = Setting(paper.SCALES["smoke"])
    assert set(MAIN) - {SMALL} <= set(smoke.measured("mlp", tuple(ARMS))) < set(ARMS)


def test_a_claim_about_what_a_scale_leaves_out_is_inconclusive():
    claim = next(one for one in paper.CLAIMS if one.id == "C3-faster-cnn-blackbox")
    for entry in measured_claims(claim, {}, "C", "laptop"):
        assert entry.verdict == "inconclusive"
        assert not entry.measured


def test_figure_1_needs_no_meta_training(tmp_path: Path):
    result = paper.reproduce("1", "smoke", tmp_path)
    assert result.computed == ("eigenvalues", "bounds")
    found = {(claim.id, claim.protocol): claim for claim in result.claims}
    assert found["C1-theorem", "paper"].verdict == "does not hold"
    for name in ("C1-theorem", "C1-lemma-2", "C1-lemma-3"):
        one = found[name, "corrected"]
        # None of 200 does not tell less than one in a thousand; none of 10,000 does.
        assert (one.estimate.value, one.estimate.count, one.verdict) == (0, 200, "inconclusive")
        assert one.criterion.verdict(proportion(np.zeros(10_000, bool))) == "holds"
    check_verdicts(tmp_path)


def test_what_a_figure_needs_is_known_before_it_is_computed(tmp_path: Path):
    figures, setting = ("1", "joint-stability", "blackbox-scale"), Setting(paper.SCALES["smoke"])
    missing = paper.PAPER.missing(figures, setting, Store(tmp_path))
    assert missing["1"] == ("eigenvalues", "bounds")
    stable = missing["joint-stability"]
    assert stable[-1] == "stable-curvature"
    assert all(name.startswith("learned-mlp-") for name in stable[:-1])
    # What an earlier figure needs is said there.
    assert not set(missing["blackbox-scale"]) & set(stable)


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return at_smoke_scale(paper.PAPER, "everything", tmp_path_factory.mktemp("papers") / "C")


@pytest.mark.slow
def test_every_claim_is_judged(everything: Path):
    claims = read_claims(everything / "claims.json")
    assert {claim.id for claim in claims} == {c.id for c in paper.CLAIMS}
    check_verdicts(everything)


@pytest.mark.slow
def test_a_second_call_computes_nothing(everything: Path):
    assert paper.reproduce("everything", "smoke", everything).computed == ()


@pytest.mark.slow
def test_the_measurements_make_sense(everything: Path):
    records = everything / "records"
    with np.load(records / f"far-mlp-{REFERENCE}.npz") as star:
        assert star["smoothed"].shape == (2, 2, len(star["steps"]))
        np.testing.assert_array_equal(star["smoothed"][..., 0], star["initial"].astype(float))
        with np.load(records / "far-mlp-blackbox.npz") as other:
            # All optimizers meet the same problems.
            np.testing.assert_allclose(star["initial"], other["initial"], rtol=1e-6)
    with np.load(records / f"training-mlp-{REFERENCE}.npz") as part:
        assert part["steps"].tolist() == [0, 10]
        assert part["held_out"].shape == (2, 2)
    for name in paper.SCALES["smoke"].unseen:
        with np.load(records / f"unseen-{name}.npz") as part:
            for label in (*MAIN[:-1], "adam", "nadamw"):
                first = part[f"{label}/smoothed"][..., 0]
                expected = np.broadcast_to(part["initial"], first.shape)
                np.testing.assert_allclose(first, expected, rtol=1e-5)
            assert part["nadamw/score"].shape == part["nadamw/cosine"].shape


@pytest.mark.slow
def test_a_meta_trained_optimizer_comes_back(everything: Path):
    store = Store(everything)
    setting = Setting(paper.SCALES["smoke"])
    how = training_of(setting, "mlp", "blackbox")
    arrays = store.get(_meta_trained.learned(setting, how, 0))
    assert store.computed == []
    for which, place in (("best", "best/{}"), ("final", "snapshots/{}")):
        for path, leaf in optimizers.named_leaves(load_learned(arrays, how, which)):
            expected = arrays[place.format(path)]
            expected = expected if which == "best" else expected[-1]
            np.testing.assert_array_equal(np.asarray(leaf), expected)
    assert arrays["held_out"][1:].min() == pytest.approx(float(arrays["evaluation_loss"]), rel=1e-5)
