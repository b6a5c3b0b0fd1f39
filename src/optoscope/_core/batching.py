"""Decisions that all items of a surrounding `vmap` take together."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool


@jax.custom_batching.custom_vmap
def anywhere(flag: Bool[Array, ""]) -> Bool[Array, ""]:
    """Whether the flag is true for any item of the surrounding `vmap`; one answer for all.

    A `lax.cond` on it stays one: on a flag of its own for each item both branches are computed.

    Example:
        >>> jax.vmap(lambda flag: flag | anywhere(flag))(jnp.array([False, True])).tolist()
        [True, True]
    """
    return flag


@anywhere.def_vmap
def _any_of_the_batch(
    axis_size: int, in_batched: list[bool], flags: Bool[Array, " items"]
) -> tuple[Bool[Array, ""], bool]:
    del axis_size, in_batched
    return anywhere(jnp.any(flags)), False
