"""Evolution strategies against closed forms, naive loops and backpropagation, in float64."""

import itertools
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jaxtyping import Array, Float

from optoscope import optimizers, tasks
from optoscope._core.antithetic import draw_perturbation
from optoscope._core.errors import InvalidValueError
from optoscope.meta import (
    PES,
    FullES,
    Objective,
    Trainer,
    TruncatedBackprop,
    TruncatedES,
    classification_maximum,
)
from optoscope.meta._evolution import draw_horizon
from optoscope.optimizers import OptimizerModule
from optoscope.tasks import LeastSquares, Task, TaskDistribution
from optoscope.training import run_keys

# Nothing moves there, and a warning says so.
pytestmark = pytest.mark.filterwarnings("ignore:the loss of Draws")

KEY = jax.random.key(0)
STD = 1e-3
CURVATURE, START = 0.7, 1.5


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


class Bowl(Task):
    """½·0.7·x², from x = 1.5."""

    def init(self, key):
        return jnp.full((), START, float)

    def sample_batch(self, key):
        return None

    def loss(self, params, batch):
        return 0.5 * CURVATURE * params**2


class Drifting(OptimizerModule):
    """Gradient descent that also adds a number: θ = (rate, drift)."""

    theta: Float[Array, " 2"]

    def init(self, params):
        return jnp.zeros(())

    def update(self, grads, state, params=None, **extra):
        rate, drift = self.theta
        return drift - rate * grads, state + 1


THETA = np.array([0.3, 0.2])


def drifting(theta=THETA):
    return Drifting(jnp.asarray(theta))


def path(theta, steps, place=START):
    """Losses and places x_0 … x_steps of the drifting descent, by its closed form."""
    rate, drift = theta
    shrink = 1 - rate * CURVATURE
    powers = shrink ** np.arange(steps + 1)
    places = powers * place + drift * (1 - powers) / (1 - shrink)
    return 0.5 * CURVATURE * places[:-1] ** 2, places


def true_gradient(function, theta=THETA):
    """By complex steps: exact to rounding."""
    return np.array(
        [
            np.imag(function(np.asarray(theta) + 1e-30j * unit)) / 1e-30
            for unit in np.eye(len(theta))
        ]
    )


HORIZON, TRUNCATION = 10, 4
SETTINGS = {"horizon": HORIZON, "truncation": TRUNCATION, "std": STD, "stagger": False}
BOWL = tasks.fixed(Bowl())


def mean_estimates(estimator, optimizer, unrolls, replicas=64):
    """The estimate averaged over `unrolls`, for independent sets of particles."""

    @eqx.filter_jit
    @jax.vmap
    def one(key):
        workers = estimator.init(optimizer, key)

        def step(workers, index):
            got, workers = estimator.estimate(optimizer, workers, jax.random.fold_in(key, index))
            return workers, eqx.filter(got.gradient, eqx.is_array)

        _, gradients = jax.lax.scan(step, workers, jnp.arange(unrolls))
        return jax.tree.map(lambda leaf: jnp.mean(leaf, axis=0), gradients)

    return one(run_keys(jax.random.key(7), replicas))


def away(samples, truth):
    """How many standard errors the mean of the samples lies from the truth, by component."""
    samples = np.asarray(samples)
    error = samples.std(axis=0, ddof=1) / np.sqrt(len(samples))
    return np.abs(samples.mean(axis=0) - truth) / error


def test_pes_is_unbiased_and_truncated_es_is_not():
    """Five truncations of 4 steps are two whole episodes of 10, one restart inside a truncation."""
    settings = SETTINGS | {"num_particles": 4000}
    truth = true_gradient(lambda theta: path(theta, HORIZON)[0].mean())
    pes = mean_estimates(PES(BOWL, **settings), drifting(), 5).theta
    assert np.all(away(pes, truth) < 4)
    truncated = mean_estimates(TruncatedES(BOWL, **settings), drifting(), 5).theta
    assert np.all(away(truncated, truth) > 10)
    # Power: the same test fails on a flipped sign and on a scaling by 10%.
    for wrong in (-1.0, 1.1, 0.9):
        assert np.max(away(wrong * np.asarray(pes), truth)) > 4


