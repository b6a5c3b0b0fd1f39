"""The meta-gradient against closed forms, naive loops and finite differences, in float64."""

import subprocess
import sys
import textwrap

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Float

from optoscope import optimizers, tasks
from optoscope._core.errors import InvalidValueError
from optoscope.meta import Objective, TruncatedBackprop
from optoscope.optimizers import OptimizerModule
from optoscope.tasks import LeastSquares, Task, TaskDistribution

KEY = jax.random.key(0)
RATE = 0.13


class Bowls(TaskDistribution):
    """Least squares of three equations in two unknowns, without the costly minimum."""

    def sample(self, key):
        matrix, target, start = (
            jax.random.normal(jax.random.fold_in(key, index), shape)
            for index, shape in enumerate([(3, 2), (3,), (2,)])
        )
        return LeastSquares(matrix, target, start, jnp.zeros(()))


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def double(optimizer):
    return jax.tree.map(lambda leaf: leaf.astype(jnp.float64), optimizer)


def sgd(rate=RATE):
    return double(optimizers.sgd(jnp.float32(rate)))


def rate_of(optimizer):
    return float(optimizer.hyperparameters["learning_rate"])


def gradient_of(estimate):
    return float(estimate.gradient.hyperparameters["learning_rate"])


def worker_task(distribution, workers, index=0) -> LeastSquares:
    return distribution.sample(jax.random.wrap_key_data(workers.task_key[index]))


def problem(task):
    """(A, b, minimum) as NumPy arrays."""
    return np.asarray(task.matrix), np.asarray(task.target), float(task.minimum)


def naive_momentum(task, params, steps, rate, decay=0.0, velocity=None):
    """Losses, final parameters and velocity of heavy-ball descent, in plain NumPy."""
    matrix, target, minimum = problem(task)
    params = np.array(params)
    velocity = np.zeros_like(params) if velocity is None else np.array(velocity)
    losses = []
    for _ in range(steps):
        residual = matrix @ params - target
        losses.append(0.5 * residual @ residual - minimum)
        velocity = decay * velocity + matrix.T @ residual
        params = params - rate * velocity
    return np.array(losses), params, velocity


def central_difference(function, point, step=1e-4):
    """Of fourth order: two central differences, extrapolated."""
    coarse, fine = ((function(point + h) - function(point - h)) / (2 * h) for h in (step, step / 2))
    return (4 * fine - coarse) / 3


def first_order_slopes(task, params, steps, rate):
    """For each step the loss's slope in the rate where every gradient is a constant."""
    matrix, target, _ = problem(task)
    params, total = np.array(params), np.zeros_like(params)
    slopes = []
    for _ in range(steps):
        gradient = matrix.T @ (matrix @ params - target)
        slopes.append(-gradient @ total)
        total = total + gradient
        params = params - rate * gradient
    return np.array(slopes)


