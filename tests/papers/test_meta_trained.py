"""Meta-training as a part: one layout of arrays, and the optimizers back from it."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from optoscope import meta, optimizers, tasks
from optoscope._core.errors import InvalidValueError
from optoscope._core.keys import stream
from optoscope.papers._meta_trained import (
    MetaTraining,
    all_learned,
    best_seed,
    learned,
    load_learned,
    load_snapshots,
)
from optoscope.papers._parts import Arrays, Part, Store
from optoscope.papers._recipe import Recipe, Scale, Setting, Stronger

RECIPE = Recipe(
    "quadratic",
    horizon=4,
    truncation=2,
    meta_steps=12,
    meta_learning_rate=0.05,
    meta_seeds=2,
    evaluations=3,
    evaluation_runs=2,
    snapshots=2,
)
SETTING = Setting(Scale("tiny", {"regression": RECIPE}))


def training(recipe: Recipe = RECIPE, **changes) -> MetaTraining:
    """SGD whose learning rate is what is meta-trained: compiled in a second."""
    made = MetaTraining(
        name="learned",
        recipe=recipe,
        blank=lambda key: optimizers.sgd(0.01 + 0.001 * jax.random.uniform(key)),
        problems=lambda: SETTING.distribution("regression"),
        estimator=lambda stage, problems, devices: meta.TruncatedBackprop(
            problems, num_tasks=1, devices=devices, truncation=2, horizon=stage.horizon
        ),
        evaluation=lambda problems, key: meta.HeldOutLoss(problems, 4, 2, key),
    )
    return dataclasses.replace(made, **changes)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Arrays]:
    folder = tmp_path_factory.mktemp("learned")
    return folder, Store(folder).get(learned(SETTING, training(), 0))


def test_the_layout_holds_the_best_the_snapshots_and_the_curves(made: tuple[Path, Arrays]):
    _, arrays = made
    rates = arrays["snapshots/hyperparameters['learning_rate']"]
    assert rates.shape == (2,)
    assert arrays["snapshots/steps"].tolist() == [6, 12]
    assert arrays["steps"][0] == 0
    assert arrays["steps"][-1] == arrays["report_steps"][-1] == 12
    assert arrays["held_out"][1:].min() == pytest.approx(float(arrays["evaluation_loss"]), rel=1e-6)
    assert arrays["snapshots/objective"][-1] == pytest.approx(arrays["held_out"][-1], rel=1e-6)
    lengths = {key: len(arrays[key]) for key in ("meta_loss", "gradient_norm", "non_finite")}
    assert set(lengths.values()) == {len(arrays["report_steps"])}
    assert arrays["skipped"] == 0
    assert arrays["seconds"] > 0


def test_the_optimizers_come_back(made: tuple[Path, Arrays]):
    folder, arrays = made
    how, name = training(), "hyperparameters['learning_rate']"

    def rate(optimizer) -> np.ndarray:
        return np.asarray(optimizer.hyperparameters["learning_rate"])

    assert rate(load_learned(arrays, how)) == arrays[f"best/{name}"]
    assert rate(load_learned(arrays, how, "final")) == arrays[f"snapshots/{name}"][-1]
    found = [rate(one) for one in load_snapshots(arrays, how)]
    np.testing.assert_array_equal(found, arrays[f"snapshots/{name}"])
    exported = optimizers.load(folder / "parts" / "learned-seed-0" / "optimizer")
    assert rate(exported) == arrays[f"best/{name}"]


def test_snapshots_on_the_way_change_nothing(made: tuple[Path, Arrays], tmp_path: Path):
    _, arrays = made
    once = training(dataclasses.replace(RECIPE, snapshots=1))
    without = Store(tmp_path).get(learned(SETTING, once, 0))
    name = "snapshots/hyperparameters['learning_rate']"
    np.testing.assert_array_equal(without[name][-1], arrays[name][-1])


def test_what_the_result_depends_on_is_described():
    first = learned(SETTING, training(), 0)
    others = [
        learned(SETTING, training(), 1),
        learned(dataclasses.replace(SETTING, seed=1), training(), 0),
        learned(SETTING, training(weight_decay=0.5), 0),
        learned(SETTING, training(described={"beta": 1}), 0),
        learned(SETTING, training(blank=lambda key: optimizers.momentum(0.1)), 0),
        *(
            learned(SETTING, training(dataclasses.replace(RECIPE, **{name: value})), 0)
            for name, value in (
                ("meta_steps", 3), ("l2", 1e-3), ("estimator", {"std": 1.0}),
                ("snapshots", 1), ("stronger", Stronger(averaging=0.5)),
            )
        ),
    ]  # fmt: skip
    assert all(part.description() != first.description() for part in others)
    more = training(dataclasses.replace(RECIPE, meta_seeds=9))
    assert learned(SETTING, more, 0).description() == first.description()
    assert len(all_learned(SETTING, more)) == 9
    assert [part.name for part in all_learned(SETTING, more, 2)] == [
        "learned-seed-0", "learned-seed-1",
    ]  # fmt: skip


# A curriculum of two stages, with everything else that is asked of a trainer in each of them.
STRONGER = Stronger((6,), {"momentum": 0.05}, imitation_steps=3, averaging=0.5, cosine=True)
LASTING = dataclasses.replace(RECIPE, snapshots=1, meta_steps=24, stronger=STRONGER)


def test_a_recipe_without_anything_stronger_is_described_as_before():
    described = RECIPE.configuration()
    assert "stronger" not in described
    assert described == {
        field.name: getattr(RECIPE, field.name)
        for field in dataclasses.fields(Recipe)
        if field.name != "stronger"
    }
    assert LASTING.configuration()["stronger"]["curriculum"] == (6,)


def test_a_curriculum_is_the_librarys_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    evaluations = []

    def evaluation(problems, key):
        evaluations.append(meta.HeldOutLoss(problems, LASTING.horizons[-1], 2, key))
        return evaluations[-1]

    how = training(LASTING, evaluation=evaluation)
    run, stops = meta.Trainer.run, [True, False, False]

    def interrupted_once(self, *arguments, **options):
        return run(self, *arguments, **options | {"stop": stops.pop})

    # Interrupted in the second stage: what comes after is a resume.
    monkeypatch.setattr(meta.Trainer, "run", interrupted_once)
    with pytest.raises(KeyboardInterrupt):
        Store(tmp_path).get(learned(SETTING, how, 0))
    monkeypatch.undo()
    arrays = Store(tmp_path).get(learned(SETTING, how, 0))

    def by_hand(horizon: int, _: int) -> meta.Trainer:
        estimator = meta.TruncatedBackprop(
            SETTING.distribution("regression"), num_tasks=1, truncation=2, horizon=horizon
        )
        return meta.Trainer(
            meta.Imitation(estimator, [optimizers.momentum(0.05)], 1.0, 3),
            LASTING.stages[0].meta_optimizer(),
            evaluation=evaluations[0],
            evaluate_every=8,
            averaging=0.5,
        )

    keys = jax.random.split(stream(SETTING.seed, "meta-seed 0"), 3)
    expected = meta.Curriculum(by_hand, (4, 6), 12).run(how.blank(keys[0]), key=keys[1])
    name = "hyperparameters['learning_rate']"
    rate = expected.best.hyperparameters["learning_rate"]
    np.testing.assert_allclose(arrays[f"best/{name}"], rate, rtol=1e-5)
    np.testing.assert_allclose(arrays["evaluation_loss"], expected.best_loss, rtol=1e-5)
    assert arrays["report_steps"].tolist() == [10, 12, 22, 24]
    # Every horizon's evaluations are of the longest, so that they can be compared.
    assert arrays["steps"].tolist() == [0, 10, 12, 22, 24]
    exported = json.loads(next(tmp_path.glob("parts/*/optimizer/optimizer.json")).read_text())
    assert exported["metadata"]["meta_training"]["curriculum"] == [6]


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ({"snapshots": 2}, "snapshots is 2"),
        ({"decay_steps": 5}, "decay_steps and cosine"),
        ({"meta_steps": 1}, "meta_steps"),
    ],
)
def test_what_a_recipe_cannot_ask_for_at_once(numbers, words):
    with pytest.raises(InvalidValueError, match=words):
        dataclasses.replace(LASTING, **numbers)


def test_an_interruption_stops_the_part(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    run = meta.Trainer.run

    def interrupted(self, *arguments, **options):
        return dataclasses.replace(run(self, *arguments, **options), interrupted=True)

    monkeypatch.setattr(meta.Trainer, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Store(tmp_path).get(learned(SETTING, training(), 0))
    assert not list((tmp_path / "records").glob("*.json"))


def test_the_best_meta_seed_is_that_with_the_least_held_out_loss():
    losses: list[Mapping[str, np.ndarray]] = [
        {"evaluation_loss": np.asarray(value)} for value in (np.nan, 2.0, 1.0, np.inf)
    ]
    assert best_seed(losses) == 2


def steps_of(optimizer, count: int = 12):
    params = {"matrix": jnp.full((2, 2), 3.0), "vector": jnp.full(2, 3.0)}
    state = optimizer.init(params)
    for step in range(count):
        grads = jax.tree.map(lambda leaf, s=step: jnp.full_like(leaf, s - 4.0), params)
        updates, state = optimizer.update(grads, state, params)
        params = optax.apply_updates(params, updates)
    return params


@pytest.mark.parametrize(
    ("numbers", "chain"),
    [
        ({}, lambda: optax.adam(0.1)),
        ({"clip": 2.0}, lambda: optax.chain(optax.clip(2.0), optax.adam(0.1))),
        ({"l2": 0.3}, lambda: optax.chain(optax.add_decayed_weights(0.3), optax.adam(0.1))),
        (
            {"decay_steps": 5},
            lambda: optax.adam(optax.exponential_decay(0.1, 5, 0.8, staircase=True)),
        ),
        (
            {"stronger": Stronger(cosine=True), "meta_steps": 8},
            lambda: optax.adam(optax.cosine_decay_schedule(0.1, 8)),
        ),
        (
            {"stronger": Stronger(clip_norm=2.0)},
            lambda: optax.chain(optax.clip_by_global_norm(2.0), optax.adam(0.1)),
        ),
    ],
)
def test_the_meta_optimizer_is_adam_with_what_is_asked_for(numbers, chain):
    recipe = Recipe("quadratic", meta_learning_rate=0.1, **numbers)
    ours, expected = steps_of(recipe.meta_optimizer()), steps_of(chain())
    for name in ("matrix", "vector"):
        np.testing.assert_allclose(ours[name], expected[name], rtol=1e-6)


def test_a_distribution_is_no_single_task():
    assert isinstance(SETTING.distribution("regression"), tasks.TaskDistribution)
    with pytest.raises(InvalidValueError, match=r"setting\.distribution"):
        SETTING.task("regression")


def test_a_part_of_the_recipe_is_a_part():
    part = learned(SETTING, training(), 0)
    assert isinstance(part, Part)
    assert part.programs == learned(SETTING, training(), 1).programs
