"""The symmetries of a task or of every task of a distribution."""

import equinox as eqx

from optoscope._core.errors import InvalidValueError, UnknownNameError
from optoscope._core.keys import new_key
from optoscope.tasks import Symmetry, Task, TaskDistribution, as_distribution


def task_symmetries(task: Task | TaskDistribution) -> dict[str, Symmetry]:
    """The symmetries that the task declares; only shapes are computed.

    Raises:
        InvalidValueError: it declares none.
    """
    key = new_key(0)
    sample = eqx.filter_eval_shape(lambda t: t.sample(key), as_distribution(task))
    params = eqx.filter_eval_shape(lambda t: t.init(key), sample)
    found = sample.symmetries(params)
    if not found:
        raise InvalidValueError(
            f"the task {task.metadata.get('name', type(task).__name__)!r} declares no symmetries: "
            "use a network task, or give its class a method `symmetries(params)` that returns "
            "them by name."
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
