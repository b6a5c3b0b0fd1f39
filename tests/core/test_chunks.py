"""How many items go side by side, and that chunks change nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optoscope._core.chunks import map_chunked, side_by_side


@pytest.mark.parametrize("num_items", [1, 10])
def test_side_by_side_stays_between_one_and_all(num_items):
    assert side_by_side(2**50, num_items) == 1
    assert side_by_side(0, num_items) == num_items
    few = side_by_side(2**20, 10_000)
    assert few < side_by_side(2**18, 10_000)


@pytest.mark.parametrize("chunk_size", [1, 2, 3, 5, 7])
def test_chunks_of_anything_are_the_vectorized_map(chunk_size):
    keys = jax.random.split(jax.random.key(0), 5)
    items = {"key": keys, "x": jnp.arange(10.0).reshape(5, 2), "empty": jnp.zeros((5, 0))}

    def function(item):
        draws = jax.random.normal(item["key"], (2,))
        return {"y": draws * item["x"], "none": item["empty"], "matrix": jnp.zeros((0, 3))}

    expected = jax.vmap(function)(items)
    found = jax.jit(lambda items: map_chunked(function, items, chunk_size))(items)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), found, expected)
    assert found["matrix"].shape == (5, 0, 3)
