"""Imitation: the distance in closed form, its decay, and what is left alone."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from optoscope import optimizers, tasks
from optoscope._core.errors import InvalidValueError
from optoscope.meta import PES, Imitation, Objective, Trainer, TruncatedBackprop
from support.scripted import Descent

KEY = jax.random.key(0)
STEPS = 4


def imitation(*teachers, weight=1.0, steps=10, objective="mean"):
    """Losses do not count: only the distance does."""
    objective = Objective(objective, weights=jnp.zeros(STEPS))
    backprop = TruncatedBackprop(
        tasks.fixed(tasks.Rosenbrock()), truncation=STEPS, horizon=STEPS, objective=objective
    )
    return Imitation(backprop, teachers, weight, steps)


def estimates(estimator, optimizer, count):
    workers = begin(estimator, optimizer)
    for index in range(count):
        estimate, workers = advance(estimator, optimizer, workers, jax.random.key(index))
        yield estimate


@eqx.filter_jit
def begin(estimator, optimizer):
    return estimator.init(optimizer, KEY)


@eqx.filter_jit
def advance(estimator, optimizer, workers, key):
    return estimator.estimate(optimizer, workers, key)


def test_the_distance_to_descent_at_another_rate_is_the_closed_form():
    """u = −a g and t = −b g: the distance is (a − b)²/(a² + b²), wherever the run goes."""
    a, b = 1e-4, 3e-4
    estimate = next(estimates(imitation(optimizers.sgd(b), weight=2.0), Descent(jnp.array(a)), 1))
    assert float(estimate.loss) == pytest.approx(2 * (a - b) ** 2 / (a**2 + b**2), rel=1e-4)
    # With the denominator held only where it belongs to the teacher.
    slope = 2 * ((a - b) / (a**2 + b**2) - a * (a - b) ** 2 / (a**2 + b**2) ** 2) * 2
    assert float(estimate.gradient.rate) == pytest.approx(slope, rel=1e-3)


def test_the_weight_decays_to_zero_and_teachers_take_turns():
    a, rates = 1e-4, (2e-4, 4e-4)
    estimator = imitation(*map(optimizers.sgd, rates), steps=4)
    losses = [float(e.loss) for e in estimates(estimator, Descent(jnp.array(a)), 6)]
    distance = [(a - b) ** 2 / (a**2 + b**2) for b in rates]
    expected = [max(0, 1 - i / 4) * distance[i % 2] for i in range(6)]
    np.testing.assert_allclose(losses, expected, rtol=1e-3, atol=1e-7)


def test_a_teachers_state_follows_the_learners_trajectory():
    """Adam's first update has the size of its rate whatever the gradient is; later it has not."""
    learner, teacher = Descent(jnp.array(1e-4)), optimizers.adam(1e-4)
    estimate = next(estimates(imitation(teacher, objective="sum"), learner, 1))
    task, expected = tasks.Rosenbrock(), 0.0
    worker = imitation(teacher).init(learner, KEY)
    params = jax.tree.map(lambda leaf: leaf[0], worker.workers.params)
    state = teacher.init(params)
    for _ in range(STEPS):
        gradient = jax.grad(lambda p: task.loss(p, None))(params)
        proposed, state = teacher.update(gradient, state, params)
        own = -1e-4 * gradient
        expected += float(jnp.sum((own - proposed) ** 2) / jnp.sum(own**2 + proposed**2))
        params = params + own
    assert float(estimate.loss) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("evolution", [False, True])
def test_only_the_learner_is_trained_and_a_resume_is_exact(evolution, tmp_path):
    problems = tasks.fixed(tasks.Rosenbrock())
    wrapped = (
        PES(problems, num_particles=2, horizon=STEPS, truncation=2)
        if evolution
        else TruncatedBackprop(problems, truncation=2, horizon=STEPS)
    )
    estimator = Imitation(wrapped, [optimizers.adam(1e-3), optimizers.lion(1e-3)], steps=5)
    start = Descent(jnp.array(1e-4))
    gradient = next(estimates(estimator, start, 1)).gradient
    assert jax.tree.structure(gradient) == jax.tree.structure(start)

    trainer = Trainer(estimator, optax.sgd(1e-9), steps_per_call=2, checkpoint_every=2)
    whole = trainer.run(start, 8, key=KEY)
    trainer.run(start, 4, key=KEY, directory=tmp_path)
    resumed = trainer.run(start, 8, key=KEY, directory=tmp_path)
    assert resumed.optimizer.rate == whole.optimizer.rate != start.rate


def test_it_teaches():
    """Nothing but the distance: the rate becomes the teacher's."""
    trainer = Trainer(imitation(optimizers.sgd(3e-4), steps=10**6), optax.adam(1e-5))
    result = trainer.run(Descent(jnp.array(1e-4)), 200, key=KEY)
    assert float(result.optimizer.rate) == pytest.approx(3e-4, rel=0.05)


@pytest.mark.parametrize(
    ("teachers", "weight", "steps", "words"),
    [
        ((), 1.0, 5, "at least one optimizer to imitate"),
        ((optimizers.sgd(0.1),), -1.0, 5, "weight"),
        ((optimizers.sgd(0.1),), 1.0, 0, "steps"),
    ],
)
def test_bad_settings_are_refused(teachers, weight, steps, words):
    backprop = TruncatedBackprop(tasks.fixed(tasks.Rosenbrock()), truncation=2, horizon=2)
    with pytest.raises(InvalidValueError, match=words):
        Imitation(backprop, teachers, weight, steps)


def test_its_numbers_are_arrays():
    """Another rate of a teacher needs no other program."""
    first, second = (imitation(optimizers.sgd(rate)) for rate in (0.1, 0.2))
    static = [eqx.partition(one, eqx.is_array)[1] for one in (first, second)]
    assert jax.tree.structure(static[0]) == jax.tree.structure(static[1])
