"""Inner steps per second on one device, beside `optax.adam` through `training.train` on it."""

import dataclasses
import functools
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import evolution
import jax
import meta_training
import optax
from _accelerator_checks import Check, Clock, Measured, described, replaced
from _accelerator_programs import plain_sums_of_squares
from _networks import network, random_images
from _timing import side_by_side
from star_step import matrix_steps

from optoscope import optimizers, tasks, training
from optoscope._core.programs import Program
from optoscope.optimizers import _inputs, _small_network

ROUNDS, ADAM_STEPS, MATRIX_STEPS = 5, 200, 20
# How much longer a step may take by the library's own path than by the plain one.
PATH_TOLERANCE = 1.15


@dataclass(frozen=True)
class Rate:
    """Inner steps per second: medians of rounds in which the candidates take turns.

    Args:
        inner_steps_per_second: of all particles and problems together.
        optax_adam: the same of `optax.adam` alone, on the same network and batches.
        ratio_to_adam: the median of the paired ratios of the two rates.
        ratio_low: the least of them.
        ratio_high: the greatest of them.
        first_call_seconds: with compilation.
        optax_adam_side_by_side: of as many Adam runs in one program as there are particles.
    """

    inner_steps_per_second: float
    optax_adam: float
    ratio_to_adam: float
    ratio_low: float
    ratio_high: float
    first_call_seconds: float
    optax_adam_side_by_side: float | None = None

    @property
    def line(self) -> str:
        """One line for people."""
        line = (
            f"{self.inner_steps_per_second:10.0f} steps/s, {self.ratio_to_adam:.3f} of optax.adam "
            f"({self.ratio_low:.3f} … {self.ratio_high:.3f}), first call "
            f"{self.first_call_seconds:.1f} s"
        )
        if self.optax_adam_side_by_side is None:
            return line
        return f"{line}; as many Adam runs together {self.optax_adam_side_by_side:.0f} steps/s"


@dataclass(frozen=True)
class EvolutionRow:
    """PES of STAR on one network, truncation 50.

    Args:
        num_inputs: pixels.
        hidden: units of the hidden layers.
        batch: images per batch.
        pairs: antithetic pairs.
        beside: whether as many Adam runs side by side are measured too.
    """

    num_inputs: int
    hidden: tuple[int, ...]
    batch: int
    pairs: int
    beside: bool = False

    @property
    def name(self) -> str:
        """How reports call it."""
        widths = "-".join(map(str, (self.num_inputs, *self.hidden, 10)))
        return f"PES of STAR, {widths}, batch {self.batch}, {self.pairs} pairs"

    def tiny(self) -> "EvolutionRow":
        """The same code on sizes that take no time."""
        return dataclasses.replace(self, num_inputs=16, hidden=(4,), batch=8, pairs=2)


EVOLUTION_ROWS = (
    EvolutionRow(784, (128, 128), 128, 4),
    EvolutionRow(64, (32,), 64, 8),
    EvolutionRow(196, (32, 32), 64, 8),
)
PARTICLE_ROWS = tuple(EvolutionRow(64, (32,), 64, count, beside=True) for count in (1024, 64, 256))


@dataclass(frozen=True)
class Timed:
    """Something to time.

    Args:
        run: does it once.
        steps: inner steps in it.
        seconds: what making it took.
    """

    run: Callable[[], object]
    steps: int
    seconds: float = 0.0


def _timed(make: Callable[[], Callable[[], object]], steps: int) -> Timed:
    """Made, compiled and run once."""
    started = time.perf_counter()
    run = make()
    jax.block_until_ready(run())
    return Timed(run, steps, time.perf_counter() - started)


def _rate(ours: Timed, adam: Timed, beside: Timed | None = None) -> Rate:
    candidates = {"ours": ours, "adam": adam} | ({"beside": beside} if beside else {})
    seconds = side_by_side({key: timed.run for key, timed in candidates.items()}, ROUNDS)
    rates = {
        key: [timed.steps / value for value in seconds[key]] for key, timed in candidates.items()
    }
    paired = [one / other for one, other in zip(rates["ours"], rates["adam"], strict=True)]
    medians = {key: statistics.median(values) for key, values in rates.items()}
    return Rate(
        inner_steps_per_second=medians["ours"],
        optax_adam=medians["adam"],
        ratio_to_adam=statistics.median(paired),
        ratio_low=min(paired),
        ratio_high=max(paired),
        first_call_seconds=ours.seconds,
        optax_adam_side_by_side=medians.get("beside"),
    )


def _adam(task: tasks.Task, num_runs: int = 1) -> Timed:
    run = training.compile_train(task, optax.adam(1e-3), ADAM_STEPS, num_runs=num_runs)
    keys = training.run_keys(jax.random.key(0), num_runs)
    return Timed(lambda: run(keys).losses, ADAM_STEPS * num_runs)


def evolution_rate(row: EvolutionRow) -> Rate:
    """One row; both signs of every pair are counted."""
    task = network(row.num_inputs, row.hidden, row.batch)
    steps = 2 * row.pairs * evolution.TRUNCATION
    estimator, star = evolution.pes_of(task, row.pairs), optimizers.get("star")
    ours = _timed(lambda: evolution.compiled(estimator, star).run, steps)
    return _rate(ours, _adam(task), _adam(task, 2 * row.pairs) if row.beside else None)


