"""Going back through a block of coordinates at a time gives the meta-gradient of all at once."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optoscope import optimizers, tasks
from optoscope.meta import (
    FullBackprop,
    Objective,
    TruncatedBackprop,
    _backprop,
    _coordinate_blocks,
)
from optoscope.tasks import LeastSquares, TaskDistribution
from optoscope.training import initial_state

NUM_PARAMETERS = 77


class Bowls(TaskDistribution):
    """Problems whose parameters, and a half of them, are no whole number of blocks of 16."""

    def sample(self, key):
        matrix, target, start = (
            jax.random.normal(jax.random.fold_in(key, index), shape)
            for index, shape in enumerate([(4, NUM_PARAMETERS), (4,), (NUM_PARAMETERS,)])
        )
        return LeastSquares(matrix / 4, target, start, jnp.zeros(()))


OPTIMIZERS = {
    "lstm": {"hidden_size": 3},
    "rnn": {"hidden_size": 3, "input_scaling": "normalized"},
    "rnnprop": {"hidden_size": 2, "num_layers": 1},
}
TRUNCATED = {"truncation": 3, "horizon": 6}
FULL = {"horizon": 4, "second_order": False}


def _optimizer(name):
    """A drawn optimizer none of whose weights is zero, so that each has a meta-gradient."""
    arrays, rest = eqx.partition(optimizers.get(name, **OPTIMIZERS[name]), eqx.is_inexact_array)
    leaves, structure = jax.tree.flatten(arrays)
    keys = jax.random.split(jax.random.key(5), len(leaves))
    moved = [
        leaf + 0.3 * jax.random.normal(key, leaf.shape)
        for key, leaf in zip(keys, leaves, strict=True)
    ]
    return eqx.combine(structure.unflatten(moved), rest)


@pytest.fixture
def used(monkeypatch):
    """The lengths of the blocks used; they are small, and no device has more than one core."""
    lengths = []

    def noted(*args):
        lengths.append(args[-1])
        return _coordinate_blocks.unroll_by_blocks(*args)

    monkeypatch.setattr(_backprop, "unroll_by_blocks", noted)
    monkeypatch.setattr(_coordinate_blocks, "num_cores", lambda: 1)
    monkeypatch.setattr(_coordinate_blocks, "_STATE_BYTES", 1)
    return lengths


def _estimates(kind, optimizer, **options):
    """Three estimates one after the other: over the end of a horizon, where there is one."""
    estimator = kind(Bowls(), **options)
    # A function of its own is traced anew; equal estimators' methods would not be.
    estimate = eqx.filter_jit(lambda *args: estimator.estimate(*args))
    workers = estimator.init(optimizer, jax.random.key(0))
    gradients = []
    for step in range(3):
        gradient, workers = estimate(optimizer, workers, jax.random.key(step))
        gradients.append(gradient)
    return gradients, workers


def _by_steps(kind, optimizer, **options):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_coordinate_blocks, "num_cores", lambda: 100)
        return _estimates(kind, optimizer, **options)


def _assert_close(first, second):
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=2e-4, atol=1e-6),
        first,
        second,
    )


@pytest.mark.parametrize(
    ("name", "kind", "options"),
    [
        ("lstm", TruncatedBackprop, {"devices": 2, "objective": Objective("mean_log")}),
        ("rnnprop", TruncatedBackprop, {"devices": 2, "num_tasks": 2}),
        ("rnn", FullBackprop, {"relative": True}),
        ("rnnprop", FullBackprop, {"devices": 2}),
        ("rnn", FullBackprop, {"num_tasks": 3}),  # side by side
    ],
)
def test_blocks_give_the_meta_gradients_of_all_coordinates_at_once(used, name, kind, options):
    optimizer = _optimizer(name)
    options = (TRUNCATED if kind is TruncatedBackprop else FULL) | {"num_tasks": 1} | options
    at_once = _by_steps(kind, optimizer, **options)
    assert not used
    by_blocks = _estimates(kind, optimizer, **options)
    assert set(used) == {16}
    for leaf in jax.tree.leaves(at_once[0][0].gradient):
        assert float(jnp.linalg.norm(leaf)) > 1e-6
    _assert_close(at_once, by_blocks)


def _squares(record):
    return jnp.sum(record.updates**2)


@pytest.mark.parametrize(
    "options",
    [
        {"second_order": True},
        {"backward_clip": 0.05},
        {"horizon": 5},
        {"objective": Objective(penalties=(_squares,))},
    ],
)
def test_what_depends_on_more_than_a_block_does_not_use_them(used, options):
    _trace(Bowls(), _optimizer("lstm"), **options)
    assert not used


def test_neither_do_other_optimizers_nor_models_with_a_state(used):
    _trace(Bowls(), optimizers.get("star"))
    counting = tasks.from_functions(
        lambda key: (jnp.ones(NUM_PARAMETERS), jnp.zeros(())),
        lambda params, state, batch, key: (jnp.sum(params**2), state + 1),
        lambda key: None,
        has_state=True,
    )
    _trace(tasks.fixed(counting), _optimizer("lstm"))
    assert not used


def _trace(problems, optimizer, **options):
    estimator = TruncatedBackprop(problems, **(TRUNCATED | options))
    workers = estimator.init(optimizer, jax.random.key(0))
    eqx.filter_eval_shape(estimator.estimate, optimizer, workers, jax.random.key(1))


def test_few_coordinates_are_one_piece_and_many_have_blocks_that_repeat_few():
    optimizer = optimizers.get("lstm")

    for count, length in [(37, None), (700, None), (7955, 400), (15_910, 432)]:
        task = LeastSquares(jnp.ones((1, count)), jnp.ones(1), jnp.ones(count), jnp.zeros(()))
        inner = initial_state(task, optimizer, jax.random.key(0))
        assert _coordinate_blocks.block_length(task, optimizer, inner, 10_000) == length