def test_pes_with_weights_is_unbiased_for_the_weighted_mean():
    weights = jnp.linspace(0.0, 2.5, HORIZON)
    objective = Objective("mean", weights=weights)
    estimator = PES(BOWL, num_particles=4000, objective=objective, **SETTINGS)
    share = np.asarray(weights / weights.sum())
    truth = true_gradient(lambda theta: np.sum(share * path(theta, HORIZON)[0]))
    assert np.all(away(mean_estimates(estimator, drifting(), 5).theta, truth) < 4)


def test_full_es_matches_backpropagation_on_a_smooth_problem():
    task = LeastSquares(
        jnp.array([[1.0, 0.3], [-0.2, 0.8], [0.5, 0.5]]),
        jnp.array([0.4, -1.0, 0.7]),
        jnp.array([1.0, 2.0]),
        jnp.zeros(()),
    )
    optimizer = jax.tree.map(
        lambda leaf: leaf.astype(jnp.float64),
        optimizers.momentum(jnp.float32(0.07), jnp.float32(0.6)),
    )
    objective = Objective("log_sum")
    backprop = TruncatedBackprop(
        tasks.fixed(task), truncation=6, horizon=6, second_order=True, objective=objective
    )
    exact, _ = backprop.estimate(optimizer, backprop.init(optimizer, KEY), KEY)
    strategies = FullES(
        tasks.fixed(task), num_particles=8000, horizon=6, std=STD, objective=objective
    )
    # So many that a scaling by 10% is seven standard errors away, whatever is drawn.
    got = mean_estimates(strategies, optimizer, 1, replicas=256)
    for name, slope in exact.gradient.hyperparameters.items():
        samples = np.asarray(got.hyperparameters[name])
        assert away(samples, float(slope)) < 4
        for wrong in (-1.0, 1.1, 0.9):
            assert away(wrong * samples, float(slope)) > 4


def noise_of(key, std=STD):
    """The perturbation that an estimator's only particle draws from `key`."""
    noise_key, _ = jax.random.split(run_keys(key, 1)[0])
    noise = draw_perturbation(noise_key, drifting(), std)
    return np.asarray(noise.theta)


@pytest.mark.parametrize(
    ("truncation", "horizon", "reduction"),
    [(1, 3, "mean"), (4, 10, "mean"), (5, 10, "sum"), (7, 7, "mean"), (5, 6, "sum")],
)
def test_pes_is_a_naive_loop(truncation, horizon, reduction):
    """Up to and including an episode's last step ξ + ε counts, after the restart ε alone."""
    estimator = PES(
        BOWL,
        num_particles=1,
        horizon=horizon,
        truncation=truncation,
        std=STD,
        stagger=False,
        objective=Objective(reduction),
    )
    estimate = eqx.filter_jit(estimator.estimate)
    workers = estimator.init(drifting(), KEY)
    places, age, total = {1: START, -1: START}, 0, np.zeros(2)
    for index in range(2 * horizon):
        key = jax.random.key(index)
        got, workers = estimate(drifting(), workers, key)
        noise = noise_of(key)
        gradient, loss, acting = np.zeros(2), 0.0, total + noise
        for _ in range(truncation):
            if age == horizon:
                places, age, acting = {1: START, -1: START}, 0, noise
            losses = {sign: 0.5 * CURVATURE * place**2 for sign, place in places.items()}
            gradient += (losses[1] - losses[-1]) * acting
            loss += (losses[1] + losses[-1]) / 2
            places = {s: path(THETA + s * noise, 1, x)[1][1] for s, x in places.items()}
            age += 1
        total = acting
        count = truncation if reduction == "mean" else 1
        expected = gradient / (2 * STD**2 * count)
        np.testing.assert_allclose(got.gradient.theta, expected, rtol=1e-8, atol=1e-9)
        np.testing.assert_allclose(got.loss, loss / count, rtol=1e-10)
        np.testing.assert_allclose(got.aux["inner_loss"], loss / truncation, rtol=1e-10)
        np.testing.assert_allclose(workers.params[0], [places[1], places[-1]], rtol=1e-10)
        np.testing.assert_allclose(workers.perturbation.theta[0], total, rtol=1e-12)
        assert int(workers.step[0]) == age


