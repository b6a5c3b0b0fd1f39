"""What makes tests quicker that trace, compile and draw all day.

What reaches into JAX or Python is left out where it does not fit, and changes no result.
"""

import functools
import os
import subprocess
import sys
import zlib
from collections.abc import Callable
from typing import Any, TypeVar

_Result = TypeVar("_Result")

# Makes loops in XLA's older way: less than half of the time to compile, slower to run.
_FLAGS = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
# Of pointers: a chunk of two megabytes, half of which is free for the functions called within.
_ROOM = 2**17


def choose_flags() -> None:
    """Where tests are compiled quickly rather than well (`make test`), still quicker.

    XLA reads its flags when the first device is asked for, and ends the process for a flag that
    it does not know: so another process is asked first.
    """
    if not os.environ.get("JAX_DISABLE_MOST_OPTIMIZATIONS") or "XLA_FLAGS" in os.environ:
        return
    asked = subprocess.run(
        [sys.executable, "-c", "import jax; jax.devices()"],
        env=os.environ | {"XLA_FLAGS": _FLAGS},
        capture_output=True,
        check=False,
    )
    os.environ["XLA_FLAGS"] = "" if asked.returncode else _FLAGS


def share_contexts() -> Callable[[], None]:
    """JAX writes its programs down in one context of MLIR, which it would make for each of them.

    Making and freeing one takes six milliseconds, as long as a small program takes to compile.

    Returns:
        A function that frees the context with all the constants of the programs in it.
    """
    from jax._src.interpreters import mlir

    make = getattr(mlir, "make_ir_context", None)
    if make is None:
        return lambda: None
    shared = functools.cache(make)
    mlir.make_ir_context = shared
    return shared.cache_clear


def compress_less() -> None:
    """Programs are kept on disk for one run: a third larger, in a quarter of the time."""
    from jax._src import compilation_cache

    if not any(getattr(compilation_cache, name, None) for name in ("zstd", "zstandard")):
        compilation_cache.compress_executable = functools.partial(zlib.compress, level=1)


def draw_coarsely() -> None:
    """Pictures have a ninth of the pixels: drawing and compressing them takes a third less.

    Where nothing that was collected draws, nothing is imported for it.
    """
    style = sys.modules.get("optoscope.report._style")
    if style is not None:
        style.DOTS_PER_INCH //= 3


def with_room(function: Callable[..., _Result], *args: Any) -> _Result:
    """Calls a function; all that it calls has its variables in one piece of memory.

    Python has a stack of pieces of 16 kilobytes. Where a loop calls functions at the end of one,
    every call asks the system for the next piece and gives it back: 5% of the time of tracing.
    """
    return function(*args)


# A function that claims to need so much gets a piece that is large enough for it.
with_room.__code__ = with_room.__code__.replace(co_stacksize=_ROOM)
