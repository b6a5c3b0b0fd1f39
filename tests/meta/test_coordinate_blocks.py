"""Going back through a block of coordinates at a time gives the meta-gradient of all at once."""

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest

from optoscope import optimizers, tasks
from optoscope.meta import (
    FullBackprop,
    Objective,
    TruncatedBackprop,
    _backprop,
    _coordinate_blocks,
)
from optoscope.tasks import LeastSquares
from optoscope.training import initial_state
from support.by_coordinate import Bowls, assert_same_gradients, drawn, estimates

# Neither these parameters nor a half of them are a whole number of blocks of 16.
PROBLEMS = Bowls(77)
TRUNCATED = {"truncation": 3, "horizon": 6}
FULL = {"horizon": 4, "second_order": False}


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


def _by_steps(estimator, optimizer):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_coordinate_blocks, "num_cores", lambda: 100)
        return estimates(estimator, optimizer)


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
    optimizer = drawn(name)
    options = (TRUNCATED if kind is TruncatedBackprop else FULL) | {"num_tasks": 1} | options
    estimator = kind(PROBLEMS, **options)
    at_once = _by_steps(estimator, optimizer)
    assert not used
    by_blocks = estimates(estimator, optimizer)
    assert set(used) == {16}
    assert_same_gradients(at_once, by_blocks)


def test_a_run_that_diverges_is_left_out(used):
    optimizer = eqx.tree_at(lambda one: one.readout, drawn("lstm"), replace_fn=lambda x: 1e30 * x)
    for gradient in estimates(TruncatedBackprop(PROBLEMS, **TRUNCATED), optimizer)[0]:
        assert float(gradient.aux["non_finite"]) == 1
        assert all(not jnp.any(leaf) for leaf in jax.tree.leaves(gradient.gradient))
    assert used


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
    _trace(PROBLEMS, drawn("lstm"), **options)
    assert not used


class Derived(optimizers.LSTMOptimizer):
    """One of a person's own, which might let coordinates see each other."""


def test_neither_do_other_optimizers_nor_models_with_a_state(used):
    _trace(PROBLEMS, optimizers.get("star"))
    _trace(PROBLEMS, Derived.create(jax.random.key(0), hidden_size=3))
    counting = tasks.from_functions(
        lambda key: (jnp.ones(PROBLEMS.num_parameters), jnp.zeros(())),
        lambda params, state, batch, key: (jnp.sum(params**2), state + 1),
        lambda key: None,
        has_state=True,
    )
    _trace(tasks.fixed(counting), drawn("lstm"))
    assert not used
    own = tasks.from_functions(
        lambda key: jnp.ones(PROBLEMS.num_parameters),
        lambda params, batch, key: jnp.sum(params**2),
        lambda key: None,
    )
    _trace(tasks.fixed(own), drawn("lstm"))
    assert used


def _trace(problems, optimizer, **options):
    estimator = TruncatedBackprop(problems, **(TRUNCATED | options))
    workers = estimator.init(optimizer, jax.random.key(0))
    eqx.filter_eval_shape(estimator.estimate, optimizer, workers, jax.random.key(1))


def test_few_coordinates_are_one_piece_and_many_have_blocks_that_repeat_few():
    optimizer = optimizers.get("lstm")
    for count, length in [(37, None), (700, None), (7955, 400), (15_910, 432)]:
        task = LeastSquares(jnp.ones((1, count)), jnp.ones(1), jnp.ones(count), jnp.zeros(()))
        inner = initial_state(task, optimizer, jax.random.key(0))
        assert _coordinate_blocks.block_length(optimizer, inner, 10_000) == length
