"""Histograms of update sizes: every coordinate is counted once, on shared bins."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optoscope import optimizers, tasks, training
from optoscope._core.errors import InvalidValueError
from optoscope.analysis.updates import HistogramProbe, log_bins, update_histogram


def test_bins_are_even_in_the_logarithm():
    edges = np.asarray(log_bins(1e-6, 1e2, 16), np.float64)
    assert edges.shape == (17,)
    np.testing.assert_allclose(np.diff(np.log10(edges)), 0.5, rtol=1e-5)
    assert log_bins().shape == (55,)


def test_counts_by_hand():
    updates = {
        "a": jnp.array([[0.0, -0.0], [1e-9, 0.1]]),
        "b": jnp.array([-0.5, 1.0, 9.99, 10.0, -70.0, jnp.inf, jnp.nan]),
    }
    result = update_histogram(updates, log_bins(0.1, 10.0, 2))
    assert result.counts.tolist() == [2, 2]
    assert int(result.underflow) == 3
    assert int(result.zeros) == 2
    assert int(result.overflow) == 3
    assert int(result.not_a_number) == 1


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(width=32, allow_subnormal=False), min_size=1, max_size=40))
def test_every_coordinate_is_counted_once(values):
    values = np.array(values, np.float32)
    edges = log_bins(1e-4, 1e3, 9)
    result = update_histogram(jnp.asarray(values), edges)
    sizes = np.abs(values)
    # NumPy's last bin is closed, ours is not.
    expected, _ = np.histogram(sizes[(sizes < np.float32(edges[-1]))], bins=np.asarray(edges))
    assert result.counts.tolist() == expected.tolist()
    outside = result.underflow + result.overflow + result.not_a_number
    assert int(result.counts.sum() + outside) == len(values)


def test_compiled_and_vmapped_it_is_the_same():
    updates = jax.random.normal(jax.random.key(0), (3, 50))
    edges = log_bins(0.01, 1.0, 5)
    together = jax.jit(jax.vmap(update_histogram, in_axes=(0, None)))(updates, edges)
    for row in range(3):
        alone = update_histogram(updates[row], edges)
        assert together.counts[row].tolist() == alone.counts.tolist()
        assert int(together.overflow[row]) == int(alone.overflow)


def test_the_probe_counts_the_updates_that_were_applied():
    task = tasks.get("digits-mlp-sigmoid", batch_size=8)
    probe = HistogramProbe(every=2, low=1e-4, high=1.0, num=4)
    run = training.train(
        task, optimizers.lion(0.01), 5, key=jax.random.key(0), probes={"size": probe}
    )
    record = run.records["size"]
    assert record.counts.shape == (1, 3, 4)
    # Lion's updates are all of size 0.01, or zero where a pixel has never been lit.
    assert (record.counts.sum(-1) + record.underflow == 1510).all()
    assert (record.zeros == record.underflow).all()
    assert (np.asarray(record.counts) > 0).sum() == 3


@pytest.mark.parametrize(
    "arguments", [(0.0, 1.0, 3), (2.0, 1.0, 3), (1.0, 2.0, 0), (1.0, 1.0001, 10_000)]
)
def test_bins_that_cannot_be_are_refused(arguments):
    with pytest.raises(InvalidValueError):
        log_bins(*arguments)
    with pytest.raises(InvalidValueError):
        HistogramProbe(low=arguments[0], high=arguments[1], num=arguments[2])
