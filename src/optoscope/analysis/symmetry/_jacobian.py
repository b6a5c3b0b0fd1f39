"""Rows of the Jacobian of a task's losses, or of its outputs, in float64."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from optoscope._core.errors import InvalidValueError
from optoscope._core.programs import Program
from optoscope.tasks import Task
from optoscope.training._step import has_model_state, initial_model_state

Outputs = Callable[[PyTree, PyTree], PyTree]
Unit = Literal["example", "batch"]

# Rows that are computed side by side.
_CHUNK = 16
_MOST_DRAWS = 6
_SAME = 1e-9
_SMALLEST_ROW = 1e-2


def as_float64(tree: PyTree) -> PyTree:
    """All inexact arrays of a tree in double precision."""
    return jax.tree.map(
        lambda leaf: leaf.astype(jnp.float64) if eqx.is_inexact_array(leaf) else leaf, tree
    )


class _Values(eqx.Module):
    """What must not change, as a vector: the loss, or the outputs."""

    task: Task
    outputs: Outputs | None = eqx.field(static=True)

    def __call__(self, params: PyTree, batch: PyTree, key: PRNGKeyArray) -> Array:
        if self.outputs is not None:
            found = jax.tree.leaves(self.outputs(params, batch))
            return jnp.concatenate([jnp.ravel(leaf) for leaf in found])
        if has_model_state(self.task):
            state = as_float64(initial_model_state(self.task, key))
            with_state = self.task.loss_with_state  # type: ignore[attr-defined]
            return jnp.reshape(with_state(params, state, batch, key)[0], (1,))
        return jnp.reshape(self.task.loss(params, batch), (1,))


@dataclass(frozen=True)
class Items:
    """The examples, or whole batches, that each give rows of the Jacobian.

    Args:
        unit: whether an item is one example or a batch whose examples act on each other.
        batches: each leaf with a leading axis of items; an example is a batch of one.
        num_items: how many there are, all different for examples.
        num_values: losses (1) or outputs an item gives.
    """

    unit: Unit
    batches: PyTree
    num_items: int
    num_values: int

    @property
    def most_rows(self) -> int:
        """The most independent rows that these items can give."""
        return self.num_items * self.num_values


def _slice(batch: PyTree, index: Any) -> PyTree:
    return jax.tree.map(lambda leaf: leaf[index][None], batch)


def _batch_size(batch: PyTree) -> int | None:
    """The examples of a batch, where all of its arrays have them on their first axis."""
    leaves = jax.tree.leaves(batch)
    sizes = {leaf.shape[0] if leaf.ndim else None for leaf in leaves}
    return sizes.pop() if len(sizes) == 1 else None


def _quick(function: Callable[..., Any]) -> Any:
    return Program(function, runs_once=True)


@_quick
def _draws(task: Task, key: PRNGKeyArray, numbers: Int[Array, " batches"]) -> PyTree:
    def draw(number: Array) -> PyTree:
        return task.sample_batch(jax.random.fold_in(key, number))

    return as_float64(jax.lax.map(draw, numbers))


@_quick
def _whole_and_parts(
    values: _Values, params: PyTree, batch: PyTree, key: PRNGKeyArray
) -> tuple[Array, Array]:
    count = _batch_size(batch)
    parts = jax.lax.map(lambda index: values(params, _slice(batch, index), key), jnp.arange(count))
    return values(params, batch, key), parts


def _is_separable(values: _Values, params: PyTree, batch: PyTree, key: PRNGKeyArray) -> bool:
    """Whether the examples of a batch have values of their own, which its loss is the mean of."""
    if _batch_size(batch) is None:
        return False
    try:
        whole, parts = map(np.asarray, _whole_and_parts(values, params, batch, key))
    except Exception:  # a loss that takes no batch of one example, whatever it raises
        return False
    if not (np.isfinite(whole).all() and np.isfinite(parts).all()):
        return False  # the norm of a batch of one has a variance of 0
    if values.outputs is not None:
        together, scale = parts.reshape(-1), np.abs(parts).max(initial=0.0)
        return whole.shape == together.shape and bool(
            np.allclose(whole, together, rtol=0, atol=_SAME * scale)
        )
    scale = max(np.abs(parts).max(), np.abs(whole).max())
    return any(
        bool(np.allclose(whole, joined, rtol=0, atol=_SAME * scale * factor))
        for joined, factor in ((parts.mean(0), 1), (parts.sum(0), len(parts)))
    )


def _distinct(items: PyTree) -> np.ndarray:
    """The indices of the first of equal items."""
    leaves = jax.tree.leaves(items)
    rows = [leaf.reshape(len(leaf), -1) for leaf in leaves]
    seen: dict[bytes, int] = {}
    for index in range(len(rows[0])):
        seen.setdefault(b"".join(row[index].tobytes() for row in rows), index)
    return np.fromiter(seen.values(), int)


def _concatenated(pieces: list[PyTree]) -> PyTree:
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *pieces)


def _varied(
    items: PyTree, count: int, generator: np.random.Generator, *, everywhere: bool
) -> PyTree:
    """Generic items like the given ones: noise on numbers, other draws of whole numbers.

    Args:
        items: leaves with a leading axis of items.
        count: how many to make.
        generator: draws them.
        everywhere: whether entries that never vary (a dark pixel) vary too.
    """

    def varied(leaf: np.ndarray) -> np.ndarray:
        chosen = generator.integers(len(leaf), size=count)
        if np.issubdtype(leaf.dtype, np.inexact):
            spread = leaf.std() if everywhere else leaf.std(axis=0)
            return leaf[chosen] + spread * generator.normal(size=(count, *leaf.shape[1:]))
        if everywhere:
            # Rare tokens and labels are as frequent as others.
            return generator.choice(np.unique(leaf), size=(count, *leaf.shape[1:]))
        which = generator.integers(len(leaf), size=(count, *leaf.shape[1:]))
        return np.take_along_axis(leaf, which, axis=0) if leaf.ndim > 1 else leaf[which]

    return jax.tree.map(varied, items)


def draw_items(
    task: Task,
    params: PyTree,
    outputs: Outputs | None,
    wanted: int,
    examples: int,
    key: PRNGKeyArray,
) -> Items:
    """As many different items as give `wanted` rows, or all that the task has.

    Where each example has its own value, `examples` of them or more.

    Raises:
        InvalidValueError: the task has one loss for all of its data.
    """
    values = _Values(task, outputs)
    first = jax.tree.map(lambda leaf: np.asarray(leaf)[0], _draws(task, key, np.arange(1)))
    shape = eqx.filter_eval_shape(values, params, first, key)
    if not jax.tree.leaves(first):
        if outputs is None:
            raise InvalidValueError(
                "the task's loss is one number for all of its data (its batches are empty), and "
                "one number has no directions of its own. Give outputs=, a function of (params, "
                "batch) to what the network answers, or a task that draws batches."
            )
        return Items("batch", first, 1, shape.size)
    separable = _is_separable(values, params, first, key)
    count = (_batch_size(first) if separable else 1) or 1
    num_values = shape.size // count if outputs is not None and separable else shape.size
    needed = max(4, -(-wanted // num_values), examples if separable else 0)
    pieces, found, drawn_so_far = [], 0, 1
    for _ in range(_MOST_DRAWS):
        # Always as many as at first, so that the program is compiled once.
        missing = -(-needed // count)
        numbers = np.arange(drawn_so_far, drawn_so_far + missing)
        drawn = jax.tree.map(np.asarray, _draws(task, key, numbers))
        drawn_so_far += missing
        if separable:
            drawn = jax.tree.map(lambda leaf: leaf.reshape(-1, 1, *leaf.shape[2:]), drawn)
        pieces.append(drawn)
        together = _concatenated(pieces)
        kept = _distinct(together)[:needed]
        gained, found = len(kept) - found, len(kept)
        pieces = [jax.tree.map(lambda leaf, kept=kept: leaf[kept], together)]
        if found >= needed or gained * 50 < missing * count:
            break
    return Items("example" if separable else "batch", pieces[0], found, num_values)


def generic(items: Items, wanted: int, generator: np.random.Generator) -> Items:
    """Items with numbers like the data's, as many as give `wanted` rows, but of all kinds."""
    if not jax.tree.leaves(items.batches):
        return items
    count = max(-(-wanted // items.num_values), items.num_items)
    made = _varied(items.batches, count, generator, everywhere=True)
    return Items(items.unit, made, count, items.num_values)


def with_varied(items: Items, wanted: int, generator: np.random.Generator) -> Items:
    """The items and varied copies of them, as many as give `wanted` rows more."""
    more = -(-wanted // items.num_values)
    varied = _varied(items.batches, more, generator, everywhere=False)
    together = _concatenated([items.batches, varied])
    return Items(items.unit, together, items.num_items + more, items.num_values)


@Program
def _rows(
    values: _Values,
    params: PyTree,
    groups: PyTree,
    base: PRNGKeyArray,
    cotangents: Float[Array, "items rows values"],
) -> Float[Array, "items rows params"]:
    def of_group(params: PyTree, group: PyTree, key: PRNGKeyArray) -> Array:
        return jnp.ravel(jax.vmap(lambda batch: values(params, batch, key))(group))

    def rows(item: tuple) -> Array:
        group, number, directions = item
        key = jax.random.fold_in(base, number)
        if jax.tree.leaves(group):
            _, pull_back = jax.vjp(lambda p: of_group(p, group, key), params)
        else:
            _, pull_back = jax.vjp(lambda p: values(p, group, key), params)
        return jax.vmap(lambda one: ravel_pytree(pull_back(one)[0])[0])(directions)

    return jax.lax.map(rows, (groups, jnp.arange(len(cotangents)), cotangents), batch_size=_CHUNK)


def jacobian(
    task: Task,
    params: PyTree,
    outputs: Outputs | None,
    items: Items,
    wanted: int,
    key: PRNGKeyArray,
) -> Float[np.ndarray, "rows params"]:
    """Rows of the Jacobian, of length 1 or less; random combinations of an item's many outputs.

    Args:
        task: in double precision.
        params: where to differentiate.
        outputs: instead of the loss, or None.
        items: what each gives rows.
        wanted: the number of rows, at most `items.most_rows`.
        key: PRNG key of the combinations and of losses that take one.

    Raises:
        InvalidValueError: derivatives that are not finite, or computed in single precision.
    """
    values = _Values(task, outputs)
    empty = not jax.tree.leaves(items.batches)
    # Where there are more examples than rows, a row is a random combination of several examples.
    group = 1 if empty else max(1, items.num_items // max(wanted, 1))
    used = items.num_items // group
    groups = jax.tree.map(
        lambda leaf: leaf[: used * group].reshape(used, group, *leaf.shape[1:]), items.batches
    )
    each = min(items.num_values, -(-wanted // used))
    width = group * items.num_values
    generator = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    cotangents = generator.normal(size=(used, each, width)) if width > 1 else np.ones((used, 1, 1))
    shape = eqx.filter_eval_shape(
        values, params, jax.tree.map(lambda leaf: leaf[0], items.batches), key
    )
    if shape.dtype != jnp.float64:
        raise InvalidValueError(
            f"the {'loss' if outputs is None else 'outputs'} of the task are {shape.dtype} while "
            "its parameters and batches are float64, and symmetries are not told from rounding in "
            "that. Leave out casts to float32 (jnp.float32, astype, dtype=…) in the model, or use "
            "the type of the parameters there."
        )
    found = np.array(_rows(values, params, groups, key, jnp.asarray(cotangents)))
    found = found.reshape(-1, found.shape[-1])
    if not np.isfinite(found).all():
        raise InvalidValueError(
            "some derivatives of the task are not finite at these parameters; give others with "
            "params=."
        )
    sizes = np.linalg.norm(found, axis=1)
    found, sizes = found[sizes > 0], sizes[sizes > 0]
    # Rows that are almost zero (an example that is fitted) are rounding for the most part.
    return found / np.maximum(sizes, _SMALLEST_ROW * np.median(sizes))[:, None]
