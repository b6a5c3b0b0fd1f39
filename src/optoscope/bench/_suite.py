"""Suites: optimizers over several tasks, cell by cell, each cell kept and never computed twice."""

import json
import re
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, PRNGKeyArray, PyTree

from optoscope._core.arrays import read_arrays, write_arrays
from optoscope._core.chunks import map_chunked, side_by_side
from optoscope._core.errors import RunDirectoryError, RunInUseError, check_count, check_seed
from optoscope._core.keys import stream
from optoscope._core.locks import locked
from optoscope._core.programs import Program, forget_programs
from optoscope.bench._contestants import Contestant, Raced
from optoscope.bench._entrants import BASELINES, Entrant, entrants
from optoscope.bench._identities import array_digest, task_identity
from optoscope.bench._metrics import validation_names
from optoscope.bench._suite_result import SuiteResult
from optoscope.bench._suite_tasks import described, suite_tasks
from optoscope.optimizers import Optimizer, evaluation_params
from optoscope.tasks import Task, TaskDistribution, as_distribution
from optoscope.tasks._contract import metadata_of
from optoscope.training import run_keys
from optoscope.training._train import inner_bytes, run_once, split_run_key

# Raised with what changes the numbers of a cell; cells of another version are computed again.
CELLS_VERSION = 1

Progress = Callable[[int, int, str], None]


@Program
def _trained(
    distribution: TaskDistribution,
    create: Raced,
    trials: dict[str, Array],
    keys: Key[Array, " items"],
    num_steps: int,
    chunk_size: int,
) -> tuple[Float[Array, "items steps"], PyTree[Array]]:
    """The losses of runs, and where each ended: parameters and model state."""

    def one(item: tuple[dict[str, Array], PRNGKeyArray]) -> tuple[Array, PyTree[Array]]:
        trial, key = item
        task_key, init_key, batch_key = split_run_key(key)
        task, optimizer = distribution.sample(task_key), create(**trial)
        losses, inner, _ = run_once(task, optimizer, num_steps, init_key, batch_key)
        params = evaluation_params(optimizer, inner.optimizer_state, inner.params)
        return losses, (params, inner.model_state)

    return map_chunked(one, (trials, keys), chunk_size)


@Program
def _validated(
    distribution: TaskDistribution, keys: Key[Array, " runs"], ends: PyTree[Array]
) -> Float[Array, " runs"]:
    """The losses on validation data where the runs of one trial ended, one after the other.

    It knows no optimizer, so that it is compiled once a task; run by run, it needs the memory of
    the validation data once.
    """

    def one(item: tuple[PRNGKeyArray, PyTree[Array]]) -> Array:
        key, (params, model_state) = item
        task = distribution.sample(split_run_key(key)[0])
        return task.validate(params, model_state)["loss"]

    return jax.lax.map(one, (keys, ends))


@dataclass(frozen=True)
class _Cell:
    """What is kept of one trial of an optimizer on a task.

    Args:
        losses: training losses, (runs, steps).
        seconds: that the training took.
        validation: the loss on validation data at the end of each run, infinite where that is not
            finite; None for a task without such data, and in cells of earlier versions.
    """

    losses: np.ndarray
    seconds: float
    validation: np.ndarray | None = None


