"""The full meta-gradient against a plain unrolled program and finite differences, in float64."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from optoscope import optimizers, tasks
from optoscope._core.errors import InvalidValueError
from optoscope.meta import FullBackprop, Objective, Trainer, TruncatedBackprop
from optoscope.optimizers import RNNOptimizer
from optoscope.tasks import LeastSquares, TaskDistribution

KEY = jax.random.key(1)
HORIZON = 5


class Bowls(TaskDistribution):
    """Least squares of three equations in two unknowns; a share is broken: a matrix of `value`."""

    value: float = 0.0
    share: float = 0.0

    def sample(self, key):
        matrix, target, start = (
            jax.random.normal(jax.random.fold_in(key, index), shape)
            for index, shape in enumerate([(3, 2), (3,), (2,)])
        )
        bad = jax.random.uniform(jax.random.fold_in(key, 9)) < self.share
        matrix = jnp.where(bad, self.value, matrix / 2)
        return LeastSquares(matrix, target, start, jnp.zeros(()))


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def gru(seed=0):
    """A small GRU optimizer none of whose weights is zero."""
    optimizer = RNNOptimizer.create(jax.random.key(0), hidden_size=3, output_scale=0.5)
    leaves, structure = jax.tree.flatten(optimizer)
    keys = jax.random.split(jax.random.key(seed), len(leaves))
    moved = [leaf + jax.random.normal(k, leaf.shape) for k, leaf in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(structure, moved)


def met_tasks(estimator, workers):
    """The problems of the estimate that gave these workers."""
    return [estimator.tasks.sample(jax.random.wrap_key_data(key)) for key in workers.task_key]


def plain_losses(optimizer, task, horizon, second_order=True):
    """The inner losses by a Python loop over the GRU's equations; nothing of the library's."""
    cell = optimizer.cell
    W_u, W_r, W_n = jnp.split(cell.input_weights, 3)
    U_u, U_r, U_n = jnp.split(cell.recurrent_weights, 3)
    b_u, b_r, b_n = (b[:, None] for b in jnp.split(cell.bias, 3))
    x, losses = task.start, []
    h = jnp.tile(optimizer.initial_state[:, None], (1, x.size))
    for _ in range(horizon):
        residual = task.matrix @ x - task.target
        losses.append(0.5 * residual @ residual - task.minimum)
        g = (task.matrix.T @ residual)[None]
        if not second_order:
            g = jax.lax.stop_gradient(g)
        u = jax.nn.sigmoid(W_u * g + U_u @ h + b_u)
        r = jax.nn.sigmoid(W_r * g + U_r @ h + b_r)
        n = jnp.tanh(W_n * g + U_n @ (r * h) + b_n)
        h = u * h + (1 - u) * n
        x = x + optimizer.output_scale * (optimizer.readout @ h + optimizer.readout_bias)
    return jnp.stack(losses)


def plain_gradient(optimizer, problems, reduce=jnp.mean, second_order=True):
    @eqx.filter_jit
    @eqx.filter_value_and_grad
    def loss(optimizer):
        def one(task):
            return reduce(plain_losses(optimizer, task, HORIZON, second_order))

        return jnp.mean(jax.vmap(one)(jax.tree.map(lambda *leaves: jnp.stack(leaves), *problems)))

    return loss(optimizer)


def estimate(estimator, optimizer, key=KEY):
    workers = estimator.init(optimizer, jax.random.key(0))
    return eqx.filter_jit(estimator.estimate)(optimizer, workers, key)


def assert_close(tree, other, rtol=1e-9, atol=1e-13):
    for one, two in zip(jax.tree.leaves(tree), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(one, two, rtol=rtol, atol=atol)


def relative_difference(tree, other):
    first, second = (jax.flatten_util.ravel_pytree(t)[0] for t in (tree, other))
    return float(jnp.linalg.norm(first - second) / jnp.linalg.norm(second))


@pytest.mark.parametrize("second_order", [True, False])
def test_it_is_the_gradient_of_a_plain_unrolled_program(second_order):
    estimator = FullBackprop(Bowls(), num_tasks=4, horizon=HORIZON, second_order=second_order)
    optimizer = gru()
    got, workers = estimate(estimator, optimizer)
    problems = met_tasks(estimator, workers)
    assert len({float(task.start[0]) for task in problems}) == 4
    loss, gradient = plain_gradient(optimizer, problems, second_order=second_order)
    np.testing.assert_allclose(got.loss, loss, rtol=1e-10)
    np.testing.assert_allclose(got.aux["inner_loss"], loss, rtol=1e-10)
    assert_close(got.gradient, gradient)
    assert np.any(np.asarray(got.gradient.initial_state) != 0)
    # Power: the other kind of gradient is 2% away, a million times what is allowed above.
    _, other = plain_gradient(optimizer, problems, second_order=not second_order)
    assert relative_difference(got.gradient, other) > 0.005


def adjoint_gradient(task, rate, start, largest):
    """d(mean loss)/d(rate) of gradient descent, by the adjoint recursion with a bounded adjoint."""
    curvature = np.asarray(task.matrix.T @ task.matrix)
    x, slopes = np.asarray(start), []
    for _ in range(HORIZON):
        slopes.append(curvature @ x - np.asarray(task.matrix.T @ task.target))
        x = x - rate * slopes[-1]
    adjoint, total = np.zeros_like(x), 0.0
    for slope in reversed(slopes):
        total -= adjoint @ slope
        adjoint = slope / HORIZON + adjoint - rate * curvature @ adjoint
        adjoint *= min(1.0, largest / np.linalg.norm(adjoint))
    return total


@pytest.mark.parametrize("estimator", [FullBackprop, TruncatedBackprop])
@pytest.mark.parametrize("largest", [1e9, 0.3])
def test_a_clipped_backward_pass_is_the_bounded_adjoint_recursion(estimator, largest):
    lengths = {"horizon": HORIZON, "second_order": True, "backward_clip": largest}
    if estimator is TruncatedBackprop:
        lengths["truncation"] = HORIZON
    task = Bowls().sample(KEY)
    # So fast that the run and its plain meta-gradient explode.
    rate = 10.0 / float(jnp.linalg.norm(task.matrix, 2)) ** 2
    chosen = estimator(tasks.fixed(task), num_tasks=1, **lengths)
    got, _ = estimate(chosen, optimizers.sgd(rate))
    expected = adjoint_gradient(task, rate, task.start, largest)
    slope = got.gradient.hyperparameters["learning_rate"]
    np.testing.assert_allclose(slope, expected, rtol=1e-6)  # rates are float32
    # Power: the bound matters here.
    assert abs(adjoint_gradient(task, rate, task.start, 1e9)) > 100 * abs(
        adjoint_gradient(task, rate, task.start, 0.3)
    )


def test_it_is_the_finite_difference():
    estimator = FullBackprop(Bowls(), num_tasks=3, horizon=HORIZON, objective=Objective("log_sum"))
    optimizer = gru()
    got, _ = estimate(estimator, optimizer)
    workers = estimator.init(optimizer, jax.random.key(0))
    flat, unravel = jax.flatten_util.ravel_pytree(optimizer)
    loss = eqx.filter_jit(lambda vector: estimator.estimate(unravel(vector), workers, KEY)[0].loss)
    exact, _ = jax.flatten_util.ravel_pytree(got.gradient)
    generator = np.random.default_rng(0)
    for _ in range(3):
        direction = generator.normal(size=flat.shape)
        step = 1e-5
        difference = (loss(flat + step * direction) - loss(flat - step * direction)) / step / 2
        np.testing.assert_allclose(exact @ direction, difference, rtol=1e-7)


@pytest.mark.parametrize("chunk", [1, 2, 3])
def test_groups_change_nothing(monkeypatch, chunk):
    from optoscope.meta import _full_backprop

    estimator = FullBackprop(Bowls(), num_tasks=4, horizon=HORIZON)
    whole = estimate(estimator, gru())
    monkeypatch.setattr(_full_backprop, "side_by_side", lambda *_: chunk)
    # Three do not divide four: two at a time.
    assert estimator._tasks_at_once(gru()) == min(chunk, 2)
    assert_close(estimate(estimator, gru()), whole, rtol=1e-10)


def test_thirty_two_quadratics_are_one_batch_without_a_loop_over_them():
    estimator = FullBackprop(tasks.get("quadratic"), num_tasks=32, horizon=200)
    with jax.enable_x64(False):
        optimizer = RNNOptimizer.create(jax.random.key(0))
        assert estimator._tasks_at_once(optimizer) == 32


@pytest.mark.parametrize("value", [np.nan, 1e200])
@pytest.mark.parametrize("chunk", [1, 8])
def test_what_is_not_finite_is_left_out_and_counted(monkeypatch, value, chunk):
    from optoscope.meta import _full_backprop

    monkeypatch.setattr(_full_backprop, "side_by_side", lambda *_: chunk)
    estimator = FullBackprop(Bowls(value, 0.5), num_tasks=8, horizon=HORIZON)
    optimizer = gru()
    got, workers = estimate(estimator, optimizer)
    problems = met_tasks(estimator, workers)
    good = [task for task in problems if np.abs(np.asarray(task.matrix)).max() < 100]
    assert 0 < len(good) < 8
    loss, gradient = plain_gradient(optimizer, good)
    assert int(got.aux["non_finite"]) == 8 - len(good)
    np.testing.assert_allclose(got.loss, loss, rtol=1e-10)
    assert_close(got.gradient, gradient)


def test_when_no_task_is_finite_the_loss_says_so():
    estimator = FullBackprop(Bowls(np.nan, 1.1), num_tasks=2, horizon=2)
    got, _ = estimate(estimator, optimizers.sgd(0.1))
    assert np.isnan(float(got.loss))
    assert int(got.aux["non_finite"]) == 2


def test_relative_losses_are_divided_by_the_first():
    estimator = FullBackprop(Bowls(), num_tasks=4, horizon=HORIZON, relative=True)
    optimizer = gru()
    got, workers = estimate(estimator, optimizer)
    problems = met_tasks(estimator, workers)
    loss, gradient = plain_gradient(
        optimizer, problems, lambda losses: jnp.mean(losses) / losses[0]
    )
    np.testing.assert_allclose(got.loss, loss, rtol=1e-10)
    assert_close(got.gradient, gradient)
    mean = np.mean([plain_losses(optimizer, task, HORIZON) for task in problems])
    np.testing.assert_allclose(got.aux["inner_loss"], mean, rtol=1e-10)


def test_weights_and_penalties_are_the_objectives():
    weights = jnp.arange(HORIZON, dtype=jnp.float64)
    objective = Objective("sum", weights, (lambda record: jnp.sum(record.updates**2),))
    truncated = TruncatedBackprop(
        Bowls(), truncation=HORIZON, horizon=HORIZON, objective=objective, second_order=True
    )
    full = FullBackprop(Bowls(), num_tasks=1, horizon=HORIZON, objective=objective)
    optimizer = gru()
    got, workers = estimate(full, optimizer)
    (task,) = met_tasks(full, workers)
    # The same problem by the other estimator, through a distribution of it alone.
    same = eqx.tree_at(lambda e: e.tasks, truncated, tasks.fixed(task))
    expected, _ = estimate(same, optimizer)
    np.testing.assert_allclose(got.loss, expected.loss, rtol=1e-10)
    assert_close(got.gradient, expected.gradient)


def test_estimates_are_fresh_and_depend_on_the_key_alone():
    estimator = FullBackprop(Bowls(), num_tasks=2, horizon=2)
    optimizer = optimizers.sgd(0.1)
    function = eqx.filter_jit(estimator.estimate)
    workers = estimator.init(optimizer, jax.random.key(0))
    first, after = function(optimizer, workers, KEY)
    again, _ = function(optimizer, after, KEY)
    other, _ = function(optimizer, after, jax.random.key(2))
    assert float(first.loss) == float(again.loss) != float(other.loss)
    assert jax.tree.structure(after) == jax.tree.structure(workers)
    assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, workers)


def test_two_devices_give_the_gradient_of_one():
    results = [
        estimate(FullBackprop(Bowls(np.nan, 0.2), num_tasks=8, horizon=3, devices=devices), gru())
        for devices in (1, 2)
    ]
    assert float(results[0][0].aux["non_finite"]) > 0
    assert len(results[1][0].loss.sharding.device_set) == 2
    assert_close(*results, rtol=1e-10)


def test_a_resumed_run_ends_where_an_unbroken_one_does(tmp_path):
    with jax.enable_x64(False):
        estimator = FullBackprop(Bowls(), num_tasks=4, horizon=5)
        optimizer = RNNOptimizer.create(jax.random.key(0), hidden_size=4)
        trainer = Trainer(estimator, optax.adam(1e-2), steps_per_call=2, checkpoint_every=2)
        whole = trainer.run(optimizer, 6, key=KEY)
        trainer.run(optimizer, 4, key=KEY, directory=tmp_path)
        resumed = trainer.run(optimizer, 6, key=KEY, directory=tmp_path)
        assert resumed.step == 6
        for one, two in zip(
            jax.tree.leaves(resumed.optimizer), jax.tree.leaves(whole.optimizer), strict=True
        ):
            np.testing.assert_array_equal(one, two)
        assert np.any(np.asarray(whole.optimizer.readout) != 0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_tasks": 0}, "num_tasks is 0"),
        ({"horizon": 0}, "horizon is 0"),
        ({"horizon": 30, "objective": Objective("sum", np.ones(20))}, "20 weights for 30"),
        ({"num_tasks": 3, "devices": 2}, "3 tasks cannot be spread evenly over 2"),
        ({"backward_clip": 0.0}, "backward_clip is 0"),
    ],
)
def test_counts_that_do_not_fit_are_refused(settings, message):
    with pytest.raises(InvalidValueError, match=message):
        FullBackprop(Bowls(), **settings)