@pytest.mark.parametrize("truncation", [1, 7])
def test_second_order_gradient_of_sgd_is_the_closed_form(truncation):
    estimator = TruncatedBackprop(
        Bowls(), truncation=truncation, horizon=truncation, second_order=True
    )
    optimizer = sgd()
    workers = estimator.init(optimizer, KEY)
    estimate = eqx.filter_jit(estimator.estimate)
    got, after = estimate(optimizer, workers, jax.random.key(1))

    task = worker_task(estimator.tasks, workers)
    matrix, target, _ = problem(task)
    curvature, basis = np.linalg.eigh(matrix.T @ matrix)
    solution = np.linalg.lstsq(matrix, target, rcond=None)[0]
    error = basis.T @ (np.asarray(task.start) - solution)
    rate = rate_of(optimizer)
    times = np.arange(truncation)[:, None]
    shrink = 1 - rate * curvature
    losses = 0.5 * np.sum(curvature * shrink ** (2 * times) * error**2, axis=1)
    losses += 0.5 * np.sum((matrix @ solution - target) ** 2)
    slopes = -np.sum(
        times * curvature**2 * shrink ** np.maximum(2 * times - 1, 0) * error**2, axis=1
    )
    np.testing.assert_allclose(got.loss, losses.mean(), rtol=1e-10)
    np.testing.assert_allclose(gradient_of(got), slopes.mean(), rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(got.aux["inner_loss"], losses.mean(), rtol=1e-10)
    np.testing.assert_allclose(
        basis.T @ (np.asarray(after.params[0]) - solution), shrink**truncation * error, rtol=1e-9
    )


@pytest.mark.parametrize("reduction", ["mean", "sum", "log_sum", "last"])
def test_second_order_gradient_is_the_finite_difference(reduction):
    estimator = TruncatedBackprop(
        Bowls(),
        truncation=6,
        horizon=6,
        second_order=True,
        objective=Objective(reduction),
    )
    optimizer = double(optimizers.momentum(jnp.float32(0.07), jnp.float32(0.6)))
    workers = estimator.init(optimizer, KEY)
    estimate = eqx.filter_jit(estimator.estimate)
    got, _ = estimate(optimizer, workers, jax.random.key(1))
    task = worker_task(estimator.tasks, workers)
    reduce = {
        "mean": np.mean,
        "sum": np.sum,
        "log_sum": lambda losses: np.log(np.sum(losses)),
        "last": lambda losses: losses[-1],
    }[reduction]
    values = {name: float(value) for name, value in optimizer.hyperparameters.items()}

    def loss(rate, decay):
        return reduce(naive_momentum(task, task.start, 6, rate, decay)[0])

    rate, decay = values["learning_rate"], values["momentum"]
    np.testing.assert_allclose(got.loss, loss(rate, decay), rtol=1e-10)
    np.testing.assert_allclose(
        gradient_of(got), central_difference(lambda r: loss(r, decay), rate), rtol=1e-7
    )
    np.testing.assert_allclose(
        got.gradient.hyperparameters["momentum"],
        central_difference(lambda d: loss(rate, d), decay),
        rtol=1e-7,
    )


def test_first_order_gradient_takes_the_gradients_as_constants():
    estimator = TruncatedBackprop(Bowls(), truncation=6, horizon=6)
    optimizer = sgd()
    workers = estimator.init(optimizer, KEY)
    estimate = eqx.filter_jit(estimator.estimate)
    got, _ = estimate(optimizer, workers, jax.random.key(1))
    task = worker_task(estimator.tasks, workers)
    rate = rate_of(optimizer)
    expected = first_order_slopes(task, task.start, 6, rate).mean()
    np.testing.assert_allclose(gradient_of(got), expected, rtol=1e-10)
    # Power: the two kinds of gradient are far apart here.
    full = central_difference(lambda r: naive_momentum(task, task.start, 6, r)[0].mean(), rate)
    assert abs(full / expected - 1) > 0.1


def test_carry_is_detached_between_unrolls():
    estimator = TruncatedBackprop(Bowls(), truncation=3, horizon=9, second_order=True)
    optimizer = double(optimizers.momentum(jnp.float32(0.05), jnp.float32(0.5)))
    rate, decay = 0.05, 0.5
    rate = rate_of(optimizer)
    workers = estimator.init(optimizer, KEY)
    estimate = eqx.filter_jit(estimator.estimate)
    task = worker_task(estimator.tasks, workers)
    params, velocity = task.start, None
    for unroll in range(3):
        got, workers = estimate(optimizer, workers, jax.random.key(unroll))

        def loss(r, params=params, velocity=velocity):
            return naive_momentum(task, params, 3, r, decay, velocity)[0].mean()

        np.testing.assert_allclose(got.loss, loss(rate), rtol=1e-10)
        np.testing.assert_allclose(gradient_of(got), central_difference(loss, rate), rtol=1e-7)
        _, params, velocity = naive_momentum(task, params, 3, rate, decay, velocity)
        np.testing.assert_allclose(workers.params[0], params, rtol=1e-10)
        assert int(workers.step[0]) == 3 * (unroll + 1)
    # Power: through the carry the last unroll's gradient would be another.
    through = central_difference(
        lambda r: naive_momentum(task, task.start, 9, r, decay)[0][6:].mean(), rate
    )
    assert abs(gradient_of(got) / through - 1) > 0.1


@pytest.mark.parametrize(("truncation", "horizon"), [(2, 4), (2, 5), (3, 4), (4, 4)])
def test_unrolls_of_several_lives_agree_with_a_naive_loop(truncation, horizon):
    """The last unroll of an episode is cut at the horizon; the next is independent of it."""
    estimator = TruncatedBackprop(
        Bowls(), truncation=truncation, horizon=horizon, second_order=True
    )
    optimizer = double(optimizers.momentum(jnp.float32(0.05), jnp.float32(0.5)))
    rate, decay = rate_of(optimizer), 0.5
    workers = estimator.init(optimizer, KEY)
    estimate = eqx.filter_jit(estimator.estimate)
    seen = set()
    for episode in range(3):
        params = velocity = task = None
        for start in range(0, horizon, truncation):
            got, workers = estimate(optimizer, workers, jax.random.key(100 * episode + start))
            if task is None:
                task = worker_task(estimator.tasks, workers)
                seen.add(str(workers.task_key.tolist()))
                params, velocity = task.start, np.zeros(2)
            steps = min(truncation, horizon - start)

            def loss(r, task=task, params=params, velocity=velocity, steps=steps):
                return naive_momentum(task, params, steps, r, decay, velocity)[0].mean()

            np.testing.assert_allclose(got.loss, loss(rate), rtol=1e-9)
            np.testing.assert_allclose(got.aux["inner_loss"], loss(rate), rtol=1e-9)
            np.testing.assert_allclose(
                gradient_of(got), central_difference(loss, rate), rtol=1e-6, atol=1e-10
            )
            _, params, velocity = naive_momentum(task, params, truncation, rate, decay, velocity)
    assert len(seen) == 3


def test_the_mean_is_over_tasks():
    estimator = TruncatedBackprop(Bowls(), num_tasks=4, truncation=4, horizon=4, second_order=True)
    optimizer = sgd()
    workers = estimator.init(optimizer, KEY)
    estimate = eqx.filter_jit(estimator.estimate)
    got, after = estimate(optimizer, workers, jax.random.key(1))
    problems = [worker_task(estimator.tasks, workers, index) for index in range(4)]
    assert len({float(task.matrix[0, 0]) for task in problems}) == 4

    def loss(rate):
        return np.mean([naive_momentum(task, task.start, 4, rate)[0] for task in problems])

    np.testing.assert_allclose(got.loss, loss(RATE), rtol=1e-6)
    np.testing.assert_allclose(
        gradient_of(got), central_difference(loss, rate_of(optimizer)), rtol=1e-7
    )
    assert int(got.aux["non_finite"]) == 0
    assert after.step.tolist() == [4] * 4


@pytest.mark.parametrize("chunk", [1, 3])
def test_chunks_change_nothing(monkeypatch, chunk):
    from optoscope.meta import _truncated_backprop

    estimator = TruncatedBackprop(Bowls(), num_tasks=4, truncation=3, horizon=6, second_order=True)
    optimizer = sgd()
    workers = estimator.init(optimizer, KEY)
    estimate = eqx.filter_jit(estimator.estimate)
    whole = estimate(optimizer, workers, jax.random.key(1))
    monkeypatch.setattr(_truncated_backprop, "side_by_side", lambda *_: chunk)
    pieces = eqx.filter_jit(estimator.estimate)(optimizer, workers, jax.random.key(1))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), whole, pieces)