@pytest.mark.parametrize("continue_from", ["plus", "unperturbed"])
def test_truncated_es_is_a_naive_loop(continue_from):
    estimator = TruncatedES(BOWL, num_particles=1, continue_from=continue_from, **SETTINGS)
    estimate = eqx.filter_jit(estimator.estimate)
    workers = estimator.init(drifting(), KEY)
    kept, age = START, 0
    for index in range(10):
        key = jax.random.key(index)
        got, workers = estimate(drifting(), workers, key)
        noise = noise_of(key)
        places, difference = dict.fromkeys((1, -1, 0), kept), 0.0
        for _ in range(TRUNCATION):
            if age == HORIZON:
                places, age = dict.fromkeys((1, -1, 0), START), 0
            difference += 0.5 * CURVATURE * (places[1] ** 2 - places[-1] ** 2)
            places = {s: path(THETA + s * noise, 1, x)[1][1] for s, x in places.items()}
            age += 1
        kept = places[1 if continue_from == "plus" else 0]
        expected = difference * noise / (2 * STD**2 * TRUNCATION)
        np.testing.assert_allclose(got.gradient.theta, expected, rtol=1e-8, atol=1e-9)
        np.testing.assert_allclose(workers.params[0, 0], kept, rtol=1e-10)


@pytest.mark.parametrize("reduction", ["log_sum", "last"])
def test_full_es_is_a_naive_difference(reduction):
    estimator = FullES(
        BOWL, num_particles=1, horizon=HORIZON, std=STD, objective=Objective(reduction)
    )
    reduce = {
        "log_sum": lambda losses: np.log(np.sum(losses)),
        "last": lambda losses: losses[-1],
    }[reduction]
    got, _ = eqx.filter_jit(estimator.estimate)(drifting(), estimator.init(drifting(), KEY), KEY)
    noise = noise_of(KEY)
    plus, minus = (reduce(path(THETA + sign * noise, HORIZON)[0]) for sign in (1, -1))
    np.testing.assert_allclose(got.loss, (plus + minus) / 2, rtol=1e-10)
    np.testing.assert_allclose(got.gradient.theta, (plus - minus) / (2 * STD**2) * noise, rtol=1e-8)


def test_full_es_counts_the_steps_of_each_particles_own_horizon():
    estimator = FullES(BOWL, num_particles=300, horizon=(2, 9), std=STD, objective=Objective("sum"))
    got, _ = eqx.filter_jit(estimator.estimate)(drifting(), estimator.init(drifting(), KEY), KEY)
    sums = np.cumsum(path(THETA, 9)[0])[1:]
    probabilities = np.log((np.arange(2, 10) + 1) / np.arange(2, 10)) / np.log(10 / 2)
    mean = probabilities @ sums
    error = np.sqrt((probabilities @ sums**2 - mean**2) / 300)
    assert abs(float(got.loss) - mean) < 4 * error
    assert error < 0.05 * mean


def test_horizons_are_log_uniform():
    draws = np.asarray(jax.vmap(lambda key: draw_horizon(key, (3, 20)))(run_keys(KEY, 20_000)))
    counts = np.bincount(draws, minlength=21)
    assert counts[:3].sum() == 0
    assert len(counts) == 21
    numbers = np.arange(3, 21)
    expected = 20_000 * np.log((numbers + 1) / numbers) / np.log(21 / 3)
    # Chi-square of 17 degrees of freedom: mean 17, standard deviation 5.8.
    assert np.sum((counts[3:] - expected) ** 2 / expected) < 17 + 5 * 5.8
    assert int(draw_horizon(KEY, 7)) == 7


