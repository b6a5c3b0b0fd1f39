"""The small perceptron with a nominal term, of paper C."""

import math
from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from optoscope._core.errors import UnknownNameError
from optoscope.torch._features import GRADIENT, MOMENTA, PRECONDITIONER
from optoscope.torch._small_network import LOG2_E, SmallNetworkRule, times_power_of_two

# The features whose mean is the direction of the nominal term, and whether it is preconditioned.
NOMINAL_TERMS: dict[str, tuple[tuple[int, ...], bool]] = {
    "sgd": ((GRADIENT,), False),
    "momentum": (MOMENTA[:1], False),
    "aggmo": (MOMENTA, False),
    "adam": (MOMENTA[:1], True),
    "aggmo-adam": (MOMENTA, True),
}


def nominal_direction(name: str, inputs: Tensor, scale: float = 1.0) -> Tensor:
    """The direction of the nominal term of that name, times a factor."""
    directions, preconditioned = NOMINAL_TERMS[name]
    step = inputs[directions[0]]
    for direction in directions[1:]:
        step = step + inputs[direction]
    step = step * (scale / len(directions))
    return step * inputs[PRECONDITIONER] if preconditioned else step


class StarRule(SmallNetworkRule):
    """A nominal term and a black box: see `optoscope.optimizers.StarOptimizer`."""

    registered_name: ClassVar[str] = "star"

    def __init__(
        self,
        weights: Mapping[str, Tensor],
        *,
        arm: str = "star",
        nominal: str = "aggmo-adam",
        preconditioning: bool = True,
        learned_nominal_scale: bool = False,
        nominal_scale: float = 1e-3,
        nominal_exponent_scale: float = 1e-3,
        blackbox_scale: float = 1e-3,
        blackbox_exponent_scale: float = 1e-3,
    ):
        """Takes the arguments of `StarOptimizer.create`, the arm's defaults spelled out."""
        if nominal not in (names := (*NOMINAL_TERMS, "none")):
            raise UnknownNameError("nominal term", str(nominal), names)
        self._blackbox, self._nominal = arm != "hyperparam", nominal
        self._preconditioning = preconditioning
        scales = []
        if self._blackbox:
            scales += [blackbox_scale, blackbox_exponent_scale * LOG2_E]
        if nominal != "none":
            scales += [nominal_exponent_scale * LOG2_E]
        more = {"log_nominal_scale": ()} if learned_nominal_scale else {}
        super().__init__(weights, scales, more)
        self._nominal_scale = nominal_scale
        if learned_nominal_scale:
            self._nominal_scale *= math.exp(float(weights["log_nominal_scale"]))

    def rule(self, outputs: Tensor, inputs: Tensor) -> Tensor:
        """The black box's step and the nominal term's, both against the gradient."""
        terms = []
        if self._blackbox:
            step, magnitude = outputs[:, 0], outputs[:, 1]
            if self._preconditioning:
                step = step * inputs[PRECONDITIONER]
            terms.append(times_power_of_two(step, magnitude))
        if self._nominal != "none":
            step = nominal_direction(self._nominal, inputs, self._nominal_scale)
            terms.append(times_power_of_two(step, outputs[:, -1]))
        return -(terms[0] + terms[1] if len(terms) == 2 else terms[0])
