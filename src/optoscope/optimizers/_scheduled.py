"""An optimizer whose updates are multiplied by a number that depends on the step."""

import math

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, PyTree

from optoscope._core.errors import UnknownNameError, check_count
from optoscope.optimizers._base import (
    Optimizer,
    OptimizerModule,
    as_arrays,
    as_optax,
    cast_like,
    packed_state,
)

SCHEDULES = ("constant", "cosine", "warmup-cosine")
WARMUP_SHARE = 0.1


def schedule_factor(
    schedule: Int[Array, ""], step: Int[Array, ""], num_steps: Int[Array, ""]
) -> Float[Array, ""]:
    """The number that the update of a step is multiplied by.

    Math: constant: 1. Cosine: ½ (1 + cos(π t/T)) at step t of T, and 0 after T. Warm-up and
    cosine: (t + 1)/w over the first w = ⌈T/10⌉ steps, then the cosine over the remaining T − w.

    Args:
        schedule: its place in `SCHEDULES`, a number so that one program can try them all.
        step: steps taken before this one.
        num_steps: T, the length of the run.
    """
    step, total = jnp.asarray(step, jnp.float32), jnp.asarray(num_steps, jnp.float32)
    warms_up = schedule == SCHEDULES.index("warmup-cosine")
    warmup = jnp.where(warms_up, jnp.ceil(WARMUP_SHARE * total), 0.0)
    progress = jnp.clip((step - warmup) / jnp.maximum(total - warmup, 1.0), 0.0, 1.0)
    factor = 0.5 * (1 + jnp.cos(math.pi * progress))
    factor = jnp.where(step < warmup, (step + 1) / jnp.maximum(warmup, 1.0), factor)
    return jnp.where(schedule == SCHEDULES.index("constant"), 1.0, factor)


class Scheduled(OptimizerModule):
    """An optimizer whose updates are multiplied by a constant and by a schedule.

    Math: u_t = c · s(t) · û_t, with û the update of `optimizer` (see `schedule_factor` for s).
    Where an optimizer's update is proportional to its learning rate, as Adam's is, this is the
    usual schedule of the learning rate. Decoupled weight decay is scheduled with it.

    Args:
        optimizer: what proposes the updates.
        multiplier: c; as a whole number it is no meta-parameter.
        num_steps: the length of the run.
        schedule: its place in `SCHEDULES`.
    """

    optimizer: Optimizer
    multiplier: Float[Array, ""] | Int[Array, ""]
    num_steps: Int[Array, ""]
    schedule: Int[Array, ""]

    def init(self, params: PyTree[ArrayLike]) -> PyTree[Array]:
        """The optimizer's own state, and a count of steps."""
        return self.optimizer.init(params), jnp.zeros((), jnp.int32)

    def init_packed(self, params: PyTree[ArrayLike]) -> PyTree[Array]:
        """The same, the optimizer's own packed."""
        return packed_state(self.optimizer, params), jnp.zeros((), jnp.int32)

    def update(
        self,
        grads: PyTree[ArrayLike],
        state: PyTree[Array],
        params: PyTree | None = None,
        **extra,
    ) -> tuple[PyTree[Array], PyTree[Array]]:
        """The optimizer's update times the constant and the schedule's factor."""
        inner, step = state
        updates, inner = as_optax(self.optimizer).update(grads, inner, params, **extra)
        factor = self.multiplier * schedule_factor(self.schedule, step, self.num_steps)
        updates = jax.tree.map(lambda update: factor * update, updates)
        return cast_like(updates, as_arrays(grads)), (inner, step + 1)


def scheduled(
    optimizer: Optimizer,
    schedule: str,
    num_steps: int,
    *,
    multiplier: float | int | Float[Array, ""] = 1,
) -> Scheduled:
    """The optimizer with its updates multiplied by a constant and by a schedule.

    Args:
        optimizer: any, hand-designed or learned.
        schedule: "constant", "cosine" (down to zero) or "warmup-cosine" (a tenth of the run up,
            then down to zero).
        num_steps: the length of the run.
        multiplier: of every update; a whole number is no meta-parameter.

    Raises:
        UnknownNameError: no such schedule.
        InvalidValueError: fewer than one step.

    Example:
        >>> from optoscope import optimizers
        >>> halfway = scheduled(optimizers.sgd(1.0), "cosine", 2)
        >>> state = halfway.init(jnp.zeros(1))
        >>> for _ in range(3):
        ...     updates, state = halfway.update(jnp.ones(1), state)
        ...     print(round(float(-updates[0]), 3))
        1.0
        0.5
        0.0
    """
    if schedule not in SCHEDULES:
        raise UnknownNameError("schedule", schedule, SCHEDULES)
    check_count("num_steps", num_steps, minimum=1)
    return Scheduled(
        optimizer,
        jnp.asarray(multiplier, jnp.int32 if isinstance(multiplier, int) else jnp.float32),
        jnp.asarray(num_steps, jnp.int32),
        jnp.asarray(SCHEDULES.index(schedule), jnp.int32),
    )


def split_schedule(name: str) -> tuple[str, str]:
    """The name of an optimizer and its schedule: "adamw-cosine" is AdamW with a cosine.

    Example:
        >>> split_schedule("adamw-warmup-cosine"), split_schedule("adam")
        (('adamw', 'warmup-cosine'), ('adam', 'constant'))
    """
    # The longest ending first: "cosine" is one of "warmup-cosine".
    for schedule in sorted(SCHEDULES, key=len, reverse=True):
        own = name.removesuffix(f"-{schedule}")
        if own != name:
            return own, schedule
    return name, "constant"
