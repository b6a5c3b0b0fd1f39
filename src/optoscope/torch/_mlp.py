"""The small perceptron optimizer of Metz et al. (2022)."""

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from optoscope.torch._small_network import LOG2_E, SmallNetworkRule, times_power_of_two


class MLPRule(SmallNetworkRule):
    """p ← p − s·d·exp(e·a): see `optoscope.optimizers.MLPOptimizer`."""

    registered_name: ClassVar[str] = "mlp"

    def __init__(
        self,
        weights: Mapping[str, Tensor],
        *,
        step_scale: float = 1e-3,
        exponent_scale: float = 1e-3,
        hidden_size: int = 4,
    ):
        """Takes the arguments of `MLPOptimizer.create`."""
        super().__init__(weights, (-step_scale, exponent_scale * LOG2_E), hidden_size=hidden_size)

    def rule(self, outputs: Tensor, inputs: Tensor) -> Tensor:
        """The step times its magnitude."""
        return times_power_of_two(outputs[:, 0], outputs[:, 1])
