"""A model of what evolution strategies on a mixture of tasks cost on many devices.

A meta-step runs antithetic pairs of every task and adds their meta-gradients up across devices.
A pair's time is its task's measured median time, multiplied by a factor drawn anew for each pair
from the spread of the measured times. Nothing here imports JAX.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from _results import BenchmarkError, read_document, write_document

FORMAT, VERSION = "optoscope/scaling-rates", 1
_BYTES = 4  # single precision
_SCALARS = 6  # losses and counts that are added up with a meta-gradient


@dataclass(frozen=True)
class Work:
    """One task of a mixture.

    Args:
        name: of the task.
        steps: inner steps of a pair in a meta-step, of both signs together.
        seconds_a_step: of one inner step on one device, in every round of the measurement, as a
            clock on the wall has it; their spread is that of the simulation.
        alone: the same by the processor's own count, without what else the machine did, where
            there is one; a pair's time is then from these.
    """

    name: str
    steps: int
    seconds_a_step: tuple[float, ...]
    alone: tuple[float, ...] = ()

    @property
    def seconds(self) -> float:
        """The mean time of a pair: the median of the measured ones."""
        return self.steps * statistics.median(self.alone or self.seconds_a_step)

    @property
    def factors(self) -> np.ndarray:
        """The times on the wall over their mean: what else the machine did adds no work."""
        return np.asarray(self.seconds_a_step) / statistics.mean(self.seconds_a_step)


@dataclass(frozen=True)
class Mixture:
    """What is meta-trained, and how often.

    Args:
        name: what tables call it.
        numbers: meta-parameters; so many are exchanged for each task, with a few scalars.
        pairs: antithetic pairs of each task in a meta-step.
        meta_steps: of the whole meta-training.
        tasks: of the mixture.
    """

    name: str
    numbers: int
    pairs: int
    meta_steps: int
    tasks: tuple[Work, ...]

    @property
    def bytes_exchanged(self) -> int:
        """What one task's sum over devices holds."""
        return _BYTES * (self.numbers + _SCALARS)


@dataclass(frozen=True)
class Rates:
    """Measured rates, and where they were measured."""

    machine: Mapping[str, Any]
    date: str
    mixtures: tuple[Mixture, ...]


@dataclass(frozen=True)
class Network:
    """What an exchange between devices takes.

    Args:
        latency: seconds before a message arrives.
        bandwidth: bytes a second.
    """

    latency: float
    bandwidth: float

    def all_reduce(self, devices: int, size: int) -> float:
        """Seconds to add `size` bytes up over devices, by recursive doubling.

        Math: ⌈log₂ D⌉ (α + n/β) for D devices, n bytes, a latency α and a bandwidth β.

        Source: R. Thakur, R. Rabenseifner and W. Gropp, "Optimization of Collective Communication
        Operations in MPICH" (2005), for short messages; the additions themselves cost nothing here.
        """
        rounds = (devices - 1).bit_length()
        return rounds * (self.latency + size / self.bandwidth)


@dataclass(frozen=True)
class Cost:
    """A meta-step on some devices.

    Args:
        devices: how many there are.
        pairs: of each task, on all devices together.
        seconds: of a meta-step, the mean over the simulated ones.
        worked: seconds that the devices spend on pairs, all added up.
        even: seconds of a meta-step if all pairs of a task took the same time.
        exchange: seconds of it that go into adding up across devices.
    """

    devices: int
    pairs: int
    seconds: float
    worked: float
    even: float
    exchange: float

    @property
    def busy(self) -> float:
        """The share of all device time that is spent on pairs: the efficiency."""
        return self.worked / (self.devices * self.seconds)

    @property
    def exchanging(self) -> float:
        """The share of a meta-step that goes into the exchange."""
        return self.exchange / self.seconds

    @property
    def straggling(self) -> float:
        """The share of a meta-step that is spent waiting for the slowest device of each task."""
        return max(0.0, (self.seconds - self.even) / self.seconds)

    @property
    def idle(self) -> float:
        """What else is lost: devices without a pair, and those with shorter ones than others."""
        return max(0.0, 1 - self.busy - self.exchanging - self.straggling)


