"""Gradients and updates of many mini-batches at one state of a run, which is left alone."""

import dataclasses
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Float64, PRNGKeyArray, PyTree

from optoscope._core.chunks import map_chunked, side_by_side
from optoscope._core.errors import InvalidValueError, UnknownNameError, check_count
from optoscope._core.keys import as_key, new_key
from optoscope._core.programs import Program
from optoscope._core.trees import num_bytes
from optoscope.optimizers import Optimizer
from optoscope.tasks import Classification, LabeledBatch, Task
from optoscope.training import (
    InnerState,
    Probe,
    StepRecord,
    inner_step,
    run_keys,
)
from optoscope.training._step import has_model_state

Quantity = Literal["gradient", "update"]
QUANTITIES = ("gradient", "update")
BATCH_SOURCES = ("sampled", "epoch")
FULL_BATCHES = ("mean", "full", "none")

# Paper A, section 3.3.
DEFAULT_NUM_BATCHES = 93
# Updates of a coordinate whose gradient never varies may still differ in their last digits,
# by the place of their batch in a vectorized product; relative to the updates' own size.
_ROUNDING = 1e-5


class BatchRows(eqx.Module):
    """The gradients or updates of mini-batches at one state, before anything is subtracted.

    Args:
        rows: by quantity, one row per mini-batch.
        full: by quantity, the row of the whole training split as one batch, if asked for.
        inert: coordinates whose gradient is the same number in every mini-batch.
        silent: where a mini-batch's gradient is exactly zero.
    """

    rows: dict[str, Float[Array, "batches coordinates"]]
    full: dict[str, Float[Array, " coordinates"]] | None
    inert: Bool[Array, " coordinates"]
    silent: Bool[Array, "batches coordinates"]


class _OneBatch(Task):
    """The task with one batch, whatever the key, so that `inner_step` can be given it."""

    task: Task
    batch: Any
    model_state: PyTree[Array]

    def init(self, key: PRNGKeyArray) -> PyTree[Array]:
        return self.task.init(key)

    def sample_batch(self, key: PRNGKeyArray) -> Any:
        del key
        return self.batch

    def loss(self, params: PyTree[Array], batch: Any) -> Float[Array, ""]:
        if not has_model_state(self.task):
            return self.task.loss(params, batch)
        # One key for all batches: what differs between them is the data alone.
        key = new_key(0)
        with_state = self.task.loss_with_state  # type: ignore[attr-defined]
        return with_state(params, self.model_state, batch, key)[0]


def batch_rows(
    task: Task,
    optimizer: Optimizer,
    inner: InnerState,
    key: PRNGKeyArray,
    *,
    batches: str,
    num_batches: int | None,
    quantities: tuple[Quantity, ...],
    with_full: bool,
    chunk_size: int | None,
) -> BatchRows:
    """The rows, to be called inside a compiled program; arguments as in `noise_samples`."""

    def rows_of(batch: Any) -> tuple[dict[str, Array], Array]:
        _, record = inner_step(_OneBatch(task, batch, inner.model_state), optimizer, inner, key)
        grads = ravel_pytree(record.grads)[0]
        every = {"gradient": grads, "update": ravel_pytree(record.updates)[0]}
        return {name: every[name] for name in quantities}, grads

    if chunk_size is None:
        # A batch's temporaries are a few times the state.
        each = 4 * num_bytes((inner.params, inner.optimizer_state))
        chunk_size = side_by_side(each, num_batches or DEFAULT_NUM_BATCHES)
    if batches == "sampled":
        keys = run_keys(key, num_batches or DEFAULT_NUM_BATCHES)
        rows, grads = map_chunked(lambda k: rows_of(task.sample_batch(k)), keys, chunk_size)
    else:
        rows, grads = _epoch_rows(rows_of, _classification(task), key, num_batches, chunk_size)
    full = rows_of(_classification(task).splits["train"])[0] if with_full else None
    return BatchRows(rows, full, jnp.all(grads == grads[0], axis=0), grads == 0)


def _classification(task: Task) -> Classification:
    if isinstance(task, Classification):
        return task
    raise InvalidValueError(
        f"{type(task).__name__} has no training split to go through: batches='epoch' and "
        "full_batch='full' need a Classification task. Use batches='sampled' and "
        "full_batch='mean'."
    )


