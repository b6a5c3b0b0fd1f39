"""Coordinate-wise optimizers whose packed state is that of one vector, and its shares on devices.

Such an optimizer treats every coordinate by itself. Several devices can therefore advance a share
of one problem's coordinates each, and need nothing of the others but their updates, once a step.
Parameters, gradients and updates are whole on every device. What speaks of shares here must be
called within `jax.shard_map` over the axis `COORDINATES`.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PyTree

from optoscope._core.errors import InvalidValueError
from optoscope._core.roots import safe_root
from optoscope._core.trees import size, squared_norm
from optoscope.optimizers._base import Optimizer, Packed, as_arrays

# The axis of the mesh over which coordinates are split.
COORDINATES = "coordinates"


class Share(Packed):
    """One device's share of a packed state."""

    __slots__ = ()


def as_one_vector(params: PyTree[ArrayLike]) -> Float[Array, " coordinates"]:
    """A vector with a coordinate for each of the parameters', whatever their values."""
    return jnp.zeros(size(as_arrays(params)))


def update_as_one_vector(
    optimizer: Optimizer, grads: PyTree[ArrayLike], state: Packed
) -> tuple[PyTree[Array], Packed]:
    """The update of an optimizer whose packed state is that for all coordinates as one vector."""
    vector, unravel = ravel_pytree(as_arrays(grads))
    if isinstance(state, Share):
        updates, after = optimizer.update(own_coordinates(state, vector), state.state)
        return unravel(_whole(0, vector.size, updates)), Share(after)
    updates, after = optimizer.update(vector, state.state)
    return unravel(updates), Packed(after)


def goes_by_coordinates(optimizer: Optimizer) -> bool:
    """Whether its packed state can be cut into coordinates, each of which goes by itself.

    A class says so for itself alone: what is derived from it may let coordinates see each other.
    """
    return vars(type(optimizer)).get("coordinate_axis") is not None


def check_can_share(optimizer: Optimizer) -> None:
    """Raises InvalidValueError for an optimizer whose coordinates cannot be split over devices."""
    if not goes_by_coordinates(optimizer):
        raise InvalidValueError(
            "there are more devices than tasks, so that several would share the coordinates of "
            "one. Only LSTMOptimizer, RNNOptimizer and RNNPropOptimizer allow it, where they do "
            "not imitate another. Use at most as many devices as tasks."
        )


def axis_of_coordinates(optimizer: Any, leaf: Array) -> int | None:
    """Which axis of an array of the state goes over the coordinates; None for a number."""
    return optimizer.coordinate_axis % leaf.ndim if leaf.ndim else None


def own_coordinates(state: Packed, vector: Float[Array, " all"]) -> Float[Array, " coordinates"]:
    """Those entries of a vector of all coordinates that the state is for."""
    return _own(0, vector) if isinstance(state, Share) else vector


def own_share(optimizer: Optimizer, state: Packed) -> Share:
    """The share of a packed state that this device advances; the last is filled up with zeros."""
    return Share(
        jax.tree.map(lambda leaf: _own(axis_of_coordinates(optimizer, leaf), leaf), state.state)
    )


def whole_state(optimizer: Optimizer, state: Share, params: PyTree[Array]) -> Packed:
    """The packed state for these parameters, of which every device has its share."""
    count = size(params)
    return Packed(
        jax.tree.map(
            lambda leaf: _whole(axis_of_coordinates(optimizer, leaf), count, leaf), state.state
        )
    )


@jax.custom_vjp
def used_by_all(weights: PyTree[Array]) -> PyTree[Array]:
    """The weights, for use on shares alone: their gradient is the sum over the devices."""
    return weights


used_by_all.defvjp(
    lambda weights: (weights, None), lambda _, slopes: (jax.lax.psum(slopes, COORDINATES),)
)


def norm_over_devices(tree: PyTree[Array]) -> Float[Array, ""]:
    """The Euclidean norm of all leaves, a `Share` counting with those of the other devices."""

    def a_share(node: Any) -> bool:
        return isinstance(node, Share)

    def squares(node: Any) -> Array:
        own = squared_norm(node)
        return jax.lax.psum(own, COORDINATES) if a_share(node) else own

    nodes = jax.tree.leaves(tree, is_leaf=a_share)
    return safe_root(jnp.asarray(sum(map(squares, nodes)) + 0.0))


def _own(axis: int | None, whole: Array) -> Array:
    return whole if axis is None else _cut(axis, whole.shape[axis], whole)


def _whole(axis: int | None, length: int, share: Array) -> Array:
    return share if axis is None else _gathered(axis, length, share)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _cut(axis: int, length: int, whole: Array) -> Array:
    """The share of this device in an array that every one has, of this length along the axis."""
    devices = jax.lax.psum(1, COORDINATES)
    own = -(-length // devices)
    missing = [(0, own * devices - length if axis == other else 0) for other in range(whole.ndim)]
    start = own * jax.lax.axis_index(COORDINATES)
    return jax.lax.dynamic_slice_in_dim(jnp.pad(whole, missing), start, own, axis)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _gathered(axis: int, length: int, share: Array) -> Array:
    """The array whose shares the devices have."""
    gathered = jax.lax.all_gather(share, COORDINATES, axis=axis, tiled=True)
    return jax.lax.slice_in_dim(gathered, 0, length, axis=axis)


# What is whole is used in the same way on every device, each of which so has the whole slope;
# JAX's own rules would add these up.
_cut.defvjp(
    lambda axis, length, whole: (_cut(axis, length, whole), None),
    lambda axis, length, _, slope: (_gathered(axis, length, slope),),
)
_gathered.defvjp(
    lambda axis, length, share: (_gathered(axis, length, share), None),
    lambda axis, length, _, slope: (_cut(axis, length, slope),),
)
