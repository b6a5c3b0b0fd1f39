"""Training in blocks of steps: it shows how far it is, and an interrupt leaves what is done."""

import contextlib
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from optoscope._core.chunks import map_chunked
from optoscope._core.programs import Program
from optoscope.optimizers import Optimizer
from optoscope.tasks import TaskDistribution
from optoscope.training._probes import Probe
from optoscope.training._run import finished, run_from, split_run_key
from optoscope.training._step import InnerState, initial_state

Report = Callable[[int, int, float], None]
_BLOCKS, _FEWEST, _MOST = 20, 10, 50


def block_length(num_steps: int, interval: int) -> int:
    """The steps of a block: a multiple of `interval`, for some twenty blocks.

    It divides the number of steps where that is possible, so that one program does it all.

    Example:
        >>> block_length(1000, 1), block_length(1000, 8), block_length(7, 1), block_length(97, 10)
        (50, 40, 1, 10)
    """
    lengths = range(interval, num_steps + 1, interval)
    dividing = [n for n in lengths if num_steps % n == 0 and _FEWEST <= num_steps // n <= _MOST]
    if dividing:
        return min(dividing, key=lambda length: abs(num_steps // length - _BLOCKS))
    return min(interval * math.ceil(num_steps / (_BLOCKS * interval)), num_steps)


@Program
def start_runs(
    distribution: TaskDistribution, optimizer: Optimizer, keys: Key[Array, " runs"], chunk: int
) -> InnerState:
    """The states before the first step, with a leading axis of runs, `chunk` side by side."""

    def one(key: Array) -> InnerState:
        task_key, init_key, _ = split_run_key(key)
        return initial_state(distribution.sample(task_key), optimizer, init_key)

    return map_chunked(one, keys, chunk)


@Program
def _advance(
    distribution: TaskDistribution,
    optimizer: Optimizer,
    num_steps: int,
    keys: Key[Array, " runs"],
    inner: InnerState,
    probes: dict[str, Probe],
    chunk: int,
) -> tuple[Array, InnerState, dict[str, Any]]:
    def one(item: tuple[Array, InnerState]) -> tuple[Array, InnerState, dict[str, Any]]:
        key, inner = item
        task_key, _, batch_key = split_run_key(key)
        task = distribution.sample(task_key)
        return run_from(task, optimizer, inner, num_steps, batch_key, probes)

    return map_chunked(one, (keys, inner), chunk)


@Program
def _end(
    distribution: TaskDistribution,
    optimizer: Optimizer,
    keys: Key[Array, " runs"],
    inner: InnerState,
    chunk: int,
) -> tuple[InnerState, Array | None]:
    def one(item: tuple[Array, InnerState]) -> tuple[InnerState, Array | None]:
        key, inner = item
        task_key, init_key, batch_key = split_run_key(key)
        return finished(distribution.sample(task_key), optimizer, inner, init_key, batch_key)

    return map_chunked(one, (keys, inner), chunk)


def train_in_blocks(
    distribution: TaskDistribution,
    optimizer: Optimizer,
    num_steps: int,
    keys: Key[Array, " runs"],
    probes: Mapping[str, Probe],
    chunk_size: int,
    progress: bool | Report,
) -> tuple[Float[Array, "runs steps"], InnerState, dict[str, PyTree], Array | None]:
    """What one program for all steps would give; of fewer steps where it was interrupted.

    Args:
        distribution: of tasks.
        optimizer: the optimizer.
        num_steps: steps per run.
        keys: of the runs.
        probes: what to measure.
        chunk_size: runs side by side.
        progress: called with (steps done, steps in all, mean loss); or true for a bar.
    """
    every = math.lcm(*(probe.every for probe in probes.values()))
    length = block_length(num_steps, min(every, num_steps))
    inner = start_runs(distribution, optimizer, keys, chunk_size)
    done, parts = 0, []
    try:
        with _shown(progress) as report:
            report(0, num_steps, math.nan)
            while done < num_steps:
                steps = min(length, num_steps - done)
                part = _advance(
                    distribution, optimizer, steps, keys, inner, dict(probes), chunk_size
                )
                losses, after, measured = jax.block_until_ready(part)
                inner, done = after, done + steps
                parts.append((losses, measured))
                report(done, num_steps, float(jnp.mean(losses[:, -1])))
    except KeyboardInterrupt:
        if not parts:
            raise
        warnings.warn(
            f"interrupted after {done} of {num_steps} steps; the trajectory holds these.",
            stacklevel=3,
        )
    joined = jax.tree.map(lambda *leaves: jnp.concatenate(leaves, axis=1), *parts)
    inner, unmoved = _end(distribution, optimizer, keys, inner, chunk_size)
    return joined[0], inner, joined[1], unmoved


@contextlib.contextmanager
def _shown(progress: bool | Report) -> Iterator[Report]:
    if not isinstance(progress, bool):
        yield progress
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as TimeLeft

    console = Console()
    # A notebook shows what is displayed; elsewhere results alone belong to standard output.
    console = console if console.is_jupyter else Console(stderr=True)
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("steps, loss {task.fields[loss]}, left"),
        TimeLeft(),
    )
    with Progress(*columns, console=console) as bar:
        shown = bar.add_task("training", total=None, loss="…")

        def report(done: int, total: int, loss: float) -> None:
            text = "…" if math.isnan(loss) and not done else f"{loss:.4g}"
            bar.update(shown, completed=done, total=total, loss=text)

        yield report
