"""The speeds that this library promises, each beside its reference: `make bench`.

Every row is a ratio of two things that take turns in one process; it is the median over rounds,
with the lowest and the highest round as its spread. Rates count inner steps, of both signs for
antithetic pairs. The results are written to runs/bench/ as JSON, with a description of the machine.

Every row has a process of its own, with as many CPU devices as it uses. That is fair on two cores:
the devices of a process share one pool of threads for the work within an operation, and XLA makes
it as large as the number of cores, or of devices where these are more. So it has two threads for
one device as for two (look at the names of the threads), and a program for one device runs the same
beside a second, idle device. Where a row compares work on one device with work on two, both are in
one process, and what needs one device is on the first. Only more devices than cores would change
the pool; no row has them (`growth.py` gives them a process of their own).
"""

import argparse
import difflib
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from _measuring import Pair, Row, measure, present
from _results import BenchmarkError, default_path, results_table, write_results
from _workers import in_one_message, serve

ROUNDS = 9


def _pes_of_star(
    num_inputs: int,
    hidden: tuple[int, ...],
    batch_size: int,
    num_pairs: int,
    num_runs: int,
    devices: int,
) -> Pair:
    """PES of STAR and runs of plain SGD on one network; both take as many inner steps a round."""
    import evolution
    from _networks import network
    from _timing import Side, repeated

    from optoscope import optimizers

    task = network(num_inputs, hidden, batch_size)
    steps = 2 * num_pairs * evolution.TRUNCATION
    # A round of the small networks is far below a tenth of a second: several calls are one.
    calls = 1 if num_inputs == 784 else 5
    estimator = evolution.pes_of(task, num_pairs, devices)
    estimate = evolution.compiled(estimator, optimizers.get("star"))
    sgd = evolution.plain_sgd(task, steps // num_runs, num_runs)
    return Pair(
        Side("PES of STAR", repeated(estimate.run, calls), calls * steps),
        Side(f"plain SGD, {num_runs} runs", repeated(sgd, calls), calls * steps),
    )


def _pes_of_mixture(num_pairs: int, devices: int) -> Pair:
    """PES of STAR and runs of plain SGD, both on three small networks of different shapes."""
    import evolution
    from _networks import network
    from _timing import Side, repeated

    from optoscope import meta, optimizers

    networks = [
        network(num_inputs, hidden, 64)
        for num_inputs, hidden in ((64, (32,)), (64, (20, 20, 20)), (196, (32, 32)))
    ]
    num_runs, calls = 2 * num_pairs, 3
    estimator = meta.Mixture([evolution.pes_of(task, num_pairs, devices) for task in networks])
    estimate = evolution.compiled(estimator, optimizers.get("star"))
    alone = [evolution.plain_sgd(task, evolution.TRUNCATION, num_runs) for task in networks]
    steps = calls * len(networks) * num_runs * evolution.TRUNCATION
    return Pair(
        Side("PES of STAR", repeated(estimate.run, calls), steps),
        Side(
            f"plain SGD, {num_runs} runs", repeated(lambda: [run() for run in alone], calls), steps
        ),
    )


def _star_step(changing: bool) -> Pair:
    import optax
    import star_step
    from _timing import Side, repeated

    from optoscope import optimizers

    steps, calls = 20, 3
    star = star_step.matrix_steps(optimizers.get("star"), 1000, steps, changing)
    adam = star_step.matrix_steps(optax.adam(1e-3), 1000, steps, changing)
    return Pair(
        Side("STAR", repeated(star, calls), calls * steps),
        Side("optax.adam", repeated(adam, calls), calls * steps),
    )


def _meta_training_one() -> Pair:
    import meta_training
    from _timing import Side

    images = meta_training.random_images(784)
    steps = meta_training.UNROLL * meta_training.UPDATES
    return Pair(
        Side("one problem", meta_training.optoscope_program(images, 1, 2), steps),
        Side("a plain JAX program", meta_training.plain_program(images, 784), steps),
    )


def _meta_training_four() -> Pair:
    import meta_training
    from _timing import Side

    images = meta_training.random_images(784)
    # The steps of the reference on both sides: the ratio is what four cost, not what one of four
    # costs.
    steps = meta_training.UNROLL * meta_training.UPDATES
    return Pair(
        Side("four problems", meta_training.optoscope_program(images, 4, 2), steps),
        Side("one problem", meta_training.optoscope_program(images, 1, 1), steps),
    )


def _meta_training_cnn() -> Pair:
    import evolution
    import meta_training
    from _timing import Side

    from optoscope import tasks

    task, steps = tasks.get("digits-cnn"), meta_training.UNROLL * meta_training.UPDATES
    return Pair(
        Side("meta-training a GRU", meta_training.trained(task, "rnn", 1, 1), steps),
        Side("plain SGD", evolution.plain_sgd(task, steps, 1), steps),
    )


def _train(name: str) -> Pair:
    import inner_loop
    import optax
    from _timing import Side

    from optoscope import optimizers, tasks

    task, steps = tasks.get("digits-mlp-sigmoid"), 5000
    ours, by_hand = {
        "SGD": (optimizers.sgd(0.1), optax.sgd(0.1)),
        "Adam": (optimizers.adam(0.01), optax.adam(0.01)),
    }[name]
    return Pair(
        Side("training.train", inner_loop.by_training(task, ours, steps), steps),
        Side("a scan written by hand", inner_loop.hand_written(task, by_hand, steps), steps),
    )


_ROWS = (
    Row(
        "pes-mnist",
        "PES of STAR, 784-128-128-10, batch 128, 4 pairs: rate, of plain SGD's",
        0.6,
        "higher",
        lambda: _pes_of_star(784, (128, 128), 128, num_pairs=4, num_runs=1, devices=1),
    ),
    Row(
        "pes-mnist-2",
        "the same with PES on 2 devices, as the command line has it on two cores",
        0.6,
        "higher",
        lambda: _pes_of_star(784, (128, 128), 128, num_pairs=4, num_runs=1, devices=2),
        devices=2,
    ),
    Row(
        "pes-digits",
        "PES of STAR, 64-32-10, batch 64, 8 pairs, 2 devices: rate, of 16 runs of plain SGD",
        0.65,
        "higher",
        lambda: _pes_of_star(64, (32,), 64, num_pairs=8, num_runs=16, devices=2),
        devices=2,
    ),
    Row(
        "pes-small",
        "PES of STAR, 196-32-32-10, batch 64, 8 pairs, 2 devices: rate, of 16 runs of plain SGD",
        0.65,
        "higher",
        lambda: _pes_of_star(196, (32, 32), 64, num_pairs=8, num_runs=16, devices=2),
        devices=2,
    ),
    Row(
        "pes-mixture",
        "PES of STAR, three small networks, 8 pairs each, 2 devices: rate, of 16 runs of plain SGD",
        0.55,
        "higher",
        lambda: _pes_of_mixture(num_pairs=8, devices=2),
        devices=2,
    ),
    Row(
        "star-step",
        "one STAR step, 1000 x 1000, one gradient: time, of optax.adam's",
        5.0,
        "lower",
        lambda: _star_step(changing=False),
    ),
    Row(
        "star-changing",
        "one STAR step, 1000 x 1000, changing gradients: time, of optax.adam's",
        5.0,
        "lower",
        lambda: _star_step(changing=True),
    ),
    Row(
        "meta-training",
        "meta-training the LSTM on one problem, 2 devices: time, of a plain JAX program's",
        0.55,
        "lower",
        _meta_training_one,
        devices=2,
        heavy=True,
    ),
    Row(
        "meta-training-4",
        "meta-training the LSTM on four problems, 2 devices: time, of one problem's",
        3.2,
        "lower",
        _meta_training_four,
        devices=2,
        heavy=True,
    ),
    Row(
        "meta-training-cnn",
        "meta-training a GRU on a small CNN: time of an inner step, of plain SGD's",
        4.0,
        "lower",
        _meta_training_cnn,
    ),
    Row(
        "train-sgd",
        "training.train with SGD: time, of a scan written by hand",
        1.05,
        "lower",
        lambda: _train("SGD"),
    ),
    Row(
        "train-adam",
        "training.train with Adam: time, of a scan written by hand",
        1.05,
        "lower",
        lambda: _train("Adam"),
    ),
)
ROWS = {row.name: row for row in _ROWS}


def chosen_rows(names: Iterable[str]) -> list[Row]:
    """The rows of these names in the suite's order, or all of them.

    Raises:
        BenchmarkError: there is no row of such a name.
    """
    names = list(names)
    for name in names:
        if name not in ROWS:
            near = difflib.get_close_matches(name, ROWS, 3, 0.4) or list(ROWS)
            raise BenchmarkError(f'there is no row "{name}"; choose from: {", ".join(near)}.')
    return [row for row in ROWS.values() if not names or row.name in names]


def serve_row(name: str) -> None:
    """What the process of a row does; see `_workers`."""
    row = ROWS[name]
    serve(row.devices, lambda: vars(row.build()))


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that all programs on the suite have."""
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="measured pairs a row")
    parser.add_argument("--only", nargs="+", default=[], metavar="ROW", help=", ".join(ROWS))


def main() -> None:
    """Measures the suite, or serves one row of it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_options(parser)
    parser.add_argument("--out", type=Path, help="the JSON file, by default in runs/bench/")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker is not None:
        serve_row(options.worker)
        return
    started = time.perf_counter()
    rows = chosen_rows(options.only)
    (results,) = measure(rows, [present()], options.rounds)
    path = options.out or default_path(results.date, results.revision)
    write_results(path, results)
    print()
    print(results_table(results))
    print(f"\n{time.perf_counter() - started:.0f} s; written to {path}")
    if not results.rows:
        raise BenchmarkError("no row could be measured.")


if __name__ == "__main__":
    sys.exit(in_one_message(main))
