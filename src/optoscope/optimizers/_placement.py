"""Arrays of an optimizer's state that lie on the devices as the parameters they belong to."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, PyTree

# For each axis of a state's array the parameter's axis that it follows, or None.
Axes = tuple[int | None, ...]


def zeros_beside(
    param: Array,
    dtype: DTypeLike,
    *,
    before: tuple[int, ...] = (),
    after: tuple[int, ...] = (),
) -> Float[Array, "..."]:
    """Zeros of a parameter's shape with more axes around it, split over devices as it is.

    Example:
        >>> zeros_beside(jnp.ones((3, 2)), jnp.float32, before=(4,)).shape
        (4, 3, 2)
    """
    shape = jnp.shape(param)
    axes = (*(None for _ in before), *range(len(shape)), *(None for _ in after))
    return zeros_along(param, dtype, (*before, *shape, *after), axes)


def zeros_along(
    param: Array, dtype: DTypeLike, shape: tuple[int, ...], axes: Axes
) -> Float[Array, "..."]:
    """Zeros whose axes are split over devices as those of a parameter that they follow."""
    sharding = _known_sharding(param)
    if sharding is not None:
        spec = (*sharding.spec, *[None] * (len(jnp.shape(param)) - len(sharding.spec)))
        spec = PartitionSpec(*(None if axis is None else spec[axis] for axis in axes))
        return jnp.zeros(shape, dtype, device=NamedSharding(sharding.mesh, spec))
    zeros = jnp.zeros(shape, dtype)
    if not _placed_by_the_compiler(param):
        return zeros
    followed = tuple(axis for axis in axes if axis is not None)
    others = tuple(axis for axis in range(param.ndim) if axis not in followed)
    places = tuple(place for place, axis in enumerate(axes) if axis is not None)
    false = jnp.any(_false(param), others)
    return zeros + jax.lax.broadcast_in_dim(false, shape, places).astype(dtype)


def follow(state: PyTree[Any], params: PyTree[Array]) -> PyTree[Any]:
    """A state whose every copy of the parameters' structure is split over devices as they are.

    Outside a compiled function, and where shardings are part of the types, Optax's own zeros
    are already; inside one the compiler would give every device a whole copy.
    """
    leaves, structure = jax.tree.flatten(params)
    if not any(map(_placed_by_the_compiler, leaves)):
        return state

    def a_copy(node: Any) -> bool:
        return jax.tree.structure(node) == structure

    def placed(leaf: Any, param: Array) -> Any:
        if jnp.shape(leaf) != param.shape or not _placed_by_the_compiler(param):
            return leaf
        return leaf + _false(param).astype(leaf.dtype)

    return jax.tree.map(
        lambda node: jax.tree.map(placed, node, params) if a_copy(node) else node,
        state,
        is_leaf=a_copy,
    )


def _false(param: Array) -> Bool[Array, "..."]:
    """False at every coordinate, NaN too, which the compiler computes where the coordinate is.

    `jax.experimental.shard_alike` would say so without computing, but in JAX 0.10 it puts all
    arrays of one shape into one group, whichever parameter they belong to.
    """
    return param > jnp.inf


def _known_sharding(param: Any) -> NamedSharding | None:
    """The sharding of an array that is there, or that its type tells inside a compiled function."""
    if isinstance(param, Tracer):
        sharding = jax.typeof(param).sharding
        explicit = any(part is not None for part in sharding.spec)
        return sharding if explicit else None
    sharding = getattr(param, "sharding", None)
    if isinstance(sharding, NamedSharding) and sharding.num_devices > 1:
        return sharding
    return None


def _placed_by_the_compiler(param: Any) -> bool:
    """Whether it is inside a compiled function for several devices that hides where it lies."""
    if not isinstance(param, Tracer) or param.ndim == 0 or jax.device_count() == 1:
        return False
    sharding = jax.typeof(param).sharding
    manual = AxisType.Manual in sharding.mesh.axis_types
    return not manual and all(part is None for part in sharding.spec)
