"""What probes cost on a 1,000-step MNIST run: figures 4, 8 and 9 of paper A, every 10 steps.

Deviations and histograms are measured inside the run and must not cost more than twice the run
again. Tail index (an epoch of batches) and covariance (93) are whole passes over data: their time
is given per measurement.
"""

import argparse

import jax
from _timing import print_ratios, side_by_side

from optoscope import optimizers, tasks, training
from optoscope.analysis.noise import NoiseProbe
from optoscope.analysis.symmetry import SymmetryProbe
from optoscope.analysis.updates import HistogramProbe


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--task", default="mnist-mlp-leaky-relu")
    options = parser.parse_args()
    task = tasks.get(options.task, validation_size=0)
    assert isinstance(task, tasks.Classification)
    every = {
        "symmetry": SymmetryProbe(every=10),
        "norms": training.PROBES["norms"](every=10),
        "histogram": HistogramProbe(every=10),
    }
    # At steps 0 and `steps`/2: two measurements.
    noise = {"noise": NoiseProbe(every=options.steps // 2, batches="epoch", num_batches=469)}
    for name, optimizer in {
        "Adam": optimizers.adam(0.01),
        "LSTM": optimizers.load("lstm-mnist-sigmoid"),
    }.items():
        steps = options.steps if name == "Adam" else options.steps // 10
        seconds = side_by_side(
            {
                f"{name}, {steps} steps": lambda o=optimizer, n=steps: (
                    training.train(task, o, n, key=jax.random.key(0)).losses
                ),
                f"{name}, probes every 10 steps": lambda o=optimizer, n=steps: (
                    training.train(task, o, n, key=jax.random.key(0), probes=every).records
                ),
            },
            options.rounds,
        )
        print_ratios(seconds, f"{name}, {steps} steps", "per run")
        seconds = side_by_side(
            {
                f"{name}, 1 step": lambda o=optimizer: (
                    training.train(task, o, 1, key=jax.random.key(0)).losses
                ),
                f"{name}, 1 step with one measurement of noise": lambda o=optimizer: (
                    training.train(task, o, 1, key=jax.random.key(0), probes=noise).records
                ),
            },
            2,
        )
        print_ratios(seconds, f"{name}, 1 step", "per run")


if __name__ == "__main__":
    main()
