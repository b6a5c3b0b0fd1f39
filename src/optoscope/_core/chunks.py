"""Maps a function over many items in chunks, each as large as memory allows."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

# What the items that advance side by side may hold: on a CPU about a cache, elsewhere memory.
_CHUNK_BYTES = {"cpu": 8 * 2**20}
_ACCELERATOR_CHUNK_BYTES = 2**30


def side_by_side(bytes_each: int, num_items: int) -> int:
    """How many items of `bytes_each` one vectorized chunk should hold on the default device."""
    budget = _CHUNK_BYTES.get(jax.default_backend(), _ACCELERATOR_CHUNK_BYTES)
    return max(1, min(num_items, budget // max(1, bytes_each)))


def map_chunked(function: Any, items: PyTree[Array], chunk_size: int) -> PyTree[Array]:
    """`vmap(function)(items)`, at most `chunk_size` at a time; one at a time is not vectorized.

    All chunks have one size, so that the function is compiled once: `jax.lax.map` with a batch
    size compiles it again for a remainder. The last item may be computed several times.
    """
    count = jax.tree.leaves(items)[0].shape[0]
    num_chunks = -(-count // chunk_size)
    size = -(-count // num_chunks)
    if size == 1:
        return jax.lax.map(function, items)
    vectorized = jax.vmap(function)
    if num_chunks == 1:
        return vectorized(items)

    def cut(leaf: Array) -> Array:
        if num_chunks * size > count:
            leaf = leaf[jnp.minimum(jnp.arange(num_chunks * size), count - 1)]
        return leaf.reshape(num_chunks, size, *leaf.shape[1:])

    done = jax.lax.map(vectorized, jax.tree.map(cut, items))
    return jax.tree.map(lambda leaf: leaf.reshape(num_chunks * size, *leaf.shape[2:])[:count], done)
