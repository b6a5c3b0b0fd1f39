import jax.numpy as jnp
import numpy as np
import pytest

from optoscope import tasks, training
from optoscope._core.errors import InvalidValueError, UnknownNameError
from optoscope.training import StepRecord

TASK = tasks.Classification(
    tasks.MLP((2, 3, 2), "tanh", "layer"),
    {"train": tasks.LabeledBatch(jnp.ones((4, 2)), jnp.arange(4) % 2)},
    batch_size=4,
)
RECORD = StepRecord(
    step=jnp.asarray(0, jnp.int32),
    batch=None,
    params={"a": jnp.array([3.0, 4.0]), "b": jnp.asarray(0.0)},
    grads={"a": jnp.array([0.0, 1.0]), "b": jnp.asarray(0.0)},
    updates={"a": jnp.array([1.0, -7.0]), "b": jnp.asarray(-2.0)},
    state=(),
    loss=jnp.asarray(1.0),
)


def test_norms_by_hand():
    norms = training.Norms().measure(RECORD)
    np.testing.assert_allclose(norms["params"], 5.0)
    np.testing.assert_allclose(norms["grads"], 1.0)
    np.testing.assert_allclose(norms["updates"], np.sqrt(54.0), rtol=1e-6)


def test_layer_update_sizes_by_hand():
    sizes = training.LayerUpdateSizes().measure(RECORD)
    assert {name: float(value) for name, value in sizes.items()} == {"a": 5.0, "b": 2.0}


@pytest.mark.parametrize("name", training.PROBES.names())
@pytest.mark.parametrize("every", [0, -1])
def test_an_interval_below_one(name, every):
    with pytest.raises(InvalidValueError, match=f"every is {every}; it must be at least 1"):
        training.PROBES[name](every=every)


def test_an_unknown_probe_suggests():
    with pytest.raises(UnknownNameError, match=r"unknown probe 'norm'\. Did you mean 'norms'"):
        training.PROBES["norm"]
