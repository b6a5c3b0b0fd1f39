"""Arithmetic on pytrees of arrays."""

import hashlib
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PyTree

from optoscope._core.keys import key_numbers
from optoscope._core.roots import safe_root


def global_norm(tree: PyTree[Array]) -> Float[Array, ""]:
    """The Euclidean norm of all leaves taken as one vector."""
    squares = sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(tree))
    return safe_root(jnp.asarray(squares + 0.0))


def fresh_arrays(tree: PyTree) -> PyTree:
    """The tree with copies of the arrays of NumPy in it; for `jax.enable_x64`.

    JAX keeps what it made of an array in the other precision for as long as anything that it
    traced then is alive, and takes it again: float64 would come out as float32, or not at all.

    Example:
        >>> array = np.ones(2)
        >>> fresh_arrays([array, 0.5])[0] is array
        False
    """
    return jax.tree.map(lambda leaf: np.array(leaf) if isinstance(leaf, np.ndarray) else leaf, tree)


def select(condition: Bool[Array, ""], if_true: PyTree, if_false: PyTree) -> PyTree:
    """Leaf by leaf `if_true` where the scalar condition holds, else `if_false`."""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), if_true, if_false)


def size(tree: PyTree[Array | jax.ShapeDtypeStruct]) -> int:
    """The number of scalars in all leaves (arrays or shape structs)."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def num_bytes(tree: PyTree[Any]) -> int:
    """The memory of all array leaves (or shape structs), in bytes."""
    return sum(
        math.prod(leaf.shape) * leaf.dtype.itemsize
        for leaf in jax.tree.leaves(tree)
        if hasattr(leaf, "dtype")
    )


def digest(tree: PyTree[Any]) -> str:
    """A sha256 over structure, shapes, types and bytes: equal only for bit-identical trees."""
    leaves, structure = jax.tree.flatten(tree)
    result = hashlib.sha256(str(structure).encode())
    for leaf in leaves:
        array = np.asarray(key_numbers(leaf))
        result.update(f"{array.dtype}{array.shape}".encode())
        result.update(np.ascontiguousarray(array).tobytes())
    return result.hexdigest()