def test_lives_begin_at_scattered_times_and_last_their_horizon():
    estimator = PES(BOWL, num_particles=600, horizon=12, truncation=3, std=STD)
    workers = estimator.init(drifting(), KEY)
    firsts = np.asarray(workers.horizon)
    assert set(firsts.tolist()) == set(range(1, 13))
    # Uniform: mean 6.5, variance 143/12.
    assert abs(firsts.mean() - 6.5) < 4 * np.sqrt(143 / 12 / 600)
    estimate = eqx.filter_jit(estimator.estimate)
    for index in range(8):
        got, workers = estimate(drifting(), workers, jax.random.key(index))
        assert np.all(np.asarray(workers.step) <= np.asarray(workers.horizon))
        # Three steps of twelve: binomial with p = 1/4. At first only two: an episode that ends with
        # a truncation is followed in the next.
        share = 3 / 12 if index else 2 / 12
        error = np.sqrt(600 * share * (1 - share))
        assert abs(int(got.aux["restarts"]) - 600 * share) < 5 * error
    assert set(np.asarray(workers.horizon).tolist()) == {12}


def test_every_life_draws_its_horizon():
    estimator = PES(BOWL, num_particles=200, horizon=(2, 5), truncation=5, std=STD, stagger=False)
    workers = estimator.init(drifting(), KEY)
    before = np.asarray(workers.horizon)
    assert set(before.tolist()) == {2, 3, 4, 5}
    _, workers = eqx.filter_jit(estimator.estimate)(drifting(), workers, KEY)
    assert set(np.asarray(workers.horizon).tolist()) == {2, 3, 4, 5}
    assert np.any(np.asarray(workers.horizon) != before)


class Draws(TaskDistribution):
    """Every problem is another number, which its losses and starts are."""

    def sample(self, key):
        return Constant(jax.random.normal(key))


class Constant(Task):
    """The loss is the problem, the start and the batch together; no update changes it."""

    value: Float[Array, ""]

    def init(self, key):
        return jax.random.normal(key)

    def sample_batch(self, key):
        return jax.random.normal(key)

    def loss(self, params, batch):
        return self.value + jax.lax.stop_gradient(params) + batch


class Silent(OptimizerModule):
    """Never moves, but has a meta-parameter."""

    theta: Float[Array, ""]

    def init(self, params):
        return ()

    def update(self, grads, state, params=None, **extra):
        return grads * self.theta, state


def test_both_signs_share_problem_start_and_batches_and_every_life_draws_its_own():
    estimator = PES(Draws(), num_particles=5, horizon=6, truncation=3, std=0.1, stagger=False)
    estimate = eqx.filter_jit(estimator.estimate)
    optimizer = Silent(jnp.asarray(1.0))
    workers = estimator.init(optimizer, KEY)
    seen, losses = [], set()
    for index in range(6):
        seen.append(workers.task_key.tolist())
        got, workers = estimate(optimizer, workers, jax.random.key(index))
        assert abs(float(got.gradient.theta)) < 1e-12
        losses.add(float(got.loss))
    assert len(losses) == 6
    # Two truncations an episode: the keys change at every second one, and for every particle.
    changed = [a != b for a, b in itertools.pairwise(seen)]
    assert changed == [False, False, True, False, True]
    assert len({str(key) for keys in seen for key in keys}) == 15


class Started(OptimizerModule):
    """The first update is a learned number, the state; the later ones are nothing."""

    theta: Float[Array, ""]

    def init(self, params):
        return self.theta * jnp.ones_like(params)

    def update(self, grads, state, params=None, **extra):
        return state, 0 * state


def test_a_learned_initial_state_is_learned():
    """The loss after the first step is ½·0.7·(1.5 + θ)²; PES must see it in every episode."""
    estimator = PES(BOWL, num_particles=2000, **SETTINGS)
    got = mean_estimates(estimator, Started(jnp.asarray(0.3)), 5).theta
    truth = 0.9 * CURVATURE * (START + 0.3)
    assert away(got, truth) < 4
    assert away(1.1 * np.asarray(got), truth) > 4


