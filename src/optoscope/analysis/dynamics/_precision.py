"""Programs in float64: NumPy in, NumPy out, the global precision untouched."""

import functools
import threading
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from optoscope._core.programs import Program

# On a CPU, two programs that solve linear systems at the same time can each wait for ever for the
# thread that the other one holds: the search for fixed points did, from two threads on two cores.
_ONE_AT_A_TIME = threading.Lock()


def _to_array(leaf: Any) -> Any:
    # A copy, see `fresh_arrays`.
    return jnp.asarray(np.array(leaf)) if isinstance(leaf, np.ndarray | np.generic) else leaf


def _argument(argument: Any) -> Any:
    # As a static value every new number would compile anew. Numbers within an optimizer stay as
    # they are: it may branch on them.
    if isinstance(argument, float):
        return jnp.asarray(argument)
    return jax.tree.map(_to_array, argument)


def double_precision(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiles `function` for float64 and gives its results as NumPy arrays.

    Float64 JAX arrays outside `jax.enable_x64` mix badly with the rest of a program, so none
    leave this package. Programs of several threads run one after another.
    """
    jitted = Program(function)

    @functools.wraps(function)
    def run(*args: Any) -> Any:
        with jax.enable_x64(True), _ONE_AT_A_TIME:
            results = jitted(*map(_argument, args))
            return jax.tree.map(np.array, results)

    return run
