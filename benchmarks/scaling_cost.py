"""What meta-training would cost on 8, 64 and 512 devices, simulated from rates of one core.

    python benchmarks/scaling_cost.py                   from benchmarks/scaling_rates.json
    python benchmarks/scaling_cost.py --measure         measures the rates here first (minutes)
    python benchmarks/scaling_cost.py --figure docs/images/scaling-cost.png

A device is whatever the rates were measured on: for the file that comes with the library one core.
No run on so many devices was made. Two mixtures: that of the recipe `general`, and one with the
counts of Celo2's meta-training. Prints, for each, strong scaling (as many pairs on any number of
devices) and weak scaling (as many pairs on each device), how the library shares pairs out and how
that could be done, and device-hours of a whole meta-training.

Assumptions, all of them options: a message takes 250 µs to arrive, half of the round trip within a
data center in J. Dean's and P. Norvig's "numbers every programmer should know", and then 125 MB/s,
gigabit Ethernet: both are slow for a cluster. A pair takes the processor's median time, multiplied
by a factor of mean 1 drawn from the spread of the times on the wall, in which it was disturbed.
"""

import argparse
import dataclasses
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from _cost import (
    Cost,
    Mixture,
    Network,
    Rates,
    Work,
    in_turn,
    read_rates,
    shared_out,
    table,
    write_rates,
)
from _results import ROOT, describe_machine, now
from _workers import in_one_message

DEVICES = (1, 8, 64, 512)
RATES = ROOT / "benchmarks" / "scaling_rates.json"
# Inner steps of each sign that are timed at once, and how often.
STEPS, ROUNDS, ROUND_SECONDS = 100, 9, 0.3
# Celo2's meta-training: eight pairs an estimate on networks 64-32-10, batch 64, truncation 50.
CELO2_PAIRS, CELO2_TRUNCATION, CELO2_META_STEPS = 8, 50, 100_000


def measured(seed: int = 0) -> Rates:
    """Times the tasks of both mixtures, one after the other, on one core."""
    if hasattr(os, "sched_setaffinity"):  # XLA takes as many threads as there are cores
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    import jax

    mixtures = (_general(), _celo2_like())
    return Rates(describe_machine(jax.devices()[0].device_kind), now(), mixtures)


def _general() -> Mixture:
    """The recipe's own tasks and estimators, for one pair each."""
    from optoscope._core.trees import size
    from optoscope.cli._recipes import read_recipe
    from optoscope.cli._train import Train
    from optoscope.optimizers._files import for_num_steps

    lines = {
        name: tuple(x) if isinstance(x, list) else x for name, x in read_recipe("general").items()
    }
    del lines["description"]
    settings: Any = Train(**lines, devices=1)
    scheme = settings._scheme()
    start = scheme.starts[0]
    groups = scheme.trainer(settings.horizon, settings.horizon).estimator.groups
    names = settings.task.split(",")
    works = []
    for name, group in zip(names, groups, strict=True):
        told = for_num_steps(start, group.horizon)
        steps = min(STEPS, group.horizon)
        # Which steps count in the meta-loss costs nothing.
        objective = dataclasses.replace(group.objective, weights=None)
        short = dataclasses.replace(group, num_particles=1, horizon=steps, objective=objective)
        works.append(Work(name, 2 * group.horizon, *_times(short, told, 2 * steps)))
        print(f"{name}: {1e3 * works[-1].seconds / works[-1].steps:.3f} ms", file=sys.stderr)
    return Mixture("general", size(start), settings.num_tasks, settings.meta_steps, tuple(works))


def _celo2_like() -> Mixture:
    from _networks import network

    from optoscope import meta, optimizers, tasks
    from optoscope._core.trees import size

    estimator = meta.PES(
        tasks.fixed(network(64, (32,), 64)),
        num_particles=1,
        truncation=CELO2_TRUNCATION,
        horizon=2000,
    )
    optimizer = optimizers.get("celo2", learning_rate=0.01)
    steps = 2 * CELO2_TRUNCATION
    work = Work("64-32-10, batch 64", steps, *_times(estimator, optimizer, steps))
    return Mixture("celo2-like", size(optimizer), CELO2_PAIRS, CELO2_META_STEPS, (work,))


def _times(estimator: Any, optimizer: Any, steps: int) -> tuple[tuple[float, ...], ...]:
    """Seconds of one inner step in every round: on the wall, and of the processor."""
    import time

    import equinox as eqx
    import jax
    from _timing import repeated

    from optoscope._core.programs import Program

    key = jax.random.key(0)
    workers = eqx.filter_jit(estimator.init)(optimizer, key)
    program = Program(lambda *given: given[0].estimate(*given[1:])[0].loss)
    once = repeated(lambda: program(estimator, optimizer, workers, key), 1)
    once()  # compiles
    started = time.perf_counter()
    once()
    # So many that what other programs do for a moment does not decide.
    calls = max(1, round(ROUND_SECONDS / (time.perf_counter() - started)))
    run, found = repeated(lambda: program(estimator, optimizer, workers, key), calls), []
    for _ in range(ROUNDS):
        before = time.perf_counter(), time.process_time()
        run()
        after = time.perf_counter(), time.process_time()
        found.append([(b - a) / (calls * steps) for a, b in zip(before, after, strict=True)])
    walls, processor = zip(*found, strict=True)
    # The processor of the machine does not compute where an accelerator does.
    return walls, processor if jax.default_backend() == "cpu" else ()


