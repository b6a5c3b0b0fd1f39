"""Who takes part in a suite: how each optimizer is made, and the trials that tune it."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from optoscope._core.errors import InvalidValueError, UnknownNameError
from optoscope.bench._contestants import (
    SCHEDULE,
    Contestant,
    Multiplied,
    Raced,
    has_own_schedule,
    named,
)
from optoscope.bench._identities import maker_identity, optimizer_identity
from optoscope.optimizers import SCHEDULES, Optimizer
from optoscope.optimizers._scheduled import split_schedule

BASELINES = ("adamw-cosine", "muon-cosine", "schedule_free_adamw", "lion-cosine", "nadamw-cosine")
# Three decades around what works on small networks, so that ten rates are a factor of 2.15 apart.
# A best rate at an edge is said beside the result.
RATES: Mapping[str, tuple[float, float]] = {
    "sgd": (3e-3, 3.0),
    "momentum": (1e-3, 1.0),
    "adam": (1e-4, 1e-1),
    "adamw": (1e-4, 1e-1),
    "nadamw": (1e-4, 1e-1),
    "lion": (2e-5, 2e-2),
    "muon": (1e-3, 1.0),
    "schedule_free_adamw": (3e-4, 3e-1),
}
# Of an optimizer that takes the learning rate of the task at hand and has none of its own.
_OPEN_RATES = (1e-4, 1e-1)
# Multipliers of a learned optimizer, which knows its own size of step, are half a decade apart.
_DECADES = 0.5
_CONSTANT, _COSINE = SCHEDULES.index("constant"), SCHEDULES.index("cosine")


@dataclass(frozen=True)
class Entrant:
    """An optimizer with its trials.

    Args:
        label: what pages call it.
        create: makes it of one trial's values and, if `takes_num_steps`, of `num_steps`.
        trials: for each argument of `create` its values, one a trial; `schedule` among them is a
            place in `optimizers.SCHEDULES`.
        shipped: the trial that is the optimizer as it is; None for one that has to be tuned.
        takes_num_steps: whether `create` needs the length of the run.
        identity: whatever tells it from another one of the same label, as JSON.
        first_cell: the number that the first trial is kept by; the others follow. What is not tuned
            has the number that it has among the trials of who is.
    """

    label: str
    create: Callable[..., Optimizer]
    trials: Mapping[str, Float[np.ndarray, " trials"]]
    shipped: int | None
    takes_num_steps: bool
    identity: Mapping[str, Any]
    first_cell: int = 0

    @property
    def num_trials(self) -> int:
        """How many trials there are."""
        return len(next(iter(self.trials.values())))

    def maker(self, num_steps: int) -> Raced:
        """Makes the optimizer of a trial's values; equal for equal parts."""
        return Raced(self.create, num_steps, self.takes_num_steps)

    def words(self, trial: int) -> str:
        """A trial in words.

        Example:
            >>> baseline("lion-cosine", 10).words(0)
            'learning_rate 2e-05'
        """
        parts = [
            f"{name} {values[trial]:.3g}"
            for name, values in self.trials.items()
            if name != SCHEDULE
        ]
        if SCHEDULE in self.trials:
            parts.append(SCHEDULES[int(self.trials[SCHEDULE][trial])])
        return ", ".join(parts)

    def at_edge(self, trial: int) -> bool:
        """Whether a trial has the lowest or highest learning rate or factor of all."""
        for name, values in self.trials.items():
            if (
                name != SCHEDULE
                and len(values) > 1
                and values[trial] in (values.min(), values.max())
            ):
                return True
        return False


def baseline(one: str | Contestant, num_rates: int) -> Entrant:
    """A hand-designed optimizer, to be tuned by its learning rate.

    Args:
        one: a registered name, with "-cosine" or "-warmup-cosine" behind it for a schedule, or a
            contestant with one range.
        num_rates: learning rates that are tried, evenly spaced in the logarithm.

    Raises:
        UnknownNameError: no such optimizer.
        InvalidValueError: more than one argument is to be searched.
    """
    found = named(one) if isinstance(one, str) else one
    if len(found.search) != 1:
        raise InvalidValueError(
            f"{found.label!r} has {len(found.search)} ranges to search; a suite tunes one, the "
            "learning rate: give a Contestant with that range."
        )
    ((argument, bounds),) = found.search.items()
    if isinstance(one, str):
        bounds = RATES.get(split_schedule(one)[0], bounds)
    values = np.geomspace(*bounds, num_rates).astype(np.float32)
    trials, told = {argument: values}, {"baseline": found.label}
    if not isinstance(one, str):
        length = {"num_steps": 100} if found.takes_num_steps else {}
        create = partial(found.create, **length)
        told["computes"] = maker_identity(create, **{argument: float(values[0])})
    return Entrant(found.label, found.create, trials, None, found.takes_num_steps, told)


