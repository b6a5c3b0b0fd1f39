"""Arithmetic on pytrees of arrays."""

import hashlib
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PyTree

from optoscope._core.keys import is_key, key_numbers
from optoscope._core.roots import safe_root


def global_norm(tree: PyTree[Array]) -> Float[Array, ""]:
    """The Euclidean norm of all leaves taken as one vector."""
    return safe_root(squared_norm(tree))


def squared_norm(tree: PyTree[Array]) -> Float[Array, ""]:
    """The sum of the squares of all leaves' entries."""
    squares = sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(tree))
    return jnp.asarray(squares + 0.0)


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


def difference(got: PyTree, wanted: PyTree, what: str, *, types: bool = False) -> str | None:
    """How a tree differs from the one that it should be like, in words; None if it does not.

    Args:
        got: arrays, or shape structs.
        wanted: the same.
        what: how the words call `wanted`.
        types: whether leaves must have the same type too; if not, they must be real
            floating-point numbers.

    Example:
        >>> difference({"m": jnp.ones(2)}, {"m": jnp.ones(3)}, "the state before")
        "of shape (2,) at ['m'], while the state before has (3,) there"
    """
    structures = jax.tree.structure(got), jax.tree.structure(wanted)
    if structures[0] != structures[1]:
        return f"of the structure {structures[0]}, while {what} has {structures[1]}"
    pairs = zip(jax.tree_util.tree_leaves_with_path(got), jax.tree.leaves(wanted), strict=True)
    for (path, leaf), like in pairs:
        place = jax.tree_util.keystr(path) or "all of it"
        try:
            shape, dtype = _shape_and_type(leaf)
        except TypeError:
            return f"that holds {leaf!r} at {place}, which is no array"
        like_shape, like_type = _shape_and_type(like)
        if shape != like_shape:
            return f"of shape {shape} at {place}, while {what} has {like_shape} there"
        if types and dtype != like_type:
            return f"of type {dtype} at {place}, while {what} has {like_type} there"
        if not types and not jnp.issubdtype(dtype, jnp.floating):
            return f"of type {dtype} at {place}; they must be real floating-point numbers"
    return None


def _shape_and_type(leaf: Any) -> tuple[tuple[int, ...], Any]:
    if isinstance(leaf, jax.ShapeDtypeStruct) or is_key(leaf):
        return leaf.shape, leaf.dtype
    return jnp.shape(leaf), jnp.result_type(leaf)


def select(condition: Bool[Array, ""], if_true: PyTree, if_false: PyTree) -> PyTree:
    """Leaf by leaf `if_true` where the scalar condition holds, else `if_false`."""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), if_true, if_false)


def joined(tree: PyTree[Array]) -> dict[str, Float[Array, " entries"]]:
    """The leaves of each type in one vector, by the type's name.

    What is done to every number alike is compiled once for a vector, and once for every shape
    in a tree.

    Example:
        >>> jax.tree.map(jnp.shape, joined({"a": jnp.ones((2, 2)), "b": jnp.zeros(3)}))
        {'float32': (7,)}
    """
    by_type: dict[str, list[Array]] = {}
    for leaf in jax.tree.leaves(tree):
        by_type.setdefault(leaf.dtype.name, []).append(leaf.ravel())
    return {name: jnp.concatenate(vectors) for name, vectors in by_type.items()}


def parted(vectors: dict[str, Float[Array, " entries"]], like: PyTree[Array]) -> PyTree[Array]:
    """The tree that such vectors were joined from.

    Args:
        vectors: as `joined` makes them.
        like: a tree of the same structure, shapes and types.

    Example:
        >>> tree = {"a": jnp.ones((2, 2)), "b": jnp.zeros(3)}
        >>> jax.tree.map(jnp.shape, parted(joined(tree), tree))
        {'a': (2, 2), 'b': (3,)}
    """
    ends = dict.fromkeys(vectors, 0)

    def cut(leaf: Array) -> Array:
        name = leaf.dtype.name
        start = ends[name]
        ends[name] += leaf.size
        return vectors[name][start : ends[name]].reshape(leaf.shape)

    return jax.tree.map(cut, like)


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
