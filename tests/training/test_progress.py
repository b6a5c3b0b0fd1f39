"""Training in blocks gives what one program gives, and keeps what is done when interrupted."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optoscope import optimizers, tasks, training
from optoscope.training._progress import block_length
from support.registered import registered

KEY = jax.random.key(3)
TASK = tasks.get("quadratic")


def with_state():
    x = jnp.linspace(-1.0, 1.0, 20)
    return tasks.from_functions(
        init=lambda key: ({"slope": jax.random.normal(key)}, jnp.zeros(())),
        loss=lambda p, state, batch, key: (
            jnp.mean((p["slope"] * batch - 2 * batch + 0.1 * jax.random.normal(key)) ** 2),
            state + 1,
        ),
        batches=x,
        batch_size=5,
        has_state=True,
    )


def close(one, other):
    for found, expected in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("task", "optimizer", "num_steps", "runs"),
    [
        (TASK, optimizers.adam(0.05), 40, 3),
        (TASK, optax.contrib.schedule_free_sgd(0.1), 23, 1),
        (with_state(), registered("star"), 13, 2),
    ],
)
def test_it_is_what_one_program_gives(task, optimizer, num_steps, runs):
    probes = {"four": training.Norms(every=4), "six": training.Norms(every=6)}
    settings = {"key": KEY, "probes": probes, "num_runs": runs}
    seen = []
    found = training.train(
        task, optimizer, num_steps, progress=lambda *report: seen.append(report), **settings
    )
    expected = training.train(task, optimizer, num_steps, **settings)
    assert found.losses.shape == (runs, num_steps)
    assert found.measured_steps == expected.measured_steps
    assert not found.interrupted
    close(found, expected)
    assert [total for _, total, _ in seen] == [num_steps] * len(seen)
    assert seen[-1][0] == num_steps
    assert seen[-1][2] == pytest.approx(float(found.losses[:, -1].mean()), rel=1e-5)


def test_an_interrupt_leaves_the_steps_that_were_taken():
    def stop(done, total, loss):
        if done >= 20:
            raise KeyboardInterrupt

    probes = {"norms": training.Norms(every=5)}
    with pytest.warns(UserWarning, match="interrupted after 20 of 100 steps"):
        found = training.train(
            TASK, optimizers.momentum(0.01), 100, key=KEY, probes=probes, progress=stop
        )
    assert found.interrupted
    assert found.losses.shape == (1, 20)
    expected = training.train(TASK, optimizers.momentum(0.01), 20, key=KEY, probes=probes)
    assert found.measured_steps == expected.measured_steps
    assert not expected.interrupted
    close(
        (found.losses, found.params, found.state),
        (expected.losses, expected.params, expected.state),
    )
    close(found.records, expected.records)


def test_an_interrupt_before_anything_is_done_is_one():
    def stop(done, total, loss):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        training.train(TASK, optimizers.sgd(0.01), 10, key=KEY, progress=stop)


def test_a_bar_goes_to_where_no_results_are_read(capsys):
    training.train(TASK, optimizers.sgd(0.01), 10, key=KEY, progress=True)
    shown = capsys.readouterr()
    assert not shown.out
    assert "10/10 steps" in " ".join(shown.err.split())


@given(num_steps=st.integers(1, 3000), interval=st.integers(1, 40))
def test_blocks_are_whole_intervals_and_few(num_steps, interval):
    interval = min(interval, num_steps)
    length = block_length(num_steps, interval)
    assert 1 <= length <= num_steps
    assert length % interval == 0 or length == num_steps
    assert num_steps / length <= 50
