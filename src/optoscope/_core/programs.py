"""How programs are compiled, and how many at once."""

import functools
import gc
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, ParamSpec, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.core import Tracer

_OPTIONS = {
    # LLVM's vectors have 256 bits even where the processor has 512: the first of those processors
    # slowed down for them. A small network over many coordinates gains an eighth; other programs
    # neither gain nor lose. Processors with less take what they have.
    "xla_cpu_prefer_vector_width": 512,
    # At LLVM's third level, XLA's default, short loops are unrolled whole: the rounds of a random
    # number generator over a few hundred numbers become megabytes of instructions. The second
    # compiles in a quarter to a half of the time, and what comes out is as fast.
    "xla_backend_optimization_level": 2,
}
# For programs that run once: they compile in a third of the time and run several times slower.
_QUICK_OPTIONS = {"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False}

_Inputs = ParamSpec("_Inputs")
_Outputs = TypeVar("_Outputs")

_USED = Path("/proc/self/maps")
_MOST = Path("/proc/sys/vm/max_map_count")
# A large program takes some 200 memory maps, a small one three. Counting 30,000 takes 35 ms.
_COMPILATIONS_BETWEEN_LOOKS = 20
_COMPILED = "/jax/core/compile/backend_compile_duration"


@functools.cache
def compiler_options(runs_once: bool = False) -> dict[str, Any]:
    """The options given to XLA in addition to its defaults and to `XLA_FLAGS`.

    There are none on accelerators and none where JAX is set to leave optimizations out; an
    option that this version of XLA does not know is left out.

    Args:
        runs_once: whether the program should be compiled quickly rather than well.
    """
    if jax.default_backend() != "cpu" or jax.config.read("jax_disable_most_optimizations"):
        return {}
    flags, options = os.environ.get("XLA_FLAGS", ""), _QUICK_OPTIONS if runs_once else _OPTIONS
    return {
        name: value for name, value in options.items() if name not in flags and _known(name, value)
    }


def _known(option: str, value: Any) -> bool:
    try:
        jax.jit(lambda: 0, compiler_options={option: value})()
    except jax.errors.JaxRuntimeError:
        return False
    return True


class Program(Generic[_Inputs, _Outputs]):
    """A function as `equinox.filter_jit` makes it, compiled with `compiler_options`.

    JAX takes such options for outermost programs alone; within another program, or under a
    transformation, it is compiled as part of that one.

    Example:
        >>> double = Program(lambda x: 2 * x)
        >>> float(double(jnp.asarray(1.5))), float(jax.grad(double)(jnp.asarray(1.5)))
        (3.0, 2.0)
    """

    def __init__(self, function: Callable[_Inputs, _Outputs], *, runs_once: bool = False) -> None:
        """The backend is not asked for before the first call."""
        functools.update_wrapper(self, function)
        self._function = function
        self._runs_once = runs_once
        self._inner = eqx.filter_jit(function)

    @functools.cached_property
    def _outermost(self) -> Any:
        jit: Any = eqx.filter_jit  # hands on what it does not know to jax.jit
        return jit(self._function, compiler_options=compiler_options(self._runs_once))

    def __call__(self, *args: _Inputs.args, **kwargs: _Inputs.kwargs) -> _Outputs:
        """Runs the compiled function on these arguments and returns its result."""
        # While another program is traced, its new arrays are tracers too.
        leaves = [*jax.tree.leaves((args, kwargs)), jnp.zeros(())]
        if any(isinstance(leaf, Tracer) for leaf in leaves):
            return self._inner(*args, **kwargs)
        forget_now_and_then()
        return self._outermost(*args, **kwargs)

    def lower(self, *args: _Inputs.args, **kwargs: _Inputs.kwargs) -> Any:
        """The program for such arguments, not yet compiled."""
        return self._outermost.lower(*args, **kwargs)


@functools.cache
def _compilations() -> list[str]:
    """The compilations since the memory maps were last counted; JAX's events add to it."""
    since: list[str] = []

    def note(event: str, duration_secs: float | int, **kwargs: str | int) -> None:
        if event == _COMPILED:
            since.append(event)

    jax.monitoring.register_event_duration_secs_listener(note)
    return since


def forget_now_and_then() -> None:
    """Frees compiled programs now and then, so that long sweeps do not run out of memory maps.

    Optax's own optimizers need a new program for each one, so that a sweep compiles many. The maps
    are counted once in some compilations.
    """
    since = _compilations()
    if len(since) >= _COMPILATIONS_BETWEEN_LOOKS:
        since.clear()
        forget_programs()


def forget_programs(above: float = 0.5) -> None:
    """Forgets all compiled programs if they may soon run out of memory maps.

    A process on Linux may have some 65,000 of them; then XLA aborts it, without an exception.
    What is needed again is compiled again.

    Args:
        above: do so where more than this share of the maps is used.
    """
    try:
        used = _USED.read_bytes().count(b"\n")
        most = int(_MOST.read_text(encoding="ascii"))
    except OSError:  # not Linux: no such limit
        return
    if used > above * most:
        jax.clear_caches()
        gc.collect()  # what stands in a circle of references goes at once, too
