"""PES on the 784-128-128-10 network against plain SGD's `training.train` rate, in one run.

Rates are inner steps per second, both signs of every antithetic pair counted. Memory is what the
compiled estimate allocates (arguments that are not the data, results and temporaries) as a
multiple of the particles' parameters and optimizer states. Ends with what four forced devices
cost over one on the same cores.
"""

import argparse
import statistics
from dataclasses import dataclass

import equinox as eqx
import jax
from _networks import network
from _timing import Run, side_by_side

from optoscope import meta, optimizers, tasks, training
from optoscope._core.programs import Program
from optoscope._core.trees import num_bytes

TRUNCATION, HORIZON = 50, 2000


@dataclass(frozen=True)
class Estimate:
    """A compiled estimate.

    Args:
        run: makes it once.
        memory: what it needs, as a multiple of the particles' parameters and optimizer states.
    """

    run: Run
    memory: float


def plain_sgd(task: tasks.Task, num_steps: int, num_runs: int = 1) -> Run:
    """`training.train` with SGD, compiled ahead."""
    run = training.compile_train(task, optimizers.sgd(0.1), num_steps, num_runs=num_runs)
    keys = training.run_keys(jax.random.key(0), num_runs)
    return lambda: run(keys).losses


def pes_of(task: tasks.Task, num_particles: int, devices: int = 1) -> meta.PES:
    """PES with so many antithetic pairs."""
    return meta.PES(
        tasks.fixed(task),
        num_particles=num_particles,
        truncation=TRUNCATION,
        horizon=HORIZON,
        objective=meta.Objective(maximum=meta.classification_maximum(10)),
        devices=devices,
    )


def compiled(estimator: meta.Estimator, optimizer: optimizers.Optimizer) -> Estimate:
    """An estimate, compiled as `meta.Trainer` compiles it."""
    key = jax.random.key(0)
    workers = eqx.filter_jit(estimator.init)(optimizer, key)
    estimate = Program(estimator.estimate).lower(optimizer, workers, key).compile()
    analysis = estimate.compiled.memory_analysis()
    # A mixture has workers for each of its groups.
    groups = workers if isinstance(estimator, meta.Mixture) else (workers,)
    state = sum(num_bytes((one.params, one.optimizer_state)) for one in groups)
    used = num_bytes(workers) + analysis.output_size_in_bytes + analysis.temp_size_in_bytes

    def run() -> object:
        gradient, after = estimate(optimizer, workers, key)
        return gradient.loss, jax.tree.leaves(after)[0]

    return Estimate(run, used / state)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--particles", type=int, default=4)
    parser.add_argument("--optimizers", nargs="*", default=["sgd", "adam", "star"])
    parser.add_argument("--devices", type=int, default=4, help="forced CPU devices to compare")
    options = parser.parse_args()
    jax.config.update("jax_num_cpu_devices", options.devices)
    task = network(784, (128, 128), batch_size=128)
    pair_steps = 2 * TRUNCATION * options.particles
    candidates, steps = {"SGD by training.train": plain_sgd(task, 200)}, [200]
    memory: list[float | None] = [1.0]
    for name in options.optimizers:
        if name not in optimizers.names():
            print(f"{name} is not registered, it is left out")
            continue
        optimizer = optimizers.get(name)
        for devices in sorted({1, options.devices}):
            label = f"PES of {name}" + (f", {devices} devices" if devices > 1 else "")
            estimate = compiled(pes_of(task, options.particles, devices), optimizer)
            candidates[label] = estimate.run
            steps.append(pair_steps)
            # The compiler's numbers are a device's.
            memory.append(estimate.memory if devices == 1 else None)
    seconds = side_by_side(candidates, options.rounds)
    base = seconds["SGD by training.train"]
    print(f"{'':34s} {'inner steps/s':>14s} {'of SGD':>8s}   {'paired':12s} {'memory':>7s}")
    for (name, values), count, multiple in zip(seconds.items(), steps, memory, strict=True):
        rate = count / statistics.median(values)
        paired = sorted(
            (count / value) / (200 / other) for value, other in zip(values, base, strict=True)
        )
        spread = f"{paired[0]:.2f} … {paired[-1]:.2f}"
        ratio = statistics.median(paired)
        used = "" if multiple is None else f"{multiple:7.2f}"
        print(f"{name:34s} {rate:14.0f} {ratio:8.2f}   {spread:12s} {used}".rstrip())


if __name__ == "__main__":
    main()