def test_weights_run_over_the_horizon_not_over_the_unroll():
    weights = jnp.array([0.0, 1.0, 2.0, 0.5, 3.0])
    estimator = TruncatedBackprop(
        Bowls(),
        truncation=2,
        horizon=5,
        second_order=True,
        objective=Objective("sum", weights=weights),
    )
    optimizer = sgd()
    workers = estimator.init(optimizer, KEY)
    estimate = eqx.filter_jit(estimator.estimate)
    task = worker_task(estimator.tasks, workers)
    losses, _, _ = naive_momentum(task, task.start, 5, rate_of(optimizer))
    for start in (0, 2, 4):
        got, workers = estimate(optimizer, workers, jax.random.key(start))
        inside = slice(start, min(start + 2, 5))
        np.testing.assert_allclose(
            got.loss, np.sum(np.asarray(weights)[inside] * losses[inside]), rtol=1e-9
        )
        np.testing.assert_allclose(got.aux["inner_loss"], losses[inside].mean(), rtol=1e-9)


def test_penalties_are_part_of_loss_and_gradient():
    def squared_updates(record):
        return jnp.sum(record.updates**2)

    estimator = TruncatedBackprop(
        Bowls(),
        truncation=4,
        horizon=4,
        second_order=True,
        objective=Objective("sum", penalties=(squared_updates,)),
    )
    optimizer = sgd()
    workers = estimator.init(optimizer, KEY)
    estimate = eqx.filter_jit(estimator.estimate)
    got, _ = estimate(optimizer, workers, jax.random.key(1))
    task = worker_task(estimator.tasks, workers)
    matrix, target, _ = problem(task)

    def loss(rate):
        total, params = 0.0, np.asarray(task.start)
        total += naive_momentum(task, params, 4, rate)[0].sum()
        for _ in range(4):
            update = -rate * matrix.T @ (matrix @ params - target)
            total += update @ update
            params = params + update
        return total

    np.testing.assert_allclose(got.loss, loss(rate_of(optimizer)), rtol=1e-10)
    np.testing.assert_allclose(
        gradient_of(got), central_difference(loss, rate_of(optimizer)), rtol=1e-7
    )


