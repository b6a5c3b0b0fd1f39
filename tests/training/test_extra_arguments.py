"""Optax's extra arguments, and optimizers that are evaluated elsewhere than where they step."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jaxtyping import Array, Float

from optoscope import bench, meta, optimizers, tasks, training
from optoscope.training._step import initial_state, inner_step

KEY = jax.random.key(0)
TASK = tasks.RandomLeastSquares().sample(KEY)


class Seen(optimizers.OptimizerModule):
    """Keeps what it was given as its state."""

    rate: Float[Array, ""]

    def init(self, params):
        return {
            "value": jnp.zeros(()),
            "grad": params,
            "again": jnp.zeros(()),
            "obj": jnp.zeros(()),
        }

    def update(self, grads, state, params=None, **extra):
        seen = {
            "value": extra["value"],
            "grad": extra["grad"],
            "again": extra["value_fn"](params),
            "obj": extra["obj_fn"](params + 1),
        }
        return -self.rate * grads, seen


def test_the_step_gives_the_loss_the_gradient_and_the_function():
    optimizer = Seen(jnp.asarray(0.1))
    inner = initial_state(TASK, optimizer, KEY)
    after, record = inner_step(TASK, optimizer, inner, KEY)
    np.testing.assert_array_equal(after.optimizer_state["value"], record.loss)
    np.testing.assert_array_equal(after.optimizer_state["grad"], record.grads)
    np.testing.assert_allclose(after.optimizer_state["again"], record.loss, rtol=1e-6)
    np.testing.assert_allclose(
        after.optimizer_state["obj"], TASK.loss(inner.params + 1, None), rtol=1e-6
    )


class Frugal:
    """Takes one extra argument by name, and would not stand another."""

    def init(self, params):
        return ()

    def update(self, grads, state, params, *, value):
        return jax.tree.map(lambda g: -0.01 * value / (1 + value) * g, grads), state


class Plain:
    """Takes none at all."""

    def init(self, params):
        return ()

    def update(self, grads, state, params):
        return jax.tree.map(lambda g: -0.01 * g, grads), state


EXTRA = {
    "polyak_sgd": optax.polyak_sgd(),
    "momo": optax.contrib.momo(),
    "reduce_on_plateau": optax.chain(
        optax.sgd(0.05), optax.contrib.reduce_on_plateau(patience=1, cooldown=0)
    ),
    "lbfgs": optax.lbfgs(),
    "sophia": optax.contrib.sophia(1e-2),
    "frugal": Frugal(),
    "plain": Plain(),
}


@pytest.mark.parametrize("name", EXTRA)
def test_optimizers_with_extra_arguments_train(name):
    losses = training.train(TASK, EXTRA[name], 20, key=KEY, num_runs=2).losses
    assert (losses[:, -1] < losses[:, 0]).all()
    # L-BFGS solves a quadratic of five unknowns.
    assert name != "lbfgs" or (losses[:, -1] <= losses[:, :].min() + 1e-4).all()


def test_they_are_evaluated_and_searched():
    few = {name: EXTRA[name] for name in ("polyak_sgd", "reduce_on_plateau", "lbfgs")}
    found = bench.evaluate(TASK, few, 5, key=KEY, num_runs=2)
    for name, optimizer in few.items():
        expected = training.train(TASK, optimizer, 5, key=KEY, num_runs=2).losses
        np.testing.assert_allclose(found.optimizers[name].losses, expected, rtol=1e-5)
    search = bench.grid_search(
        TASK,
        lambda scaling: optax.polyak_sgd(scaling=scaling),
        {"scaling": [0.5, 1.0]},
        num_steps=5,
        key=KEY,
    )
    assert np.isfinite(search.scores).all()


def test_the_meta_step_passes_them():
    estimator = meta.FullBackprop(tasks.fixed(TASK), num_tasks=1, horizon=3)
    start = optimizers.sgd(0.01)
    result = meta.Trainer(estimator, optax.polyak_sgd(max_learning_rate=1e-4)).run(
        start, 2, key=KEY
    )
    assert result.skipped == 0
    assert (
        result.optimizer.hyperparameters["learning_rate"] > start.hyperparameters["learning_rate"]
    )


def test_an_optimizer_without_them_is_the_same_program():
    """What nobody uses is removed before anything is compiled."""
    optimizer = optax.sgd(0.1, momentum=0.9)
    inner = initial_state(TASK, optimizer, KEY)

    def bare(inner):
        loss, grads = jax.value_and_grad(TASK.loss)(inner.params, TASK.sample_batch(KEY))
        updates, state = optimizer.update(grads, inner.optimizer_state, inner.params)
        return optax.apply_updates(inner.params, updates), state, loss

    def ours(inner):
        after, record = inner_step(TASK, optimizer, inner, KEY)
        return after.params, after.optimizer_state, record.loss

    def cost(function):
        return jax.jit(function).lower(inner).compile().cost_analysis()["flops"]

    assert cost(ours) == cost(bare)


@pytest.mark.parametrize("make", [lambda o: o, lambda o: optax.chain(optax.clip(1e3), o)])
def test_schedule_free_optimizers_are_evaluated_at_the_mean_of_their_iterates(make):
    optimizer = make(optax.contrib.schedule_free_sgd(0.1, b1=0.9))
    run = training.train(TASK, optimizer, 6, key=KEY, num_runs=2)
    for index, key in enumerate(training.run_keys(KEY, 2)):
        _, init_key, _ = jax.random.split(key, 3)
        y = z = x = TASK.init(init_key)
        for step in range(6):
            np.testing.assert_allclose(run.losses[index, step], TASK.loss(x), rtol=1e-4)
            z = z - 0.1 * jax.grad(TASK.loss)(y)
            x = x + (z - x) / (step + 1)
            y = 0.9 * x + 0.1 * z
        np.testing.assert_allclose(run.params[index], x, rtol=1e-3, atol=1e-4)


def test_a_schedule_free_meta_optimizer_is_evaluated_at_its_own_point():
    class Number(optimizers.OptimizerModule):
        value: Float[Array, ""]

        def init(self, params):
            return ()

        def update(self, grads, state, params=None, **extra):
            return grads, state

    class Slope(meta.Estimator):
        def init(self, optimizer, key):
            return meta.Worker(jnp.zeros(2, jnp.uint32), (), (), jnp.zeros((), jnp.int32))

        def estimate(self, optimizer, workers, key):
            aux = {"inner_loss": jnp.zeros(()), "non_finite": jnp.zeros(())}
            return meta.MetaGradient(0.5 * optimizer.value**2, optimizer, aux), workers

    seen = []
    result = meta.Trainer(
        Slope(),
        optax.contrib.schedule_free_sgd(0.1, b1=0.5),
        evaluation=lambda o: seen.append(float(o.value)) or float(o.value),
        evaluate_every=1,
        steps_per_call=1,
    ).run(Number(jnp.asarray(1.0)), 3, key=KEY)
    x = y = z = 1.0
    points = []
    for step in range(3):
        z -= 0.1 * y
        x += (z - x) / (step + 1)
        y = 0.5 * (x + z)
        points.append(x)
    assert seen == pytest.approx(points, rel=1e-5)
    assert float(result.optimizer.value) == pytest.approx(x, rel=1e-5)
    assert float(result.best.value) == pytest.approx(x, rel=1e-5)
