"""How the time of an inner step grows with parameters, particles and devices: `make bench-growth`.

Three panels, as a table, a figure (docs/images/speed-growth.png) and JSON in runs/bench/:

- parameters: one inner step (gradient and update) of a 64-w-w-10 ReLU network at batch 64, with as
  many parameters as the width w gives, by plain SGD, Adam and STAR, on one device;
- particles: one inner step of all runs of PES of STAR on 64-32-10 at batch 64, which are two for
  each antithetic pair, and of as many runs of plain SGD, on one device;
- devices: one inner step of all runs of PES of STAR, 16 pairs on 64-32-10 and 4 pairs on
  784-128-128-10, spread over forced CPU devices.

The points of a panel take turns round by round. The first two panels have a process with one
device each. Every number of devices has a process of its own, because XLA's pool of threads is as
large as the number of cores or, where these are more, of devices: with four devices on two cores it
has four threads, which one device would use too.

A slope is that of a line in logarithms of both axes: 0 is a time that does not grow, 1 one in
proportion. A bend is where two lines fit the medians best, if their slopes differ by 0.2 or more.
"""

import argparse
import math
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from _curves import Curve, Growth, Panel, draw, panel_table, read_growth, slope_table, write_growth
from _results import ROOT, BenchmarkError, default_path, describe_machine, now, revision_of
from _workers import Worker, in_one_message, serve

if TYPE_CHECKING:
    from _timing import Run, Side

ROUNDS = 5
PARAMETERS = (1e3, 3e3, 1e4, 3e4, 1e5, 3e5, 1e6, 3e6, 1e7)
PARTICLES = (1, 2, 4, 8, 16, 32, 64)
DEVICES = (1, 2, 4)
FIGURE = ROOT / "docs" / "images" / "speed-growth.png"
_NUM_INPUTS, _BATCH = 64, 64


def num_parameters(width: int) -> int:
    """Those of a 64-w-w-10 network."""
    return (_NUM_INPUTS + 1) * width + (width + 1) * width + (width + 1) * 10


def hidden_width(wanted: float) -> int:
    """The width with which the network has about so many parameters."""
    linear = num_parameters(1) - 1 - 10
    return max(1, round((math.sqrt(linear**2 + 4 * (wanted - 10)) - linear) / 2))


def _inner_steps(task: Any, optimizer: Any, steps: int) -> "Run":
    """Steps that go on from a state: beginning is dear for large networks, and not a step."""
    import equinox as eqx
    import jax
    from star_step import unroll_from

    from optoscope._core.programs import Program
    from optoscope.training import initial_state

    key = jax.random.key(0)
    start = eqx.filter_jit(initial_state)(task, optimizer, key)
    run = Program(lambda task, optimizer, start: unroll_from(task, optimizer, start, key, steps)[1])
    return lambda: run(task, optimizer, start)


def _parameter_sides() -> "dict[str, Side]":
    from _networks import network
    from _timing import Side

    from optoscope import optimizers

    sides = {}
    for wanted in PARAMETERS:
        width = hidden_width(wanted)
        task = network(_NUM_INPUTS, (width, width), _BATCH)
        steps = int(np.clip(2e7 / wanted, 5, 500))
        for label, optimizer in (
            ("SGD", optimizers.sgd(0.1)),
            ("Adam", optimizers.adam(0.001)),
            ("STAR", optimizers.get("star")),
        ):
            name = f"{label}|{num_parameters(width)}"
            sides[name] = Side(label, _inner_steps(task, optimizer, steps), steps)
    return sides


