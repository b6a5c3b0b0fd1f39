"""Refuses runs that cannot fit into memory, by an estimate made before anything is allocated."""

import os
from collections.abc import Mapping
from pathlib import Path

import jax

from optoscope._core.errors import InvalidValueError

# Of a container, in the two versions of control groups.
_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


def total_bytes() -> int | None:
    """The memory that this process can have at most, or None where that cannot be known.

    That of the machine or of its container; that of the accelerator where it has more.
    """
    try:
        known = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    except (AttributeError, ValueError, OSError):  # not Unix
        return None
    for limit in _LIMITS:
        try:
            known.append(int(limit.read_text(encoding="ascii")))
        except (OSError, ValueError):  # no such group, or "max"
            continue
    total = min(known)
    if jax.default_backend() != "cpu":
        statistics = jax.local_devices()[0].memory_stats() or {}
        total = max(total, int(statistics.get("bytes_limit", 0)))
    return total


def check_memory(needed: Mapping[str, int], advice: str) -> None:
    """Refuses what cannot fit into memory.

    Args:
        needed: the bytes that are held at the same time, by purpose; rather too low than too
            high, so that nothing is refused that would have worked.
        advice: a sentence that says which setting to lower.

    Raises:
        InvalidValueError: more than there is.

    Example:
        >>> check_memory({"losses": 4 * 200}, "Take fewer steps.")
    """
    total = total_bytes()
    if total is None or sum(needed.values()) <= total:
        return
    largest = max(needed, key=lambda name: needed[name])
    raise InvalidValueError(
        f"this needs at least {in_words(sum(needed.values()))} of memory ({largest}: "
        f"{in_words(needed[largest])}); there are {in_words(total)}. {advice}"
    )


def in_words(count: int | float) -> str:
    """A number of bytes with its unit.

    Example:
        >>> in_words(999), in_words(8_589_934_588), in_words(1e30)
        ('999 bytes', '8.59 GB', '1e+15 PB')
    """
    if count < 1000:
        return f"{count} bytes"
    for unit in ("kB", "MB", "GB", "TB"):
        count /= 1000
        if count < 1000:
            return f"{count:.3g} {unit}"
    return f"{count / 1000:.3g} PB"
