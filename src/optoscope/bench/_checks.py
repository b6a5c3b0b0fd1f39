"""Checks made before the first search or run: names, probes, memory."""

import math
from collections.abc import Callable, Mapping, Sequence

from optoscope._core.errors import InvalidValueError, check_number
from optoscope._core.memory import check_memory
from optoscope.optimizers import REGISTRY, Optimizer, OptimizerEntry
from optoscope.tasks import Task, TaskDistribution
from optoscope.training import Probe
from optoscope.training._memory import probe_bytes, run_bytes
from optoscope.training._train import inner_bytes


def searchable(name: str) -> OptimizerEntry:
    """The registered optimizer, which has hyper-parameters to search.

    Raises:
        UnknownNameError: no such optimizer.
        InvalidValueError: the optimizer has nothing to search.
    """
    entry = REGISTRY[name]
    if not entry.search:
        raise InvalidValueError(f"optimizer {name!r} has no hyper-parameters to search.")
    return entry


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
    baselines: Sequence[str],
    *,
    num_steps: int,
    num_runs: int = 10,
    metric_steps: int = 100,
    num_points: int = 25,
    tuning_runs: int = 8,
    probes: Mapping[str, Probe] | None = None,
) -> None:
    """Checks the arguments of `compare`, so that a typo fails at once and leaves no directory.

    Raises:
        UnknownNameError: no such baseline.
        InvalidValueError: a baseline that has nothing to search or is named twice, a probe that
            does not fit the task or an optimizer, or more than fits into memory.
    """
    probes = dict(probes or {})
    everyone = dict(learned)
    for name in baselines:
        if name in everyone:
            place = "both evaluated and a baseline" if name in learned else "a baseline twice"
            raise InvalidValueError(f"{name!r} is {place}; name it once.")
        entry = searchable(name)
        example = {key: low for key, (low, _) in entry.search.items()}
        points = num_points ** len(example)
        check_search(task, entry.create, example, points, min(metric_steps, num_steps), tuning_runs)
        everyone[name] = entry.create(**example)
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
