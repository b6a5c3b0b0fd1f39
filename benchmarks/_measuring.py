"""Measuring rows: each in a worker of its own, at one revision or at several that take turns."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from _results import (
    ROOT,
    BenchmarkError,
    Results,
    Revision,
    RowResult,
    SideResult,
    describe_machine,
    now,
    revision_of,
)
from _workers import Ready, Worker, WorkerError

if TYPE_CHECKING:
    from _timing import Side

# The program that serves a row to its worker.
SUITE = Path(__file__).with_name("suite.py")


@dataclass(frozen=True)
class Pair:
    """What a row is about, and what it is compared with."""

    measured: "Side"
    reference: "Side"


@dataclass(frozen=True)
class Row:
    """A promise about speed.

    Args:
        name: on the command line and in results.
        unit: what the ratio is of.
        aim: the ratio that is aimed at.
        direction: whether a higher or a lower ratio is better.
        build: compiles both sides. It imports what it needs itself, so that a revision that lacks
            something loses this row alone.
        devices: CPU devices that it needs.
        heavy: whether a round takes seconds; then half of the rounds do.
    """

    name: str
    unit: str
    aim: float
    direction: Literal["higher", "lower"]
    build: Callable[[], Pair]
    devices: int = 1
    heavy: bool = False

    def rounds(self, wanted: int) -> int:
        """How many rounds are measured where `wanted` are asked for."""
        return max(min(wanted, 3), math.ceil(wanted / 2)) if self.heavy else wanted


@dataclass(frozen=True)
class Source:
    """What is measured: a folder that holds the package `optoscope`, and its revision."""

    folder: Path
    revision: Revision


def present() -> Source:
    """The source of this checkout."""
    return Source(ROOT / "src", revision_of())


@dataclass(frozen=True)
class RowOutcome:
    """What came of a row at one revision: its result or the reason that there is none."""

    result: RowResult | None
    reason: str = ""
    device_kind: str = ""


def _row_result(row: Row, ready: Ready, seconds: Sequence[Mapping[str, float]]) -> RowResult:
    measured, reference = (
        SideResult(ready.labels[side], ready.steps[side], tuple(round_[side] for round_ in seconds))
        for side in ("measured", "reference")
    )
    return RowResult(row.name, row.unit, row.aim, row.direction, measured, reference)


def measure_row(
    row: Row,
    sources: Sequence[Source],
    wanted_rounds: int,
    say: Callable[[str], None],
    start: Callable[..., Worker] = Worker,
) -> list[RowOutcome]:
    """Measures a row at one revision or at several, which take turns round by round.

    Args:
        row: the row.
        sources: the revisions.
        wanted_rounds: see `Row.rounds`.
        say: is told what happens.
        start: makes a worker.
    """
    say(f"compiling: {row.unit}")
    ready: dict[int, Ready] = {}
    failed: dict[int, str] = {}
    seconds: list[list[dict[str, float]]] = [[] for _ in sources]
    with ExitStack() as stack:
        # They compile at the same time, and are measured when all of them have.
        workers = [stack.enter_context(start(SUITE, row.name, source.folder)) for source in sources]
        for place, worker in enumerate(workers):
            try:
                ready[place] = worker.ready()
            except WorkerError as error:
                failed[place] = str(error)
        rounds = row.rounds(wanted_rounds) if ready else 0
        if ready:
            slowest = max(answer.compile_seconds for answer in ready.values())
            say(f"compiled in {slowest:.0f} s, measuring {rounds} rounds")
        for number in range(rounds):
            # Each revision is the first of a round as often as the other.
            for place in sorted(ready.keys() - failed.keys(), reverse=number % 2 == 1):
                try:
                    seconds[place].append(workers[place].round())
                except WorkerError as error:
                    failed[place] = str(error)
    return [
        RowOutcome(None, failed[place])
        if place in failed
        else RowOutcome(
            _row_result(row, ready[place], seconds[place]), "", ready[place].device_kind
        )
        for place in range(len(sources))
    ]


def measure(rows: Sequence[Row], sources: Sequence[Source], rounds: int) -> list[Results]:
    """Measures rows at one revision or at several, with a line of progress for each.

    Raises:
        BenchmarkError: fewer than one round.
    """
    if rounds < 1:
        raise BenchmarkError(f"--rounds is {rounds}; it must be at least 1.")
    date, outcomes, kinds = now(), [], []
    machine = describe_machine("")
    if machine["load_average"][0] > machine["cores"] / 2:
        load = machine["load_average"][0]
        print(f"The machine is busy (load average {load}): look at the spreads.", flush=True)
    for number, row in enumerate(rows, 1):
        started = time.perf_counter()

        def say(what: str, number: int = number, row: Row = row) -> None:
            print(f"[{number}/{len(rows)}] {row.name}: {what}", flush=True)

        outcome = measure_row(row, sources, rounds, say)
        outcomes.append(outcome)
        kinds += [one.device_kind for one in outcome if one.device_kind]
        shown = [f"{one.result.value:.3f}" if one.result else one.reason for one in outcome]
        say(f"{' against '.join(shown)}, {time.perf_counter() - started:.0f} s")
    machine["device_kind"] = kinds[0] if kinds else "unknown"
    return [
        Results(
            machine,
            source.revision,
            date,
            tuple(one[place].result for one in outcomes if one[place].result),
            {
                row.name: one[place].reason
                for row, one in zip(rows, outcomes, strict=True)
                if not one[place].result
            },
        )
        for place, source in enumerate(sources)
    ]
