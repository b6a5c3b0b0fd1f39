"""The interface of meta-gradient estimators, and how their tasks are spread over devices."""

import abc
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int, Key, PRNGKeyArray, PyTree

from optoscope._core.errors import InvalidValueError
from optoscope._core.showing import shown
from optoscope.optimizers import Optimizer
from optoscope.optimizers._one_vector import COORDINATES

_AXIS = "tasks"


@shown
class MetaGradient(eqx.Module):
    """An estimate of the gradient of the meta-loss.

    Args:
        loss: the mean meta-loss over the tasks that stayed finite.
        gradient: with respect to the optimizer's inexact array leaves, in its structure.
        aux: numbers for logging: `inner_loss`, the mean over tasks and steps; `non_finite`, how
            many tasks were left out; and `lost_gradients`, how many of those had finite losses
            and only their gradient was not finite.
    """

    loss: Float[Array, ""]
    gradient: PyTree[Array]
    aux: dict[str, Array]


@shown
class Worker(eqx.Module):
    """One task in progress: the state that the next unroll (run of inner steps) continues from.

    Args:
        task_key: draws the task again; cheaper to keep than the task and its data.
        params: inner parameters.
        optimizer_state: the optimizer's state.
        step: steps taken on this task.
        model_state: what the model keeps besides its parameters; () for most.
    """

    task_key: Array
    params: PyTree[Array]
    optimizer_state: PyTree[Array]
    step: Int[Array, ""]
    model_state: PyTree[Array] = eqx.field(default=(), kw_only=True)


class Estimator(eqx.Module):
    """Estimates the meta-gradient of an optimizer from a distribution of tasks.

    The meta-gradient is the gradient of the meta-loss (how well the optimizer trains) with respect
    to the optimizer's own weights. An estimator keeps one *worker* per task: a run in progress,
    of which every estimate takes the next steps.

    Args:
        devices: how many the tasks are spread over. Where an estimator takes more devices than
            tasks, several share the coordinates of a task.
    """

    devices: int = eqx.field(static=True, default=1, kw_only=True)

    @property
    def episode_length(self) -> int | None:
        """Inner steps of an episode, where all episodes have as many."""
        horizon = getattr(self, "horizon", None)
        return horizon if isinstance(horizon, int) else None

    @abc.abstractmethod
    def init(self, optimizer: Optimizer, key: PRNGKeyArray) -> PyTree[Array]:
        """The workers' state before the first estimate, with a leading axis of tasks.

        It is a `Worker`, or a tree of them where an estimator is made of others.
        """

    @abc.abstractmethod
    def estimate(
        self, optimizer: Optimizer, workers: PyTree[Array], key: PRNGKeyArray
    ) -> tuple[MetaGradient, PyTree[Array]]:
        """An estimate from the workers' next unroll, and the workers after it."""


def _mesh(devices: int, num_tasks: int) -> Mesh:
    """The first `devices` devices, as rows of those that share a task: one where tasks suffice.

    Under `jax.distributed` every process must own one of them.
    """
    there = jax.devices()
    if devices > len(there):
        raise InvalidValueError(
            f"{devices} devices are asked for, but there are {len(there)}; on a CPU ask for more "
            'with jax.config.update("jax_num_cpu_devices", …) before the first computation.'
        )
    chosen = there[:devices]
    if len({device.process_index for device in chosen}) < jax.process_count():
        raise InvalidValueError(
            f"{devices} of {len(there)} devices leave a process without work; every process "
            f"must take part, use devices={len(there)}."
        )
    rows = np.array(chosen).reshape(min(devices, num_tasks), -1)
    return Mesh(rows, (_AXIS, COORDINATES))


def check_spread(count: int, items: str, devices: int) -> None:
    """Raises InvalidValueError unless so many items ("tasks") divide evenly over the devices."""
    if devices < 1 or count % devices:
        raise InvalidValueError(f"{count} {items} cannot be spread evenly over {devices} devices.")


def placed(
    shared: PyTree[Array], workers: PyTree[Array], devices: int
) -> tuple[PyTree[Array], PyTree[Array]]:
    """The arrays placed where `sum_over_tasks` leaves them.

    Shared arrays are copied to all devices, and workers are split over them. JAX compiles a
    program again for arguments that are placed differently. Arrays that are in place already,
    which with one device are all of them, are returned as they are.

    Raises InvalidValueError for more devices than there are, or processes left without work.
    """
    if devices == 1:
        return shared, workers

    def can_be_split(leaf: Array) -> bool:
        # Arrays without entries cannot, nor scalars that all tasks share.
        return bool(leaf.ndim and leaf.size)

    counts = (leaf.shape[0] for leaf in jax.tree.leaves(workers) if can_be_split(leaf))
    everywhere = NamedSharding(_mesh(devices, next(counts, devices)), PartitionSpec())

    def split(leaf: Array) -> NamedSharding:
        if not can_be_split(leaf):
            return everywhere
        return NamedSharding(_mesh(devices, leaf.shape[0]), PartitionSpec(_AXIS))

    def put(leaf: Array, place: NamedSharding) -> Array:
        return leaf if leaf.sharding == place else jax.device_put(leaf, place)

    return (
        jax.tree.map(lambda leaf: put(leaf, everywhere), shared),
        jax.tree.map(lambda leaf: put(leaf, split(leaf)), workers),
    )


def sum_over_tasks(
    function: Callable[[PyTree[Array], PyTree[Array], Any], tuple[PyTree[Array], PyTree[Array]]],
    optimizer: PyTree[Array],
    workers: PyTree[Array],
    keys: Key[Array, " tasks"],
    shared: Any,
    devices: int,
    chunked_map: Callable[[Any, Any], Any],
) -> tuple[PyTree[Array], PyTree[Array]]:
    """Applies `function` to every worker and sums its first result over them.

    The axis of workers is split over the first `devices` devices, those of other processes
    included (`jax.distributed`); each maps over its share by `chunked_map`, and the sums are
    added across devices. With more devices than workers, several compute the same worker, and
    share its coordinates where `function` lets them. With one device there is no mesh.

    Raises InvalidValueError for more devices than there are, or processes left without work.

    Args:
        function: (shared, optimizer, (worker, key)) to (summed, next worker).
        optimizer: the optimizer's arrays, the same on every device.
        workers: leading axis of tasks, divisible by `devices` or a divisor of it.
        keys: one per task.
        shared: arrays that every worker reads (the tasks' data).
        devices: how many devices to use.
        chunked_map: maps a function over the leading axis of its argument.
    """

    def local(shared: Any, optimizer: Any, workers: Any, keys: Any) -> tuple[Any, Any]:
        results, workers = chunked_map(
            lambda item: function(shared, optimizer, item), (workers, keys)
        )
        return jax.tree.map(lambda leaf: jnp.sum(leaf, axis=0), results), workers

    if devices == 1:
        return local(shared, optimizer, workers, keys)

    def sharded(shared: Any, optimizer: Any, workers: Any, keys: Any) -> tuple[Any, Any]:
        results, workers = local(shared, optimizer, workers, keys)
        return jax.lax.psum(results, _AXIS), workers

    mesh = _mesh(devices, keys.shape[0])
    everywhere, split = PartitionSpec(), PartitionSpec(_AXIS)
    return jax.shard_map(
        sharded,
        mesh=mesh,
        in_specs=(everywhere, everywhere, split, split),
        out_specs=(everywhere, split),
        # The sums are replicated by psum; the checker cannot see it through the inner loops.
        check_vma=False,
    )(shared, optimizer, workers, keys)