def matrix_rate(size: int) -> Rate:
    """STAR's step against Adam's on a matrix, with gradients that change."""
    ours, adam = (
        _timed(functools.partial(matrix_steps, one, size, MATRIX_STEPS, True), MATRIX_STEPS)
        for one in (optimizers.get("star"), optax.adam(1e-3))
    )
    return _rate(ours, adam)


def backprop_rate(num_tasks: int, num_inputs: int) -> Rate:
    """Meta-training the LSTM through the public trainer, as `benchmarks/meta_training.py` does."""
    dataset = random_images(num_inputs)
    steps = num_tasks * meta_training.UNROLL * meta_training.UPDATES
    ours = _timed(lambda: meta_training.optoscope_program(dataset, num_tasks, 1), steps)
    return _rate(ours, _adam(tasks.mlp_classification(dataset)))


@dataclass(frozen=True)
class SpeedRow:
    """A rate that can be measured, and about how long that takes on a machine with a GPU."""

    name: str
    expected_seconds: float
    measure: Callable[[], Rate]


def speed_rows(tiny: bool) -> list[SpeedRow]:
    """All rows, the most asked for first; names are those of the real sizes."""

    def of_evolution(row: EvolutionRow) -> SpeedRow:
        small = row.tiny() if tiny else row
        return SpeedRow(row.name, 30.0, functools.partial(evolution_rate, small))

    size, num_inputs = (32, 16) if tiny else (1000, 784)
    lstm = [
        SpeedRow(
            f"meta-training the LSTM, 784-20-10, batch 128, {problems}",
            25.0,
            functools.partial(backprop_rate, count, num_inputs),
        )
        for count, problems in ((1, "one problem"), (4, "four problems"))
    ]
    matrix = SpeedRow("one STAR step on 1000 × 1000", 10.0, functools.partial(matrix_rate, size))
    return [*map(of_evolution, EVOLUTION_ROWS), matrix, *lstm, *map(of_evolution, PARTICLE_ROWS)]


@dataclass(frozen=True)
class Rates:
    """The rates that were measured, by row, and the rows that were not."""

    done: dict[str, Rate] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()


def measure_rates(device: Any, rows: Sequence[SpeedRow], clock: Clock) -> Rates:
    """Those of the rows that fit into the time, in the precision that users have by default."""
    done, skipped, failed = {}, [], []
    for row in rows:
        if not clock.fits(row.expected_seconds):
            skipped.append(row.name)
            print(f"{row.name:66s} skipped: no time is left for it", flush=True)
            continue
        try:
            with jax.default_device(device):
                done[row.name] = row.measure()
        except Exception as error:  # out of memory, a program that does not compile
            failed.append(row.name)
            print(f"{row.name:66s} FAILED: {described(error)}", flush=True)
        else:
            print(f"{row.name:66s} {done[row.name].line}", flush=True)
        clock.spent(row.expected_seconds)
    return Rates(done, tuple(skipped), tuple(failed))


def _star_steps(size: int, copies: int) -> Callable[[], Any]:
    """A scan over STAR's steps on as many square matrices, side by side."""
    params = jax.random.normal(jax.random.key(0), (copies, size, size))

    @Program
    def run(optimizer: Any, params: Any) -> Any:
        def step(carry: Any, _: None) -> tuple[Any, None]:
            params, state = carry
            gradient = jax.lax.optimization_barrier(0.5 * params)
            updates, state = optimizer.update(gradient, state, params)
            return (params + updates, state), None

        def one(params: Any) -> Any:
            start = (params, optimizer.init(params))
            return jax.lax.scan(step, start, None, length=MATRIX_STEPS)[0][0]

        return jax.vmap(one)(params) if copies > 1 else one(params[0])

    star = optimizers.get("star")
    return lambda: run(star, params)


@dataclass(frozen=True)
class Path:
    """Something written for a CPU, and what is plain in its place."""

    what: str
    module: Any
    name: str
    plain: Any


PATHS = (
    Path("layout constraints", _small_network, "with_layout_constraint", lambda x, _: x),
    Path("hand-made loops", _inputs, "sums_of_squares", plain_sums_of_squares),
)


def path_difference(device: Any, path: Path, size: int, copies: int) -> Measured:
    """The median ratio of the time of STAR's steps to that with something plain in its place."""
    with jax.default_device(device):
        ours, without = _star_steps(size, copies), _star_steps(size, copies)
        with replaced(path.module, path.name, path.plain):
            jax.block_until_ready(without())  # compiled here, as it is replaced
        seconds = side_by_side({"ours": ours, "plain": without}, 2 * ROUNDS)
    ratios = [a / b for a, b in zip(seconds["ours"], seconds["plain"], strict=True)]
    spread = f"{min(ratios):.2f} … {max(ratios):.2f}"
    return Measured(statistics.median(ratios), f"ratio of times, {spread}")


def path_checks(device: Any, tiny: bool) -> list[Check]:
    """Whether what was laid out and folded for a CPU does harm there: on a CPU it is not judged."""
    tolerance = math.inf if device.platform == "cpu" else PATH_TOLERANCE
    sizes = ((16, 1), (8, 2)) if tiny else ((1000, 1), (128, 16))
    return [
        Check(
            f"time with {path.what} over time without, {copies} of {size} × {size}",
            tolerance,
            12.0,
            functools.partial(path_difference, device, path, size, copies),
        )
        for size, copies in sizes
        for path in PATHS
    ]
