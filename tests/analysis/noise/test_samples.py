"""Noise samples against plain loops, and the tail-index probe against both."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from optoscope import optimizers, tasks, training
from optoscope._core.errors import InvalidValueError, UnknownNameError
from optoscope.analysis.noise import TailIndexProbe, noise_samples, tail_index
from optoscope.tasks import Classification, LabeledBatch


@pytest.fixture(scope="module")
def task():
    """50 training images in batches of 16: three whole ones and one of 2."""
    digits = tasks.get("digits-mlp-leaky-relu", batch_size=16, hidden=(4,))
    train = digits.splits["train"]
    few = LabeledBatch(train.inputs[:50], train.labels[:50])
    return dataclasses.replace(digits, splits={**digits.splits, "train": few})


@pytest.fixture(scope="module")
def started(task):
    """An optimizer, and parameters and state after a few steps with it."""
    optimizer = optimizers.adam(0.01)
    run = training.train(task, optimizer, 4, key=jax.random.key(5))
    params, state = jax.tree.map(lambda leaf: leaf[0], (run.params, run.state))
    return optimizer, params, state


@eqx.filter_jit
def draw(task, key):
    return task.sample_batch(key)


@eqx.filter_jit
def row(task, optimizer, params, state, batch):
    gradient = jax.grad(task.loss)(params, batch)
    update, _ = optimizer.update(gradient, state, params)
    return {"gradient": ravel_pytree(gradient)[0], "update": ravel_pytree(update)[0]}


def loop(task, optimizer, params, state, batches):
    rows = [row(task, optimizer, params, state, batch) for batch in batches]
    return jax.tree.map(lambda *each: np.stack([np.asarray(x, np.float64) for x in each]), *rows)


def epoch(task, key):
    train = task.splits["train"]
    order = jax.random.permutation(key, 50)
    return [
        LabeledBatch(train.inputs[index], train.labels[index])
        for index in np.split(np.asarray(order), [16, 32, 48])
    ]


@pytest.mark.parametrize(
    ("quantity", "full_batch", "batches"),
    [
        ("gradient", "mean", "sampled"),
        ("update", "full", "sampled"),
        ("gradient", "none", "epoch"),
        ("update", "mean", "epoch"),
        ("update", "full", "epoch"),
    ],
)
def test_rows_are_those_of_a_plain_loop(task, started, quantity, full_batch, batches):
    key = jax.random.key(1)
    noise = noise_samples(
        task,
        *started,
        key=key,
        quantity=quantity,
        full_batch=full_batch,
        batches=batches,
        num_batches=5 if batches == "sampled" else None,
    )
    drawn = (
        [draw(task, k) for k in training.run_keys(key, 5)]
        if batches == "sampled"
        else epoch(task, key)
    )
    rows = loop(task, *started, drawn)[quantity]
    if full_batch == "mean":
        rows = rows - rows.mean(axis=0)
    elif full_batch == "full":
        rows = rows - loop(task, *started, [task.splits["train"]])[quantity][0]
    assert noise.dtype == np.float64
    np.testing.assert_allclose(noise, rows, rtol=1e-4, atol=1e-6 * np.abs(rows).max())


def test_the_two_full_batches_differ_for_updates_only(task, started):
    whole = Classification(task.network, task.splits, 10)  # five equal batches
    for quantity, same in (("gradient", True), ("update", False)):
        mean, full = (
            noise_samples(
                whole,
                *started,
                key=jax.random.key(0),
                quantity=quantity,
                batches="epoch",
                full_batch=choice,
            )
            for choice in ("mean", "full")
        )
        assert mean.shape == full.shape == (5, mean.shape[1])
        assert np.allclose(mean, full, rtol=0, atol=1e-5 * np.abs(mean).max()) == same


@pytest.mark.parametrize("chunk_size", [1, 2])
def test_chunks_do_not_matter(task, started, chunk_size):
    options = {"key": jax.random.key(2), "num_batches": 5, "quantity": "update"}
    expected = noise_samples(task, *started, **options)
    noise = noise_samples(task, *started, chunk_size=chunk_size, **options)
    np.testing.assert_allclose(noise, expected, atol=1e-6 * np.abs(expected).max())


def test_an_epoch_can_be_cut_short(task, started):
    whole = noise_samples(task, *started, key=jax.random.key(2), batches="epoch", full_batch="none")
    assert len(whole) == 4
    cut = noise_samples(
        task, *started, key=jax.random.key(2), batches="epoch", full_batch="none", num_batches=2
    )
    np.testing.assert_allclose(cut, whole[:2], atol=1e-6 * np.abs(whole).max())


@pytest.mark.parametrize(
    ("name", "full_batch"), [("adam", "full"), ("lion", "mean"), ("lstm", "full")]
)
def test_dead_pixels_give_exact_zeros(task, name, full_batch):
    optimizer = (
        optimizers.LSTMOptimizer.create(jax.random.key(3))
        if name == "lstm"
        else optimizers.get(name)
    )
    params = task.init(jax.random.key(0))
    noise = noise_samples(
        task,
        optimizer,
        params,
        optimizer.init(params),
        key=jax.random.key(4),
        quantity="update",
        full_batch=full_batch,
        batches="epoch",
    )
    dead = ~np.asarray(task.splits["train"].inputs).any(axis=0)
    weights = jax.tree.map(jnp.zeros_like, params)
    weights["layer_0"]["weights"] = jnp.broadcast_to(dead[:, None], (64, 4)).astype(float)
    of_dead_pixel = np.asarray(ravel_pytree(weights)[0]) > 0
    assert dead.sum() > 3
    assert (noise[:, of_dead_pixel] == 0).all()
    assert (noise[:, ~of_dead_pixel] != 0).any()


def test_what_cannot_be_sampled_is_refused(task, started):
    key = jax.random.key(0)
    for change, error in (
        ({"quantity": "updates"}, UnknownNameError),
        ({"batches": "epochs"}, UnknownNameError),
        ({"full_batch": "average"}, UnknownNameError),
        ({"num_batches": 0}, InvalidValueError),
        ({"batches": "epoch", "num_batches": 5}, InvalidValueError),
        ({"chunk_size": 0}, InvalidValueError),
    ):
        with pytest.raises(error):
            noise_samples(task, *started, key=key, **change)
    bowl = tasks.get("quadratic").sample(key)
    params = bowl.init(key)
    optimizer = optimizers.sgd(0.1)
    assert not noise_samples(bowl, optimizer, params, optimizer.init(params), key=key).any()
    with pytest.raises(InvalidValueError, match="Classification"):
        noise_samples(bowl, optimizer, params, optimizer.init(params), key=key, batches="epoch")


@eqx.filter_jit
def record_of(task, optimizer, params, state):
    inner = training.InnerState(params, state, jnp.asarray(4))
    return training.inner_step(task, optimizer, inner, jax.random.key(1))[1]


def test_the_probe_is_samples_and_estimate_in_one(task, started):
    full_batch = "full"
    probe = TailIndexProbe(
        optimizer=started[0], task=task, batches="sampled", num_batches=30, full_batch=full_batch
    )
    measured = eqx.filter_jit(probe.measure)(record_of(task, *started))
    batch_key, other_key = jax.random.split(jax.random.fold_in(jax.random.key(0), 4))
    for quantity in ("gradient", "update"):
        noise = noise_samples(
            task,
            *started,
            key=batch_key,
            quantity=quantity,
            num_batches=30,
            full_batch=full_batch,
        )
        expected = tail_index(noise, key=other_key)
        for field in ("alpha", "standard_error", "surrogate_alpha", "zero_fraction", "group_size"):
            assert float(measured[quantity][field]) == pytest.approx(
                getattr(expected, field), rel=1e-3
            )
        assert bool(measured[quantity]["heavy_tailed"]) == expected.heavy_tailed


def test_the_probe_leaves_the_run_alone(task):
    optimizer = optimizers.momentum(0.01)
    probe = TailIndexProbe(every=2)
    plain = training.train(task, optimizer, 4, key=jax.random.key(0), num_runs=2)
    run = training.train(
        task, optimizer, 4, key=jax.random.key(0), num_runs=2, probes={"tail": probe}
    )
    np.testing.assert_allclose(run.losses, plain.losses, rtol=1e-6)
    alpha = np.asarray(run.records["tail"]["update"]["alpha"])
    assert alpha.shape == (2, 2)
    assert np.isfinite(alpha).all()
    assert len(np.unique(alpha)) == 4


def test_without_noise_or_after_divergence_alpha_is_nan(task, started):
    optimizer, params, state = started
    broken = jax.tree.map(lambda leaf: leaf * jnp.nan, params)
    probe = TailIndexProbe(optimizer=optimizer, task=task)
    measure = eqx.filter_jit(lambda probe, record: probe.measure(record))
    measured = measure(probe, record_of(task, optimizer, broken, state))
    assert np.isnan(measured["update"]["alpha"])
    bowl = tasks.get("quadratic").sample(jax.random.key(0))
    start = bowl.init(jax.random.key(0))
    probe = TailIndexProbe(optimizer=optimizer, task=bowl, num_batches=3)
    measured = measure(probe, record_of(bowl, optimizer, start, optimizer.init(start)))
    assert np.isnan(measured["gradient"]["alpha"])


def test_an_unbound_probe_says_what_it_needs(task, started):
    probe = TailIndexProbe(every=3)
    with pytest.raises(InvalidValueError, match="optimizer=optimizer"):
        probe.measure(record_of(task, *started))
    with pytest.raises(UnknownNameError):
        TailIndexProbe(protocol="mine")
    with pytest.raises(UnknownNameError):
        TailIndexProbe(full_batch="none")
