import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optoscope import optimizers, tasks, training

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
