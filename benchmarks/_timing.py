"""Timing side by side: candidates take turns, so that a busy machine slows all alike."""

import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import jax

Run = Callable[[], object]


@dataclass(frozen=True)
class Side:
    """One of the things that are measured side by side.

    Args:
        label: what it is, for people.
        run: does the work once; its result is waited for.
        steps: the steps that `run` takes.
    """

    label: str
    run: Run
    steps: int


def repeated(run: Run, calls: int) -> Run:
    """Several calls one after the other, for work that is too short to be timed alone."""

    def run_all() -> None:
        for _ in range(calls):
            jax.block_until_ready(run())

    return run_all


def one_round(candidates: Iterable[tuple[str, Run]]) -> dict[str, float]:
    """The seconds that one call of every candidate takes, one after the other."""
    seconds = {}
    for name, candidate in candidates:
        started = time.perf_counter()
        jax.block_until_ready(candidate())
        seconds[name] = time.perf_counter() - started
    return seconds


def side_by_side(candidates: Mapping[str, Run], rounds: int = 7) -> dict[str, list[float]]:
    """Seconds of every round of every candidate; the first, compiling call is not timed."""
    for candidate in candidates.values():
        jax.block_until_ready(candidate())
    measured = [one_round(candidates.items()) for _ in range(rounds)]
    return {name: [seconds[name] for seconds in measured] for name in candidates}


def print_ratios(seconds: Mapping[str, list[float]], reference: str, unit: str) -> None:
    """A table of medians, their ratios to the reference, and the spread of the paired ratios."""
    base = seconds[reference]
    print(f"{'':44s} {'median s ' + unit:>16s} {'ratio':>7s}   paired ratios")
    for name, values in seconds.items():
        paired = sorted(value / other for value, other in zip(values, base, strict=True))
        ratio = statistics.median(paired)
        spread = f"{paired[0]:.2f} … {paired[-1]:.2f}"
        print(f"{name:44s} {statistics.median(values):16.4f} {ratio:7.3f}   {spread}")
