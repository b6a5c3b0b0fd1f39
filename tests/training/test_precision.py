import warnings

import jax
import jax.numpy as jnp
import pytest

from optoscope import bench, optimizers, tasks, training

KEY = jax.random.key(0)


class Bowl(tasks.Task):
    dtype: str

    def init(self, key):
        return {"low": jnp.full(50, 3.0, self.dtype), "dead": jnp.ones(200, self.dtype)}

    def sample_batch(self, key):
        return None

    def loss(self, params, batch):
        return jnp.sum(params["low"].astype(jnp.float32) ** 2)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_steps_that_are_rounded_away_are_told_with_what_to_do(dtype):
    with pytest.warns(UserWarning, match=f"{dtype} parameters never moved.*float32") as caught:
        run = training.train(Bowl(dtype), optimizers.sgd(1e-5), 5, key=KEY, num_runs=2)
    assert (run.params["low"] == 3).all()
    assert sum("never moved" in str(warning.message) for warning in caught) == 1
    with pytest.warns(UserWarning, match="never moved"):
        bench.evaluate(Bowl(dtype), {"sgd": optimizers.sgd(1e-5)}, 5, key=KEY, num_runs=1)


@pytest.mark.parametrize(("dtype", "rate"), [("bfloat16", 0.1), ("float32", 1e-9)])
def test_nothing_is_said_of_what_moves_or_is_in_single_precision(dtype, rate):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        training.train(Bowl(dtype), optimizers.sgd(rate), 5, key=KEY)
