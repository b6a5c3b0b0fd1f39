"""Finds each coordinate's state within the optimizer state of a whole run."""

import functools
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from optoscope._core.errors import InvalidValueError
from optoscope.optimizers import Optimizer, Packed, packed_state


class StateLayout(eqx.Module):
    """The shape of an optimizer's state for one scalar parameter; hashable, no arrays.

    Args:
        structure: the state's tree.
        sizes: entries of each leaf.
        axes: for each leaf the axis of coordinates in the state for a vector of parameters; None
            for what is not part of a coordinate's vector.
    """

    structure: Any = eqx.field(static=True)
    sizes: tuple[int, ...] = eqx.field(static=True)
    axes: tuple[int | None, ...] = eqx.field(static=True)

    @property
    def moving(self) -> tuple[bool, ...]:
        """For each leaf whether it is part of the coordinate's vector."""
        return tuple(axis is not None for axis in self.axes)

    @classmethod
    def of(cls, optimizer: Optimizer, *, packed: bool = False) -> "StateLayout":
        """The layout of an optimizer's states: floats that each coordinate has for itself.

        Args:
            optimizer: whose states they are.
            packed: whether they are of this library's own loops, see `init_packed`.
        """
        start = functools.partial(packed_state, optimizer) if packed else optimizer.init

        def shapes(*shape: int) -> PyTree[jax.ShapeDtypeStruct]:
            return jax.eval_shape(start, jax.ShapeDtypeStruct(shape, jnp.float32))

        leaves, structure = jax.tree.flatten(shapes())
        one, two = jax.tree.leaves(shapes(1)), jax.tree.leaves(shapes(2))
        axes = tuple(
            _growing_axis(first.shape, second.shape)
            if jnp.issubdtype(leaf.dtype, jnp.floating)
            else None
            for leaf, first, second in zip(leaves, one, two, strict=True)
        )
        return cls(structure, tuple(int(np.prod(leaf.shape)) for leaf in leaves), axes)

    def vectors(
        self, state: PyTree[Any], params: PyTree[Array]
    ) -> Float[Array, "coordinates size"]:
        """The state of a run, one row per coordinate; see `coordinate_states`."""
        try:
            subtrees = self.structure.flatten_up_to(state)
        except ValueError as error:
            raise InvalidValueError(
                f"the state does not belong to this optimizer: {error}"
            ) from None
        shapes = [leaf.shape for leaf in jax.tree.leaves(params)]
        total = sum(int(np.prod(shape)) for shape in shapes)
        parts = [
            _rows(jax.tree.leaves(subtree), (size, axis), shapes, total)
            for subtree, size, axis in zip(subtrees, self.sizes, self.axes, strict=True)
            if axis is not None
        ]
        return jnp.concatenate(parts).T if parts else jnp.zeros((total, 0))


def _growing_axis(one: tuple[int, ...], two: tuple[int, ...]) -> int | None:
    """The axis that is longer for two coordinates than for one."""
    differs = [axis for axis, (a, b) in enumerate(zip(one, two, strict=True)) if a != b]
    return differs[0] if differs else None


def _rows(
    pieces: list[Array],
    expected: tuple[int, int],
    shapes: list[tuple[int, ...]],
    total: int,
) -> Float[Array, "size coordinates"]:
    """One leaf of the state, from one array for all coordinates or from one per parameter array."""
    size, axis = expected
    # What a coordinate keeps comes before the parameter's own axes, or after them.
    per_array = len(pieces) == len(shapes) and all(
        piece.shape[axis : axis + len(shape)] == shape
        for piece, shape in zip(pieces, shapes, strict=True)
    )
    one_vector = len(pieces) == 1 and pieces[0].ndim > axis and pieces[0].shape[axis] == total
    held = sum(piece.size for piece in pieces)
    if held != size * total or not (per_array or one_vector):
        raise InvalidValueError(
            f"a state of {held} numbers cannot be {size} for each of {total} coordinates; "
            "give the parameters that the state was made for."
        )
    # For parameters that are a vector themselves, the axis is known; both readings may fit.
    if one_vector and (not per_array or len(shapes[0]) == 1):
        return jnp.moveaxis(pieces[0], axis, -1).reshape(size, total)
    columns = []
    for piece, shape in zip(pieces, shapes, strict=True):
        before = math.prod(piece.shape[:axis])
        parts = piece.reshape(before, math.prod(shape), -1)
        columns.append(jnp.moveaxis(parts, 1, -1).reshape(size, -1))
    return jnp.concatenate(columns, axis=1)


def coordinate_states(
    optimizer: Optimizer, state: PyTree[Any], params: PyTree[Array]
) -> Float[Array, "coordinates size"]:
    """The vectors h of all coordinates, from the state of a run; can be compiled and vmapped.

    Coordinates come in the order in which `ravel_pytree(params)` puts them, entries of h in that
    of `coordinate_map(optimizer).labels`.

    Args:
        optimizer: whose state it is.
        state: the state for all of `params`.
        params: the parameters, or anything of their structure and shapes.

    Raises:
        InvalidValueError: a state that is not the optimizer's own, or made for other parameters.

    Example:
        >>> from optoscope import optimizers
        >>> adam, params = optimizers.adam(), {"w": jnp.ones((3, 2)), "b": jnp.ones(2)}
        >>> coordinate_states(adam, adam.init(params), params).shape
        (8, 2)
    """
    is_packed = any(
        isinstance(node, Packed)
        for node in jax.tree.leaves(state, is_leaf=lambda node: isinstance(node, Packed))
    )
    return StateLayout.of(optimizer, packed=is_packed).vectors(state, params)