def _epoch_rows(
    rows_of: Any, task: Classification, key: PRNGKeyArray, num_batches: int | None, chunk_size: int
) -> Any:
    """Each training image once, in a random order; the last batch may be smaller."""
    train, size = task.splits["train"], task.batch_size
    order = jax.random.permutation(key, train.labels.shape[0])
    num_whole, rest = divmod(order.shape[0], size)
    num_all = num_whole + bool(rest)
    num_batches = num_all if num_batches is None else num_batches
    check_count("num_batches", num_batches, minimum=1, maximum=num_all)
    num_whole = min(num_whole, num_batches)

    def of_index(index: Array) -> Any:
        return rows_of(LabeledBatch(train.inputs[index], train.labels[index]))

    parts = []
    if num_whole:
        whole = order[: num_whole * size].reshape(num_whole, size)
        parts.append(map_chunked(of_index, whole, min(chunk_size, num_whole)))
    if num_batches > num_whole:
        # Its own size, not padded: a mean over fewer images, and noisier by as much.
        parts.append(jax.tree.map(lambda leaf: leaf[None], of_index(order[num_whole * size :])))
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)


def centered(found: BatchRows, quantity: str) -> Float64[np.ndarray, "batches coordinates"]:
    """Rows less the full batch's, or less their own mean, in float64; NumPy alone.

    Coordinates that do not vary become exactly zero, and batches in which a coordinate is silent
    have exactly one value there, as the tail index has to know them.
    """
    rows = _one_value_in_silence(np.asarray(found.rows[quantity]), np.asarray(found.silent))
    full = None if found.full is None else np.asarray(found.full[quantity], np.float64)
    noise = rows - (rows.mean(axis=0) if full is None else full)
    size = np.abs(rows).max(axis=0)
    still = (rows == rows[0]).all(axis=0) & (full is None)
    still |= np.asarray(found.inert) & (np.abs(noise).max(axis=0) <= _ROUNDING * size)
    noise[:, still] = 0.0
    return noise


def _one_value_in_silence(rows: np.ndarray, silent: np.ndarray) -> np.ndarray:
    """Rows in float64 with the middle of what silent batches give, where that is rounding apart."""
    rows = rows.astype(np.float64)
    lowest = np.where(silent, rows, np.inf).min(axis=0)
    highest = np.where(silent, rows, -np.inf).max(axis=0)
    with np.errstate(invalid="ignore"):
        middle = (lowest + highest) / 2
        # Relative to the silent values: an outlier elsewhere must not make noise rounding.
        apart = highest - lowest <= _ROUNDING * np.abs(middle)
    return np.where(silent & apart, middle, rows)


_compiled_batch_rows = Program(batch_rows)


def check_sampling(batches: str, full_batch: str, num_batches: int | None) -> None:
    """Raises for a choice that does not exist."""
    if batches not in BATCH_SOURCES:
        raise UnknownNameError("batches", batches, BATCH_SOURCES)
    if full_batch not in FULL_BATCHES:
        raise UnknownNameError("full_batch", full_batch, FULL_BATCHES)
    if num_batches is not None:
        check_count("num_batches", num_batches, minimum=1)


