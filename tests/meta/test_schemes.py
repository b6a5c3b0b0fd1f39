"""Curricula, several starts, mixtures, and averages of meta-parameters."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from optoscope import tasks
from optoscope._core.errors import InvalidValueError, MetaTrainingDivergedError
from optoscope.meta import Curriculum, HeldOutLoss, Mixture, Trainer, successive_halving
from optoscope.meta import TruncatedBackprop as Backprop
from optoscope.meta._halving import halving_steps
from support.scripted import Bowls, Descent, number, scripted

KEY = jax.random.key(0)


def squared(optimizer):
    return float(optimizer.value) ** 2


def trainer(*broken, rate=0.1, **options):
    options = {"steps_per_call": 2, "evaluate_every": 2, "checkpoint_every": 2} | options
    return Trainer(scripted(*broken), optax.sgd(rate), evaluation=squared, **options)


class Stopping:
    """Says stop at the n-th time it is asked."""

    def __init__(self, after):
        self.left = after

    def __call__(self):
        self.left -= 1
        return self.left < 0


def test_a_curriculum_goes_on_from_the_best_and_adds_up():
    seen = []

    def make(horizon, validated):
        seen.append((horizon, validated))
        return trainer()

    reports = []
    result = Curriculum(make, (10, 20, 40), 4).run(number(), key=KEY, on_report=reports.append)
    assert seen == [(10, 20), (20, 40), (40, 40)]
    assert float(result.best.value) == pytest.approx(0.9**12, rel=1e-5)
    assert result.step == 12
    assert [report.step for report in reports] == [2, 4, 6, 8, 10, 12]


def test_a_stage_that_does_not_improve_ends_it_and_is_dropped():
    """The second stage climbs: its rate is negative."""
    stages = {10: 0.1, 20: -0.1, 40: 0.1}
    result = Curriculum(lambda h, _: trainer(rate=stages[h]), (10, 20, 40), 4).run(
        number(), key=KEY
    )
    assert float(result.best.value) == pytest.approx(0.9**4, rel=1e-5)
    assert result.best_loss == pytest.approx(0.9**8, rel=1e-5)
    assert result.step == 8


@pytest.mark.parametrize("after", range(1, 6))
def test_a_curriculum_resumes_exactly(after, tmp_path):
    curriculum = Curriculum(lambda h, _: trainer(rate=0.1 + h / 1000), (10, 20), 6)
    whole = curriculum.run(number(), key=KEY)
    stopped = curriculum.run(number(), key=KEY, directory=tmp_path, stop=Stopping(after))
    assert stopped.interrupted == (after < 5)
    resumed = curriculum.run(number(), key=KEY, directory=tmp_path)
    assert resumed.best.value == whole.best.value
    assert (resumed.step, resumed.interrupted) == (whole.step, False)


@pytest.mark.parametrize(
    ("horizons", "words"), [((), "at least one"), ((20, 10), "longer"), ((5, 5), "longer")]
)
def test_horizons_must_grow(horizons, words):
    with pytest.raises(InvalidValueError, match=words):
        Curriculum(lambda h, _: trainer(), horizons, 4)


def test_a_stage_needs_an_evaluation():
    bare = dataclasses.replace(trainer(), evaluation=None)
    with pytest.raises(InvalidValueError, match="evaluation"):
        Curriculum(lambda h, _: bare, (10,), 4).run(number(), key=KEY)


def test_the_best_start_is_trained_to_the_end(tmp_path):
    counted = {}

    def on_report(start, report):
        counted[start] = max(report.step, counted.get(start, 0))

    starts = [number(x) for x in (3.0, 1.0, 2.0, 4.0)]
    result = successive_halving(
        trainer(), starts, 16, key=KEY, directory=tmp_path, on_report=on_report
    )
    assert float(result.best.value) == pytest.approx(0.9**16, rel=1e-5)
    assert counted == {1: 16, 2: 8, 0: 4, 3: 4}
    # Again: everything is there, and nothing is done twice.
    again = successive_halving(trainer(), starts, 16, key=KEY, directory=tmp_path)
    assert again.best.value == result.best.value


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_halving_leaves_one_of_any_number(count):
    starts = [number(1.0 + x) for x in range(count)]
    result = successive_halving(trainer(), starts, 16, key=KEY)
    assert float(result.best.value) == pytest.approx(0.9**16, rel=1e-5)
    assert result.step == 16


def test_halving_stops_when_asked(tmp_path):
    starts = [number(x) for x in (3.0, 1.0)]
    stopped = successive_halving(
        trainer(), starts, 16, key=KEY, directory=tmp_path, stop=Stopping(2)
    )
    assert stopped.interrupted
    resumed = successive_halving(trainer(), starts, 16, key=KEY, directory=tmp_path)
    assert float(resumed.best.value) == pytest.approx(0.9**16, rel=1e-5)


def test_a_start_that_diverges_is_dropped(tmp_path):
    starts = [number(x) for x in (np.inf, 2.0, 1.0, 4.0)]
    bounded = trainer(patience=4)
    result = successive_halving(bounded, starts, 16, key=KEY, directory=tmp_path)
    assert float(result.best.value) == pytest.approx(0.9**16, rel=1e-5)
    with pytest.raises(MetaTrainingDivergedError):
        successive_halving(bounded, [number(np.inf)] * 2, 16, key=KEY)


def test_the_steps_of_all_starts_are_known_before():
    for count in (1, 2, 3, 4, 5, 8):
        done = {}
        successive_halving(
            trainer(), [number(1.0 + x) for x in range(count)], 16, key=KEY,
            on_report=lambda start, report, done=done: done.update({start: report.step}),
        )  # fmt: skip
        assert halving_steps(count, 16) == sum(done.values())


def test_a_stage_that_diverges_ends_a_curriculum_with_what_was_reached():
    # The first stage has two good meta-steps, and the second none.
    stages = {10: trainer(0.0, 0.0, *[np.nan] * 9, patience=4), 20: trainer(np.nan, patience=4)}
    result = Curriculum(lambda h, _: stages[h], (10, 20), 10).run(number(), key=KEY)
    assert float(result.best.value) == pytest.approx(0.9**2, rel=1e-5)
    assert result.best_loss == pytest.approx(0.9**4, rel=1e-5)
    with pytest.raises(MetaTrainingDivergedError) as caught:
        Curriculum(lambda h, _: stages[20], (10, 20), 10).run(number(), key=KEY)
    assert caught.value.result.best_loss == 1


def test_an_average_is_a_candidate_for_the_best():
    """At this rate the number alternates between 1 and −1; its mean is near 0."""
    plain = trainer(rate=2.0).run(number(), 40, key=KEY)
    assert plain.best_loss == 1
    averaged = trainer(rate=2.0, averaging=0.9).run(number(), 40, key=KEY)
    mean, value, means = 0.0, 1.0, []
    for step in range(40):
        value = -value
        mean += (1 - min(0.9, step / (step + 1))) * (value - mean)
        means.append(mean)
    expected = min(mean**2 for mean in means[1::2])
    assert averaged.best_loss == pytest.approx(expected, abs=1e-6)
    assert float(averaged.optimizer.value) == 1


def test_it_gives_up_where_nothing_improves_and_a_resume_knows(tmp_path):
    climbing = trainer(rate=-0.1, give_up_after=6)
    result = climbing.run(number(), 100, key=KEY, directory=tmp_path)
    assert (result.step, result.gave_up, result.interrupted) == (8, True, False)
    again = climbing.run(number(), 100, key=KEY, directory=tmp_path)
    assert (again.step, again.best.value) == (8, result.best.value)
    assert not trainer(give_up_after=6).run(number(), 20, key=KEY).gave_up
    with pytest.raises(InvalidValueError, match="evaluation"):
        dataclasses.replace(climbing, evaluation=None)


def test_a_mixture_is_the_mean_of_its_groups():
    groups = [Backprop(Bowls(), num_tasks=n, truncation=2, horizon=h) for n, h in ((1, 4), (2, 6))]
    mixture, start = Mixture(groups), Descent(jnp.array(0.1))
    workers = mixture.init(start, KEY)
    together, _ = mixture.estimate(start, workers, KEY)
    alone = [
        group.estimate(start, own, jax.random.fold_in(KEY, index))[0]
        for index, (group, own) in enumerate(zip(groups, workers, strict=True))
    ]
    mean = np.mean([float(one.gradient.rate) for one in alone])
    assert float(together.gradient.rate) == pytest.approx(mean, rel=1e-5)
    assert float(together.loss) == pytest.approx(np.mean([float(a.loss) for a in alone]), rel=1e-5)

    signs = [np.sign(float(one.gradient.rate)) for one in alone]
    even, _ = Mixture(groups, normalize=True).estimate(start, workers, KEY)
    assert float(even.gradient.rate) == pytest.approx(np.mean(signs), rel=1e-5)


def test_each_group_and_evaluation_tells_the_length_of_its_own_runs():
    class Told(Descent):
        num_steps: int = eqx.field(static=True, default=3)

        def update(self, grads, state, params=None, **extra):
            return jax.tree.map(lambda g: -self.rate / self.num_steps * g, grads), state

    groups = [Backprop(Bowls(), truncation=4, horizon=h) for h in (4, 6)]
    start = Told(jnp.array(0.1))
    mixture = Mixture(groups)
    together, _ = mixture.estimate(start, mixture.init(start, KEY), KEY)
    assert jax.tree.structure(together.gradient) == jax.tree.structure(start)
    alone = []
    for index, group in enumerate(groups):
        told = dataclasses.replace(start, num_steps=group.horizon)
        own = group.init(told, jax.random.fold_in(KEY, index))
        estimate, _ = group.estimate(told, own, jax.random.fold_in(KEY, index))
        alone.append(float(estimate.gradient.rate))
    assert float(together.gradient.rate) == pytest.approx(np.mean(alone), rel=1e-5)

    held_out = HeldOutLoss(tasks.Rosenbrock(), 4, 2, KEY)
    slow = Told(jnp.array(1e-4))
    assert held_out(slow) == held_out(dataclasses.replace(slow, num_steps=4))
    assert held_out(slow) == held_out(Descent(jnp.array(0.25e-4)))


def test_a_group_that_is_lost_does_not_poison_the_others():
    class Broken(tasks.Rosenbrock):
        def loss(self, params, batch):
            return jnp.nan * jnp.sum(params)

    good = Backprop(Bowls(), truncation=2, horizon=4)
    bad = Backprop(tasks.fixed(Broken()), truncation=2, horizon=4)
    start = Descent(jnp.array(0.1))
    mixture = Mixture([good, bad])
    workers = mixture.init(start, KEY)
    together, _ = mixture.estimate(start, workers, KEY)
    alone, _ = good.estimate(start, workers[0], jax.random.fold_in(KEY, 0))
    assert float(together.gradient.rate) == pytest.approx(float(alone.gradient.rate), rel=1e-6)
    assert float(together.aux["non_finite"]) == 1


def test_a_mixture_resumes_exactly(tmp_path):
    shapes = [tasks.get("quadratic"), tasks.as_distribution(tasks.Rosenbrock())]
    mixture = Mixture([Backprop(shape, truncation=2, horizon=4) for shape in shapes])
    held_out = HeldOutLoss(tasks.Rosenbrock(), 4, 2, KEY)
    own = Trainer(
        mixture, optax.sgd(1e-9), steps_per_call=2, evaluation=held_out, checkpoint_every=2
    )
    start = Descent(jnp.array(1e-4))
    whole = own.run(start, 8, key=KEY)
    own.run(start, 4, key=KEY, directory=tmp_path)
    assert own.run(start, 8, key=KEY, directory=tmp_path).optimizer.rate == whole.optimizer.rate


def test_bad_mixtures_are_refused():
    with pytest.raises(InvalidValueError, match="at least one estimator"):
        Mixture([])
    two = [Backprop(Bowls(), num_tasks=2, devices=d, truncation=2, horizon=4) for d in (1, 2)]
    with pytest.raises(InvalidValueError, match="must agree"):
        Mixture(two)
