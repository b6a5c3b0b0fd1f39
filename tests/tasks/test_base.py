import jax
import jax.numpy as jnp
import pytest

from optoscope import tasks


class Bowl(tasks.Task):
    center: jax.Array

    def init(self, key):
        return jax.random.normal(key, self.center.shape)

    def sample_batch(self, key):
        return None

    def loss(self, params, batch):
        return jnp.sum((params - self.center) ** 2)


def test_fixed_draws_the_same_task_for_every_key():
    task = Bowl(jnp.arange(3.0))
    for seed in range(2):
        assert tasks.fixed(task).sample(jax.random.key(seed)) is task
    assert tasks.fixed(task).metadata == task.metadata == {"class": "Bowl"}


def test_as_distribution_wraps_tasks_and_keeps_distributions():
    task = Bowl(jnp.arange(3.0))
    assert tasks.as_distribution(task).sample(jax.random.key(0)) is task
    distribution = tasks.RandomLeastSquares()
    assert tasks.as_distribution(distribution) is distribution


def test_what_a_task_need_not_offer():
    assert Bowl(jnp.zeros(1)).accuracy(jnp.zeros(1)) is None


def test_an_incomplete_task_cannot_be_made():
    class Incomplete(tasks.Task):
        def init(self, key):
            return jnp.zeros(1)

    with pytest.raises(TypeError, match="abstract"):
        Incomplete()