class TrainedStart(OptimizerModule):
    """The state is a learned number that every update subtracts and that then halves."""

    start: Float[Array, ""]

    def init(self, params):
        return self.start * jnp.ones_like(params)

    def update(self, grads, state, params=None, **extra):
        return -state, state / 2


@pytest.mark.parametrize("horizon", [4, 5])
def test_a_learned_initial_state_gets_its_gradient_at_the_first_unroll_of_every_life(horizon):
    estimator = TruncatedBackprop(Bowls(), truncation=2, horizon=horizon)
    optimizer = TrainedStart(jnp.asarray(0.3))
    workers = estimator.init(optimizer, KEY)
    estimate = eqx.filter_jit(estimator.estimate)
    unrolls = -(-horizon // 2)
    for index in range(2 * unrolls):
        got, workers = estimate(optimizer, workers, jax.random.key(index))
        if index % unrolls:
            assert float(got.gradient.start) == 0.0
            continue
        task = worker_task(estimator.tasks, workers)
        matrix, target, minimum = problem(task)

        def loss(start, matrix=matrix, target=target, minimum=minimum, task=task):
            first = matrix @ np.asarray(task.start) - target
            second = matrix @ (np.asarray(task.start) - start) - target
            return 0.5 * (first @ first + second @ second) / 2 - minimum

        np.testing.assert_allclose(got.loss, loss(0.3), rtol=1e-9)
        np.testing.assert_allclose(got.gradient.start, central_difference(loss, 0.3), rtol=1e-7)


def test_stagger_starts_at_different_unrolls():
    estimator = TruncatedBackprop(Bowls(), num_tasks=400, truncation=2, horizon=7, stagger=True)
    optimizer = sgd()
    steps = np.asarray(estimator.init(optimizer, KEY).step)
    offsets, counts = np.unique(steps, return_counts=True)
    assert offsets.tolist() == [0, 2, 4, 6]
    # Uniform: each count is binomial with p = 1/4.
    assert np.all(np.abs(counts - 100) < 4 * np.sqrt(400 * 0.25 * 0.75))
    plain = TruncatedBackprop(Bowls(), num_tasks=8, truncation=2, horizon=7)
    assert plain.init(optimizer, KEY).step.tolist() == [0] * 8


def test_staggered_tasks_restart_at_their_own_time():
    estimator = TruncatedBackprop(Bowls(), num_tasks=6, truncation=2, horizon=6, stagger=True)
    optimizer = sgd()
    workers = estimator.init(optimizer, KEY)
    estimate = eqx.filter_jit(estimator.estimate)
    _, after = estimate(optimizer, workers, jax.random.key(1))
    _, last = estimate(optimizer, after, jax.random.key(2))
    same = np.all(np.asarray(last.task_key) == np.asarray(workers.task_key), axis=1)
    start = np.asarray(workers.step)
    assert set(start.tolist()) == {0, 2, 4}
    np.testing.assert_array_equal(last.step, np.where(start == 4, 2, start + 4))
    np.testing.assert_array_equal(same, start < 4)


class Uneven(TaskDistribution):
    """About half of its problems are broken: all of a matrix is `value`."""

    value: float
    share: float = 0.5
    good: Bowls = Bowls()

    def sample(self, key):
        coin, key = jax.random.split(key)
        task = self.good.sample(key)
        bad = jax.random.uniform(coin) < self.share
        matrix = jnp.where(bad, self.value, task.matrix)
        return LeastSquares(matrix, task.target, task.start, jnp.where(bad, 0.0, task.minimum))


@pytest.mark.parametrize("value", [np.nan, 1e200])
def test_non_finite_tasks_are_left_out_counted_and_restarted(value):
    estimator = TruncatedBackprop(
        Uneven(value), num_tasks=8, truncation=3, horizon=6, second_order=True
    )
    optimizer = sgd()
    workers = estimator.init(optimizer, KEY)
    estimate = eqx.filter_jit(estimator.estimate)
    problems = [worker_task(estimator.tasks, workers, index) for index in range(8)]
    bad = np.array([not np.abs(np.asarray(task.matrix)).max() < 100 for task in problems])
    assert 0 < bad.sum() < 8
    good = [task for task, is_bad in zip(problems, bad, strict=True) if not is_bad]
    got, after = estimate(optimizer, workers, jax.random.key(1))

    def loss(rate):
        return np.mean([naive_momentum(task, task.start, 3, rate)[0] for task in good])

    rate = rate_of(optimizer)
    assert int(got.aux["non_finite"]) == bad.sum()
    np.testing.assert_allclose(got.loss, loss(rate), rtol=1e-10)
    np.testing.assert_allclose(got.aux["inner_loss"], loss(rate), rtol=1e-10)
    np.testing.assert_allclose(gradient_of(got), central_difference(loss, rate), rtol=1e-6)

    # The broken ones begin anew with other problems, the others go on with theirs.
    _, last = estimate(optimizer, after, jax.random.key(2))
    same = np.all(np.asarray(last.task_key) == np.asarray(workers.task_key), axis=1)
    np.testing.assert_array_equal(same, ~bad)
    assert np.all(np.asarray(last.step)[~bad] == 6)
    for index in np.flatnonzero(bad):
        task = worker_task(estimator.tasks, last, index)
        if np.abs(np.asarray(task.matrix)).max() < 100:
            _, params, _ = naive_momentum(task, task.start, 3, rate)
            np.testing.assert_allclose(last.params[index], params, rtol=1e-9)


def test_when_no_task_is_finite_the_loss_says_so():
    estimator = TruncatedBackprop(Uneven(np.nan, 1.1), num_tasks=2, truncation=2, horizon=4)
    optimizer = sgd()
    got, _ = eqx.filter_jit(estimator.estimate)(optimizer, estimator.init(optimizer, KEY), KEY)
    assert np.isnan(float(got.loss))
    assert np.isnan(float(got.aux["inner_loss"]))
    assert int(got.aux["non_finite"]) == 2


class Lottery(Task):
    """The loss is the batch, a uniform number."""

    def init(self, key):
        return jnp.zeros(())

    def sample_batch(self, key):
        return jax.random.uniform(key)

    def loss(self, params, batch):
        return batch + 0 * params


def test_batches_are_fresh_at_every_step_task_and_key():
    estimator = TruncatedBackprop(tasks.fixed(Lottery()), num_tasks=50, truncation=20, horizon=20)
    optimizer = sgd()
    workers = estimator.init(optimizer, KEY)
    estimate = eqx.filter_jit(estimator.estimate)
    first, second, again = (
        float(estimate(optimizer, workers, jax.random.key(seed))[0].loss) for seed in (1, 2, 1)
    )
    assert first == again != second
    # The standard error of a mean of 1000 uniform numbers; were steps or tasks to share a
    # batch, the spread would be 4.5 or 7 times as large and one of two means would leave 1%.
    error = (1 / 12 / 1000) ** 0.5
    means = [float(estimate(optimizer, workers, jax.random.key(seed))[0].loss) for seed in range(8)]
    deviations = (np.array(means) - 0.5) / error
    assert np.sqrt(np.mean(deviations**2)) < 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_tasks": 0}, "num_tasks is 0"),
        ({"truncation": 0}, "truncation is 0"),
        ({"truncation": 5, "horizon": 4}, "truncation 5 is longer than the horizon 4"),
        ({"horizon": 30, "objective": 20}, "20 weights for 30"),
        ({"num_tasks": 3, "devices": 2}, "3 tasks cannot be spread evenly over 2"),
        ({"devices": 0}, "over 0 devices"),
    ],
)
def test_counts_that_do_not_fit_are_refused(settings, message):
    if "objective" in settings:
        weights = jnp.ones(settings["objective"])
        settings = settings | {"objective": Objective("sum", weights=weights)}
    with pytest.raises(InvalidValueError, match=message):
        TruncatedBackprop(Bowls(), **settings)


