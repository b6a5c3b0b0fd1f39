"""The symmetries of a task or of every task of a distribution."""

from typing import Any

import equinox as eqx
from jaxtyping import PyTree

from optoscope._core.errors import InvalidValueError, UnknownNameError
from optoscope._core.keys import new_key
from optoscope._core.trees import size
from optoscope.tasks import Symmetry, Task, TaskDistribution, as_distribution
from optoscope.tasks._contract import metadata_of


def _shapes(task: Task | TaskDistribution) -> tuple[Any, PyTree]:
    """A task of the distribution and its parameters, of which only shapes are computed."""
    key = new_key(0)
    sample = eqx.filter_eval_shape(lambda t: t.sample(key), as_distribution(task))
    return sample, eqx.filter_eval_shape(lambda t: t.init(key), sample)


def num_params(task: Task | TaskDistribution) -> int:
    """The number of parameters of the task, or of each of a distribution."""
    return size(_shapes(task)[1])


def _declared(task: Task | TaskDistribution) -> dict[str, Symmetry]:
    """The symmetries that the task declares."""
    sample, params = _shapes(task)
    # A task that is no `Task` only needs the methods that a run calls.
    return sample.symmetries(params) if hasattr(sample, "symmetries") else {}


def declares_symmetries(task: Task | TaskDistribution) -> bool:
    """Whether the task, or each of a distribution, declares symmetries."""
    return bool(_declared(task))


def task_symmetries(task: Task | TaskDistribution) -> dict[str, Symmetry]:
    """The symmetries that the task declares.

    Raises:
        InvalidValueError: it declares none.
    """
    found = _declared(task)
    if not found:
        raise InvalidValueError(
            f"the task {_name(task)!r} declares no symmetries: use a network task, give it a "
            "method `symmetries(params)` that returns them by name, or take those that "
            "analysis.symmetry.discover finds."
        )
    return found


def task_symmetry(task: Task | TaskDistribution, name: str) -> Symmetry:
    """The symmetry that the task calls `name`.

    Raises:
        InvalidValueError: it declares none.
        UnknownNameError: none of that name.
    """
    found = task_symmetries(task)
    if name not in found:
        raise UnknownNameError("symmetry", name, found)
    return found[name]


def _name(task: Task | TaskDistribution) -> str:
    return str(metadata_of(task).get("name", type(task).__name__))
