"""What a check of an accelerator is: a difference, its tolerance, and how long it may take."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np


@dataclass(frozen=True)
class Devices:
    """The two devices whose results are compared.

    Args:
        reference: a CPU device.
        candidate: the accelerator; where there is none, another CPU device.
    """

    reference: Any
    candidate: Any

    @property
    def has_accelerator(self) -> bool:
        """Whether the second device is anything but a CPU."""
        return self.candidate.platform != "cpu"


@dataclass(frozen=True)
class Measured:
    """What a check found.

    Args:
        difference: zero is best; NaN never passes.
        note: what else a reader should know, in a few words.
    """

    difference: float
    note: str = ""


@dataclass(frozen=True)
class Check:
    """Something that is right when its difference is at most its tolerance.

    Args:
        name: how reports call it.
        tolerance: chosen before anything is measured.
        expected_seconds: about what it takes on a machine with a GPU, compilation included.
        measure: makes the measurement.
    """

    name: str
    tolerance: float
    expected_seconds: float
    measure: Callable[[], Measured]


@dataclass(frozen=True)
class Outcome:
    """A check that was made, or skipped for want of time."""

    name: str
    status: str
    tolerance: float
    difference: float = math.nan
    seconds: float = 0.0
    note: str = ""

    @property
    def line(self) -> str:
        """One line for people."""
        note = f"  ({self.note})" if self.note else ""
        return (
            f"{self.name:66s} {self.difference:10.3g} {self.tolerance:10.3g}  "
            f"{self.status:8s} {self.seconds:6.1f} s{note}"
        )


@dataclass
class Clock:
    """Says whether something still fits into the minutes that there are.

    A machine that has been slower than expected so far is expected to stay so.
    """

    minutes: float
    started: float = field(default_factory=time.perf_counter)
    expected: float = 0.0

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self.started

    def fits(self, expected_seconds: float) -> bool:
        """Whether something that should take so long would end in time."""
        pace = max(1.0, self.seconds / self.expected) if self.expected else 1.0
        return self.seconds + pace * expected_seconds <= 60 * self.minutes

    def spent(self, expected_seconds: float) -> None:
        """Tells the clock that something that should take so long is done."""
        self.expected += expected_seconds


@contextmanager
def on(device: Any, precision: str = "highest") -> Iterator[None]:
    """What runs inside runs on the device, with products of whole float32 numbers.

    By default an accelerator rounds the factors of a matrix product to 10 bits (TF32) or 8
    (bfloat16): that alone is a difference of about 1e-3, far above the tolerances.
    """
    with jax.default_device(device), jax.default_matmul_precision(precision):
        yield


def relative_difference(result: Any, reference: Any) -> float:
    """How far one tree of arrays is from another, by its worst array.

    Of an array of real numbers that is the largest difference of an entry, over the root mean
    square of the reference; whole numbers must be equal. Infinite for trees of another
    structure, shape or type; NaN, which passes no check, for numbers that are not finite.
    """
    ours, theirs = jax.tree.leaves(result), jax.tree.leaves(reference)
    if jax.tree.structure(result) != jax.tree.structure(reference):
        return math.inf
    differences = [_array_difference(one, other) for one, other in zip(ours, theirs, strict=True)]
    return float(np.max(differences, initial=0.0))


def _array_difference(result: Any, reference: Any) -> float:
    ours, theirs = np.asarray(result), np.asarray(reference)
    if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
        return math.inf
    if np.array_equal(ours, theirs):
        return 0.0
    if not np.issubdtype(ours.dtype, np.inexact):
        return math.inf
    ours, theirs = ours.astype(np.float64), theirs.astype(np.float64)
    scale = math.sqrt(np.mean(theirs**2))
    return float(np.max(np.abs(ours - theirs))) / scale if scale else math.inf


def compare(devices: Devices, produce: Callable[[Any], Any]) -> Measured:
    """The difference between what `produce(device)` gives on both devices."""
    results = [produce(device) for device in (devices.reference, devices.candidate)]
    for device, result in zip((devices.reference, devices.candidate), results, strict=True):
        for leaf in jax.tree.leaves(result):
            # A result that was computed elsewhere would be compared with itself.
            if isinstance(leaf, jax.Array) and leaf.devices() != {device}:
                return Measured(math.inf, f"computed on {leaf.devices()}, not on {device}")
    reference, result = results
    return Measured(relative_difference(result, reference))


def described(error: Exception) -> str:
    """What kind of error it is, and its first line."""
    first_line = next(iter(str(error).strip().splitlines()), "")
    return f"{type(error).__name__}: {first_line[:200]}"


@contextmanager
def replaced(module: Any, name: str, by: Any) -> Iterator[None]:
    """Has another function in a module's place; what is traced inside is compiled with it."""
    original = getattr(module, name)
    setattr(module, name, by)
    try:
        yield
    finally:
        setattr(module, name, original)


def make(check: Check, clock: Clock) -> Outcome:
    """Makes a check if it still fits, and tells what became of it. What it raises is a failure."""
    if not clock.fits(check.expected_seconds):
        return Outcome(check.name, "skipped", check.tolerance, note="no time is left for it")
    started = time.perf_counter()
    try:
        measured = check.measure()
    except Exception as error:  # whatever a compiler or a device makes of the program
        measured = Measured(math.nan, described(error))
    clock.spent(check.expected_seconds)
    status = "ok" if measured.difference <= check.tolerance else "FAILED"
    seconds = time.perf_counter() - started
    return Outcome(check.name, status, check.tolerance, measured.difference, seconds, measured.note)


def make_all(checks: Sequence[Check], clock: Clock) -> list[Outcome]:
    """Makes the checks one after the other, each with its line as soon as it is made."""
    outcomes = []
    for check in checks:
        outcomes.append(make(check, clock))
        print(outcomes[-1].line, flush=True)
    return outcomes


def as_json(value: Any) -> Any:
    """The value with null for numbers that JSON does not have."""
    if isinstance(value, Mapping):
        return {name: as_json(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_json(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
