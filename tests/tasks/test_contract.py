"""Every registered task keeps the contract; a new one is tested on the day it is listed."""

import functools
import json
import os
import re

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optoscope import optimizers, tasks, training
from optoscope._core.trees import digest, global_norm
from optoscope.tasks import Task, TaskDistribution, as_distribution

KEY = jax.random.key(3)
# Real data is large; of each dataset that needs a directory a few networks stand for all.
SAMPLED = ("mlp-sigmoid", "mlp-batch-norm", "mlp-100-100-tanh")
# The same code in other widths: left to `make test-all`.
OTHER_WIDTHS = re.compile(
    r"digits-mlp-(40|20-20|100-100)-(?!batch-norm)|digits-mlp-(40|100-100|128)|digits-cnn-mean"
)
# Of the unseen tasks one of each family, at the scale "smoke".
OTHER_UNSEEN = re.compile(
    r"layer-norm-tanh|wide-|deep-|tanh-|cross-entropy|(rnn|lstm)-language|es-gradient-autoencoder"
)


def _parameter(name: str):
    dataset = tasks.REGISTRY[name].dataset
    if name in tasks.UNSEEN:
        marks = [pytest.mark.slow] * bool(OTHER_UNSEEN.match(name))
        if dataset == "tinyshakespeare" and not os.environ.get("OPTOSCOPE_DATA"):
            marks = [pytest.mark.skip(reason="OPTOSCOPE_DATA is not set")]
        return pytest.param(name, marks=marks)
    if dataset in (None, "digits"):
        return pytest.param(name, marks=[pytest.mark.slow] * bool(OTHER_WIDTHS.match(name)))
    if not os.environ.get("OPTOSCOPE_DATA"):
        return pytest.param(name, marks=pytest.mark.skip(reason="OPTOSCOPE_DATA is not set"))
    if dataset != "mnist" or not name.endswith(SAMPLED):
        return pytest.param(name, marks=pytest.mark.skip(reason="others stand for this network"))
    return pytest.param(name)


NAMES = [_parameter(name) for name in tasks.names()]
every_task = pytest.mark.parametrize("name", NAMES)


@functools.cache
def registered(name: str) -> Task | TaskDistribution:
    return tasks.get(name, scale="smoke") if name in tasks.UNSEEN else tasks.get(name)


def _evaluate(distribution, key):
    task = distribution.sample(key)
    params, batch = task.init(key), task.sample_batch(key)

    def descend(params, _):
        loss, grads = jax.value_and_grad(task.loss)(params, batch)
        step = 1e-2 / (global_norm(grads) + 1e-12)
        return jax.tree.map(lambda p, g: p - step * g, params, grads), (loss, grads)

    # A loop, so that the loss is compiled once.
    _, ((loss, lower), grads) = jax.lax.scan(descend, params, length=2)
    grads = jax.tree.map(lambda leaf: leaf[0], grads)
    accuracy = task.accuracy(params)
    return {
        "params": params,
        "batch": batch,
        "loss": loss,
        "lower": lower,
        "grads": grads,
        "accuracy": accuracy,
    }


evaluate = eqx.filter_jit(_evaluate)


@eqx.filter_jit
def evaluate_side_by_side(distribution, keys):
    return jax.vmap(lambda key: _evaluate(distribution, key))(keys)


@every_task
def test_loss_gradient_and_accuracy(name):
    result = evaluate(as_distribution(registered(name)), KEY)
    assert result["loss"].shape == ()
    assert result["loss"].dtype == jnp.float32
    assert np.isfinite(result["loss"])
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(result["grads"]))
    assert float(result["lower"]) < float(result["loss"])
    if tasks.REGISTRY[name].dataset is None or "autoencoder" in name:
        assert result["accuracy"] is None
    else:
        assert 0 <= float(result["accuracy"]) <= 1