def test_two_devices_give_the_gradient_of_one():
    program = """
        import equinox as eqx
        import jax
        jax.config.update("jax_num_cpu_devices", 2)
        import numpy as np
        from optoscope import optimizers
        from optoscope.meta import TruncatedBackprop
        from optoscope.tasks import LeastSquares, TaskDistribution

        class Bowls(TaskDistribution):
            def sample(self, key):
                matrix, target, start = (
                    jax.random.normal(jax.random.fold_in(key, index), shape)
                    for index, shape in enumerate([(3, 2), (3,), (2,)]))
                return LeastSquares(matrix, target, start, jax.numpy.zeros(()))

        optimizer = optimizers.LSTMOptimizer.create(jax.random.key(3), hidden_size=4)
        results = []
        for devices in (1, 2):
            estimator = TruncatedBackprop(
                Bowls(), num_tasks=4, truncation=3, horizon=5, devices=devices)
            estimate = eqx.filter_jit(estimator.estimate)
            workers = estimator.init(optimizer, jax.random.key(0))
            for step in range(3):
                gradient, workers = estimate(optimizer, workers, jax.random.key(step))
            results.append((gradient, workers))
            norm = sum(float((leaf**2).sum()) for leaf in jax.tree.leaves(gradient.gradient))
            assert norm > 0, norm
        assert len(gradient.loss.sharding.device_set) == 2
        assert len(workers.params.sharding.device_set) == 2
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(
                np.asarray(a), np.asarray(b), rtol=2e-4, atol=1e-6), *results)
        print("equal")
    """
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "equal"


def _bumps(params):
    return jnp.sum(jax.lax.erf(params) ** 2)


def _own(loss, **options):
    has_state = options.get("has_state", False)
    start = jnp.full(3, 0.5)
    return tasks.from_functions(
        lambda key: (start, jnp.zeros(())) if has_state else start,
        loss,
        lambda key: None,
        **options,
    )


OWN_TASKS = {
    "functions": (_own(lambda params, batch: _bumps(params)), 1),
    "functions with a key": (_own(lambda params, batch, key: _bumps(params)), 1),
    "functions with a state": (
        _own(lambda params, state, batch: (_bumps(params), state + 1), has_state=True),
        2,
    ),
}


@pytest.mark.parametrize(("task", "times"), OWN_TASKS.values(), ids=OWN_TASKS)
def test_nothing_of_a_task_without_a_model_state_is_computed_a_second_time(task, times):
    estimator = TruncatedBackprop(tasks.fixed(task), truncation=3, horizon=6)
    optimizer = optimizers.get("lstm", hidden_size=2)
    workers = estimator.init(optimizer, jax.random.key(0))
    lowered = jax.jit(estimator.estimate).lower(optimizer, workers, jax.random.key(1))
    assert lowered.compile().as_text().count(" erf(") == times
