"""The recording pass: one optimizer runs, and at chosen steps all propose their updates."""

from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Key, PRNGKeyArray, PyTree

from optoscope._core.chunks import map_chunked, side_by_side
from optoscope._core.errors import InvalidValueError, check_count
from optoscope._core.keys import as_key
from optoscope._core.programs import Program
from optoscope._core.showing import shown
from optoscope.optimizers import Optimizer, OptimizerModule, as_optax, packed_state
from optoscope.optimizers._base import extra_arguments
from optoscope.tasks import Task, TaskDistribution, as_distribution
from optoscope.training import InnerState, StepRecord, inner_step, run_keys
from optoscope.training._progress import start_runs
from optoscope.training._step import draw_step, loss_at
from optoscope.training._train import inner_bytes, split_run_key

Progress = Callable[[int, int], None]

# What updates are compared with: the direction of each, at a learning rate of 1.
MOMENTUM, ADAM = "momentum (0.9)", "Adam (0.9, 0.999)"
REFERENCES: dict[str, Optimizer] = {
    MOMENTUM: optax.chain(optax.trace(0.9), optax.scale(-1.0)),
    ADAM: optax.adam(1.0),
}


class Company(OptimizerModule):
    """One optimizer that runs, and others that are given the same gradients.

    Its updates are the first one's. The others' states advance by their own updates, proposed at
    the first one's parameters.

    Args:
        members: by name; JAX sorts the names, so their order says nothing.
        leader: the name of the one that runs.
    """

    members: dict[str, Optimizer]
    leader: str = eqx.field(static=True)

    def init(self, params: PyTree[Array]) -> PyTree[Array]:
        """The states of all, by name."""
        return {name: packed_state(one, params) for name, one in self.members.items()}

    def update(
        self,
        grads: PyTree[Array],
        state: PyTree[Array],
        params: PyTree[Array] | None = None,
        **extra: Any,
    ) -> tuple[PyTree[Array], PyTree[Array]]:
        """The first one's updates, and everyone's next state."""
        proposed = {
            name: as_optax(one).update(grads, state[name], params, **extra)
            for name, one in self.members.items()
        }
        return proposed[self.leader][0], {name: after for name, (_, after) in proposed.items()}


def proposed_updates(
    task: Task, optimizer: Optimizer, record: StepRecord, grads: PyTree[Array] | None = None
) -> PyTree[Array]:
    """What an optimizer adds to the parameters at the state of a record; can be compiled.

    Args:
        task: for the loss, which some optimizers ask for.
        optimizer: whose state the record holds.
        record: parameters, state, gradient and batch of a step.
        grads: the gradient to give it instead of the record's.
    """
    given: PyTree[Array] = record.grads if grads is None else grads
    extra = extra_arguments(record.loss, given, lambda params: loss_at(task, params, record))
    return as_optax(optimizer).update(given, record.state, record.params, **extra)[0]


@shown
class Recording(eqx.Module):
    """What was met on the first optimizer's runs, and what each optimizer proposed there.

    Args:
        task: the problem, or the distribution of problems.
        optimizers: by name.
        names: their names, that of the one that ran first; JAX sorts those of a dictionary.
        num_steps: the length of the runs.
        steps: where all were asked, ascending.
        keys: those of the runs.
        records: at each of the steps the record of the first one's step, each leaf with a leading
            axis of runs; its `state` holds by name everyone's.
        updates: at each of the steps by name what everyone proposed, `REFERENCES` included.
    """

    task: Task | TaskDistribution
    optimizers: dict[str, Optimizer]
    names: tuple[str, ...] = eqx.field(static=True)
    num_steps: int = eqx.field(static=True)
    steps: tuple[int, ...] = eqx.field(static=True)
    keys: Key[Array, " runs"]
    records: tuple[StepRecord, ...]
    updates: tuple[dict[str, PyTree[Array]], ...]

    @property
    def num_runs(self) -> int:
        """How many runs were made."""
        return int(self.keys.shape[0])

    def of(self, name: str, point: int) -> StepRecord:
        """The record at one of the steps with the state and the proposal of one optimizer.

        Args:
            name: of the optimizer.
            point: the index of the step.
        """
        record = self.records[point]
        parts = (self.updates[point][name], record.state[name])
        return eqx.tree_at(lambda r: (r.updates, r.state), record, parts)

    def of_run(self, name: str, point: int, run: int = 0) -> StepRecord:
        """The same of one run alone, without the axis of runs."""
        return jax.tree.map(lambda leaf: leaf[run], self.of(name, point))

    def task_of_run(self, run: int = 0) -> Task:
        """The problem of one run."""
        return as_distribution(self.task).sample(split_run_key(self.keys[run])[0])


