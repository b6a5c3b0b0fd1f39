"""What every registered meta-gradient estimator states of itself is measured, in one place."""

from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jaxtyping import Array, Bool, Float

from optoscope import tasks
from optoscope.meta import ESTIMATORS, Objective, Trainer
from optoscope.optimizers import OptimizerModule
from optoscope.tasks import Task, TaskDistribution
from optoscope.training import run_keys

CURVATURE, START = 0.7, 1.5
THETA = np.array([0.3, 0.2])
HORIZON, TRUNCATION, STD = 8, 4, 1e-3
REPLICAS = 32
GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "meta-training.md"

every_estimator = pytest.mark.parametrize("name", ESTIMATORS.names())


class Drifting(OptimizerModule):
    """Gradient descent that also adds a number: θ = (rate, drift)."""

    theta: Float[Array, " 2"]

    def init(self, params):
        return ()

    def update(self, grads, state, params=None, **extra):
        rate, drift = self.theta
        return drift - rate * grads, state


class Bowl(Task):
    """½·0.7·x² from x = 1.5; or, where it is broken, not a number."""

    broken: Bool[Array, ""]

    def init(self, key):
        return jnp.full((), START, float)

    def sample_batch(self, key):
        return None

    def loss(self, params, batch):
        return jnp.where(self.broken, jnp.nan, 0.5 * CURVATURE * params**2)


class Bowls(TaskDistribution):
    """Bowls, of which a share is broken."""

    share: float = eqx.field(static=True, default=0.0)

    def sample(self, key):
        return Bowl(jax.random.uniform(key) < self.share)


class Draws(TaskDistribution):
    """Least squares, every one another."""

    def sample(self, key):
        matrix, target, start = (
            jax.random.normal(jax.random.fold_in(key, index), shape)
            for index, shape in enumerate([(3, 2), (3,), (2,)])
        )
        return tasks.LeastSquares(matrix, target, start, jnp.zeros(()))


def make(name, distribution, *, count=8, **wanted):
    """The estimator with those of the settings that it has; derivatives are whole ones."""
    settings = {
        "num_tasks": count,
        "num_particles": count,
        "horizon": HORIZON,
        "truncation": TRUNCATION,
        "std": STD,
        "stagger": False,
        "second_order": True,
        "objective": Objective("mean"),
    } | wanted
    entry = ESTIMATORS[name]
    return entry.create(
        distribution, **{key: settings[key] for key in entry.options if key in settings}
    )


def drifting():
    return Drifting(jnp.asarray(THETA))


def true_gradient():
    """Of the mean loss over an episode, by complex steps: exact to rounding."""

    def mean_loss(theta):
        place, losses = START, []
        for _ in range(HORIZON):
            losses.append(0.5 * CURVATURE * place**2)
            place = place + theta[1] - theta[0] * CURVATURE * place
        return sum(losses) / HORIZON

    return np.array([np.imag(mean_loss(THETA + 1e-30j * unit)) / 1e-30 for unit in np.eye(2)])


def mean_gradients(estimator, unrolls):
    """The estimate averaged over `unrolls`, for independent sets of tasks."""

    @eqx.filter_jit
    @jax.vmap
    def one(key):
        workers = estimator.init(drifting(), key)

        def step(workers, index):
            got, workers = estimator.estimate(drifting(), workers, jax.random.fold_in(key, index))
            return workers, (got.gradient.theta, got.aux["non_finite"])

        _, (gradients, broken) = jax.lax.scan(step, workers, jnp.arange(unrolls))
        return jnp.mean(gradients, axis=0), jnp.sum(broken)

    gradients, broken = one(run_keys(jax.random.key(7), REPLICAS))
    return np.asarray(gradients), np.asarray(broken)


def away(samples, truth):
    """How many standard errors the mean lies from the truth, at worst over the components.

    A part in a million counts as an error, too: backpropagation has no other.
    """
    error = samples.std(axis=0, ddof=1) / np.sqrt(len(samples)) + 1e-6 * np.abs(truth)
    return float(np.max(np.abs(samples.mean(axis=0) - truth) / error))


