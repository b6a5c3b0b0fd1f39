"""What a benchmark measured: where, at which revision, row by row, written as JSON and as tables.

Nothing here measures or imports JAX, so that results can be read and compared anywhere.
"""

import json
import math
import os
import platform
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

ROOT = Path(__file__).resolve().parent.parent
FORMAT, VERSION = "optoscope/benchmark", 1
# Fewer rounds than these are too few to call a change better or worse.
LEAST_ROUNDS = 5


class BenchmarkError(Exception):
    """Something that is said in one message, without a traceback."""


@dataclass(frozen=True)
class Revision:
    """A commit, and whether what was measured differs from it."""

    commit: str
    dirty: bool

    @property
    def label(self) -> str:
        """A short name for tables and files."""
        return self.commit[:10] + ("-dirty" if self.dirty else "")


@dataclass(frozen=True)
class SideResult:
    """One side of a row.

    Args:
        label: what it is.
        steps: the steps of one round.
        seconds: the time of every round.
    """

    label: str
    steps: int
    seconds: tuple[float, ...]

    @property
    def seconds_a_step(self) -> list[float]:
        """The time of one step in every round."""
        return [seconds / self.steps for seconds in self.seconds]


@dataclass(frozen=True)
class RowResult:
    """A row of the suite as it was measured.

    Args:
        name: of the row.
        unit: what the ratio is of.
        aim: the ratio that is aimed at.
        direction: whether a higher ratio is better, which is then one of rates, or a lower one,
            which is then one of times.
        measured: what the row is about.
        reference: what it is compared with, in the same rounds.
    """

    name: str
    unit: str
    aim: float
    direction: Literal["higher", "lower"]
    measured: SideResult
    reference: SideResult

    @property
    def paired(self) -> tuple[float, ...]:
        """The ratio of every round."""
        return tuple(
            base / own if self.direction == "higher" else own / base
            for own, base in zip(
                self.measured.seconds_a_step, self.reference.seconds_a_step, strict=True
            )
        )

    @property
    def value(self) -> float:
        """The median of the ratios."""
        return statistics.median(self.paired)

    @property
    def spread(self) -> tuple[float, float]:
        """The lowest and the highest ratio."""
        return min(self.paired), max(self.paired)

    @property
    def reached(self) -> bool:
        """Whether the median ratio is at the aim or better."""
        return self.value >= self.aim if self.direction == "higher" else self.value <= self.aim


@dataclass(frozen=True)
class Results:
    """All rows that one call measured at one revision.

    Args:
        machine: its description.
        revision: of what was measured.
        date: when, with the time zone.
        rows: the rows.
        missing: rows that could not be measured, with the reason.
    """

    machine: Mapping[str, Any]
    revision: Revision
    date: str
    rows: tuple[RowResult, ...]
    missing: Mapping[str, str]

    def row(self, name: str) -> RowResult | None:
        """The row of this name, if it was measured."""
        return next((row for row in self.rows if row.name == name), None)


def git(*words: str, root: Path = ROOT) -> str:
    """What `git` answers in a checkout.

    Raises:
        BenchmarkError: it fails; with its own words.
    """
    done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True)
    if done.returncode:
        raise BenchmarkError(f"`git {' '.join(words)}` failed: {done.stderr.strip()}")
    return done.stdout.strip()


def revision_of(root: Path = ROOT) -> Revision:
    """The checkout's commit, and whether its files differ from it; "unknown" without git."""
    try:
        commit = git("rev-parse", "HEAD", root=root)
        # Only what can change a measurement counts: a note beside the code does not.
        changes = git("status", "--porcelain", "--", "src", "benchmarks", root=root)
    except (BenchmarkError, OSError):
        return Revision("unknown", True)
    return Revision(commit, bool(changes))