@every_task
def test_what_is_drawn_stands_for_the_batch_whatever_the_task(name):
    @eqx.filter_jit
    def run(distribution):
        first, second = (distribution.sample(jax.random.key(seed)) for seed in (1, 2))
        draws = [task.draw(KEY) for task in (first, second)]
        return draws, (first.gather(draws[0]), first.sample_batch(KEY))

    draws, batches = run(as_distribution(registered(name)))
    assert digest(draws[0]) == digest(draws[1])
    assert digest(batches[0]) == digest(batches[1])


@every_task
def test_the_same_key_gives_the_same_and_another_key_something_else(name):
    distribution = as_distribution(registered(name))
    first, again, other = (
        evaluate(distribution, key) for key in (KEY, jax.random.key(3), jax.random.key(4))
    )
    assert digest(first) == digest(again)
    assert digest(first["params"]) != digest(other["params"])
    if first["batch"] is not None:
        assert digest(first["batch"]) != digest(other["batch"])


@every_task
def test_side_by_side_is_one_by_one(name):
    distribution = as_distribution(registered(name))
    keys = jax.random.split(KEY, 3)
    together = jax.tree.map(np.asarray, evaluate_side_by_side(distribution, keys))
    for index in range(3):
        alone = evaluate(distribution, keys[index])
        for one, all_ in zip(jax.tree.leaves(alone), jax.tree.leaves(together), strict=True):
            np.testing.assert_allclose(all_[index], one, rtol=1e-3, atol=1e-4)
    assert len(set(together["loss"].tolist())) == 3


@every_task
def test_the_gradient_matches_finite_differences_in_float64(name):
    task = as_distribution(registered(name)).sample(KEY)
    if isinstance(task, tasks.ESGradient):
        # What the estimate is of is checked in test_es_gradient.
        task = task.task
    with jax.enable_x64(True):
        task = jax.tree.map(
            # By NumPy, which compiles no program for each shape.
            lambda x: jnp.asarray(np.array(x, np.float64)) if eqx.is_inexact_array(x) else x,
            task,
        )

        @eqx.filter_jit
        def slopes(task, directions, step):
            params, batch = task.init(KEY), task.sample_batch(jax.random.fold_in(KEY, 1))
            params = jax.tree.map(lambda x: x.astype(jnp.float64), params)
            flat, unravel = jax.flatten_util.ravel_pytree(params)

            def loss(vector):
                return task.loss(unravel(vector), batch)

            directions = directions[:, : flat.size]
            # Zero biases put the ReLUs of black pixels on their kinks: a little away from them.
            flat = flat + 0.02 * directions[0]
            directions /= jnp.linalg.norm(directions, axis=1, keepdims=True)
            # One loop, so that the loss is compiled once.
            ends = jnp.concatenate([directions, -directions])
            ahead, behind = jnp.split(jax.lax.map(lambda d: loss(flat + step * d), ends), 2)
            return directions @ jax.grad(loss)(flat), (ahead - behind) / (2 * step)

        directions = np.random.default_rng(0).normal(size=(4, 100_000))
        # With so small a step next to no ReLU crosses its kink.
        exact, differences = slopes(task, directions, 1e-6)
        assert exact.dtype == jnp.float64
        np.testing.assert_allclose(exact, differences, rtol=1e-5, atol=1e-8)


@every_task
def test_metadata_is_json_and_counts_the_parameters(name):
    task = registered(name)
    assert json.loads(json.dumps(task.metadata, allow_nan=False)) == task.metadata
    params = jax.eval_shape(lambda key: as_distribution(task).sample(key).init(key), KEY)
    count = sum(np.prod(leaf.shape, dtype=int) for leaf in jax.tree.leaves(params))
    assert task.metadata["num_params"] == count
    if tasks.REGISTRY[name].dataset is not None:
        scale, num_classes = (task.metadata[n] for n in ("guessing_loss", "num_classes"))
        assert scale == np.log(num_classes) if num_classes else 0 < scale < 1


def test_a_digits_network_can_be_trained():
    task = registered("digits-mlp-sigmoid")
    run = training.train(task, optimizers.adam(0.05), 150, key=KEY)
    params = jax.tree.map(lambda leaf: leaf[0], run.params)
    assert float(task.accuracy(task.init(KEY))) < 0.4
    assert float(task.accuracy(params)) > 0.85
