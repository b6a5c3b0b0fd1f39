"""The small perceptron optimizer of Metz et al. (2022)."""

from typing import Any

import equinox as eqx
from jax.typing import ArrayLike
from jaxtyping import Array, PRNGKeyArray, PyTree

from optoscope._core.errors import check_count, check_number
from optoscope.optimizers._base import OptimizerModule, Packed
from optoscope.optimizers._exponential import LOG2_E, times_power_of_two
from optoscope.optimizers._small_network import Coordinates, SmallNetwork, SmallState


class MLPOptimizer(OptimizerModule):
    """A 39-4-4-2 perceptron that computes each coordinate's update from running averages.

    The 197-parameter black-box optimizer: cheap, strong where it was meta-trained, free to
    diverge past its horizon. With `hidden_size=32` it is the network of
    AdafacLO and MuLO. `StarOptimizer` is the same network with a stable rule.

    Math: p ← p − s·d·exp(e·a), with the outputs d and a, s = `step_scale`, e = `exponent_scale`.

    Source: Metz et al. (2022), `small_fc_lopt`; paper C's "Blackbox". Weight decay on the
    meta-parameters belongs to the meta-optimizer and is not part of this module.

    Example:
        >>> import jax
        >>> optimizer = MLPOptimizer.create(jax.random.key(0))
        >>> sum(leaf.size for leaf in jax.tree.leaves(optimizer))
        197
    """

    network: SmallNetwork
    step_scale: float = eqx.field(static=True)
    exponent_scale: float = eqx.field(static=True)

    @classmethod
    def create(
        cls,
        key: PRNGKeyArray,
        *,
        step_scale: float | int = 1e-3,
        exponent_scale: float | int = 1e-3,
        hidden_size: int = 4,
    ) -> "MLPOptimizer":
        """Draws an untrained optimizer.

        Args:
            key: PRNG key.
            step_scale: s, factor on the direction; positive.
            exponent_scale: e, factor on the log-magnitude; not negative.
            hidden_size: units of each hidden layer; 32 in AdafacLO and MuLO.

        Raises:
            InvalidValueError: a scale or a size outside its domain.
        """
        check_count("hidden_size", hidden_size, minimum=1, maximum=1024)
        check_number("step_scale", step_scale, minimum=0, exclusive_minimum=True)
        check_number("exponent_scale", exponent_scale, minimum=0)
        return cls(
            SmallNetwork.create(key, 2, hidden_size=hidden_size),
            float(step_scale),
            float(exponent_scale),
        )

    def init(self, params: PyTree[ArrayLike]) -> SmallState:
        """A state in which all averages are zero."""
        return self.network.init(params)

    def init_packed(self, params: PyTree[ArrayLike]) -> Packed:
        """The same with small tensors side by side."""
        return self.network.init_packed(params)

    def update(
        self,
        grads: PyTree[ArrayLike],
        state: SmallState | Packed,
        params: PyTree | None = None,
        **extra,
    ) -> tuple[PyTree[Array], SmallState | Packed]:
        """The updates (in the gradients' types) and the next state; `params` is needed."""

        def rule(at: Coordinates) -> Array:
            return times_power_of_two(*at.outputs)

        scales = (-self.step_scale, self.exponent_scale * LOG2_E)
        return self.network.update(grads, state, params, rule, scales)

    @property
    def registered_name(self) -> str:
        """The name in the registry, "mlp"."""
        return "mlp"

    def configuration(self) -> dict[str, Any]:
        """The arguments of `create`."""
        scales = {"step_scale": self.step_scale, "exponent_scale": self.exponent_scale}
        size = self.network.hidden_bias.shape[0]
        # Of the usual size it is described as before there were others, for older readers.
        return scales if size == 4 else scales | {"hidden_size": size}