class Cliff(OptimizerModule):
    """Updates are not a number for θ above 0."""

    theta: Float[Array, ""]

    def init(self, params):
        return ()

    def update(self, grads, state, params=None, **extra):
        return jnp.where(self.theta > 0, jnp.nan, -self.theta) * jnp.ones_like(grads), state


def test_a_sign_that_breaks_counts_as_the_maximum_and_the_pair_restarts():
    objective = Objective(maximum=2.0)
    estimator = PES(BOWL, num_particles=40, objective=objective, **SETTINGS | {"std": 0.01})
    estimate = eqx.filter_jit(estimator.estimate)
    # One of the two signs is always over the cliff, from the second loss on.
    cliff = Cliff(jnp.asarray(0.0))
    got, workers = estimate(cliff, estimator.init(cliff, KEY), KEY)
    assert int(got.aux["non_finite"]) == 40
    assert np.isfinite(float(got.loss))
    first = 0.5 * CURVATURE * START**2
    assert first + 3 * 2.0 > 4 * float(got.loss) > first + 3 * 1.3
    assert float(got.gradient.theta) > 0  # downhill is away from the cliff
    assert workers.step.tolist() == [HORIZON] * 40
    got, workers = estimate(Cliff(jnp.asarray(-1.0)), workers, jax.random.key(1))
    assert int(got.aux["non_finite"]) == 0
    assert int(got.aux["restarts"]) == 40
    assert workers.step.tolist() == [TRUNCATION] * 40
    assert np.all(np.isfinite(np.asarray(workers.params)))
    # After the restart ε alone acts, and is what is remembered.
    assert float(jnp.max(jnp.abs(workers.perturbation.theta))) < 6 * 0.01


def test_without_a_maximum_a_broken_particle_is_left_out():
    estimator = PES(BOWL, num_particles=6, **SETTINGS)
    estimate = eqx.filter_jit(estimator.estimate)
    workers = estimator.init(drifting(), KEY)
    whole, _ = estimate(drifting(), workers, KEY)
    broken = eqx.tree_at(lambda w: w.params, workers, workers.params.at[:2].set(jnp.nan))
    got, after = estimate(drifting(), broken, KEY)
    assert int(got.aux["non_finite"]) == 2
    assert after.step.tolist() == [HORIZON] * 2 + [TRUNCATION] * 4
    np.testing.assert_allclose(got.loss, whole.loss, rtol=1e-4)
    assert np.all(np.isfinite(np.asarray(got.gradient.theta)))
    got, _ = estimate(drifting(), after, jax.random.key(1))
    assert int(got.aux["non_finite"]) == 0
    everything = eqx.tree_at(lambda w: w.params, workers, jnp.nan * workers.params)
    got, _ = estimate(drifting(), everything, KEY)
    assert np.isnan(float(got.loss))


def test_a_classifiers_losses_are_clipped():
    assert classification_maximum(10) == pytest.approx(1.5 * math.log(10))
    objective = Objective(maximum=classification_maximum(10))
    losses = jnp.array([-1.0, 0.5, 9.0, jnp.inf, -jnp.inf, jnp.nan])
    top = 1.5 * math.log(10)
    np.testing.assert_allclose(objective.normalize(losses), [0, 0.5, top, top, top, top])
    np.testing.assert_array_equal(Objective().normalize(losses), losses)
    all_inside = jnp.ones(6, bool)
    mean = objective(losses, jnp.zeros(6), jnp.arange(6), all_inside)
    np.testing.assert_allclose(mean, (0.5 + 4 * top) / 6)
    with pytest.raises(InvalidValueError, match="maximum is 0"):
        Objective(maximum=0.0)


