"""The recording pass: the first one's run is that of `train`, and all are given its gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from optoscope import optimizers, tasks, training
from optoscope._core.errors import InvalidValueError
from optoscope.analysis.inspection import record, recorded_steps
from optoscope.optimizers import as_optax, packed_state
from optoscope.training._step import draw_step, inner_step
from optoscope.training._train import split_run_key

KEY = jax.random.key(3)


@pytest.fixture(scope="module")
def task():
    return tasks.get("digits-mlp-relu", batch_size=16)


@pytest.fixture(scope="module")
def recording(task):
    # The names are out of order on purpose: a dictionary of JAX sorts them.
    members = {"z": optimizers.momentum(0.1, 0.9), "a": optax.adam(0.01)}
    return record(task, members, 20, key=KEY, num_runs=2, points=4)


def test_the_first_one_runs_as_in_training(task, recording):
    run = training.train(task, optimizers.momentum(0.1, 0.9), 20, key=KEY, num_runs=2)
    assert recording.names == ("z", "a")
    assert recording.steps == (0, 2, 6, 19)
    for point, step in enumerate(recording.steps):
        np.testing.assert_allclose(
            recording.records[point].loss, run.losses[:, step], rtol=2e-4, atol=1e-6
        )


def test_the_others_advance_on_the_same_gradients(task, recording):
    """Against a plain loop that applies one and asks the other."""
    _, init_key, batch_key = split_run_key(training.run_keys(KEY, 2)[0])
    runs, asked = optimizers.momentum(0.1, 0.9), optax.adam(0.01)
    inner = training.initial_state(task, runs, init_key)
    state = packed_state(asked, inner.params)

    @jax.jit
    def both(inner, state, step):
        after, met = inner_step(task, runs, inner, draw=draw_step(task, batch_key, step))
        return after, *as_optax(asked).update(met.grads, state, met.params)

    for step in range(7):
        after, updates, next_state = both(inner, state, jnp.asarray(step))
        if step in recording.steps:
            found = recording.of_run("a", recording.steps.index(step))
            for got, wanted in zip(
                jax.tree.leaves(found.updates), jax.tree.leaves(updates), strict=True
            ):
                np.testing.assert_allclose(got, wanted, rtol=2e-3, atol=1e-6)
            assert int(found.state[0].count) == step
        inner, state = after, next_state


def test_each_run_of_a_distribution_has_its_problem():
    found = record(
        tasks.get("quadratic"), {"sgd": optimizers.sgd(0.1)}, 3, key=KEY, num_runs=2, points=1
    )
    first, second = (jax.tree.leaves(found.task_of_run(run)) for run in range(2))
    assert any(not np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def test_progress_is_told():
    told = []
    record(
        tasks.get("quadratic"), {"sgd": optimizers.sgd(0.1)}, 50, key=KEY, points=3,
        on_progress=lambda *done: told.append(done),
    )  # fmt: skip
    assert told == [(1, 50), (7, 50), (50, 50)]


@pytest.mark.parametrize("count", [1, 2, 7, 500])
def test_recorded_steps_are_within_the_run(count):
    steps = recorded_steps(120, count)
    assert len(steps) <= min(count, 120)
    assert steps[0] == 0
    assert steps == tuple(sorted(set(steps)))
    assert count == 1 or steps[-1] == 119


@pytest.mark.parametrize(
    ("members", "changes", "message"),
    [
        ({}, {}, "no optimizer to record"),
        ({"momentum (0.9)": optimizers.sgd(0.1)}, {}, "another name"),
        ({"sgd": optimizers.sgd(0.1)}, {"num_runs": 0}, "num_runs"),
    ],
)
def test_what_cannot_be_recorded_is_refused(members, changes, message):
    with pytest.raises(InvalidValueError, match=message):
        record(tasks.get("quadratic"), members, 5, key=KEY, **changes)
