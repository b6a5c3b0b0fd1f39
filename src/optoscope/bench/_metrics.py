"""The number that a search minimizes and a comparison is decided by."""

import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from optoscope._core.errors import InvalidValueError, UnknownNameError
from optoscope._core.keys import new_key
from optoscope._core.windows import tenth
from optoscope.tasks import Task, TaskDistribution, as_distribution
from optoscope.training import InnerState
from optoscope.training._step import initial_model_state

_TRAINING = ("train", "final")


@dataclass(frozen=True)
class Metric:
    """What is tuned for and compared by.

    Args:
        name: "train", the mean training loss over the first steps; "final", that over the last
            tenth of the run; "target", the steps until the training loss has come down to
            `target`; "validation", the loss on the validation data at the end of the run; or
            another name that the task's `validate` gives.
        maximize: whether larger is better.
        target: of "target".
    """

    name: str = "train"
    maximize: bool = False
    target: float = math.nan

    @classmethod
    def parse(cls, text: str) -> "Metric":
        """Reads "train", "final", "validation", "target:0.5", "accuracy:max" or "error".

        Raises:
            InvalidValueError: it is not of that form.

        Example:
            >>> Metric.parse("accuracy:max")
            Metric(name='accuracy', maximize=True, target=nan)
        """
        name, _, rest = text.partition(":")
        if name == "target":
            try:
                return cls(name, target=float(rest))
            except ValueError:
                raise InvalidValueError(
                    f"the metric is {text!r}; write the loss to reach as a number: target:0.5."
                ) from None
        if not name or rest not in ("", "max", "min") or (rest == "max" and name in _TRAINING):
            raise InvalidValueError(
                f"the metric is {text!r}; write train, final, validation, target:LOSS, or the "
                "name of a metric of the task, with :max behind it where larger is better."
            )
        return cls(name, rest == "max")

    def __str__(self) -> str:
        """What `parse` reads.

        Example:
            >>> [str(Metric.parse(text)) for text in ("final", "target:0.5", "accuracy:max")]
            ['final', 'target:0.5', 'accuracy:max']
        """
        if self.name == "target":
            return f"{self.name}:{self.target}"
        return f"{self.name}:max" if self.maximize else self.name

    @property
    def needs_validation(self) -> bool:
        """Whether it is measured by the task's `validate`."""
        return self.name not in (*_TRAINING, "target")

    def steps(self, metric_steps: int, num_steps: int) -> int:
        """How many steps a run of a search takes."""
        return metric_steps if self.name == "train" else num_steps

    def words(self, metric_steps: int, num_steps: int) -> str:
        """What it is, in words."""
        return {
            "train": f"mean training loss over the first {metric_steps} steps",
            "final": f"training loss over the last tenth of {num_steps} steps",
            "validation": f"validation loss after {num_steps} steps",
            "target": f"number of steps until the training loss is {self.target:g}",
        }.get(self.name, f"{self.name} on the validation data after {num_steps} steps")

    def of_losses(
        self, losses: Float[Array | np.ndarray, "*runs steps"], steps: int
    ) -> Float[Array | np.ndarray, "*runs"]:
        """The metric where it is one of the training losses; arrays of JAX or NumPy.

        A target is reached at the first step from which on a tenth of the run has a mean loss of
        no more; a run that never gets there has an infinite number.
        """
        numpy: Any = jnp if isinstance(losses, jax.Array) else np
        if self.name == "train":
            return numpy.mean(losses[..., :steps], axis=-1)
        window = tenth(losses.shape[-1])
        if self.name == "final":
            return numpy.mean(losses[..., -window:], axis=-1)
        met = _moving_averages(losses, window) <= self.target
        first = numpy.argmax(met, axis=-1)
        return numpy.where(met.any(axis=-1), first * 1.0, numpy.inf)

    def of_run(
        self, task: Task, losses: Float[Array, " steps"], inner: InnerState, params: PyTree[Array]
    ) -> Float[Array, ""]:
        """What a search minimizes, within a compiled program.

        Args:
            task: of the run.
            losses: all of the run's.
            inner: where it ended.
            params: where the optimizer is evaluated there.
        """
        if not self.needs_validation:
            return jnp.asarray(self.of_losses(losses, losses.shape[-1]))
        value = task.validate(params, inner.model_state)[self.key]
        return -value if self.maximize else value

    @property
    def key(self) -> str:
        """Its name among what `validate` gives."""
        return "loss" if self.name == "validation" else self.name

    def check(self, task: Task | TaskDistribution) -> None:
        """Raises InvalidValueError or UnknownNameError where the task does not give the metric."""
        if not self.needs_validation:
            return
        if not isinstance(task, Task):
            raise InvalidValueError(
                f"{self.name!r} is measured on validation data, which a distribution of tasks "
                "does not have; use train, final or target:LOSS."
            )
        names = validation_names(task)
        if not names:
            raise InvalidValueError(
                f"the metric is {self.name!r}, but the task has no validation data; give it some "
                "(tasks.from_functions(…, validation=…)), or use train, final or target:LOSS."
            )
        if self.key not in names:
            raise UnknownNameError("metric", self.name, ("train", "final", "validation", *names))


def _moving_averages(
    losses: Float[Array | np.ndarray, "*runs steps"], width: int
) -> Float[Array | np.ndarray, "*runs places"]:
    """The mean over each window of so many steps.

    Each window has its own sum: differences of a running total lose what is small beside the
    first losses.
    """
    if not isinstance(losses, jax.Array):
        wide = np.asarray(losses, np.float64)
        return np.lib.stride_tricks.sliding_window_view(wide, width, axis=-1).mean(axis=-1)
    window, ones = (1,) * (losses.ndim - 1) + (width,), (1,) * losses.ndim
    return jax.lax.reduce_window(losses, 0.0, jax.lax.add, window, ones, "VALID") / width


TRAIN = Metric()


def validation_names(task: Task | TaskDistribution) -> tuple[str, ...]:
    """The names of what a task's `validate` gives; of a distribution, that of its tasks."""

    def found() -> dict[str, Array]:
        key = new_key(0)
        one = as_distribution(task).sample(key)
        state = initial_model_state(one, key)
        return one.validate(one.init(key), state) if hasattr(one, "validate") else {}

    return tuple(jax.eval_shape(found))
