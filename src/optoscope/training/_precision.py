"""Parameters of low precision that never move, because every update is rounded away."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

_HALF_OF_FLOAT32 = 2


def low_precision(params: PyTree[Array]) -> tuple[str, ...]:
    """The types of fewer bits than float32 among the parameters, by name."""
    types = {jnp.result_type(leaf) for leaf in jax.tree.leaves(params)}
    return tuple(sorted(t.name for t in types if t.itemsize <= _HALF_OF_FLOAT32))


def unmoved_share(
    start: PyTree[Array], after: PyTree[Array], updates: PyTree[Array]
) -> Float[Array, ""]:
    """The share of low-precision coordinates that still get updates and have never moved.

    Args:
        start: the parameters before the first step.
        after: those after the last.
        updates: what the next step would add.
    """
    stood, updated = jnp.zeros(()), jnp.zeros(())
    for before, now, update in zip(*map(jax.tree.leaves, (start, after, updates)), strict=True):
        if before.dtype.itemsize <= _HALF_OF_FLOAT32:
            moving = update != 0
            stood += jnp.sum(moving & (before == now))
            updated += jnp.sum(moving)
    return stood / jnp.maximum(updated, 1.0)


def warn_unmoved(shares: Float[Array, " runs"], types: tuple[str, ...]) -> None:
    """Warns where most of such coordinates never moved.

    The text is the same at every call, so that Python shows it once.
    """
    if float(np.mean(np.asarray(shares))) <= 0.5:
        return
    epsilon = max(float(jnp.finfo(name).eps) for name in types)
    warnings.warn(
        f"most {' and '.join(types)} parameters never moved, although the optimizer updates them: "
        f"a step below {epsilon / 2:.2g} of a parameter's size is rounded away when it is added. "
        "Keep the parameters in float32 and cast them inside the task's loss, or take larger "
        "steps.",
        stacklevel=3,
    )
