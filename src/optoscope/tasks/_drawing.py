"""The batches of a task, also of one that has no more than `sample_batch`."""

from typing import Any

import jax
from jaxtyping import Array, Int, PRNGKeyArray, PyTree


def draw_batch(task: Any, key: PRNGKeyArray) -> PyTree[Array]:
    """The random numbers that determine a batch: `task.draw(key)`, or the key itself."""
    return task.draw(key) if hasattr(task, "draw") else key


def draw_batch_at(task: Any, key: PRNGKeyArray, step: Int[Array, ""]) -> PyTree[Array]:
    """Those of step `step` of the run with that key; a stream continues from step to step."""
    if hasattr(task, "draw_at"):
        return task.draw_at(key, step)
    return draw_batch(task, jax.random.fold_in(key, step))


def gather_batch(task: Any, draw: PyTree[Array]) -> PyTree[Array]:
    """The batch that was drawn."""
    return task.gather(draw) if hasattr(task, "gather") else task.sample_batch(draw)
