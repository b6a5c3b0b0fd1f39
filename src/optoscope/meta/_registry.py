"""Meta-gradient estimators by name, with what each states about itself."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from optoscope._core.registry import Registry
from optoscope.meta._estimator import Estimator
from optoscope.meta._full_backprop import FullBackprop
from optoscope.meta._full_es import FullES
from optoscope.meta._truncated_backprop import TruncatedBackprop
from optoscope.meta._truncated_es import PES, TruncatedES
from optoscope.tasks import TaskDistribution


@dataclass(frozen=True)
class EstimatorEntry:
    """A registered meta-gradient estimator.

    Args:
        estimator: the class; its first argument is the distribution of tasks.
        description: one line for lists.
        unbiased: whether its mean is the gradient of the meta-loss over whole episodes (for
            evolution strategies, of that loss smoothed by the perturbations). The contract tests
            measure it.
        bias: what its mean is, and what it leaves out, in words.
        needs_derivatives: whether it differentiates the task's loss and the optimizer; the others
            need nothing but the losses.
    """

    estimator: type[Estimator]
    description: str
    unbiased: bool
    bias: str
    needs_derivatives: bool

    @property
    def options(self) -> tuple[str, ...]:
        """The names of the keyword arguments that it takes besides the tasks."""
        return tuple(f.name for f in dataclasses.fields(self.estimator) if f.name != "tasks")

    def create(self, tasks: TaskDistribution, **options: Any) -> Estimator:
        """The estimator on a distribution of tasks.

        Example:
            >>> from optoscope.tasks import fixed, Rosenbrock
            >>> ESTIMATORS["pes"].create(fixed(Rosenbrock()), truncation=5, horizon=20).truncation
            5
        """
        return cast(Callable[..., Estimator], self.estimator)(tasks, **options)

    @property
    def needs(self) -> str:
        """What the estimator requires of the task and the optimizer, in words."""
        return "derivatives" if self.needs_derivatives else "losses alone"


ESTIMATORS: Registry[EstimatorEntry] = Registry("meta-gradient estimator")
ESTIMATORS.register(
    "truncated-backprop",
    EstimatorEntry(
        TruncatedBackprop,
        "backpropagation through a few steps at a time",
        unbiased=False,
        bias="biased: what an update does to the losses after its truncation is left out",
        needs_derivatives=True,
    ),
)
ESTIMATORS.register(
    "full-backprop",
    EstimatorEntry(
        FullBackprop,
        "backpropagation through whole episodes",
        unbiased=True,
        bias="unbiased",
        needs_derivatives=True,
    ),
)
ESTIMATORS.register(
    "pes",
    EstimatorEntry(
        PES,
        "persistent evolution strategies, a few steps at a time",
        unbiased=True,
        bias="unbiased for the smoothed meta-loss, up to terms of order σ²",
        needs_derivatives=False,
    ),
)
ESTIMATORS.register(
    "truncated-es",
    EstimatorEntry(
        TruncatedES,
        "evolution strategies, a few steps at a time",
        unbiased=False,
        bias="biased: what a perturbation does to the losses after its truncation is left out",
        needs_derivatives=False,
    ),
)
ESTIMATORS.register(
    "full-es",
    EstimatorEntry(
        FullES,
        "evolution strategies over whole episodes",
        unbiased=True,
        bias="unbiased for the smoothed meta-loss",
        needs_derivatives=False,
    ),
)