class _Cells:
    """The cells of one suite: for each task, entrant and trial the losses of all its runs."""

    def __init__(
        self,
        directory: Path | None,
        common: Mapping[str, Any],
        tasks: Mapping[str, Task | TaskDistribution],
    ) -> None:
        self._directory = directory
        self._common = common
        self._kept: dict[tuple[str, str, int], _Cell] = {}
        self._tasks: dict[str, list[Any]] = {}
        self._data: dict[str, str] = {}
        for name, task in tasks.items() if directory is not None else ():
            self._tasks[name] = [name, metadata_of(task), *task_identity(task)]
            self._data[name] = array_digest(task)

    def place(self, task: str, entrant: Entrant) -> Path | None:
        """The folder of one entrant on one task."""
        if self._directory is None:
            return None
        return self._directory / "cells" / _file_name(task) / _file_name(entrant.label)

    def path(self, task: str, entrant: Entrant, trial: int) -> Path | None:
        """The file of one trial."""
        place = self.place(task, entrant)
        return None if place is None else place / f"{entrant.first_cell + trial}.npz"

    def description(self, task: str, entrant: Entrant, trial: int) -> str:
        """Whatever a cell's numbers depend on; it is kept beside them, in the same file."""
        content = {
            **self._common,
            "task": self._tasks[task],
            "optimizer": entrant.identity,
            "trial": {name: float(values[trial]) for name, values in entrant.trials.items()},
        }
        return json.dumps(content, sort_keys=True, default=str)

    def get(self, task: str, entrant: Entrant, trial: int) -> _Cell | None:
        """The cell if it is there."""
        key = task, entrant.label, trial
        path = self.path(task, entrant, trial)
        if key not in self._kept and path is not None:
            try:
                arrays = read_arrays(path)
                # Earlier versions kept no digest of the data.
                data = str(arrays.get("data", self._data[task]))
                known = str(arrays["description"]), data
                if known == (self.description(task, entrant, trial), self._data[task]):
                    self._kept[key] = _Cell(
                        arrays["losses"], float(arrays["seconds"]), arrays.get("validation")
                    )
            # Whatever is wrong with it, the cell is computed again.
            except (RunDirectoryError, KeyError, ValueError):
                return None
        return self._kept.get(key)

    def put(self, task: str, entrant: Entrant, trial: int, cell: _Cell) -> None:
        """Keeps a cell, written beside and renamed."""
        self._kept[task, entrant.label, trial] = cell
        path = self.path(task, entrant, trial)
        if path is not None:
            description = np.asarray(self.description(task, entrant, trial))
            arrays = {
                "losses": cell.losses,
                "seconds": np.asarray(cell.seconds),
                "description": description,
                "data": np.asarray(self._data[task]),
            }
            if cell.validation is not None:
                arrays["validation"] = cell.validation
            write_arrays(path, arrays)

    def seconds(self, task: str, entrant: Entrant) -> float:
        """What the entrant's cells on the task took, all added up."""
        return sum(self._kept[task, entrant.label, t].seconds for t in range(entrant.num_trials))


def _file_name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._()+-]+", "_", text)[:80]


def suite(
    optimizers: Mapping[str, Optimizer],
    tasks: str | Mapping[str, Task | TaskDistribution] = "small",
    *,
    baselines: Sequence[str | Contestant] = BASELINES,
    num_steps: int = 2000,
    num_runs: int = 3,
    num_rates: int = 10,
    tuned: bool | Collection[str] = True,
    only: Sequence[str] = (),
    directory: str | Path | None = None,
    seed: int = 0,
    data_dir: str | Path | None = None,
    on_progress: Progress | None = None,
) -> SuiteResult:
    """Ranks optimizers over several tasks, with as many trials for everyone.

    A baseline tries `num_rates` learning rates with its schedule. An optimizer that is given runs
    as it is, and tuned by as many trials: half of them factors of its updates, the other half the
    same factors with a cosine. Run r of a task has the same start and batches for all. A run's
    trial is the one that ends lowest on the *other* runs, so that no number is taken from a run
    that chose for itself; with a single run it is that run.

    Where a task has validation data, each run ends with one pass over them. Trials are chosen by
    training losses all the same.

    For a quick look at a candidate, take fewer steps and no trials, and name a directory, which
    keeps the baselines from one call to the next:

        bench.suite({"candidate": optimizer}, num_steps=200, num_runs=2, tuned=False,
                    directory="runs/quick").scores()["candidate"].final_ratio

    Args:
        optimizers: by label. One that knows the length of training must be made for `num_steps`.
        tasks: the name of a suite, or tasks by name.
        baselines: names of registered optimizers, or contestants with one range.
        num_steps: steps a run.
        num_runs: paired runs of each trial.
        num_rates: trials of everyone.
        tuned: whether optimizers that are given are tuned too, or the labels of those that are.
        only: the suite's tasks that are wanted; all if empty.
        directory: where cells are kept. A cell that is there, of the same task, optimizer, weights,
            trial and counts, is not computed again, so that an interrupted suite goes on. Several
            processes may work in one directory: each takes what no other one is computing. Tasks,
            contestants and optimizers of your own are told from others of the same name by what
            they compute. Cells of an earlier version, which have no validation losses, are taken
            as they are.
        seed: of the runs.
        data_dir: where datasets lie.
        on_progress: called with (cells done, cells in all, what is being computed).

    Returns:
        All training losses, the validation losses at the end, and the scores of who is compared.

    Raises:
        UnknownNameError: no such suite, task or baseline, or no such optimizer to tune.
        InvalidValueError: counts below 1, or labels that collide.
        DataError: a dataset is missing.

    Example:
        >>> from optoscope import optimizers, tasks
        >>> found = suite({"ours": optimizers.sgd(0.1)}, {"bowl": tasks.get("quadratic")},
        ...     baselines=["sgd"], num_steps=20, num_runs=2, num_rates=4)
        >>> found.labels, found.losses["sgd"]["bowl"].shape
        (('sgd', 'ours', 'ours (tuned)'), (4, 2, 20))
    """
    for name, count in (("num_steps", num_steps), ("num_runs", num_runs), ("num_rates", num_rates)):
        check_count(name, count, minimum=1)
    everyone = entrants(optimizers, baselines, num_rates, tuned)
    made = suite_tasks(tasks, only, data_dir=data_dir)
    keys = run_keys(stream(check_seed(seed), "suite"), num_runs)
    common = {"steps": num_steps, "runs": num_runs, "seed": seed, "version": CELLS_VERSION}
    cells = _Cells(None if directory is None else Path(directory), common, made)
    held_out = frozenset(name for name, task in made.items() if "loss" in validation_names(task))
    _fill(cells, made, held_out, everyone, keys, num_steps, on_progress or (lambda *_: None))
    losses: dict[str, dict[str, np.ndarray]] = {}
    validation: dict[str, dict[str, np.ndarray]] = {}
    missing = np.full(num_runs, np.nan)
    for one in everyone:
        losses[one.label], validation[one.label] = {}, {}
        for name in made:
            trials = [cells.get(name, one, trial) for trial in range(one.num_trials)]
            found = [cell for cell in trials if cell is not None]
            losses[one.label][name] = np.stack([cell.losses for cell in found])
            if name in held_out:
                ends = [missing if x.validation is None else x.validation for x in found]
                validation[one.label][name] = np.stack(ends)
    seconds = {one.label: {name: cells.seconds(name, one) for name in made} for one in everyone}
    descriptions = described(tasks, made)
    return SuiteResult(
        everyone, losses, seconds, num_steps, num_runs, seed, descriptions, validation
    )


