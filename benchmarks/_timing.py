"""Timing side by side: candidates take turns, so that a busy machine slows all alike."""

import statistics
import time
from collections.abc import Callable, Mapping

import jax


def side_by_side(
    candidates: Mapping[str, Callable[[], object]], rounds: int = 7
) -> dict[str, list[float]]:
    """Seconds of every round of every candidate; the first, compiling call is not timed."""
    for candidate in candidates.values():
        jax.block_until_ready(candidate())
    seconds = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, candidate in candidates.items():
            started = time.perf_counter()
            jax.block_until_ready(candidate())
            seconds[name].append(time.perf_counter() - started)
    return seconds


def print_ratios(seconds: Mapping[str, list[float]], reference: str, unit: str) -> None:
    """A table of medians, their ratios to the reference, and the spread of the paired ratios."""
    base = seconds[reference]
    print(f"{'':44s} {'median s ' + unit:>16s} {'ratio':>7s}   paired ratios")
    for name, values in seconds.items():
        paired = sorted(value / other for value, other in zip(values, base, strict=True))
        ratio = statistics.median(paired)
        spread = f"{paired[0]:.2f} … {paired[-1]:.2f}"
        print(f"{name:44s} {statistics.median(values):16.4f} {ratio:7.3f}   {spread}")
