"""What is tuned before it is compared: its label, how it is made, and what is searched."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from optoscope._core.errors import InvalidValueError, UnknownNameError
from optoscope.optimizers import SCHEDULES, Optimizer, Scheduled, entry

# Factors of a given optimizer's updates. A search whose best value lies at an edge goes past it.
MULTIPLIERS = (0.03, 30.0)
# Learning rates of an optimizer that is not registered with a range of its own.
LEARNING_RATES = (1e-4, 3.0)
SCHEDULE = "schedule"


@dataclass(frozen=True)
class Contestant:
    """An optimizer with something to tune.

    Args:
        label: what reports call it.
        create: makes it, of keyword arguments that may be traced numbers; a search compiles one
            program for equal ones.
        search: for each keyword argument that is searched its range (low, high), logarithmic.
        takes_num_steps: whether `create` needs `num_steps`, the length of the run.
        takes_schedule: whether its updates may be multiplied by a schedule.
    """

    label: str
    create: Callable[..., Optimizer]
    search: Mapping[str, tuple[float, float]]
    takes_num_steps: bool = False
    takes_schedule: bool = True


def named(name: str) -> Contestant:
    """A registered optimizer, to be tuned over its own search space.

    Raises:
        UnknownNameError: no such optimizer.
        InvalidValueError: it has nothing to search.
    """
    found = entry(name)
    if not found.search:
        raise InvalidValueError(f"optimizer {name!r} has no hyper-parameters to search.")
    own_schedule = found.takes_num_steps or not found.takes_schedule
    return Contestant(name, found.create, found.search, found.takes_num_steps, not own_schedule)


def given(label: str, optimizer: Optimizer) -> Contestant:
    """An optimizer as it is, to be tuned by a factor of its updates."""
    scheduled = has_own_schedule(optimizer)
    return Contestant(
        label, Multiplied(optimizer), {"multiplier": MULTIPLIERS}, takes_schedule=not scheduled
    )


def has_own_schedule(optimizer: Optimizer) -> bool:
    """Whether an optimizer is made for the length of training, so that it needs no schedule."""
    return getattr(optimizer, "num_steps", None) is not None


def contestants(
    baselines: Sequence[str | Contestant] | Mapping[str, "str | Contestant | Optimizer"],
) -> tuple[Contestant, ...]:
    """What `compare` tunes, in the order given.

    Args:
        baselines: names of registered optimizers and contestants; or either, or optimizers, by
            the labels that reports should use.

    Raises:
        UnknownNameError: no such optimizer.
        InvalidValueError: an optimizer that has nothing to search.
    """
    if not isinstance(baselines, Mapping):
        return tuple(named(one) if isinstance(one, str) else one for one in baselines)
    found = []
    for label, one in baselines.items():
        if isinstance(one, str | Contestant):
            base = named(one) if isinstance(one, str) else one
            found.append(
                Contestant(
                    label, base.create, base.search, base.takes_num_steps, base.takes_schedule
                )
            )
        else:
            found.append(given(label, one))
    return tuple(found)


def schedule_places(schedules: Sequence[str]) -> list[int]:
    """The places of schedules in `SCHEDULES`, in its order.

    Raises:
        UnknownNameError: no such schedule.
    """
    for schedule in schedules:
        if schedule not in SCHEDULES:
            raise UnknownNameError("schedule", schedule, SCHEDULES)
    return sorted({SCHEDULES.index(schedule) for schedule in schedules})


class Multiplied(eqx.Module):
    """The `create` of a given optimizer: makes it with its updates multiplied.

    Its arrays are inputs of a compiled search, so that other weights do not compile it again.
    """

    optimizer: Optimizer

    def __call__(self, multiplier: Any = 1.0) -> Scheduled:
        """The optimizer with that multiplier and no schedule."""
        return Scheduled(
            self.optimizer,
            jnp.asarray(multiplier, jnp.float32),
            jnp.asarray(1, jnp.int32),
            jnp.asarray(SCHEDULES.index("constant"), jnp.int32),
        )


class Raced(eqx.Module):
    """Makes a contestant with one of several schedules, chosen by a number.

    The number, like every other that is searched, may be traced: one program tries all schedules.

    Args:
        create: the contestant's.
        num_steps: the length of the run.
        takes_num_steps: whether `create` needs it.
    """

    create: Callable[..., Optimizer]
    num_steps: int = eqx.field(static=True)
    takes_num_steps: bool = eqx.field(static=True)

    def __call__(self, **hyperparameters: Float[Array, ""] | float) -> Optimizer:
        """The optimizer of these values; `schedule` is a place in `SCHEDULES`."""
        schedule = hyperparameters.pop(SCHEDULE, None)
        if self.takes_num_steps:
            return self.create(num_steps=self.num_steps, **hyperparameters)
        optimizer = self.create(**hyperparameters)
        if schedule is None:
            return optimizer
        return Scheduled(
            optimizer,
            jnp.ones(()),
            jnp.asarray(self.num_steps, jnp.int32),
            jnp.asarray(schedule, jnp.int32),
        )
