"""Checks that declared symmetries really are symmetries of a task's loss."""

from collections.abc import Mapping
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float64, PRNGKeyArray, PyTree

from optoscope._core.errors import check_count, check_number
from optoscope._core.keys import as_key
from optoscope._core.programs import Program
from optoscope._core.showing import shown
from optoscope._core.trees import global_norm
from optoscope.analysis.symmetry._task import task_symmetries
from optoscope.tasks import Symmetry, Task, TaskDistribution, as_distribution
from optoscope.tasks._symmetries import join

_AMOUNT = 0.5
_SPREAD = 0.1


@shown
@dataclass(frozen=True)
class Check:
    """The measurements of one symmetry: for each generator the worst value over the draws.

    Args:
        labels: what each generator belongs to.
        gradient: how far the gradient is from orthogonal; see `relative_deviations`.
        loss: the relative change of the loss under the finite transformation.
        as_drawn: `gradient` before the parameters were moved to `Symmetry.limit`: how exact the
            symmetry is where training begins. Equal to `gradient` for an exact symmetry.
        tolerance: what `gradient` and `loss` must not exceed.
    """

    labels: tuple[str, ...]
    gradient: Float64[np.ndarray, " generators"]
    loss: Float64[np.ndarray, " generators"]
    as_drawn: Float64[np.ndarray, " generators"]
    tolerance: float

    @property
    def failed(self) -> tuple[str, ...]:
        """The labels of the generators under which something changes."""
        # Not finite is not a symmetry either: hence "not below" rather than "above".
        good = (self.gradient <= self.tolerance) & (self.loss <= self.tolerance)
        return tuple(label for label, ok in zip(self.labels, good, strict=True) if not ok)


@shown
@dataclass(frozen=True)
class Verification:
    """The checks of all symmetries of a task, by name."""

    checks: dict[str, Check]

    @property
    def failed(self) -> dict[str, tuple[str, ...]]:
        """The generators that are none, by the name of the symmetry that declares them."""
        return {name: check.failed for name, check in self.checks.items() if check.failed}

    @property
    def ok(self) -> bool:
        """Whether every declared symmetry is one."""
        return not self.failed

    def __str__(self) -> str:
        lines = []
        for name, check in self.checks.items():
            verdict = "holds" if not check.failed else f"FAILS at {_some(check.failed)}"
            lines.append(
                f"{name} ({len(check.labels)} generators) {verdict}: gradient "
                f"{check.gradient.max():.1e} ({check.as_drawn.max():.1e} as drawn), "
                f"loss {check.loss.max():.1e}"
            )
        return "\n".join(lines)


def _some(labels: tuple[str, ...], shown: int = 5) -> str:
    rest = len(labels) - shown
    return ", ".join(labels[:shown]) + (f" and {rest} more" if rest > 0 else "")


def relative_deviations(
    grads: PyTree[Float[Array, "..."]], params: PyTree[Float[Array, "..."]], symmetry: Symmetry
) -> Float[Array, " generators"]:
    """How far a gradient is from orthogonal to each generator, relative to what rounding allows.

    The smaller of |Σ_i g_i ξ_i| / Σ_i |g_i ξ_i| and Σ_i |g_i ξ_i| / (‖g‖·‖ξ‖). The first says that
    the terms cancel. It is of no use where every term vanishes by itself, as with the bias before
    a batch norm, whose gradient is pure rounding; the second says so. A generator without any
    term has 0.
    """
    sums = symmetry.contract(grads, params)

    def absolute(k: Array) -> Array:
        # ξ_k itself, as the transpose of the contraction: one generator at a time.
        _, transpose = jax.vjp(lambda vector: symmetry.contract(vector, params), grads)
        (generator,) = transpose(jnp.zeros_like(sums).at[k].set(1.0))
        products = jax.tree.map(lambda g, x: jnp.sum(jnp.abs(g * x)), grads, generator)
        return jnp.sum(jnp.stack(jax.tree.leaves(products)))

    terms = jax.lax.map(absolute, jnp.arange(sums.shape[0]))
    canceled = jnp.abs(sums) / jnp.where(terms > 0, terms, 1.0)
    scale = global_norm(grads) * symmetry.norms(params)
    vanished = terms / jnp.where(scale > 0, scale, 1.0)
    return jnp.minimum(canceled, vanished)


def _draw(task: Task, key: PRNGKeyArray) -> PyTree[Array]:
    """Initial parameters, moved off the special values (zeros, ones) that they may have."""
    init_key, noise_key = jax.random.split(key)
    leaves, structure = jax.tree.flatten(_as_float64(task.init(init_key)))
    noise_keys = jax.random.split(noise_key, len(leaves))
    moved = [
        leaf + _SPREAD * jax.random.normal(one, leaf.shape, leaf.dtype)
        for leaf, one in zip(leaves, noise_keys, strict=True)
    ]
    return jax.tree.unflatten(structure, moved)


