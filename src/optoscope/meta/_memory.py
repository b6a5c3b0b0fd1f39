"""The memory that meta-training needs, estimated from the shapes of arrays."""

from typing import Any

from optoscope.meta._estimator import Estimator
from optoscope.meta._evolution import horizon_range
from optoscope.meta._imitation import Imitation
from optoscope.meta._mixture import Mixture
from optoscope.optimizers import Optimizer, sgd
from optoscope.tasks import TaskDistribution
from optoscope.training._memory import draw_bytes
from optoscope.training._train import inner_bytes


def estimated_bytes(estimator: Estimator, optimizer: Optimizer) -> dict[str, int]:
    """The bytes that one device holds at the same time, by purpose; rather too low than too high.

    For a user's own estimator, the settings that it shares with the library's are counted.
    """
    settings: Any = estimator
    if isinstance(estimator, Mixture):
        return _summed([estimated_bytes(group, optimizer) for group in estimator.groups])
    if isinstance(estimator, Imitation):
        return estimated_bytes(estimator.estimator, optimizer)
    tasks = getattr(settings, "tasks", None)
    if tasks is None:
        return {}
    share = getattr(settings, "num_tasks", None) or 2 * getattr(settings, "num_particles", 0)
    share = max(1, share // settings.devices)
    inner = inner_bytes(tasks, optimizer)
    needed = {"problems in progress": share * inner}
    truncation = getattr(settings, "truncation", None)
    steps = truncation or horizon_range(getattr(settings, "horizon", 1))[1]
    needed["batches of an unroll"] = steps * draw_bytes(tasks)
    # The loss, the penalty and the place of every step.
    needed["losses of an unroll"] = 12 * steps
    if truncation and hasattr(settings, "num_tasks"):
        # Backpropagation keeps the state before every step, of one problem at least.
        needed["states of an unroll"] = steps * inner
        if not getattr(settings, "second_order", True):
            # As large as the parameters, which are all that a run with SGD holds.
            needed["gradients of an unroll"] = steps * inner_bytes(tasks, sgd(1.0))
    return needed


def distributions(estimator: Estimator) -> list[TaskDistribution]:
    """The distributions of problems that an estimator draws from, as far as it says them."""
    if isinstance(estimator, Mixture):
        return [tasks for group in estimator.groups for tasks in distributions(group)]
    tasks = getattr(estimator, "tasks", None)
    return [] if tasks is None else [tasks]


def _summed(parts: list[dict[str, int]]) -> dict[str, int]:
    return {name: sum(part.get(name, 0) for part in parts) for part in parts for name in part}