def now() -> str:
    """The date and time, with the time zone, as results hold it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def describe_machine(device_kind: str) -> dict[str, Any]:
    """What a time depends on beyond the code.

    Args:
        device_kind: as JAX calls its device; only a process that computes can say it.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    return {
        "cpu": _cpu_model(),
        "cores": len(affinity(0)) if affinity else os.cpu_count(),
        "memory_gib": _memory_gib(),
        "python": platform.python_version(),
        "jax": metadata.version("jax"),
        "jaxlib": metadata.version("jaxlib"),
        "platform": platform.platform(),
        "device_kind": device_kind,
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()


def _memory_gib() -> float:
    size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return round(size / 2**30, 1)


def default_path(results_date: str, revision: Revision, kind: str = "") -> Path:
    """Where results are written unless another place is given: runs/bench/, which git ignores."""
    when = datetime.fromisoformat(results_date).strftime("%Y-%m-%d-%H%M%S")
    return ROOT / "runs" / "bench" / f"{kind}{when}-{revision.label}.json"


def write_document(path: Path, document: Mapping[str, Any]) -> None:
    """Writes JSON beside its place and renames it, so that nothing half-written is left."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        temporary.write_text(json.dumps(document, indent=2, allow_nan=False) + "\n", "utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_document(path: Path, name: str, version: int) -> dict[str, Any]:
    """Reads a JSON file of a format.

    Raises:
        BenchmarkError: it cannot be read, or is of another format or version.
    """
    try:
        document = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise BenchmarkError(f"{path} cannot be read as JSON: {error}") from None
    found = (document.get("format"), document.get("version")) if isinstance(document, dict) else ()
    if found != (name, version):
        raise BenchmarkError(f'{path} is not a file of the format "{name}", version {version}.')
    return document


def write_results(path: Path, results: Results) -> None:
    """Writes results as JSON."""
    rows = [
        {
            "name": row.name,
            "unit": row.unit,
            "value": row.value,
            "spread": list(row.spread),
            "paired": list(row.paired),
            "reference": row.reference.label,
            "aim": row.aim,
            "direction": row.direction,
            "absolute": {
                side: asdict(result)
                | {"median_seconds_a_step": statistics.median(result.seconds_a_step)}
                for side, result in (("measured", row.measured), ("reference", row.reference))
            },
        }
        for row in results.rows
    ]
    document = {"format": FORMAT, "version": VERSION, "machine": dict(results.machine)}
    document |= {"revision": asdict(results.revision), "date": results.date}
    write_document(path, document | {"rows": rows, "missing": dict(results.missing)})


def read_results(path: Path) -> Results:
    """Reads what `write_results` wrote; ratios are computed again from the seconds.

    Raises:
        BenchmarkError: the file cannot be read, or is no such file.
    """
    document = read_document(path, FORMAT, VERSION)

    def side(value: Mapping[str, Any]) -> SideResult:
        return SideResult(value["label"], value["steps"], tuple(value["seconds"]))

    try:
        rows = tuple(
            RowResult(
                name=row["name"],
                unit=row["unit"],
                aim=row["aim"],
                direction=row["direction"],
                measured=side(row["absolute"]["measured"]),
                reference=side(row["absolute"]["reference"]),
            )
            for row in document["rows"]
        )
        revision = Revision(**document["revision"])
        return Results(document["machine"], revision, document["date"], rows, document["missing"])
    except (KeyError, TypeError) as error:
        raise BenchmarkError(f"{path} is damaged: {error!r}") from None


def results_table(results: Results) -> str:
    """The rows as text, beside their aims."""
    lines = [f"{'':16s} {'ratio':>7s}   {'paired':15s} {'aim':>14s}          what it is"]
    for row in results.rows:
        spread = f"{row.spread[0]:.3f} … {row.spread[1]:.3f}"
        bound = "at least" if row.direction == "higher" else "at most"
        aim = f"{bound} {row.aim:g}"
        note = "" if row.reached else "missed"
        lines.append(
            f"{row.name:16s} {row.value:7.3f}   {spread:15s} {aim:>14s} {note:6s}   {row.unit}"
        )
    lines += [f"{name:16s} not measured: {reason}" for name, reason in results.missing.items()]
    return "\n".join(lines)


@dataclass(frozen=True)
class Change:
    """How many times a number is what it was at the earlier revision.

    Args:
        factor: the median.
        low: the lowest factor.
        high: the highest factor.
        rounds: how many it comes from.
    """

    factor: float
    low: float
    high: float
    rounds: int

    def __str__(self) -> str:
        """The change in percent, with its spread."""
        low, middle, high = (100 * (x - 1) for x in (self.low, self.factor, self.high))
        return f"{middle:+6.1f}%  {low:+.1f} … {high:+.1f}%"

    def verdict(self, direction: Literal["higher", "lower"]) -> str:
        """Better or worse where every round says so, else same.

        Without a change n rounds agree by luck once in 2ⁿ⁻¹ times: few of them say nothing.
        """
        if self.rounds < LEAST_ROUNDS:
            return "unsure"
        if self.low <= 1 <= self.high:
            return "same"
        return "better" if (self.factor > 1) == (direction == "higher") else "worse"


def change(earlier: Sequence[float], later: Sequence[float], alternate: bool) -> Change:
    """How a number changed from one series of measurements to another.

    Args:
        earlier: the rounds of the earlier revision.
        later: those of the later one.
        alternate: whether the two took turns, so that round i of one belongs to round i of the
            other; otherwise the spread holds whatever two rounds could give.
    """
    if alternate:
        factors = [new / old for old, new in zip(earlier, later, strict=True)]
        return Change(statistics.median(factors), min(factors), max(factors), len(factors))
    factor = statistics.median(later) / statistics.median(earlier)
    rounds = min(len(earlier), len(later))
    return Change(factor, min(later) / max(earlier), max(later) / min(earlier), rounds)


def comparison_table(earlier: Results, later: Results, alternate: bool) -> str:
    """Both revisions' ratios, the change of each, and the change of its measured side's own time.

    The reference is part of the library too in some rows: a ratio can become worse because that
    became faster, which the last column tells apart.
    """
    names = [earlier.revision.label, later.revision.label]
    lines = [f"{'':16s} {names[0]:>17s} {names[1]:>17s}   {'change':27s} {'':6s}   own time"]
    # Rows keep their order, and those that only one revision has come too.
    for name in dict.fromkeys(row.name for row in (*later.rows, *earlier.rows)):
        old, new = earlier.row(name), later.row(name)
        shown = [f"{row.value:17.3f}" if row else f"{'not measured':>17s}" for row in (old, new)]
        line = f"{name:16s} {' '.join(shown)}"
        if old and new:
            ratio = change(old.paired, new.paired, alternate)
            own = change(old.measured.seconds_a_step, new.measured.seconds_a_step, alternate)
            line += f"   {ratio!s:27s} {ratio.verdict(new.direction):6s}   {own}"
        lines.append(line)
    for name, result in zip(names, (earlier, later), strict=True):
        lines += [f"{row} at {name}: {reason}" for row, reason in result.missing.items()]
    return "\n".join(lines)


def finite(values: Sequence[float]) -> bool:
    """Whether all values are positive numbers, as times must be."""
    return all(math.isfinite(value) and value > 0 for value in values)