def noise_samples(
    task: Task,
    optimizer: Optimizer,
    params: PyTree[Array],
    state: PyTree[Array],
    *,
    key: PRNGKeyArray,
    quantity: str = "gradient",
    full_batch: str = "mean",
    batches: str = "sampled",
    num_batches: int | None = None,
    chunk_size: int | None = None,
) -> Float64[np.ndarray, "batches coordinates"]:
    """The noise U_k of mini-batch gradients or updates at one stored state, one row per batch.

    The optimizer is applied from the same `state` to the gradient of every batch; nothing of
    the run changes. The rows stay together in memory: 8 bytes per batch and coordinate, and about
    twice as much again on the way.

    Math: U_k = g_k − g (equation 20) or u_k − u (equation 22). What "full batch" means is a
    choice. "mean": the mean of the rows, as in the released program; for updates this is *not*
    the optimizer's update for the full gradient. "full": the gradient on the whole training
    split as one batch, and the optimizer's update for it. With batch normalization the two
    gradients differ as well, since statistics are those of the batch. "none": nothing is
    subtracted, as `update_covariance` wants it.

    Source: paper A, section 3.2, equations 20 and 22.

    Args:
        task: draws the batches.
        optimizer: any pair of `init` and `update`.
        params: the parameters of one run.
        state: the optimizer's state of one run.
        key: draws the batches.
        quantity: "gradient" or "update".
        full_batch: "mean", "full" or "none".
        batches: "sampled" (`task.sample_batch`, independent draws) or "epoch" (a Classification's
            training images once each in random order; a smaller last batch is kept as it is and
            counts as one row in the mean).
        num_batches: by default 93, or every batch of the epoch.
        chunk_size: batches side by side; chosen from the memory of the state if not given.

    Returns:
        One row per batch; coordinates in the order of `jax.flatten_util.ravel_pytree(params)`.
        A coordinate whose gradient is the same in all batches, and whose update varies by no
        more than rounding, is exactly zero. Batches in which a coordinate's gradient is exactly
        zero have exactly the same sample of it, if they differ by no more than rounding.

    Raises:
        UnknownNameError: an unknown quantity, source of batches or full batch.
        InvalidValueError: more batches than an epoch has, or an epoch or a full batch of a task
            that is no Classification.

    Example:
        >>> from optoscope import optimizers, tasks
        >>> task, optimizer = tasks.get("digits-mlp-sigmoid"), optimizers.sgd(0.1)
        >>> params = task.init(jax.random.key(0))
        >>> state = optimizer.init(params)
        >>> noise_samples(task, optimizer, params, state, key=jax.random.key(1)).shape
        (93, 1510)
    """
    if quantity not in QUANTITIES:
        raise UnknownNameError("quantity", quantity, QUANTITIES)
    check_sampling(batches, full_batch, num_batches)
    if chunk_size is not None:
        check_count("chunk_size", chunk_size, minimum=1)
    inner = InnerState(params, state, jnp.zeros((), jnp.int32))
    found = _compiled_batch_rows(
        task,
        optimizer,
        inner,
        as_key(key),
        batches=batches,
        num_batches=num_batches,
        quantities=(quantity,),
        with_full=full_batch == "full",
        chunk_size=chunk_size,
    )
    if full_batch == "none":
        return np.asarray(found.rows[quantity]).astype(np.float64)
    return centered(found, quantity)


class FreshBatchProbe(Probe):
    """Base of probes that apply the optimizer to fresh batches at the state of a step.

    A record holds one batch, so such a probe needs the task and the optimizer, which every run
    binds it to. Its batches follow from its own key and the step, never
    from the run's keys.

    Args:
        every: measure at steps 0, every, 2·every, …
        task: draws the batches.
        optimizer: the one that is being run.
        key: draws the batches.
        batches: as in `noise_samples`, or "auto": "epoch" for a Classification, else "sampled".
        num_batches: as in `noise_samples`.
    """

    task: Task | None = None
    optimizer: Optimizer | None = None
    key: PRNGKeyArray = eqx.field(default_factory=lambda: new_key(0), converter=as_key)
    batches: str = eqx.field(static=True, default="sampled")
    num_batches: int | None = eqx.field(static=True, default=None)

    def __check_init__(self):
        batches = "epoch" if self.batches == "auto" else self.batches
        check_sampling(batches, "mean", self.num_batches)

    def bind(self, task: Task, optimizer: Optimizer) -> "FreshBatchProbe":
        """A copy of the probe that is bound to one task and one optimizer."""
        return dataclasses.replace(self, task=task, optimizer=optimizer)

    def fresh_rows(
        self, record: StepRecord, quantities: tuple[Quantity, ...], with_full: bool = False
    ) -> tuple[BatchRows, PRNGKeyArray]:
        """Rows of fresh batches at the record's state, and a key for what else is random.

        Raises:
            InvalidValueError: the probe has no task or no optimizer.
        """
        if self.task is None or self.optimizer is None:
            name = type(self).__name__
            raise InvalidValueError(
                f"a {name} applies the optimizer to fresh batches and needs both: write "
                f"{name}(every={self.every}, task=task, optimizer=optimizer)."
            )
        batches = self.batches
        if batches == "auto":
            batches = "epoch" if isinstance(self.task, Classification) else "sampled"
        batch_key, other_key = jax.random.split(jax.random.fold_in(self.key, record.step))
        inner = InnerState(record.params, record.state, record.step, model_state=record.model_state)
        rows = batch_rows(
            self.task,
            self.optimizer,
            inner,
            batch_key,
            batches=batches,
            num_batches=self.num_batches,
            quantities=quantities,
            with_full=with_full,
            chunk_size=None,
        )
        return rows, other_key
