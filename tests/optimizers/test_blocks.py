"""Tensors side by side: none is lost, none is changed, and none knows of the others."""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from optoscope.optimizers._blocks import blocks, vectorized_axes
from support.registered import registered

SHAPES = st.lists(
    st.lists(st.sampled_from([0, 1, 3, 10, 16, 32]), max_size=4).map(tuple), min_size=1, max_size=8
)
# Of one shape, of one that is turned, short vectors and scalars, large tensors and empty ones.
TREE = [(16, 10), (7,), (16, 10), (), (3, 5), (32, 16), (2000,), (16, 10), (129, 128), (0,), (1,)]
TREE += [(129, 128), (3, 3, 16, 5), (3, 3, 16, 5), (0, 4)]


@settings(max_examples=60, deadline=None)
@given(SHAPES)
def test_every_tensor_with_coordinates_is_in_one_block_and_comes_back(shapes):
    leaves = [
        # By NumPy, which compiles no program for each shape.
        jnp.asarray(np.arange(np.prod(shape), dtype=np.float32).reshape(shape) + np.float32(place))
        for place, shape in enumerate(shapes)
    ]
    places = []
    for block in blocks(shapes):
        stacked = block.stack(leaves, jnp.float32)
        expected = (len(block.shapes), *block.shape) if block.stacked else block.shape
        assert stacked.shape == expected
        real = block.real()
        if real is not None:
            assert not np.asarray(stacked)[~real].any()
            assert real.sum() == sum(leaves[place].size for place in block.places)
        for place, tensor in zip(block.places, block.unstack(stacked), strict=True):
            np.testing.assert_array_equal(tensor.reshape(leaves[place].shape), leaves[place])
        places += block.places
    assert sorted(places) == [place for place, leaf in enumerate(leaves) if leaf.size]


@given(st.lists(st.sampled_from([1, 3, 10, 16, 32, 200]), min_size=1, max_size=4).map(tuple))
def test_axes_of_one_length_keep_their_order(shape):
    order = vectorized_axes(shape)
    assert sorted(order) == list(range(len(shape)))
    for length in set(shape):
        assert [axis for axis in order if shape[axis] == length] == [
            axis for axis, other in enumerate(shape) if other == length
        ]
    if any(length % 16 == 0 for length in shape):
        assert shape[order[-1]] % 16 == 0 or shape[order[-1]] >= 128


def steps(optimizer, tree):
    """The updates of four steps."""

    @jax.jit
    def run(tree):
        def step(carry, _):
            params, state = carry
            grads = jax.tree.map(lambda p: jnp.cos(p) * p, params)
            updates, state = optimizer.update(grads, state, params)
            return (jax.tree.map(jnp.add, params, updates), state), updates

        return jax.lax.scan(step, (tree, optimizer.init(tree)), None, length=4)[1]

    return run(tree)


def test_a_tensor_is_treated_as_if_it_were_alone():
    optimizer = registered("star")
    keys = jax.random.split(jax.random.key(1), len(TREE))
    tree = [jax.random.normal(key, shape) for key, shape in zip(keys, TREE, strict=True)]
    together = steps(optimizer, tree)
    for place in (1, 3, 7, 11, 13):
        (alone,) = steps(optimizer, [tree[place]])
        scale = float(jnp.max(jnp.abs(alone)))
        np.testing.assert_allclose(together[place], alone, rtol=0, atol=2e-5 * scale)


def test_what_is_wrong_with_one_tensor_does_not_reach_another():
    optimizer = registered("star")
    tree = [jnp.ones(3), jnp.ones(5), jnp.ones((16, 10)), jnp.ones((16, 10))]
    update = jax.jit(lambda grads: optimizer.update(grads, optimizer.init(tree), tree)[0])
    fine = [0.1 * leaf for leaf in tree]
    expected = update(fine)
    for bad in (jnp.nan, jnp.inf, 1e30):
        found = update([fine[0], fine[1].at[2].set(bad), fine[2].at[1, 1].set(bad), fine[3]])
        for place in (0, 3):
            np.testing.assert_array_equal(found[place], expected[place])


def test_the_state_has_no_arrays_without_entries():
    optimizer = registered("star")
    state = optimizer.init([jnp.ones(shape) for shape in TREE])
    assert all(leaf.size for leaf in jax.tree.leaves(state))
