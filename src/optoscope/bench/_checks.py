"""Checks made before the first search or run: names, probes, memory."""

import math
from collections.abc import Callable, Mapping, Sequence

from optoscope._core.errors import InvalidValueError, check_number
from optoscope._core.memory import check_memory
from optoscope.bench._contestants import Contestant, Raced, schedule_places
from optoscope.bench._metrics import TRAIN, Metric
from optoscope.optimizers import Optimizer
from optoscope.tasks import Task, TaskDistribution
from optoscope.training import Probe
from optoscope.training._memory import probe_bytes, run_bytes
from optoscope.training._train import inner_bytes


def check_search(
    task: Task | TaskDistribution,
    create: Callable[..., Optimizer],
    example: Mapping[str, float],
    num_configurations: int,
    num_steps: int,
    num_runs: int,
) -> None:
    """Checks the counts of a search, before its configurations are made.

    Args:
        task: the problem.
        create: makes an optimizer.
        example: a value for each argument that is searched.
        num_configurations: how many are tried.
        num_steps: steps per run.
        num_runs: runs per configuration.

    Raises:
        InvalidValueError: counts below 1, or more than fits into memory.
    """
    check_number("num_steps", num_steps, minimum=1)
    check_number("num_runs", num_runs, minimum=1)
    one = run_bytes(num_steps, num_runs, inner_bytes(task, create(**example)))
    needed = {
        "values": 8 * len(example) * num_configurations,
        "scores": 4 * num_runs * num_configurations,
        "runs of one configuration": sum(one.values()),
    }
    check_memory(needed, "Take fewer steps, runs or configurations.")


def check_comparison(
    task: Task | TaskDistribution,
    learned: Mapping[str, Optimizer],
    tuned: Sequence[Contestant],
    *,
    num_steps: int,
    num_runs: int = 10,
    metric_steps: int = 100,
    num_points: int = 25,
    tuning_runs: int = 8,
    probes: Mapping[str, Probe] | None = None,
    schedules: Sequence[str] = ("constant",),
    metric: Metric = TRAIN,
) -> None:
    """Checks the arguments of `compare`, so that a typo fails at once and leaves no directory.

    Raises:
        UnknownNameError: no such schedule, or no such metric.
        InvalidValueError: a label that is there twice, a probe that does not fit the task or an
            optimizer, a metric that the task does not give, or more than fits into memory.
    """
    num_schedules = len(schedule_places(schedules))
    metric.check(task)
    probes = dict(probes or {})
    everyone = dict(learned)
    for one in tuned:
        if one.label in everyone:
            place = "both evaluated and a baseline" if one.label in learned else "a baseline twice"
            raise InvalidValueError(f"{one.label!r} is {place}; name it once.")
        create = Raced(one.create, num_steps, one.takes_num_steps)
        example = {key: low for key, (low, _) in one.search.items()}
        points = num_points ** len(example) * num_schedules
        steps = metric.steps(min(metric_steps, num_steps), num_steps)
        check_search(task, create, example, points, steps, tuning_runs)
        everyone[one.label] = create(**example)
    if not everyone:
        raise InvalidValueError("there is no optimizer to evaluate; name at least one.")
    needed = {"losses": 0} | {f"what {name} measures": 0 for name in probes}
    for name, optimizer in everyone.items():
        needed["losses"] += run_bytes(num_steps, num_runs, 0)["losses"]
        try:
            sizes = probe_bytes(task, optimizer, probes) if probes else {}
        except InvalidValueError as error:
            raise InvalidValueError(f"a probe does not fit {name!r}: {error}") from error
        for probe, size in sizes.items():
            measurements = math.ceil(num_steps / probes[probe].every)
            needed[f"what {probe} measures"] += size * measurements * num_runs
        needed["one run"] = max(needed.get("one run", 0), inner_bytes(task, optimizer))
    check_memory(needed, "Take fewer steps or runs, or measure less often.")
