"""Backpropagation through a coordinate-wise optimizer, one block of coordinates after the other.

Where gradients are constants, what such an optimizer does to a coordinate depends on no other. So
the whole unroll can be gone back through for some coordinates, then for the next. What a step
computes again for a block, several hundred numbers a coordinate, stays in a core's cache.

Math: an update moves the parameters of all later steps, so the derivative of the meta-loss by the
update of step t is Σ_{s>t} w_s g_s, with w_s the derivative by the loss of step s and g_s the
gradient there.
"""

from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int, PyTree

from optoscope._core.cores import num_cores
from optoscope._core.trees import num_bytes
from optoscope.optimizers import Optimizer
from optoscope.optimizers._base import Packed
from optoscope.optimizers._one_vector import (
    axis_of_coordinates,
    goes_by_coordinates,
    own_coordinates,
)
from optoscope.tasks import Task
from optoscope.training import InnerState, inner_step

# The optimizer states of a block. With half as much, and up to four times, an LSTM is as fast.
_STATE_BYTES = 2**17
# Blocks are whole vectors of the processor.
_LANES = 16


class _Steps(eqx.Module):
    """What is kept of one step, or of several, to go back through them.

    Args:
        losses: the losses.
        grads: the gradients, of the coordinates that this device advances.
        states: the optimizer's states of these before the steps.
    """

    losses: Float[Array, "*steps"]
    grads: Float[Array, "*steps coordinates"]
    states: PyTree[Array]


def block_length(optimizer: Optimizer, inner: InnerState, devices: int) -> int | None:
    """How many coordinates to go back through at a time; None where that does not help.

    It helps where every device has one core, and there are several blocks. A model state would
    carry derivatives from one coordinate to others. Blocks have one length, and the last begins in
    the one before it where they do not come out even; of the lengths near the wanted one it is
    the longest of those that repeat the fewest coordinates.

    Args:
        optimizer: any.
        inner: the inner state, of the coordinates that this device advances.
        devices: how many compute at the same time, those of other processes included.
    """
    one_core_each = jax.default_backend() == "cpu" and devices >= num_cores() * jax.process_count()
    if not (one_core_each and goes_by_coordinates(optimizer)) or jax.tree.leaves(inner.model_state):
        return None
    leaves = jax.tree.leaves(inner.optimizer_state)
    axes = [axis_of_coordinates(optimizer, leaf) for leaf in leaves]
    count = max(
        leaf.shape[axis] for leaf, axis in zip(leaves, axes, strict=True) if axis is not None
    )
    wanted = max(_LANES, _STATE_BYTES * count // max(1, num_bytes(leaves)))
    if count < 2 * wanted:
        return None
    lengths = range(-(-wanted * 3 // 4 // _LANES) * _LANES, wanted * 5 // 4 + _LANES, _LANES)
    return min(lengths, key=lambda length: (-(-count // length) * length, -length))


def unroll_by_blocks(
    task: Task, optimizer: Optimizer, inner: InnerState, draws: PyTree[Array], length: int
) -> tuple[InnerState, Float[Array, " steps"]]:
    """The inner state after an unroll, which is a constant, and the losses.

    Their derivatives are those in the optimizer's weights and in its first state.

    Args:
        task: the problem.
        optimizer: one whose coordinates can be shared.
        inner: where to start.
        draws: the random numbers of the steps.
        length: of a block.
    """
    weights, rest = eqx.partition(optimizer, eqx.is_inexact_array)
    fixed = eqx.combine(jax.lax.stop_gradient(weights), rest)

    def step(inner: InnerState, draw: PyTree[Array]) -> tuple[InnerState, _Steps]:
        after, record = inner_step(task, fixed, inner, draw=draw, second_order=False)
        gradient, _ = ravel_pytree(record.grads)
        return after, _Steps(record.loss, own_coordinates(record.state, gradient), record.state)

    after, steps = jax.lax.scan(step, jax.lax.stop_gradient(inner), draws)
    return after, _known(rest, length, weights, inner.optimizer_state, steps)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _known(
    rest: Any, length: int, weights: PyTree[Array], first: Packed, steps: _Steps
) -> Float[Array, " steps"]:
    """The losses of steps that were made with these weights from this first state."""
    del rest, length, weights, first
    return steps.losses


def _forward(
    rest: Any, length: int, weights: PyTree[Array], first: Packed, steps: _Steps
) -> tuple[Float[Array, " steps"], tuple]:
    return steps.losses, (weights, first, steps)


def _backward(rest: Any, length: int, known: tuple, slopes: Float[Array, " steps"]) -> tuple:
    """The slopes of the weights and of the first state, from those of the losses."""
    weights, first, steps = known
    count = steps.grads.shape[1]

    def of_block(block: Int[Array, ""], totals: tuple) -> tuple:
        start = jnp.minimum(block * length, count - length)
        # Those that the block before has had pass nothing on.
        new = start + jnp.arange(length) >= block * length

        def cut(leaf: Array) -> Array:
            axis = axis_of_coordinates(rest, leaf)
            return leaf if axis is None else jax.lax.dynamic_slice_in_dim(leaf, start, length, axis)

        def back(carry: tuple, step: tuple) -> tuple[tuple, None]:
            """From the slopes after a step to those before it: of parameters, states, weights."""
            slope, states, of_weights = carry
            loss_slope, grads, state = step
            gradient = jax.lax.dynamic_slice_in_dim(grads, start, length)
            moving, fixed = eqx.partition(jax.tree.map(cut, state), eqx.is_inexact_array)

            def advance(weights: PyTree[Array], moving: Packed) -> tuple[Array, PyTree[Array]]:
                state = eqx.combine(moving, fixed).state
                updates, after = eqx.combine(weights, rest).update(gradient, state)
                return updates, eqx.filter(after, eqx.is_inexact_array)

            _, pull = jax.vjp(advance, weights, moving)
            more, states = pull((slope, states.state))
            slope += jnp.where(new, loss_slope * gradient, 0).astype(slope.dtype)
            return (slope, states, jax.tree.map(jnp.add, of_weights, more)), None

        def add_cut(total: Array, more: Array) -> Array:
            axis = axis_of_coordinates(rest, total)
            if axis is None:
                return total + more
            return jax.lax.dynamic_update_slice_in_dim(total, cut(total) + more, start, axis)

        of_weights, of_first = totals
        last = (
            jnp.zeros(length, steps.grads.dtype),
            jax.tree.map(lambda leaf: jnp.zeros_like(cut(leaf)), of_first),
            of_weights,
        )
        run = (slopes, steps.grads, steps.states)
        (_, states, of_weights), _ = jax.lax.scan(back, last, run, reverse=True)
        return of_weights, jax.tree.map(add_cut, of_first, states)

    zeros = jax.tree.map(jnp.zeros_like, (weights, eqx.filter(first, eqx.is_inexact_array)))
    of_weights, of_first = jax.lax.fori_loop(0, -(-count // length), of_block, zeros)
    return of_weights, of_first, None


_known.defvjp(_forward, _backward)
