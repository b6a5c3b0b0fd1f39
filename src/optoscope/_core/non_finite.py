"""The handling of numbers that are not finite, in one place; see the guide "Not finite"."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PyTree

from optoscope._core.trees import global_norm, joined, select

Flag = Bool[Array, ""]

# A loop of its own is worth compiling only for an array of more entries.
_SMALL = 4096

# Why a meta-step is skipped, in the order in which one explains the next.
CAUSES = {
    "loss": (
        "the inner losses were not finite",
        "The optimizer makes every inner run diverge. Lower the meta learning rate, clip the "
        "meta-gradient, shorten the truncation, or start from an earlier checkpoint.",
    ),
    "gradient": (
        "the losses were finite, the meta-gradient was not",
        "The inner runs do not diverge. What flows back through an unroll overflows, or passes a "
        "point where the task or the optimizer has no derivative (a root or a division at zero). "
        "Set backward_clip, shorten the truncation, or use an estimator that needs no derivative: "
        "meta.PES or --estimator pes.",
    ),
    "state": (
        "loss and meta-gradient were finite, but so large that the meta-optimizer's state or step "
        "was not",
        "Put the meta-gradient's clipping, element by element, before the meta-optimizer: "
        "optax.chain(meta.clip_elementwise(1.0), optax.adam(1e-3)); or make the losses smaller: "
        'meta.Objective("log_sum"), FullBackprop(relative=True).',
    ),
}


def all_finite(tree: PyTree[Array]) -> Flag:
    """Whether every entry of every inexact leaf is finite; others (counts, keys) always are."""
    leaves = [leaf for leaf in jax.tree.leaves(tree) if _inexact(leaf)]
    return _all(map(jnp.isfinite, _few(leaves)))


def still_finite(before: PyTree[Array], after: PyTree[Array]) -> Flag:
    """Whether every entry that was finite still is.

    Not `all_finite(after)`: some states start with infinity, such as the best loss so far.
    """
    pairs = zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True)
    pairs = [(old, new) for old, new in pairs if _inexact(new)]
    olds, news = (_few(leaves) for leaves in zip(*pairs, strict=True)) if pairs else ([], [])
    return _all(jnp.isfinite(new) | ~jnp.isfinite(old) for old, new in zip(olds, news, strict=True))


def _few(leaves: Sequence[Array]) -> list[Array]:
    """The same numbers in fewer arrays: the small ones of each type are one vector."""
    small = joined([leaf for leaf in leaves if leaf.size <= _SMALL])
    return [*small.values(), *(leaf for leaf in leaves if leaf.size > _SMALL)]


def _all(flags: Iterable[Bool[Array, "..."]]) -> Flag:
    return jnp.all(jnp.array([jnp.all(flag) for flag in flags], bool))


def _inexact(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.inexact)


def zero_unless(usable: Flag, tree: PyTree[Array]) -> PyTree[Array]:
    """The tree where it can be used, else zeros, so that a sum over tasks leaves it out.

    A product would not do: zero times infinity is not a number.
    """
    return select(usable, tree, jax.tree.map(jnp.zeros_like, tree))


def mean_over_usable(total: Float[Array, ""], count: Float[Array, ""]) -> Float[Array, ""]:
    """The mean over what could be used; NaN if nothing could, and then the meta-step is skipped."""
    return jnp.where(count > 0, total / jnp.maximum(count, 1.0), jnp.nan)


def worst_unless_finite(scores: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Scores where lower is better, with NaN replaced by infinity so that it is never best."""
    return jnp.where(jnp.isfinite(scores), scores, jnp.inf)


def skip_causes(
    loss: Float[Array, ""],
    lost_gradients: Float[Array, ""],
    gradient: PyTree[Array],
    updates: PyTree[Array],
    before: PyTree[Array],
    after: PyTree[Array],
) -> dict[str, Flag]:
    """For each of `CAUSES` whether a meta-step has to be skipped for it; at most one is.

    Args:
        loss: the meta-loss, NaN where no task could be used.
        lost_gradients: tasks whose loss was finite and whose gradient was not.
        gradient: the meta-gradient.
        updates: the meta-optimizer's updates for it.
        before: meta-parameters and meta-optimizer state before the step.
        after: meta-parameters and meta-optimizer state after the step.
    """
    finite = jnp.isfinite(loss)
    by_gradient = jnp.where(finite, ~all_finite(gradient), lost_gradients > 0)
    # A norm that overflows makes clipping by it a product with zero.
    still = _all(array == 0 for array in _few(jax.tree.leaves(updates)))
    vanished = still & ~jnp.isfinite(global_norm(gradient))
    by_state = ~(all_finite(updates) & still_finite(before, after)) | vanished
    return {
        "loss": ~finite & ~by_gradient,
        "gradient": by_gradient,
        "state": finite & ~by_gradient & by_state,
    }


def describe(counts: Mapping[str, int]) -> str:
    """The causes for which meta-steps were skipped: "3 because the inner losses were …".

    Args:
        counts: for each of `CAUSES` how many.
    """
    return "; ".join(f"{counts[name]} because {CAUSES[name][0]}" for name in CAUSES if counts[name])


def advice(counts: Mapping[str, int]) -> str:
    """Advice on the most frequent cause."""
    return CAUSES[max(CAUSES, key=lambda name: counts[name])][1]