def recorded_steps(num_steps: int, count: int) -> tuple[int, ...]:
    """About `count` steps from the first to the last, evenly spaced in the logarithm.

    Args:
        num_steps: the length of the run.
        count: how many, fewer where whole numbers coincide.

    Example:
        >>> recorded_steps(200, 6)
        (0, 2, 7, 23, 68, 199)
    """
    check_count("num_steps", num_steps, minimum=1)
    check_count("count", count, minimum=1)
    places = np.geomspace(1, num_steps, min(count, num_steps)) - 1
    return tuple(sorted({round(place) for place in places}))


@Program
def _advanced(
    distribution: TaskDistribution,
    optimizer: Optimizer,
    keys: Array,
    inner: InnerState,
    num_steps: Array,
    chunk_size: int,
) -> InnerState:
    """The state some steps later; how many is an input, so that one program serves all."""

    def advance(item: tuple[PRNGKeyArray, InnerState]) -> InnerState:
        task_key, _, batch_key = split_run_key(item[0])
        task = distribution.sample(task_key)

        def step(_: Array, inner: InnerState) -> InnerState:
            draw = draw_step(task, batch_key, inner.step)
            return inner_step(task, optimizer, inner, draw=draw)[0]

        return jax.lax.fori_loop(0, num_steps, step, item[1])

    return map_chunked(advance, (keys, inner), chunk_size)


@Program
def _asked(
    distribution: TaskDistribution,
    company: Company,
    keys: Array,
    inner: InnerState,
    chunk_size: int,
) -> tuple[StepRecord, dict[str, PyTree[Array]]]:
    """The record of the next step, and what everyone proposes there."""

    def ask(item: tuple[PRNGKeyArray, InnerState]) -> tuple[StepRecord, dict[str, PyTree[Array]]]:
        task_key, _, batch_key = split_run_key(item[0])
        task = distribution.sample(task_key)
        draw = draw_step(task, batch_key, item[1].step)
        _, record = inner_step(task, company, item[1], draw=draw)
        proposed = {}
        for name, one in company.members.items():
            own = eqx.tree_at(lambda r: r.state, record, record.state[name])
            proposed[name] = proposed_updates(task, one, own)
        return record, proposed

    return map_chunked(ask, (keys, inner), chunk_size)


def record(
    task: Task | TaskDistribution,
    optimizers: Mapping[str, Optimizer],
    num_steps: int,
    *,
    key: PRNGKeyArray,
    num_runs: int = 3,
    points: int = 10,
    on_progress: Progress | None = None,
) -> Recording:
    """Runs the first optimizer, and asks all of them for their updates on its gradients.

    At each step every optimizer is given the same gradient at the same parameters and advances
    its own state; only the first one's updates are applied. So what they propose differs by the
    optimizers alone, and not by where each of them would have gone.

    Args:
        task: the problem, or a distribution of which each run draws its own.
        optimizers: by name, the one that runs first.
        num_steps: steps per run.
        key: draws the runs, as for `training.train`.
        num_runs: independent runs.
        points: about how many steps to keep, evenly spaced in the logarithm.
        on_progress: called with (steps done, steps in all).

    Raises:
        InvalidValueError: no optimizer, a name that a reference has, or counts below 1.

    Example:
        >>> from optoscope import optimizers, tasks
        >>> found = record(tasks.get("quadratic"), {"sgd": optimizers.sgd(0.1),
        ...     "adam": optimizers.adam(0.1)}, 20, key=jax.random.key(0), num_runs=2, points=3)
        >>> found.steps, sorted(found.updates[0])
        ((0, 3, 19), ['Adam (0.9, 0.999)', 'adam', 'momentum (0.9)', 'sgd'])
    """
    check_count("num_runs", num_runs, minimum=1)
    if not optimizers:
        raise InvalidValueError("there is no optimizer to record; name at least one.")
    for name in optimizers:
        if name in REFERENCES:
            raise InvalidValueError(
                f"an optimizer is called {name!r}, as one that all are compared with is; give it "
                "another name."
            )
    names = tuple(optimizers)
    company = Company(dict(optimizers) | REFERENCES, names[0])
    steps = recorded_steps(num_steps, points)
    keys, distribution = run_keys(as_key(key), num_runs), as_distribution(task)
    chunk = side_by_side(4 * inner_bytes(task, company), num_runs)
    inner = start_runs(distribution, company, keys, chunk)
    records, updates, done = [], [], 0
    for step in steps:
        ahead = jnp.asarray(step - done, jnp.int32)
        inner, done = _advanced(distribution, company, keys, inner, ahead, chunk), step
        found, proposed = _asked(distribution, company, keys, inner, chunk)
        records.append(found)
        updates.append(proposed)
        if on_progress is not None:
            on_progress(step + 1, num_steps)
    return Recording(
        task, dict(optimizers), names, num_steps, steps, keys, tuple(records), tuple(updates)
    )