@pytest.mark.parametrize(
    ("name", "cut"),
    [(name, True) for name in ESTIMATORS]
    + [(name, False) for name in ESTIMATORS if not ESTIMATORS[name].unbiased],
)
def test_the_stated_bias_is_the_measured_one(name, cut):
    """And what is stated to be a bias comes from the truncation alone."""
    entry = ESTIMATORS[name]
    truncation = TRUNCATION if cut else HORIZON
    count = 4000 if "std" in entry.options else 2
    with jax.enable_x64(True):
        estimator = make(name, Bowls(), count=count, truncation=truncation)
        episode = HORIZON // truncation if "truncation" in entry.options else 1
        samples, _ = mean_gradients(estimator, episode)
    truth = true_gradient()
    if entry.unbiased or not cut:
        assert away(samples, truth) < 4
        # Power: the same test fails on a flipped sign and on a scaling by a tenth.
        for wrong in (-1.0, 0.9, 1.1):
            assert away(wrong * samples, truth) > 4
    else:
        assert away(samples, truth) > 10


@every_estimator
def test_losses_that_are_not_finite_are_counted_and_change_no_ones_gradient(name):
    count = 4000 if "std" in ESTIMATORS[name].options else 8
    with jax.enable_x64(True):
        healthy, none = mean_gradients(make(name, Bowls(), count=count), 1)
        damaged, broken = mean_gradients(make(name, Bowls(0.3), count=count), 1)
    assert none.sum() == 0
    share, total = broken.sum() / (count * REPLICAS), count * REPLICAS
    assert abs(share - 0.3) < 5 * np.sqrt(0.3 * 0.7 / total)
    truth = healthy.mean(axis=0)
    spread = np.sqrt(healthy.var(axis=0, ddof=1) + damaged.var(axis=0, ddof=1))
    error = spread / np.sqrt(REPLICAS) + 1e-6 * np.abs(truth)
    assert np.all(np.abs(damaged.mean(axis=0) - truth) < 4 * error)
    # A mean over all tasks, the broken ones as zeros, would be seen.
    assert np.any(np.abs(0.7 * damaged.mean(axis=0) - truth) > 4 * error)


@every_estimator
def test_two_devices_give_the_meta_gradients_of_one(name):
    results = []
    optimizer = Drifting(jnp.asarray(THETA, jnp.float32))
    for devices in (1, 2):
        estimator = make(name, Draws(), horizon=5, truncation=3, std=0.1, devices=devices)
        estimate = eqx.filter_jit(estimator.estimate)
        workers = eqx.filter_jit(estimator.init)(optimizer, jax.random.key(0))
        for index in range(3):
            got, workers = estimate(optimizer, workers, jax.random.key(index))
        results.append((got.loss, got.gradient.theta, got.aux, workers))
    assert len(results[1][0].sharding.device_set) == 2
    assert np.abs(results[0][1]).max() > 0
    jax.tree.map(
        lambda one, two: np.testing.assert_allclose(one, two, rtol=2e-4, atol=1e-6), *results
    )


@every_estimator
def test_a_run_that_stops_anywhere_resumes_bit_for_bit(name, tmp_path):
    estimator = make(name, Draws(), count=4, horizon=5, truncation=3)
    trainer = Trainer(estimator, optax.adam(0.01), steps_per_call=1, checkpoint_every=1)
    start = Drifting(jnp.asarray(THETA, jnp.float32))
    whole = trainer.run(start, 5, key=jax.random.key(1))
    assert np.all(np.asarray(whole.optimizer.theta) != np.asarray(start.theta))
    trainer.run(start, 2, key=jax.random.key(1), directory=tmp_path)
    resumed = trainer.run(start, 5, key=jax.random.key(1), directory=tmp_path)
    assert resumed.step == 5
    np.testing.assert_array_equal(resumed.optimizer.theta, whole.optimizer.theta)


def test_the_guide_has_the_table_of_the_registry():
    rows = [
        f"| `{name}` | `{entry.estimator.__name__}` | {entry.description} | {entry.bias} "
        f"| {entry.needs} |"
        for name, entry in ((name, ESTIMATORS[name]) for name in ESTIMATORS)
    ]
    lines = GUIDE.read_text(encoding="utf-8").splitlines()
    start = lines.index("| name | class | what it does | bias | needs |")
    assert lines[start + 2 : start + 2 + len(rows) + 1] == [*rows, ""]
