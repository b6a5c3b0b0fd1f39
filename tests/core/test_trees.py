import hashlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optoscope._core import trees
from optoscope._core.non_finite import all_finite

TREE = {"a": jnp.array([3.0, 0.0]), "b": (jnp.array(4.0), jnp.zeros((0, 2)))}


def test_global_norm_of_a_triangle():
    assert float(trees.global_norm(TREE)) == 5.0


def test_global_norm_is_that_of_the_concatenation():
    leaves = [np.random.default_rng(seed).normal(size=(seed + 1, 2)) for seed in range(4)]
    expected = np.linalg.norm(np.concatenate([leaf.ravel() for leaf in leaves]))
    computed = trees.global_norm([jnp.asarray(leaf, jnp.float32) for leaf in leaves])
    np.testing.assert_allclose(computed, expected, rtol=1e-6)


def test_global_norm_of_nothing_is_zero():
    assert float(trees.global_norm({})) == 0.0


@pytest.mark.parametrize("bad", [jnp.nan, jnp.inf, -jnp.inf])
def test_all_finite_sees_one_bad_entry_anywhere(bad):
    assert bool(all_finite(TREE))
    assert not bool(all_finite(TREE | {"a": TREE["a"].at[1].set(bad)}))
    assert not bool(all_finite({**TREE, "c": jnp.asarray(bad)}))


def test_all_finite_of_nothing_holds():
    assert bool(all_finite(()))
    assert bool(all_finite({"counts": jnp.arange(3)}))


@pytest.mark.parametrize("place", ["many small", "large"])
def test_all_finite_sees_small_and_large_arrays(place):
    tree = {
        "many small": [jnp.ones(3), jnp.ones((2, 2), jnp.bfloat16), jnp.ones(())],
        "large": jnp.ones((100, 100)),
        "count": jnp.arange(3),
    }
    assert bool(jax.jit(all_finite)(tree))
    for index in range(len(jax.tree.leaves(tree[place]))):
        leaves, structure = jax.tree.flatten(tree[place])
        leaves[index] = leaves[index].at[(-1,) * leaves[index].ndim].set(jnp.nan)
        assert not bool(all_finite(tree | {place: jax.tree.unflatten(structure, leaves)}))


def test_joined_leaves_come_back():
    tree = {
        "a": jnp.arange(6.0).reshape(2, 3),
        "b": (jnp.arange(2), None, jnp.ones((0, 4)), jnp.asarray(7.0)),
        "c": jnp.ones((2, 2), jnp.bfloat16),
    }
    vectors = trees.joined(tree)
    assert {name: vector.shape for name, vector in vectors.items()} == {
        "float32": (7,),
        "int32": (2,),
        "bfloat16": (4,),
    }
    assert vectors["float32"].tolist() == [0, 1, 2, 3, 4, 5, 7]
    assert trees.digest(trees.parted(vectors, tree)) == trees.digest(tree)
    assert trees.parted(trees.joined(()), ()) == ()


@pytest.mark.parametrize("condition", [True, False])
def test_select_takes_whole_trees(condition):
    other = jax.tree.map(lambda leaf: leaf + 1, TREE)
    chosen = jax.jit(trees.select)(jnp.asarray(condition), TREE, other)
    assert trees.digest(chosen) == trees.digest(TREE if condition else other)


def test_select_hides_nan_in_the_branch_not_taken():
    chosen = trees.select(jnp.asarray(False), {"x": jnp.full(2, jnp.nan)}, {"x": jnp.ones(2)})
    assert chosen["x"].tolist() == [1.0, 1.0]


def test_size_counts_scalars():
    assert trees.size(TREE) == 3
    assert trees.size({}) == 0
    assert trees.size([jax.ShapeDtypeStruct((2, 3), jnp.float32)]) == 6


def test_num_bytes_counts_by_type():
    tree = {
        "half": jnp.zeros((3, 2), jnp.bfloat16),
        "count": jnp.zeros((), jnp.int32),
        "shape": jax.ShapeDtypeStruct((5,), jnp.float32),
        "text": "not an array",
    }
    assert trees.num_bytes(tree) == 12 + 4 + 20


def test_sizes_do_not_overflow_for_shapes_alone():
    huge = jax.ShapeDtypeStruct((2**20, 2**20), jnp.float32)
    assert trees.size(huge) == 2**40
    assert trees.num_bytes(huge) == 2**42


@given(st.integers(0, 7), st.integers(0, 3))
def test_digest_changes_with_any_bit(byte, bit):
    bytes_ = np.arange(1.0, 3.0, dtype=np.float32).tobytes()
    changed = bytearray(bytes_)
    changed[byte] ^= 1 << bit
    before, after = np.frombuffer(bytes_, np.float32), np.frombuffer(bytes(changed), np.float32)
    assert trees.digest({"x": before}) == trees.digest({"x": before.copy()})
    assert trees.digest({"x": before}) != trees.digest({"x": after})


@pytest.mark.parametrize(
    "other",
    [
        {"y": np.zeros(4, np.float32)},
        {"x": np.zeros(4, np.int32)},
        {"x": np.zeros((2, 2), np.float32)},
        {"x": np.zeros(5, np.float32)},
        {"x": -np.zeros(4, np.float32)},
        [np.zeros(4, np.float32)],
    ],
)
def test_digest_sees_structure_type_shape_and_signed_zero(other):
    assert trees.digest({"x": np.zeros(4, np.float32)}) != trees.digest(other)


def test_digest_is_a_sha256_and_does_not_depend_on_memory_order():
    matrix = np.arange(6.0).reshape(2, 3)
    assert trees.digest(matrix) == trees.digest(np.asfortranarray(matrix))
    assert len(trees.digest(matrix)) == hashlib.sha256().digest_size * 2
    assert trees.digest(jnp.ones(3)) == trees.digest(np.ones(3, np.float32))
