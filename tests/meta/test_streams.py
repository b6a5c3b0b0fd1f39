"""Meta-training on data from the host: an episode reads its stream on, and each batch once."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optoscope import meta, tasks
from support.scripted import Descent

KEY = jax.random.key(0)
ESTIMATORS = {
    "truncated-backprop": lambda task: meta.TruncatedBackprop(task, truncation=4, horizon=12),
    "truncated-es": lambda task: meta.TruncatedES(
        task, num_particles=1, truncation=4, horizon=12, stagger=False
    ),
    "pes": lambda task: meta.PES(
        task, num_particles=1, truncation=4, horizon=12, stagger=False
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("wrapped", [False, True])
def test_an_episode_reads_its_stream_on_and_each_batch_once(name, wrapped):
    read = []

    def batches(seed):
        for number in itertools.count():
            read.append(number)
            yield np.full(2, number, np.float32)

    task = tasks.from_functions(
        lambda key: jnp.ones(3),
        lambda params, batch: jnp.mean(batch) + 0.0 * jnp.sum(params**2),
        batches,
    )
    problems = tasks.reparametrized(task, 1, 1) if wrapped else tasks.fixed(task)
    estimator, optimizer = ESTIMATORS[name](problems), Descent(jnp.array(0.1))
    workers, estimate = estimator.init(optimizer, KEY), eqx.filter_jit(estimator.estimate)
    read.clear()
    losses = []
    for step in range(3):
        found, workers = estimate(optimizer, workers, jax.random.key(step))
        losses.append(float(found.aux["inner_loss"]))
    # The batches 0 to 3, 4 to 7 and 8 to 11.
    assert losses == [1.5, 5.5, 9.5]
    # One more may have been read ahead.
    assert len(read) <= 13
