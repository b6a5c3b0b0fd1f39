"""Several processes running one program (`jax.distributed`); with one, all of this is free."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import jax
import numpy as np
from jax.experimental import multihost_utils
from jaxtyping import Array, PyTree

from optoscope._core.errors import ProcessLostError

_STATUS = re.compile(r"[A-Z_]+: ")


def is_first() -> bool:
    """Whether this process is the one that writes and reports."""
    return jax.process_index() == 0


def anyone(flag: bool) -> bool:
    """Whether the flag is true on any process; every process must call this at the same place."""
    if jax.process_count() == 1:
        return flag
    return bool(np.any(multihost_utils.process_allgather(np.asarray(flag))))


def agreed(number: int) -> bool:
    """Whether the number is the same on every process; every process must call this."""
    if jax.process_count() == 1:
        return True
    return len(set(multihost_utils.process_allgather(np.asarray(number)).tolist())) == 1


def wait_for_all(place: str) -> None:
    """Waits until every process has made this call."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(place)


def whole(tree: PyTree[Array]) -> PyTree:
    """The tree with every array that is spread over processes fetched whole, on each of them."""

    def fetch(leaf: Array) -> Array | np.ndarray:
        if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
            if leaf.is_fully_replicated:
                return np.asarray(leaf)
            return multihost_utils.process_allgather(leaf, tiled=True)  # pyright: ignore
        return leaf

    return tree if jax.process_count() == 1 else jax.tree.map(fetch, tree)


@contextmanager
def stops_with_the_others(advice: str) -> Iterator[None]:
    """Turns the failure of a collective operation into a message that says what happened.

    Args:
        advice: how to go on.

    Raises:
        ProcessLostError: another process was lost.
    """
    try:
        yield
    except (jax.errors.JaxRuntimeError, ValueError) as error:
        # XLA's failures begin with their status; fetching a result turns them into ValueErrors.
        if jax.process_count() == 1 or not _STATUS.match(str(error)):
            raise
        reason = str(error).splitlines()[0][:200]
        raise ProcessLostError(
            f"process {jax.process_index()} of {jax.process_count()} cannot go on: it lost "
            f"touch with another one ({reason}). {advice}"
        ) from error
