"""Clipping of meta-gradients that survives what is not finite."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int, PyTree

from optoscope._core.errors import check_number


class ClipState(NamedTuple):
    """How many entries were not finite so far, over all steps."""

    non_finite: Int[Array, ""]


def clip_elementwise(bound: float | int) -> optax.GradientTransformation:
    """Clips every entry of a gradient to [−bound, bound]; put it before the meta-optimizer.

    An infinite entry becomes ±bound and NaN becomes 0, where `optax.clip` leaves NaN as it is.
    Each is counted in the state, `ClipState.non_finite`. `Trainer` skips a meta-step whose
    gradient is not finite before any transformation sees it, and the estimators leave out the
    tasks at fault: what is left for this to save is a meta-optimizer run without them.

    Source: paper B, appendix D.2 (5, "applied to each parameter independently").

    Args:
        bound: the largest size an entry keeps, above 0.

    Raises:
        InvalidValueError: a bound that is not positive.

    Example:
        >>> clip = clip_elementwise(5.0)
        >>> grads = jnp.array([7.0, -1.0, jnp.inf, -jnp.inf, jnp.nan])
        >>> clipped, state = clip.update(grads, clip.init(grads))
        >>> clipped.tolist(), int(state.non_finite)
        ([5.0, -1.0, 5.0, -5.0, 0.0], 3)
    """
    check_number("bound", bound, minimum=0, exclusive_minimum=True)

    def init(params: PyTree[Array]) -> ClipState:
        del params
        return ClipState(jnp.zeros((), jnp.int32))

    def update(
        updates: PyTree[Array], state: Any, params: PyTree[Array] | None = None
    ) -> tuple[PyTree[Array], Any]:
        del params
        broken = [jnp.sum(~jnp.isfinite(leaf)) for leaf in jax.tree.leaves(updates)]
        clipped = jax.tree.map(
            lambda leaf: jnp.clip(jnp.where(jnp.isnan(leaf), 0.0, leaf), -bound, bound).astype(
                leaf.dtype
            ),
            updates,
        )
        return clipped, ClipState(state.non_finite + sum(broken, jnp.zeros((), jnp.int32)))

    return optax.GradientTransformation(init, update)
