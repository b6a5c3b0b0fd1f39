"""The meta-objective: the number that an unroll's inner losses and penalties are reduced to."""

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from optoscope._core.errors import InvalidValueError, UnknownNameError, check_count, check_number
from optoscope._core.windows import tenth
from optoscope.training import StepRecord

Penalty = Callable[[StepRecord], Float[Array, ""]]

_FLOOR = 1e-30
# A loss below it, all but zero for a classifier, earns nothing more where logarithms are taken.
_LEAST = 1e-4


def _mean(losses: Array, weights: Array) -> Array:
    return jnp.sum(weights * losses) / jnp.maximum(jnp.sum(weights), _FLOOR)


def _sum(losses: Array, weights: Array) -> Array:
    return jnp.sum(weights * losses)


def _log_sum(losses: Array, weights: Array) -> Array:
    total = jnp.sum(weights * losses)
    # A sum below zero has no logarithm. Neither its value nor its gradient may pass for a number.
    lost = jnp.log(jnp.where(total < 0, total, 1.0)) * jnp.where(total < 0, jnp.nan, 1.0)
    return jnp.log(jnp.maximum(total, _FLOOR)) + lost


def _mean_log(losses: Array, weights: Array) -> Array:
    return _mean(_logarithm(losses), weights)


def _logarithm(losses: Array) -> Array:
    # As for a sum: a loss below zero has none, and must not pass for a number.
    lost = jnp.where(losses < 0, jnp.nan, 0.0)
    return jnp.log(jnp.maximum(losses, _LEAST)) + lost


def _last(losses: Array, weights: Array) -> Array:
    last = losses.shape[0] - 1 - jnp.argmax((weights > 0)[::-1])
    # An unroll of a longer episode may lie where no step has a weight.
    return jnp.where(jnp.any(weights > 0), losses[last], 0.0)


REDUCTIONS: dict[str, Callable[[Array, Array], Array]] = {
    "mean": _mean,
    "sum": _sum,
    "log_sum": _log_sum,
    "mean_log": _mean_log,
    "last": _last,
}


def _as_array(weights: Any) -> Array | None:
    return None if weights is None else jnp.asarray(weights, jnp.float32)


def classification_maximum(num_classes: int) -> float:
    """The value at which a classifier's loss is clipped: 1.5 ln C, 1.5 times that of guessing.

    Source: paper C's meta-training losses; give it to `Objective(maximum=…)`.

    Example:
        >>> round(classification_maximum(10), 3)
        3.454
    """
    check_count("num_classes", num_classes, minimum=2)
    return 1.5 * math.log(num_classes)


def end_weights(horizon: int, share: float | int) -> Float[Array, " horizon"]:
    """Weights for `Objective(weights=…)` of which a share lies on the last tenth of the horizon.

    The rest is spread over all steps. Their mean is 1.

    Args:
        horizon: inner steps of an episode.
        share: from 0 (all steps count alike) to 1 (only the last tenth counts).

    Raises:
        InvalidValueError: a horizon below 1, or a share that is not between 0 and 1.

    Example:
        >>> end_weights(20, 0.5)[16:].tolist()
        [0.5, 0.5, 5.5, 5.5]
    """
    check_count("horizon", horizon, minimum=1)
    check_number("share", share, minimum=0, maximum=1)
    steps = tenth(horizon)
    at_the_end = jnp.arange(horizon) >= horizon - steps
    return 1 - share + share * horizon / steps * at_the_end


def final_mean(losses: Float[Array, "runs steps"]) -> Float[Array, ""]:
    """The mean over runs and the last tenth of the steps, a measure for `HeldOutLoss`.

    Example:
        >>> float(final_mean(jnp.arange(20.0)[None]))
        18.5
    """
    return jnp.mean(losses[:, -tenth(losses.shape[1]) :])


