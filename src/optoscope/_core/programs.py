"""Compiled programs take memory maps, of which a process on Linux may have some 65,000."""

from pathlib import Path

import jax

_USED = Path("/proc/self/maps")
_MOST = Path("/proc/sys/vm/max_map_count")


def forget_programs(above: float = 0.5) -> None:
    """Forgets all compiled programs if they may soon run out of memory maps.

    XLA then aborts the process, without an exception. What is needed again is compiled again.

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
