import functools
import subprocess
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optoscope import optimizers, tasks, training
from optoscope._core.errors import InvalidValueError
from optoscope.training._step import draw_batches

KEY = jax.random.key(0)
TASK = tasks.RandomLeastSquares().sample(KEY)


def test_one_step_by_hand():
    optimizer = optimizers.momentum(0.5, 0.9)
    inner = training.initial_state(TASK, optimizer, KEY)
    inner = training.InnerState(inner.params, inner.optimizer_state, jnp.asarray(4, jnp.int32))
    after, record = training.inner_step(TASK, optimizer, inner, KEY)
    A, b, x = (np.asarray(leaf, float) for leaf in (TASK.matrix, TASK.target, TASK.start))
    slope = A.T @ (A @ x - b)
    np.testing.assert_allclose(record.grads, slope, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(record.updates, -0.5 * slope, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(after.params, x - 0.5 * slope, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(record.params, inner.params)
    np.testing.assert_allclose(record.loss, TASK.loss(inner.params), rtol=1e-6)
    assert (int(record.step), int(after.step)) == (4, 5)
    assert record.batch is None
    # The record holds the state before the step.
    assert jax.tree.leaves(record.state)[0].tolist() == [0.0] * 5


def loss_after_two_steps(rate, second_order):
    optimizer = optimizers.sgd(rate)
    inner = training.initial_state(TASK, optimizer, KEY)
    for _ in range(2):
        inner, _ = training.inner_step(TASK, optimizer, inner, KEY, second_order=second_order)
    return TASK.loss(inner.params)


@pytest.mark.parametrize("second_order", [True, False])
def test_the_meta_gradient_with_and_without_second_order_in_closed_form(second_order):
    rate = 0.1
    A, b, x = (np.asarray(leaf, float) for leaf in (TASK.matrix, TASK.target, TASK.start))
    curvature = A.T @ A

    def slope(x):
        return A.T @ (A @ x - b)

    first = x - rate * slope(x)
    second = first - rate * slope(first)
    first_derivative = -slope(x)
    derivative = first_derivative - slope(first)
    if second_order:
        derivative = derivative - rate * curvature @ first_derivative
    expected = slope(second) @ derivative
    computed = jax.jit(jax.grad(lambda r: loss_after_two_steps(r, second_order)))(rate)
    np.testing.assert_allclose(computed, expected, rtol=1e-3)


def first_order_losses(rate, task, **options):
    """The weighted losses of three steps, whose gradients are constants."""
    optimizer = optimizers.sgd(rate)
    inner, losses = training.initial_state(task, optimizer, KEY), []
    for _ in range(3):
        inner, record = training.inner_step(
            task, optimizer, inner, KEY, second_order=False, **options
        )
        losses.append(record.loss)
    return jnp.sum(jnp.stack(losses) * jnp.array([1.0, 2.0, 4.0]))


@pytest.mark.parametrize(
    "derivative",
    [
        lambda loss: loss,
        jax.grad,
        jax.jacfwd,
        lambda loss: jax.jacfwd(jax.grad(loss)),
        lambda loss: jax.grad(jax.grad(loss)),
    ],
    ids=["value", "backward", "forward", "forward over backward", "backward twice"],
)
def test_losses_are_differentiated_by_the_gradients_that_are_known(derivative):
    found = derivative(lambda rate: first_order_losses(rate, TASK, fixed_task=True))(0.1)
    wanted = derivative(lambda rate: first_order_losses(rate, TASK))(0.1)
    assert float(wanted) != 0
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_losses_are_differentiated_in_the_task_where_it_is_not_fixed():
    def loss(target):
        return first_order_losses(0.1, eqx.tree_at(lambda task: task.target, TASK, target))

    found = jax.grad(loss)(TASK.target)
    # Of the first loss ½|A x − b|² alone it is b − A x; the steps after it are made of constants.
    residuals, x = [], TASK.start
    for _ in range(3):
        residuals.append(TASK.matrix @ x - TASK.target)
        x = x - 0.1 * TASK.matrix.T @ residuals[-1]
    wanted = -sum(weight * r for weight, r in zip((1.0, 2.0, 4.0), residuals, strict=True))
    np.testing.assert_allclose(found, wanted, rtol=1e-4)


def test_parameters_keep_their_type():
    class Half(tasks.Task):
        def init(self, key):
            return jnp.ones(2, jnp.bfloat16)

        def sample_batch(self, key):
            return None

        def loss(self, params, batch):
            return jnp.sum(params.astype(jnp.float32) ** 2)

    losses = training.train(Half(), optimizers.adam(0.1), 5, key=KEY)
    assert losses.params.dtype == jnp.bfloat16
    assert losses.losses.dtype == jnp.float32


def test_a_step_on_what_was_drawn_beforehand_is_that_of_its_key():
    task, optimizer = tasks.get("digits-mlp-sigmoid"), optimizers.momentum(0.1)
    inner = training.initial_state(task, optimizer, KEY)
    draws = draw_batches(task, KEY, 3)

    @jax.jit
    def both(draw, key):
        step = functools.partial(training.inner_step, task, optimizer, inner)
        return step(draw=draw)[1], step(key)[1]

    for index in range(3):
        drawn, keyed = both(draws[index], jax.random.fold_in(KEY, index))
        np.testing.assert_array_equal(drawn.batch.inputs, keyed.batch.inputs)
        np.testing.assert_array_equal(drawn.loss, keyed.loss)


def test_a_step_needs_a_key_or_a_draw():
    optimizer = optimizers.sgd(0.1)
    with pytest.raises(InvalidValueError, match="key"):
        training.inner_step(TASK, optimizer, training.initial_state(TASK, optimizer, KEY))


BARE_TASK = """
import jax, jax.numpy as jnp
from optoscope import meta, optimizers, tasks, training

class Bowl:
    def init(self, key):
        return jax.random.normal(key, (3,))
    def sample_batch(self, key):
        return jax.random.normal(key, (3,))
    def loss(self, params, batch):
        return jnp.mean((params - batch) ** 2)

print(training.train(Bowl(), optimizers.sgd(0.1), 3, key=jax.random.key(0)).losses.shape)
for kind in (meta.PES, meta.TruncatedBackprop):
    estimator = kind(tasks.fixed(Bowl()), truncation=2, horizon=4)
    workers = estimator.init(optimizers.sgd(0.1), jax.random.key(0))
    print(estimator.estimate(optimizers.sgd(0.1), workers, jax.random.key(0))[0].loss > 0)
"""


def test_three_methods_make_a_task():
    """In a process of its own: here the types of signatures are checked."""
    command = [sys.executable, "-c", BARE_TASK]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.split("\n") == ["(1, 3)", "True", "True", ""], done.stderr
