import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from optoscope._core.errors import InvalidValueError
from optoscope.meta import clip_backward, clip_elementwise

TREE = {"a": jnp.array([[7.0, -0.5], [jnp.inf, jnp.nan]]), "b": (jnp.array(-jnp.inf),)}


def test_every_entry_by_itself():
    clip = clip_elementwise(2)
    clipped, state = clip.update(TREE, clip.init(TREE))
    np.testing.assert_array_equal(clipped["a"], [[2.0, -0.5], [2.0, 0.0]])
    assert float(clipped["b"][0]) == -2.0
    assert int(state.non_finite) == 3


def test_the_count_goes_on_over_steps_and_under_jit():
    clip = clip_elementwise(1.0)
    state = clip.init(TREE)
    for _ in range(3):
        _, state = jax.jit(clip.update)(TREE, state)
    _, state = clip.update(jax.tree.map(jnp.zeros_like, TREE), state)
    assert int(state.non_finite) == 9


def test_finite_gradients_are_those_of_optax():
    grads = {"x": 3 * jax.random.normal(jax.random.key(0), (50,)), "y": jnp.ones((2, 3))}
    ours, theirs = clip_elementwise(0.7), optax.clip(0.7)
    clipped, state = ours.update(grads, ours.init(grads))
    expected, _ = theirs.update(grads, theirs.init(grads))
    jax.tree.map(np.testing.assert_array_equal, clipped, expected)
    assert int(state.non_finite) == 0


def test_types_are_kept_and_a_meta_optimizer_survives():
    grads = {"half": jnp.array([jnp.nan, 9.0], jnp.bfloat16), "full": jnp.array(jnp.inf)}
    chain = optax.chain(clip_elementwise(5.0), optax.adam(0.1))
    params = jax.tree.map(jnp.ones_like, grads)
    updates, _ = chain.update(grads, chain.init(params), params)
    assert jax.tree.map(lambda u: u.dtype, updates) == jax.tree.map(lambda g: g.dtype, grads)
    assert all(np.isfinite(np.asarray(leaf, float)).all() for leaf in jax.tree.leaves(updates))
    assert float(updates["full"]) == pytest.approx(-0.1, rel=1e-3)


@pytest.mark.parametrize("bound", [0, -1.0, float("nan"), float("inf")])
def test_wrong_bounds(bound):
    with pytest.raises(InvalidValueError, match="bound is"):
        clip_elementwise(bound)


def backwards(cotangent, largest):
    _, pull = jax.vjp(lambda tree: clip_backward(tree, largest), cotangent)
    return pull(cotangent)[0]


def test_what_flows_back_is_shortened_over_all_leaves_and_keeps_its_direction():
    tree = {"a": jnp.array([3.0, 0.0]), "b": jnp.array([[4.0]], jnp.bfloat16)}
    short = backwards(tree, 2.5)
    np.testing.assert_allclose(short["a"], [1.5, 0.0], rtol=1e-6)
    assert short["b"].dtype == jnp.bfloat16
    assert float(short["b"][0, 0]) == 2.0
    jax.tree.map(np.testing.assert_array_equal, backwards(tree, 5.1), tree)
    jax.tree.map(np.testing.assert_array_equal, backwards({"a": jnp.zeros(2)}, 1.0), {"a": [0, 0]})


@pytest.mark.parametrize("value", [jnp.inf, jnp.nan])
def test_what_flows_back_and_is_not_finite_is_dropped(value):
    np.testing.assert_array_equal(backwards(jnp.array([1.0, value]), 2.0), [0.0, 0.0])


def test_vectorized_each_is_shortened_by_itself():
    short = jax.vmap(lambda row: backwards(row, 1.0))(jnp.array([[30.0, 40.0], [0.3, 0.4]]))
    np.testing.assert_allclose(short, [[0.6, 0.8], [0.3, 0.4]], rtol=1e-6)


def test_counters_and_keys_pass():
    tree = {"x": jnp.ones(2), "step": jnp.array(3), "key": jax.random.key(0)}
    assert jax.tree.structure(clip_backward(tree, 1.0)) == jax.tree.structure(tree)
    assert int(clip_backward(tree, 1.0)["step"]) == 3
