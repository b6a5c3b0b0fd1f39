"""The base classes of tasks: problems with parameters, batches and a loss."""

import abc
from typing import Any, cast

import equinox as eqx
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from optoscope.tasks._contract import (
    check_batches,
    check_methods,
    is_distribution,
    metadata_of,
    warn_unused,
)
from optoscope.tasks._symmetries import Symmetry

Params = PyTree[Array]
Batch = PyTree[Array]


class Task(eqx.Module):
    """A problem that an optimizer can be run on.

    Subclass it to add a task: `init`, `sample_batch` and `loss` are required, the rest is
    offered when it makes sense. Data are array leaves and batches are drawn by index, so that
    the whole inner loop compiles into one program.

    A model that keeps something besides its parameters (batch statistics), or whose loss is
    random (dropout), defines `init_state(key) -> state` and
    `loss_with_state(params, state, batch, key) -> (loss, state)` too; the state is then threaded
    from step to step, and no optimizer touches it. See `tasks.from_functions`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> class Bowl(Task):
        ...     def init(self, key):
        ...         return jax.random.normal(key, (3,))
        ...     def sample_batch(self, key):
        ...         return None
        ...     def loss(self, params, batch):
        ...         return jnp.sum(params**2)
        >>> float(Bowl().loss(jnp.ones(3), None))
        3.0
    """

    @abc.abstractmethod
    def init(self, key: PRNGKeyArray) -> Params:
        """Draws the initial parameters of a run."""

    @abc.abstractmethod
    def sample_batch(self, key: PRNGKeyArray) -> Batch:
        """Draws a training batch; deterministic tasks return None."""

    @abc.abstractmethod
    def loss(self, params: Params, batch: Batch) -> Float[Array, ""]:
        """The training loss of `params` on `batch`, a scalar."""

    def draw(self, key: PRNGKeyArray) -> PyTree[Array]:
        """The random numbers that determine a batch; for data on the device, the examples' indices.

        A loop over steps draws for many steps at once, in few large operations, and lets `gather`
        fetch each step's batch. What is drawn must be small, and must not depend on what differs
        between the tasks of a distribution. Override both for a quicker loop; without that the
        key itself is what is drawn.
        """
        return key

    def gather(self, draw: PyTree[Array]) -> Batch:
        """The batch that `draw` stands for: `gather(draw(key))` is `sample_batch(key)`."""
        return self.sample_batch(draw)

    def validate(self, params: Params, state: PyTree[Array] = ()) -> dict[str, Float[Array, ""]]:
        """Numbers measured on data that are not trained on, by name; "loss" is the loss there.

        Args:
            params: what to measure.
            state: the model state, of a task that has one.
        """
        del params, state
        return {}

    def accuracy(self, params: Params, split: str = "test") -> Float[Array, ""] | None:
        """The share of correct predictions on a whole split, or None where that has no meaning."""
        del params, split
        return None

    def symmetries(self, params: PyTree) -> dict[str, Symmetry]:
        """The symmetries of the loss, by name; none unless the task declares some.

        Args:
            params: parameters of the task; only their structure and shapes are used.
        """
        del params
        return {}

    @property
    def metadata(self) -> dict[str, Any]:
        """A description of the task for reports; JSON-serializable."""
        return {"class": type(self).__name__}


class TaskDistribution(eqx.Module):
    """A distribution over tasks. What varies between samples is array leaves, so it vmaps."""

    @abc.abstractmethod
    def sample(self, key: PRNGKeyArray) -> Task:
        """Draws one task from the distribution."""

    @property
    def metadata(self) -> dict[str, Any]:
        """A description of the distribution for reports; JSON-serializable."""
        return {"class": type(self).__name__}


class _Fixed(TaskDistribution):
    task: Task

    def sample(self, key: PRNGKeyArray) -> Task:
        del key
        return self.task

    @property
    def metadata(self) -> dict[str, Any]:
        return metadata_of(self.task)


def fixed(task: Task) -> TaskDistribution:
    """The distribution that always draws `task`.

    Raises:
        InvalidValueError: an object that is no task, or batches that are read from an iterator,
            of which a compiled program would hold one; the message says what a task must give.
    """
    check_methods(task)
    check_batches(task)
    warn_unused(task)
    return _Fixed(task)


def as_distribution(task: Task | TaskDistribution) -> TaskDistribution:
    """A task as the distribution that always draws it; a distribution as itself.

    Raises:
        InvalidValueError: an object that is neither; the message says what a task must give.
    """
    if not isinstance(task, TaskDistribution) and not is_distribution(task):
        return fixed(task)
    if not isinstance(task, _Fixed):  # its task was looked at when it was made
        warn_unused(task)
    return cast("TaskDistribution", task)  # it has the one method that is asked for