def costs(
    mixture: Mixture, devices: Sequence[int], pairs: int, network: Network, seed: int
) -> dict[str, list[Cost]]:
    """The four series of a mixture.

    Args:
        mixture: what is meta-trained.
        devices: how many there are.
        pairs: of strong scaling, where it is not the mixture's own.
        network: between them.
        seed: of the simulation.
    """
    own = mixture.pairs
    return {
        f"strong, {own:,} pairs of each task, as the recipe has": [
            in_turn(mixture, count, own, network, seed) for count in devices
        ],
        f"strong, {own:,} pairs, tasks side by side (not in the library)": [
            shared_out(mixture, count, own, network, seed) for count in devices
        ],
        f"strong, {pairs:,} pairs of each task": [
            in_turn(mixture, count, pairs, network, seed) for count in devices
        ],
        f"weak, {own:,} pairs of each task on each device": [
            in_turn(mixture, count, own * count, network, seed) for count in devices
        ],
    }


def hours_table(
    mixtures: Sequence[Mixture], devices: Sequence[int], network: Network, seed: int
) -> str:
    """Hours and device-hours of whole meta-trainings, with the pairs that they have."""
    lines = [
        "| meta-training | meta-steps | devices | hours | device-hours |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for mixture in mixtures:
        for count in devices:
            one = in_turn(mixture, count, mixture.pairs, network, seed)
            hours = mixture.meta_steps * one.seconds / 3600
            lines.append(
                f"| {mixture.name} | {mixture.meta_steps:,} | {count:,} | {hours:.3g} | "
                f"{count * hours:.3g} |"
            )
    return "\n".join(lines)


def draw(found: dict[str, dict[str, list[Cost]]], path: Path) -> None:
    """Draws efficiency against devices, a panel for each mixture."""
    from matplotlib.figure import Figure

    from optoscope.report._style import style

    with style():
        figure = Figure(figsize=(5.6 * len(found), 5.2), layout="constrained")
        panels = figure.subplots(1, len(found), sharey=True, squeeze=False)[0]
        for axes, (name, series) in zip(panels, found.items(), strict=True):
            for (label, each), dashes in zip(series.items(), ("-", ":", "--", "-."), strict=True):
                axes.plot([one.devices for one in each], [100 * one.busy for one in each], "o",
                          linestyle=dashes, label=label, linewidth=2)  # fmt: skip
            axes.set_xscale("log", base=2)
            counts = [one.devices for one in each]
            axes.set_xticks(counts, [str(count) for count in counts])
            axes.set_ylim(0, 104)
            axes.set_title(name, fontsize=11)
            axes.set_xlabel("devices")
            # Below the panel, where no curve is.
            axes.legend(
                fontsize=8.5, loc="upper center", bbox_to_anchor=(0.5, -0.16), frameon=False
            )
        panels[0].set_ylabel("device time spent on pairs, %")
        figure.savefig(path, dpi=150)


def main() -> None:
    """Measures if asked to, simulates, and prints or draws."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rates", type=Path, default=RATES, help="a JSON file of rates")
    parser.add_argument(
        "--measure", action="store_true", help="measure them here and write --rates"
    )
    parser.add_argument("--devices", type=int, nargs="+", default=list(DEVICES))
    parser.add_argument("--pairs", type=int, default=512, help="of a task, for strong scaling")
    parser.add_argument("--latency", type=float, default=250e-6, help="seconds of a message")
    parser.add_argument("--bandwidth", type=float, default=125e6, help="bytes a second")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--figure", type=Path, help="where to draw efficiencies")
    options = parser.parse_args()
    if options.measure:
        write_rates(options.rates, measured())
    rates = read_rates(options.rates)
    network = Network(options.latency, options.bandwidth)
    print(f"Measured on {rates.machine.get('cpu', 'an unknown machine')}, {rates.date}.")
    found = {}
    for mixture in rates.mixtures:
        found[mixture.name] = costs(mixture, options.devices, options.pairs, network, options.seed)
        for label, each in found[mixture.name].items():
            print(f"\n{mixture.name}: {label}\n\n{table(each)}")
    print(f"\n{hours_table(rates.mixtures, options.devices, network, options.seed)}")
    if options.figure is not None:
        draw(found, options.figure)


if __name__ == "__main__":
    sys.exit(in_one_message(main))