def test_chunks_change_nothing(monkeypatch):
    from optoscope.meta import _evolution_strategy

    estimator = PES(BOWL, num_particles=8, horizon=(3, 9), truncation=4, std=STD)
    workers = estimator.init(drifting(), KEY)

    def three_estimates():
        estimate = eqx.filter_jit(lambda *inputs: estimator.estimate(*inputs))
        after, got = workers, None
        for index in range(3):
            got, after = estimate(drifting(), after, jax.random.key(index))
        return got, after

    results = []
    for chunk in (1, 3):
        monkeypatch.setattr(_evolution_strategy, "side_by_side", lambda *_, chunk=chunk: chunk)
        results.append(three_estimates())
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9), *results)


@pytest.mark.parametrize("kind", [PES, pytest.param(FullES, marks=pytest.mark.slow)])
def test_meta_training_stops_anywhere_and_resumes_bit_identical(tmp_path, kind):
    extra = {} if kind is FullES else {"truncation": 4}
    with jax.enable_x64(False):
        estimator = kind(Draws(), num_particles=4, horizon=(3, 9), std=STD, **extra)
        trainer = Trainer(estimator, optax.adam(0.01), steps_per_call=1)
        start = Drifting(jnp.asarray(THETA, jnp.float32))
        whole = trainer.run(start, 5, key=KEY)
        trainer.run(start, 3, key=KEY, directory=tmp_path)
        rest = trainer.run(start, 5, key=KEY, directory=tmp_path)
    np.testing.assert_array_equal(whole.optimizer.theta, rest.optimizer.theta)
    assert not np.array_equal(whole.optimizer.theta, start.theta)


def test_pes_finds_the_best_drift():
    """Meta-training ends where a fine grid over the closed form ends."""
    with jax.enable_x64(False):
        estimator = PES(BOWL, num_particles=16, horizon=HORIZON, truncation=TRUNCATION, std=0.01)
        trainer = Trainer(
            estimator, optax.adam(optax.cosine_decay_schedule(0.02, 400)), steps_per_call=400
        )
        found = trainer.run(Drifting(jnp.asarray(THETA, jnp.float32)), 400, key=KEY)
    grid = [
        path((rate, drift), HORIZON)[0].mean()
        for rate in np.linspace(0.05, 2.5, 99)
        for drift in np.linspace(-1.5, 0.5, 81)
    ]
    before, after = (
        path(np.asarray(theta, np.float64), HORIZON)[0].mean()
        for theta in (THETA, found.optimizer.theta)
    )
    assert after - min(grid) < 0.05 * (before - min(grid))


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (PES, {"num_particles": 0}, "num_particles is 0"),
        (PES, {"std": 0.0}, "std is 0.0; it must be above 0"),
        (PES, {"truncation": 0}, "truncation is 0"),
        (PES, {"truncation": 5, "horizon": 4}, "truncation 5 is longer than the horizon 4"),
        (PES, {"horizon": (9, 3)}, "write the shortest first"),
        (FullES, {"horizon": 0}, "horizon is 0"),
        (FullES, {"num_particles": 3, "devices": 2}, "3 particles cannot be spread evenly over 2"),
        (TruncatedES, {"objective": Objective("last")}, "'last', which is no sum over steps"),
        (PES, {"objective": Objective("log_sum")}, "use 'mean' or 'sum', or FullES"),
    ],
)
def test_settings_that_do_not_fit_are_refused(kind, settings, message):
    with pytest.raises(InvalidValueError, match=message):
        kind(BOWL, **settings)


def test_weights_and_the_state_to_continue_from_are_checked():
    with pytest.raises(InvalidValueError, match="20 weights for 30"):
        FullES(BOWL, horizon=(3, 30), objective=Objective("sum", weights=jnp.ones(20)))
    # beartype is faster than the library's own message here.
    with pytest.raises(Exception, match="continue_from"):
        TruncatedES(BOWL, continue_from="minus")


def test_more_devices_than_there_are_is_refused():
    estimator = PES(BOWL, num_particles=64, devices=64)
    with pytest.raises(InvalidValueError, match="64 devices are asked for, but there are"):
        estimator.init(drifting(), KEY)