def _particle_sides() -> "dict[str, Side]":
    import evolution
    from _networks import network
    from _timing import Side, repeated

    from optoscope import optimizers

    task, star = network(_NUM_INPUTS, (32,), _BATCH), optimizers.get("star")
    steps, sides = evolution.TRUNCATION, {}
    for pairs in PARTICLES:
        calls = max(1, 16 // pairs)
        for label, run in (
            ("SGD, as many runs", evolution.plain_sgd(task, steps, 2 * pairs)),
            ("PES of STAR", evolution.compiled(evolution.pes_of(task, pairs), star).run),
        ):
            sides[f"{label}|{pairs}"] = Side(label, repeated(run, calls), calls * steps)
    return sides


def _device_sides(devices: int) -> "dict[str, Side]":
    import evolution
    from _networks import network
    from _timing import Side, repeated

    from optoscope import optimizers

    star, steps, sides = optimizers.get("star"), evolution.TRUNCATION, {}
    for label, task, pairs, calls in (
        ("64-32-10, 16 pairs", network(64, (32,), 64), 16, 4),
        ("784-128-128-10, 4 pairs", network(784, (128, 128), 128), 4, 1),
    ):
        run = evolution.compiled(evolution.pes_of(task, pairs, devices), star).run
        sides[f"{label}|{devices}"] = Side(label, repeated(run, calls), calls * steps)
    return sides


def serve_panel(name: str) -> None:
    """What a worker does: "parameters", "particles" or "devices-N"."""
    kind, _, devices = name.partition("-")
    build = {
        "parameters": _parameter_sides,
        "particles": _particle_sides,
        "devices": lambda: _device_sides(int(devices)),
    }[kind]
    serve(int(devices or 1), build)


@dataclass(frozen=True)
class _PanelPlan:
    """A panel before it is measured: the workers that take turns for it."""

    name: str
    quantity: str
    workers: tuple[str, ...]


_PLANS = (
    _PanelPlan("parameters", "parameters", ("parameters",)),
    _PanelPlan("particles", "antithetic pairs", ("particles",)),
    _PanelPlan("devices", "CPU devices", tuple(f"devices-{count}" for count in DEVICES)),
)


@dataclass(frozen=True)
class _MeasuredPanel:
    """A panel, and the device it ran on."""

    panel: Panel
    device_kind: str


def _measured(plan: _PanelPlan, rounds: int) -> _MeasuredPanel:
    print(f"{plan.name}: compiling", flush=True)
    started = time.perf_counter()
    seconds: dict[str, list[float]] = {}
    with ExitStack() as stack:
        workers = [
            stack.enter_context(Worker(Path(__file__), name, ROOT / "src")) for name in plan.workers
        ]
        ready = [worker.ready() for worker in workers]
        took = time.perf_counter() - started
        print(f"{plan.name}: compiled in {took:.0f} s, measuring {rounds} rounds", flush=True)
        for _ in range(rounds):
            for worker, answer in zip(workers, ready, strict=True):
                for side, value in worker.round().items():
                    seconds.setdefault(side, []).append(value / answer.steps[side])
    points = [(*side.split("|"), rounds_) for side, rounds_ in seconds.items()]
    labels = dict.fromkeys(label for label, _, _ in points)
    curves = []
    for label in labels:
        own = sorted((float(size), tuple(values)) for it, size, values in points if it == label)
        curves.append(Curve(label, *map(tuple, zip(*own, strict=True))))
    return _MeasuredPanel(Panel(plan.name, plan.quantity, tuple(curves)), ready[0].device_kind)


def show(growth: Growth, figure: Path) -> None:
    """Prints the tables and draws the figure."""
    for panel in growth.panels:
        print(f"\n{panel_table(panel)}")
    print(f"\n{slope_table(growth)}")
    draw(growth, figure)
    print(f"\nThe figure is {figure}")


def main() -> None:
    """Measures the panels, draws a file again, or serves a panel."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--only", nargs="+", choices=[plan.name for plan in _PLANS])
    parser.add_argument("--out", type=Path, help="the JSON file, by default in runs/bench/")
    parser.add_argument("--figure", type=Path, default=FIGURE)
    parser.add_argument("--redraw", type=Path, metavar="JSON", help="of an earlier call")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker is not None:
        serve_panel(options.worker)
        return
    if options.redraw is not None:
        show(read_growth(options.redraw), options.figure)
        return
    if options.rounds < 1:
        raise BenchmarkError(f"--rounds is {options.rounds}; it must be at least 1.")
    machine, revision, date = describe_machine(""), revision_of(), now()
    plans = [plan for plan in _PLANS if not options.only or plan.name in options.only]
    measured = [_measured(plan, options.rounds) for plan in plans]
    machine["device_kind"] = measured[0].device_kind
    growth = Growth(machine, revision, date, tuple(one.panel for one in measured))
    path = options.out or default_path(date, revision, "growth-")
    write_growth(path, growth)
    show(growth, options.figure)
    print(f"The numbers are in {path}")


if __name__ == "__main__":
    sys.exit(in_one_message(main))