def given(label: str, optimizer: Optimizer, num_rates: int, tuned: bool = True) -> Entrant:
    """An optimizer as it is, and with its updates multiplied and scheduled.

    It has as many trials as a baseline has learning rates: half of them with a factor of its
    updates, the other half with the same factors and a cosine; of an odd number, one fewer has the
    cosine. One of them is the optimizer as it is. An optimizer that is made for the length of
    training has a schedule of its own, and all of its trials are factors, as far apart as a
    baseline's learning rates. One that leaves the learning rate to its user (Celo2) is tuned like a
    baseline, by its learning rate with a cosine.

    Args:
        label: what pages call it.
        optimizer: any; for one that knows the length of training, made for the suite's.
        num_rates: the number of trials.
        tuned: whether there are other trials than the optimizer as it is.
    """
    factors, schedule, shipped = _tuning(optimizer, num_rates)
    first_cell = 0
    if not tuned:
        first_cell = num_rates if shipped is None else shipped
        factors, schedule, shipped = np.ones(1), np.asarray([_CONSTANT]), 0
    trials = {"multiplier": np.asarray(factors, np.float32), SCHEDULE: np.asarray(schedule, float)}
    told = optimizer_identity(optimizer)
    return Entrant(label, Multiplied(optimizer), trials, shipped, False, told, first_cell)


def _tuning(
    optimizer: Optimizer, num_rates: int
) -> tuple[Float[np.ndarray, " trials"], Int[np.ndarray, " trials"], int | None]:
    """The factors of the updates that are tried, their schedules, and which is as it is, if any."""
    rate = getattr(optimizer, "learning_rate", None)
    if has_own_schedule(optimizer):
        shipped = num_rates // 2
        decades = math.log10(_OPEN_RATES[1] / _OPEN_RATES[0]) / max(1, num_rates - 1)
        factors = 10.0 ** (decades * (np.arange(num_rates) - shipped))
        return factors, np.full(num_rates, _CONSTANT), shipped
    if rate is not None:
        factors = np.geomspace(*_OPEN_RATES, num_rates) / float(rate)
        return factors, np.full(num_rates, _COSINE), None
    each = (num_rates + 1) // 2
    factors = np.resize(10.0 ** (_DECADES * (np.arange(each) - each // 2)), num_rates)
    return factors, np.repeat([_CONSTANT, _COSINE], each)[:num_rates], each // 2


def entrants(
    optimizers: Mapping[str, Optimizer],
    baselines: Sequence[str | Contestant],
    num_rates: int,
    tuned: bool | Collection[str],
) -> tuple[Entrant, ...]:
    """Baselines first, then optimizers that are given.

    Args:
        optimizers: those that are given, by label.
        baselines: as in `baseline`.
        num_rates: the number of trials.
        tuned: whether optimizers that are given are tuned too, or the labels of those that are.

    Raises:
        UnknownNameError: no such baseline, or no such optimizer to tune.
        InvalidValueError: two of one label, or none at all.
    """
    if isinstance(tuned, bool):
        tuned = list(optimizers) if tuned else []
    for label in tuned:
        if label not in optimizers:
            raise UnknownNameError("optimizer to tune", label, optimizers)
    found = [baseline(one, num_rates) for one in baselines]
    found += [given(label, one, num_rates, label in tuned) for label, one in optimizers.items()]
    labels = [one.label for one in found]
    for label in labels:
        if labels.count(label) > 1:
            raise InvalidValueError(f"two optimizers are called {label!r}; rename one of them.")
    if not found:
        raise InvalidValueError("there is no optimizer; name at least one.")
    return tuple(found)


def mean_over_others(values: Float[np.ndarray, "trials runs"]) -> Float[np.ndarray, "trials runs"]:
    """For each run the mean over all other runs; over itself where there is but one.

    Example:
        >>> mean_over_others(np.array([[1.0, 2.0, 6.0]])).tolist()
        [[4.0, 3.5, 1.5]]
    """
    num_runs = values.shape[1]
    if num_runs == 1:
        return values
    # One by one: a run that diverged must not take part in its own sum.
    others = [np.delete(values, run, axis=1).mean(axis=1) for run in range(num_runs)]
    return np.stack(others, axis=1)


def best_trials(final: Float[np.ndarray, "trials runs"]) -> np.ndarray:
    """For each run the trial with the least mean final loss over all *other* runs.

    So the run that a number is taken from has had no part in choosing its trial. Where every
    trial diverged on the others, it is the first.

    Args:
        final: losses at the end; infinite where a run diverged.
    """
    return np.argmin(np.where(np.isfinite(scores := mean_over_others(final)), scores, math.inf), 0)