@Program
def _check_once(
    task: Task, symmetries: list[Symmetry], key: PRNGKeyArray
) -> dict[str, Float[Array, " generators"]]:
    """The measurements of every generator of all the symmetries, at one draw.

    Each symmetry is checked at parameters of its own: as drawn, or moved to its limit.
    """
    params_key, batch_key, amount_key = jax.random.split(key, 3)
    params = _draw(task, params_key)
    batch = _as_float64(task.sample_batch(batch_key))
    joined, places, owners = join(*symmetries), [params], []
    for symmetry in symmetries:
        count = len(symmetry.labels(params))
        if symmetry.limit:
            places.append(symmetry.transform(params, jnp.full(count, symmetry.limit)))
        owners += [len(places) - 1 if symmetry.limit else 0] * count
    # Loops, so that the loss and its gradient are compiled once.
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *places)

    def measured(params: PyTree[Array]) -> tuple[Array, Array]:
        loss, grads = jax.value_and_grad(task.loss)(params, batch)
        return loss, relative_deviations(grads, params, joined)

    losses, deviations = jax.lax.map(measured, stacked)
    amount = jax.random.uniform(amount_key, (), minval=_AMOUNT / 2, maxval=_AMOUNT)
    owner, generators = jnp.asarray(owners), jnp.arange(len(owners))

    def change(k: Array) -> Array:
        params = jax.tree.map(lambda leaf: leaf[owner[k]], stacked)
        moved = joined.transform(params, jnp.zeros_like(deviations[0]).at[k].set(amount))
        loss = losses[owner[k]]
        return jnp.abs(task.loss(moved, batch) - loss) / jnp.maximum(jnp.abs(loss), 1.0)

    return {
        "gradient": deviations[owner, generators],
        "loss": jax.lax.map(change, generators),
        "as_drawn": deviations[0],
    }


def _check_together(
    task: Task, symmetries: dict[str, Symmetry], keys: list[PRNGKeyArray]
) -> dict[str, dict[str, np.ndarray]]:
    """For each symmetry the worst of each measurement over the draws; one program for them all."""
    draws = [_check_once(task, list(symmetries.values()), key) for key in keys]
    worst = {part: np.max([np.asarray(draw[part]) for draw in draws], axis=0) for part in draws[0]}
    shapes = jax.eval_shape(task.init, keys[0])
    counts = [len(symmetry.labels(shapes)) for symmetry in symmetries.values()]
    split = {part: np.split(values, np.cumsum(counts)[:-1]) for part, values in worst.items()}
    return {
        name: {part: pieces[index] for part, pieces in split.items()}
        for index, name in enumerate(symmetries)
    }


def _as_float64(tree: PyTree) -> PyTree:
    return jax.tree.map(
        lambda leaf: leaf.astype(jnp.float64) if eqx.is_inexact_array(leaf) else leaf, tree
    )


def verify(
    task: Task | TaskDistribution,
    key: PRNGKeyArray,
    *,
    symmetries: Mapping[str, Symmetry] | None = None,
    num_draws: int = 2,
    tolerance: float = 1e-12,
) -> Verification:
    """Checks declared symmetries on random parameters and batches, in float64.

    For every generator by itself: the gradient is orthogonal to it, and the finite transformation
    leaves the loss unchanged. Parameters are initial ones plus noise, so that values such as a
    scale of 1 and a shift of 0 do not hide an error. A symmetry with a `limit` is checked after
    the parameters have moved that far along it; how far from exact it is before that is reported
    as `as_drawn` and not judged.

    Costs one loss and one contraction a generator and draw. Global settings are left alone.

    Args:
        task: what to check; from a distribution one task is drawn.
        key: PRNG key.
        symmetries: what to check instead of `task.symmetries(params)`.
        num_draws: random parameters and batches to try.
        tolerance: the largest relative deviation that counts as rounding.

    Raises:
        InvalidValueError: no symmetries, no draws, or a tolerance that is not positive.

    Example:
        >>> from optoscope import tasks
        >>> task = tasks.get("digits-mlp-relu", batch_size=16)
        >>> verify(task, jax.random.key(0)).ok
        True
        >>> wrong = tasks.scale(lambda p: p["layer_1"]["weights"][None], label="last weights")
        >>> verify(task, jax.random.key(0), symmetries={"wrong": wrong}).failed
        {'wrong': ('last weights',)}
    """
    check_count("num_draws", num_draws, minimum=1)
    check_number("tolerance", tolerance, minimum=0, exclusive_minimum=True)
    found = task_symmetries(task) if symmetries is None else dict(symmetries)
    with jax.enable_x64(True):
        task_key, *draw_keys = jax.random.split(as_key(key), 1 + num_draws)
        sample = _as_float64(as_distribution(task).sample(task_key))
        shapes = jax.eval_shape(sample.init, task_key)
        measured = _check_together(sample, found, draw_keys)
    return Verification(
        {
            name: Check(symmetry.labels(shapes), **measured[name], tolerance=tolerance)
            for name, symmetry in found.items()
        }
    )