def _fill(
    cells: _Cells,
    made: Mapping[str, Task | TaskDistribution],
    held_out: Collection[str],
    everyone: Sequence[Entrant],
    keys: Key[Array, " runs"],
    num_steps: int,
    on_progress: Progress,
) -> None:
    """Computes what is missing; what another process is computing is left for later."""
    total = len(made) * sum(one.num_trials for one in everyone)
    waiting = [(name, one) for name in made for one in everyone]

    def missing(name: str, one: Entrant) -> list[int]:
        return [t for t in range(one.num_trials) if cells.get(name, one, t) is None]

    def report(what: str) -> None:
        left = sum(len(missing(*pair)) for pair in waiting)
        on_progress(total - left, total, what)

    while waiting := [pair for pair in waiting if missing(*pair)]:
        before = len(waiting)
        for name, one in list(waiting):
            what = f"{one.label} on {name}"
            report(what)
            place = cells.place(name, one)
            try:
                with nullcontext() if place is None else locked(place):
                    _compute(cells, name, made[name], name in held_out, one, missing(name, one),
                             keys, num_steps, lambda what=what: report(what))  # fmt: skip
            except RunInUseError:
                continue
            forget_programs()
        if before == len([pair for pair in waiting if missing(*pair)]):
            time.sleep(1.0)
    report("done")


def _compute(
    cells: _Cells,
    name: str,
    task: Task | TaskDistribution,
    validates: bool,
    entrant: Entrant,
    trials: Sequence[int],
    keys: Key[Array, " runs"],
    num_steps: int,
    report: Callable[[], None],
) -> None:
    """Runs trials side by side, as many as a cache holds, and keeps them as they are done."""
    if not trials:
        return
    num_runs = len(keys)
    create = entrant.maker(num_steps)
    example = create(**{key: float(values[0]) for key, values in entrant.trials.items()})
    chunk = side_by_side(4 * inner_bytes(task, example), num_runs * entrant.num_trials)
    per_call = min(max(1, chunk // num_runs), entrant.num_trials)
    distribution = as_distribution(task)
    for start in range(0, len(trials), per_call):
        wanted = trials[start : start + per_call]
        # All calls have one shape: the last one computes its last trial several times.
        index = np.asarray([*wanted, *([wanted[-1]] * (per_call - len(wanted)))])
        values = {
            key: jnp.repeat(jnp.asarray(v[index], jnp.float32), num_runs)
            for key, v in entrant.trials.items()
        }
        started = time.perf_counter()
        items = keys[jnp.tile(jnp.arange(num_runs), per_call)]
        losses, ends = jax.block_until_ready(
            _trained(distribution, create, values, items, num_steps, min(chunk, len(items)))
        )
        seconds = (time.perf_counter() - started) / len(wanted)
        for place, trial in enumerate(wanted):
            runs = slice(place * num_runs, (place + 1) * num_runs)
            validation = None
            if validates:
                end = jax.tree.map(lambda leaf, runs=runs: leaf[runs], ends)
                measured = np.asarray(_validated(distribution, keys, end), np.float64)
                validation = np.where(np.isfinite(measured), measured, np.inf)
            cell = _Cell(np.asarray(losses[runs]), seconds, validation)
            cells.put(name, entrant, trial, cell)
        report()
