import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from optoscope import optimizers
from optoscope._core.errors import InvalidValueError, UnknownNameError
from optoscope.optimizers import SCHEDULES


def factors(schedule, num_steps, count):
    """What plain gradient descent on a gradient of 1 does at each step."""
    optimizer = optimizers.scheduled(optimizers.sgd(1.0), schedule, num_steps)
    state, found = optimizer.init(jnp.zeros(())), []
    for _ in range(count):
        updates, state = optimizer.update(jnp.ones(()), state)
        found.append(-float(updates))
    return found


def test_constant_changes_nothing():
    assert factors("constant", 3, 5) == [1.0] * 5


def test_cosine_by_its_formula_and_zero_afterwards():
    expected = [0.5 * (1 + math.cos(math.pi * step / 8)) for step in range(8)] + [0.0, 0.0]
    np.testing.assert_allclose(factors("cosine", 8, 10), expected, atol=1e-6)


def test_warmup_takes_a_tenth_of_the_run():
    expected = [0.5, 1.0] + [0.5 * (1 + math.cos(math.pi * step / 18)) for step in range(18)]
    np.testing.assert_allclose(factors("warmup-cosine", 20, 20), expected, atol=1e-6)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_run_of_one_step_moves(schedule):
    assert factors(schedule, 1, 1) == [1.0]


def test_adam_with_a_cosine_is_optax_adam_with_its_schedule():
    rate = optax.cosine_decay_schedule(0.1, 6)
    ours, theirs = optimizers.get("adam-cosine", learning_rate=0.1, num_steps=6), optax.adam(rate)
    params = jnp.array([1.0, -2.0])
    states = ours.init(params), theirs.init(params)
    for step in range(6):
        grads = jnp.array([1.0 + step, -0.5 * step])
        mine, first = ours.update(grads, states[0], params)
        other, second = theirs.update(grads, states[1], params)
        states = first, second
        np.testing.assert_allclose(mine, other, rtol=1e-5, atol=1e-8)


def test_a_learned_optimizer_takes_a_multiplier():
    params, grads = jnp.array([1.0, -2.0]), jnp.array([0.3, 0.1])
    star = optimizers.get("star")
    twice = optimizers.scheduled(star, "constant", 10, multiplier=2.0)

    def first(optimizer):
        return jax.jit(lambda: optimizer.update(grads, optimizer.init(params), params)[0])()

    updates, doubled = first(star), first(twice)
    np.testing.assert_allclose(doubled, 2 * np.asarray(updates), rtol=1e-6)


def test_names_with_a_schedule():
    named = optimizers.get("adamw-warmup-cosine", num_steps=10)
    assert SCHEDULES[int(named.schedule)] == "warmup-cosine"
    assert isinstance(optimizers.get("adam-constant"), optimizers.OptaxOptimizer)
    assert optimizers.entry("adam-cosine") == optimizers.entry("adam-cosine")
    assert "cosine" in optimizers.entry("adam-cosine").description
    with pytest.raises(InvalidValueError, match="needs num_steps"):
        optimizers.get("adam-cosine")
    with pytest.raises(InvalidValueError, match="takes no schedule"):
        optimizers.get("schedule_free_adamw-cosine", num_steps=10)
    with pytest.raises(InvalidValueError, match="no argument 'rate'; it takes learning_rate"):
        optimizers.get("adam-cosine", rate=1.0, num_steps=10)
    with pytest.raises(UnknownNameError, match="adam"):
        optimizers.get("adamm-cosine", num_steps=10)
    with pytest.raises(UnknownNameError, match="cosine"):
        optimizers.scheduled(optimizers.sgd(), "cosin", 10)
    with pytest.raises(InvalidValueError, match="num_steps"):
        optimizers.scheduled(optimizers.sgd(), "cosine", 0)
