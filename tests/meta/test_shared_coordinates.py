"""More devices than tasks share the coordinates of a task, and the meta-gradient is the same."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from optoscope import optimizers
from optoscope._core.errors import InvalidValueError
from optoscope.meta import FullBackprop, Imitation, Objective, Trainer, TruncatedBackprop
from support.by_coordinate import Bowls, assert_close, assert_same_gradients, drawn, estimates

# Two devices cannot share three parameters evenly.
PROBLEMS = Bowls(3)
TRUNCATED = {"truncation": 3, "horizon": 5}


def _estimates(kind, optimizer, devices, **options):
    return estimates(kind(PROBLEMS, num_tasks=1, devices=devices, **options), optimizer)


@pytest.mark.parametrize(
    ("name", "kind", "options"),
    [
        ("lstm", TruncatedBackprop, TRUNCATED),
        ("rnn", TruncatedBackprop, TRUNCATED | {"second_order": True, "backward_clip": 0.05}),
        ("rnnprop", TruncatedBackprop, TRUNCATED),
        ("lstm", FullBackprop, {"horizon": 4, "backward_clip": 0.05}),
        ("rnn", FullBackprop, {"horizon": 4, "second_order": False}),
        ("rnnprop", FullBackprop, {"horizon": 4, "objective": Objective("last")}),
    ],
)
def test_two_devices_give_the_meta_gradients_of_one(name, kind, options):
    optimizer = drawn(name)
    alone = _estimates(kind, optimizer, 1, **options)
    shared = _estimates(kind, optimizer, 2, **options)
    assert len(shared[0][0].loss.sharding.device_set) == 2
    assert_same_gradients(alone, shared)


def test_the_clip_of_what_flows_back_was_felt():
    optimizer = drawn("lstm")
    free, clipped = (
        _estimates(FullBackprop, optimizer, 2, horizon=4, backward_clip=clip)[0][0].gradient
        for clip in (None, 0.05)
    )
    with pytest.raises(AssertionError):
        assert_close(free, clipped)


def test_a_run_that_diverges_on_two_devices_is_left_out_and_starts_afresh():
    optimizer = eqx.tree_at(lambda one: one.readout, drawn("lstm"), replace_fn=lambda x: 1e30 * x)
    for devices in (1, 2):
        gradients, workers = _estimates(TruncatedBackprop, optimizer, devices, **TRUNCATED)
        for gradient in gradients:
            assert float(gradient.aux["non_finite"]) == 1
            assert all(not jnp.any(leaf) for leaf in jax.tree.leaves(gradient.gradient))
        assert int(workers.step[0]) == TRUNCATED["horizon"]


def test_a_run_on_two_devices_is_compiled_once_and_resumes_exactly(tmp_path, caplog):
    optimizer = drawn("lstm")
    estimator = TruncatedBackprop(PROBLEMS, num_tasks=1, devices=2, **TRUNCATED)

    def run(steps, directory=None):
        trainer = Trainer(estimator, optax.adam(1e-2), steps_per_call=1, checkpoint_every=1)
        result = trainer.run(optimizer, steps, key=jax.random.key(0), directory=directory)
        return jax.tree.leaves(eqx.filter(result.optimizer, eqx.is_array))

    with jax.log_compiles(), caplog.at_level("WARNING"):
        whole = run(4)
    compiled = [line for line in caplog.messages if "XLA compilation of jit(advance)" in line]
    assert len(compiled) == 1
    run(2, tmp_path)
    for one, other in zip(run(4, tmp_path), whole, strict=True):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))


class Normalized(optimizers.LSTMOptimizer):
    """One of a person's own, whose updates depend on all gradients."""

    def update(self, grads, state, params=None, **extra):
        length = optax.global_norm(grads)
        return super().update(jax.tree.map(lambda g: g / length, grads), state, params, **extra)


REFUSED = {
    "sgd": optimizers.sgd(0.1),
    "star": optimizers.get("star"),
    "derived": Normalized.create(jax.random.key(0), hidden_size=3),
    "optax": optax.adam(0.1),
}


@pytest.mark.parametrize("optimizer", REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_split_is_refused_before_anything_is_compiled(optimizer):
    for kind, options in ((TruncatedBackprop, TRUNCATED), (FullBackprop, {"horizon": 4})):
        estimator = kind(PROBLEMS, num_tasks=1, devices=2, **options)
        with pytest.raises(InvalidValueError, match="at most as many devices as tasks"):
            estimator.init(optimizer, jax.random.key(0))


def test_an_imitating_optimizer_is_not_split():
    estimator = TruncatedBackprop(PROBLEMS, num_tasks=1, devices=2, **TRUNCATED)
    with pytest.raises(InvalidValueError, match="at most as many devices as tasks"):
        Imitation(estimator, [optax.sgd(0.1)]).init(drawn("lstm"), jax.random.key(0))
