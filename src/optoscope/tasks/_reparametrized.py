"""Tasks in other units: the parameters multiplied by a random scale."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from optoscope._core.errors import check_number
from optoscope.tasks._base import Batch, Params, Task, TaskDistribution, as_distribution
from optoscope.tasks._contract import metadata_of
from optoscope.tasks._drawing import draw_batch, draw_batch_at, gather_batch


class Reparametrized(Task):
    """A task whose parameters φ are trained as φ' = φ/s. Draw one with `reparametrized`.

    Args:
        task: the task in φ.
        scale: s.
    """

    task: Task
    scale: Float[Array, ""]

    def original(self, params: Params) -> Params:
        """φ = s·φ': the parameters in the task's own units."""
        return jax.tree.map(lambda leaf: self.scale.astype(leaf.dtype) * leaf, params)

    def init(self, key: PRNGKeyArray) -> Params:
        """The task's initial parameters over s."""
        start = self.task.init(key)
        return jax.tree.map(lambda leaf: leaf / self.scale.astype(leaf.dtype), start)

    def sample_batch(self, key: PRNGKeyArray) -> Batch:
        """Draws a batch of the original task."""
        return self.task.sample_batch(key)

    def draw(self, key: PRNGKeyArray) -> PyTree[Array]:
        """Draws the random numbers of a batch, as the original task does."""
        return draw_batch(self.task, key)

    def gather(self, draw: PyTree[Array]) -> Batch:
        """Makes the batch from its random numbers, as the original task does."""
        return gather_batch(self.task, draw)

    def loss(self, params: Params, batch: Batch) -> Float[Array, ""]:
        """The task's loss at s·φ'."""
        return self.task.loss(self.original(params), batch)

    def validate(self, params: Params, state: PyTree[Array] = ()) -> dict[str, Float[Array, ""]]:
        """The task's, at s·φ'."""
        own = getattr(self.task, "validate", None)
        return {} if own is None else own(self.original(params), state)

    def accuracy(self, params: Params, split: str = "test") -> Float[Array, ""] | None:
        """The task's, at s·φ'."""
        own = getattr(self.task, "accuracy", None)
        return None if own is None else own(self.original(params), split)


class _WithModelState(Reparametrized):
    """The same of a task whose loss takes a model state and a key, and whose data may be a stream.

    All of them are the task's own.
    """

    def draw_at(self, key: PRNGKeyArray, step: Int[Array, ""]) -> PyTree[Array]:
        """Draws step `step` of a run: a stream continues from step to step."""
        return draw_batch_at(self.task, key, step)

    def init_state(self, key: PRNGKeyArray) -> PyTree[Array]:
        return self.task.init_state(key)  # type: ignore[attr-defined]

    def loss_with_state(
        self, params: Params, state: PyTree[Array], batch: Batch, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], PyTree[Array]]:
        with_state = self.task.loss_with_state  # type: ignore[attr-defined]
        return with_state(self.original(params), state, batch, key)


class ReparametrizedTasks(TaskDistribution):
    """Tasks of a distribution, each in units of its own. Make it with `reparametrized`.

    Args:
        tasks: the distribution.
        low: the smallest scale.
        high: the largest scale.
    """

    tasks: TaskDistribution
    low: float = eqx.field(static=True, default=1e-3)
    high: float = eqx.field(static=True, default=1e3)

    def __check_init__(self):
        check_number("low", self.low, minimum=0, exclusive_minimum=True)
        check_number("high", self.high, minimum=self.low)

    def sample(self, key: PRNGKeyArray) -> Reparametrized:
        """Draws a task and its scale."""
        task_key, scale_key = jax.random.split(key)
        logarithm = jax.random.uniform(
            scale_key, minval=math.log(self.low), maxval=math.log(self.high)
        )
        task = self.tasks.sample(task_key)
        kind = _WithModelState if hasattr(task, "loss_with_state") else Reparametrized
        return kind(task, jnp.exp(logarithm))

    @property
    def metadata(self) -> dict[str, Any]:
        """The distribution's, and the bounds of the scale."""
        return {**metadata_of(self.tasks), "reparametrized": [self.low, self.high]}


def reparametrized(
    task: Task | TaskDistribution, low: float | int = 1e-3, high: float | int = 1e3
) -> ReparametrizedTasks:
    """Rescales the parameters of problems at random, so that gradients have any size.

    An augmentation for meta-training: every problem draws one scale s for all its parameters,
    log-uniform in [low, high], and φ' = φ/s is trained. Losses are those of the task at the same
    φ, gradients are s times as large and parameters s times as small. SGD with rate α is then
    SGD with rate α·s² on the task; Adam's rate α is α·s. `low` = `high` = 1 is the task itself.

    Math: ℓ'(φ') = ℓ(s·φ'), φ'₀ = φ₀/s, ∇ℓ'(φ') = s·∇ℓ(s·φ').

    Source: Metz et al. (2022), reparametrized weights, here with one scale for all tensors.
    Symmetries are not declared for it.

    Args:
        task: a task or a distribution of tasks.
        low: the smallest scale, above 0.
        high: the largest scale, at least `low`.

    Raises:
        InvalidValueError: bounds that are not positive or run backwards.

    Example:
        >>> from optoscope.tasks import Rosenbrock
        >>> task = reparametrized(Rosenbrock(), 0.1, 0.1).sample(jax.random.key(0))
        >>> round(float(task.loss(jnp.array([0.0, 20.0]), None)), 2)  # Rosenbrock at (0, 2)
        401.0
    """
    return ReparametrizedTasks(as_distribution(task), float(low), float(high))