def devices_used(devices: int, pairs: int) -> int:
    """The most devices that pairs of one task can be shared out over evenly, as in the library.

    >>> devices_used(8, 12), devices_used(8, 2)
    (6, 2)
    """
    return max(n for n in range(1, min(devices, pairs) + 1) if pairs % n == 0)


def in_turn(
    mixture: Mixture, devices: int, pairs: int, network: Network, seed: int, repeats: int = 200
) -> Cost:
    """One task after the other, each on all devices: what the library does.

    The devices wait for each other after every task, because its sum is needed from all of them.
    """
    generator = np.random.default_rng(seed)
    used = devices_used(devices, pairs)
    exchange = network.all_reduce(used, mixture.bytes_exchanged) * len(mixture.tasks)
    seconds, worked, even = np.full(repeats, exchange), 0.0, exchange
    for task in mixture.tasks:
        drawn = generator.choice(task.factors, (repeats, used, pairs // used))
        each = task.seconds * drawn.sum(axis=2)
        seconds += each.max(axis=1)
        worked += float(each.sum(axis=1).mean())
        even += task.seconds * (pairs // used)
    return Cost(devices, pairs, float(seconds.mean()), worked, even, exchange)


def shared_out(
    mixture: Mixture, devices: int, pairs: int, network: Network, seed: int, repeats: int = 200
) -> Cost:
    """The pairs of all tasks shared out over the devices, with one sum at the end.

    The library does not do this: a device would need the programs of all its tasks at once. The
    longest pairs go first, each to the device that has least to do.

    Source: R. L. Graham, "Bounds on Multiprocessing Timing Anomalies" (1969), for the order.
    """
    generator = np.random.default_rng(seed)
    exchange = network.all_reduce(devices, mixture.bytes_exchanged)
    loads, drawn = np.zeros(devices), np.zeros((devices, repeats))
    for task in sorted(mixture.tasks, key=lambda one: -one.seconds):
        factors = generator.choice(task.factors, (pairs, repeats))
        for one in factors:
            place = int(np.argmin(loads))
            loads[place] += task.seconds
            drawn[place] += task.seconds * one
    seconds = float(drawn.max(axis=0).mean()) + exchange
    worked, even = float(drawn.sum(axis=0).mean()), float(loads.max()) + exchange
    return Cost(devices, pairs, seconds, worked, even, exchange)


def write_rates(path: Path, rates: Rates) -> None:
    """Writes measured rates as JSON."""
    write_document(path, {"format": FORMAT, "version": VERSION, **asdict(rates)})


def read_rates(path: Path) -> Rates:
    """Reads what `write_rates` wrote, or a file of rates of your own.

    Raises:
        BenchmarkError: the file cannot be read, or is no such file.
    """
    document = read_document(path, FORMAT, VERSION)
    try:
        mixtures = tuple(
            Mixture(
                **{
                    **one,
                    "tasks": tuple(
                        Work(
                            task["name"],
                            task["steps"],
                            tuple(task["seconds_a_step"]),
                            tuple(task.get("alone", ())),
                        )
                        for task in one["tasks"]
                    ),
                }
            )
            for one in document["mixtures"]
        )
        rates = Rates(document["machine"], document["date"], mixtures)
    except (KeyError, TypeError) as error:
        raise BenchmarkError(f"{path} is damaged: {error!r}") from None
    for mixture in mixtures:
        if not mixture.tasks or any(
            not task.seconds_a_step or min(*task.seconds_a_step, *task.alone, 1.0) <= 0
            for task in mixture.tasks
        ):
            raise BenchmarkError(f"{path}: {mixture.name} has a task without positive times.")
    return rates


def table(costs: Sequence[Cost]) -> str:
    """A Markdown table of costs."""
    lines = [
        "| devices | pairs of a task | seconds a meta-step | efficiency | idle | waiting for the "
        "slowest | exchange |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for one in costs:
        shares = (one.busy, one.idle, one.straggling, one.exchanging)
        cells = " | ".join(f"{100 * share:.1f}%" for share in shares)
        lines.append(f"| {one.devices:,} | {one.pairs:,} | {one.seconds:.3g} | {cells} |")
    return "\n".join(lines)
