"""The memory that meta-training is said to need, counted by hand."""

import jax
import jax.numpy as jnp
import pytest

from optoscope import meta, optimizers, tasks
from optoscope.meta._memory import estimated_bytes

FLOAT = 4


@pytest.mark.parametrize("second_order", [True, False])
def test_an_unroll_keeps_states_and_gradients_that_are_constants(second_order):
    task = tasks.from_functions(
        lambda key: jnp.zeros(10), lambda params, batch: params @ params, lambda key: key
    )
    estimator = meta.TruncatedBackprop(
        tasks.fixed(task), num_tasks=2, truncation=5, horizon=10, second_order=second_order
    )
    optimizer = optimizers.LSTMOptimizer.create(jax.random.key(0), hidden_size=3)
    needed = estimated_bytes(estimator, optimizer)
    # Two layers of three units with a hidden and a cell state each, for each of ten parameters,
    # which are there themselves; and a count of steps.
    state = FLOAT * (10 * (2 * 2 * 3 + 1) + 1)
    assert needed["states of an unroll"] == pytest.approx(5 * state, rel=0.05)
    # Ten numbers, and a count of steps that a run without any other state has too.
    gradients = needed.get("gradients of an unroll", 0)
    assert gradients == pytest.approx(0 if second_order else 5 * FLOAT * 11, abs=5 * FLOAT)