class Objective(eqx.Module):
    """Turns the losses of one unroll into one number, the meta-loss; every estimator takes one.

    It says what a good optimizer is: "mean" and "sum" reward a loss that falls early, "last" looks
    at the end alone, and "log_sum" counts a halving alike whether losses are large or small.

    Source: paper A, equation 3 (weighted sum); its released program takes the log of the sum.

    Args:
        reduction: "mean", "sum", "log_sum" (the logarithm of the sum, for losses that are never
            negative: that of a negative sum is not a number), "mean_log" (the mean logarithm of
            each step's loss, which weighs a decade early and late in training alike; losses below
            1e-4 count as that) or "last" (the last step of the unroll that has a weight above 0).
        weights: a weight for every step of the horizon, shape (horizon,); 1 if not given.
        penalties: functions of a step record; the sum over steps of their values is added for
            "sum", "log_sum" and "last", the mean for "mean" and "mean_log".
        maximum: the task's largest loss, if it has one: a loss that is not finite counts as
            `maximum`, and the others are clipped to [0, maximum]. See `classification_maximum`.

    Raises:
        UnknownNameError: an unknown reduction.
        InvalidValueError: weights that are not a vector, or a maximum that is not positive.

    Example:
        >>> ones = jnp.ones(3)
        >>> losses = jnp.array([1.0, 2.0, 6.0])
        >>> float(Objective("mean")(losses, 0 * ones, jnp.arange(3), ones > 0))
        3.0
    """

    reduction: str = eqx.field(static=True, default="mean")
    weights: Float[Array, " horizon"] | None = eqx.field(default=None, converter=_as_array)
    penalties: tuple[Penalty, ...] = ()
    maximum: float | None = eqx.field(static=True, default=None)

    def __check_init__(self):
        if self.reduction not in REDUCTIONS:
            raise UnknownNameError("meta-objective", self.reduction, REDUCTIONS)
        if self.weights is not None and self.weights.ndim != 1:
            raise InvalidValueError(
                f"weights has shape {self.weights.shape}; it must hold one number per step: "
                "(horizon,)."
            )
        if self.maximum is not None:
            check_number("maximum", self.maximum, minimum=0, exclusive_minimum=True)

    def check_horizon(self, horizon: int) -> None:
        """Raises InvalidValueError for weights of another length than the (longest) horizon."""
        if self.weights is not None and self.weights.shape != (horizon,):
            raise InvalidValueError(
                f"the objective has {self.weights.shape[0]} weights for {horizon} steps of horizon."
            )

    @property
    def additive(self) -> bool:
        """Whether the meta-loss is a sum of one term per step, as `step_terms` requires."""
        return self.reduction in ("mean", "mean_log", "sum")

    def normalize(self, losses: Float[Array, "*axes"]) -> Float[Array, "*axes"]:
        """The losses clipped to [0, maximum] where there is a maximum, unchanged otherwise."""
        if self.maximum is None:
            return losses
        return jnp.clip(jnp.where(jnp.isfinite(losses), losses, self.maximum), 0.0, self.maximum)

    def step_terms(
        self,
        losses: Float[Array, "*axes steps"],
        penalties: Float[Array, "*axes steps"],
        steps: Int[Array, " steps"],
    ) -> Float[Array, "*axes steps"]:
        """What each step adds to the meta-loss of an unroll, for steps of several episodes.

        The terms sum to the unroll's meta-loss. For "mean" the weights are divided by their mean
        over the whole horizon, so that every unroll has the same weight.

        Args:
            losses: the inner losses.
            penalties: `penalty` of each step.
            steps: each step's place in its horizon.
        """
        weights = 1.0 if self.weights is None else self.weights[steps]
        if self.reduction == "sum":
            return weights * self.normalize(losses) + penalties
        if self.weights is not None:
            weights = weights / jnp.maximum(jnp.mean(self.weights), _FLOOR)
        losses = self.normalize(losses)
        if self.reduction == "mean_log":
            losses = _logarithm(losses)
        return (weights * losses + penalties) / losses.shape[-1]

    def penalty(self, record: StepRecord) -> Float[Array, ""]:
        """The sum of all penalties of one step."""
        return sum((penalty(record) for penalty in self.penalties), start=jnp.zeros(()))

    def __call__(
        self,
        losses: Float[Array, " steps"],
        penalties: Float[Array, " steps"],
        steps: Array,
        inside: Bool[Array, " steps"],
        *,
        whole: bool = True,
    ) -> Float[Array, ""]:
        """The meta-loss of an unroll.

        Args:
            losses: the inner losses.
            penalties: `penalty` of each step.
            steps: each step's place in the horizon, to look its weight up.
            inside: whether the step lies inside the horizon; the other steps are ignored.
            whole: whether the unroll is the whole episode. If not, "mean" and "mean_log" divide
                the weights by their mean over the whole horizon, as `step_terms` does, so that
                an unroll counts by the weights of its own steps.
        """
        weights = jnp.ones_like(losses) if self.weights is None else self.weights[steps]
        weights = jnp.where(inside, weights, 0.0)
        # Zero times infinity is NaN, so losses outside the horizon are replaced, not multiplied.
        losses = jnp.where(inside, self.normalize(losses), 0.0)
        penalties = jnp.where(inside, penalties, 0.0)
        total = jnp.sum(penalties)
        if self.reduction in ("mean", "mean_log"):
            total = total / jnp.maximum(jnp.sum(inside), 1)
        value = REDUCTIONS[self.reduction](losses, weights)
        if not whole and self.weights is not None and self.reduction in ("mean", "mean_log"):
            share = jnp.sum(weights) / jnp.maximum(jnp.sum(inside), 1)
            value = value * share / jnp.maximum(jnp.mean(self.weights), _FLOOR)
        return value + total
