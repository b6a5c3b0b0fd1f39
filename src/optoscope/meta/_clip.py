"""Clipping of meta-gradients, after they are taken or on their way back through an unroll."""

from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int, PyTree

from optoscope._core.errors import check_number
from optoscope._core.trees import select
from optoscope.optimizers._one_vector import norm_over_devices


class ClipState(NamedTuple):
    """How many entries were not finite so far, over all steps."""

    non_finite: Int[Array, ""]


def clip_elementwise(bound: float | int) -> optax.GradientTransformation:
    """Clips every entry of a gradient to [−bound, bound]; put it before the meta-optimizer.

    An infinite entry becomes ±bound and NaN becomes 0, where `optax.clip` leaves NaN as it is.
    Each is counted in the state, `ClipState.non_finite`. `Trainer` skips a meta-step whose
    gradient is not finite before any transformation sees it, and the estimators leave out
    non-finite tasks, so this protection is needed only where neither of them is used.

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


def clip_backward(tree: PyTree, largest: float) -> PyTree:
    """Returns the tree unchanged, and clips the gradient that flows back through it.

    Applied to the carry of every step of an unroll, it keeps meta-gradients from exploding: the
    gradient that a step passes on to the steps before it has at most the norm `largest`, while
    the gradient of the step's own update is not clipped. A non-finite gradient becomes zero.

    Source: Graves (2013), "Generating sequences with recurrent neural networks", section 3, who
    clips each entry; here the direction is kept.

    Args:
        tree: any tree; leaves that are no inexact arrays pass.
        largest: Euclidean norm, over all leaves, of the gradient that leaves it backwards.

    Example:
        >>> value, slope = jax.value_and_grad(lambda x: 100 * clip_backward(x, 3.0))(jnp.ones(()))
        >>> float(value), float(slope)
        (100.0, 3.0)
    """
    arrays, rest = eqx.partition(tree, eqx.is_inexact_array)
    return eqx.combine(_clipped_backward(largest, arrays), rest)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _clipped_backward(largest: float, tree: PyTree[Array]) -> PyTree[Array]:
    return tree


def _forward(largest: float, tree: PyTree[Array]) -> tuple[PyTree[Array], None]:
    return tree, None


def _backward(largest: float, _: None, gradient: PyTree[Array]) -> tuple[PyTree[Array]]:
    norm = norm_over_devices(gradient)
    factor = largest / jnp.maximum(norm, largest)
    shortened = jax.tree.map(lambda leaf: (leaf * factor).astype(leaf.dtype), gradient)
    nothing = jax.tree.map(jnp.zeros_like, gradient)
    return (select(jnp.isfinite(norm), shortened, nothing),)


_clipped_backward.defvjp(_forward, _backward)
