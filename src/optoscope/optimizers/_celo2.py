"""Celo2, a small learned optimizer whose network gives directions of unit size."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from optoscope._core.errors import check_count
from optoscope._core.input_layouts import CELO2, CELO2_DECAYS
from optoscope._core.published_numbers import CELO2_ADAM_FACTOR
from optoscope.optimizers._accumulators import Decays
from optoscope.optimizers._directed import DirectedOptimizer
from optoscope.optimizers._directions import of_unit_size, orthogonalized
from optoscope.optimizers._domains import check_hyperparameters
from optoscope.optimizers._small_network import Coordinates, SmallNetwork

_NUM_HEADS = 3


class Celo2Optimizer(DirectedOptimizer):
    """A 30-8-8-3 perceptron whose direction is brought to unit size for each tensor.

    A learned optimizer that runs with the learning rate, schedule and weight decay of the task at
    hand, as a hand-designed one does. Load trained weights with
    `optimizers.load_published("celo2", path)`; a new one is meta-trained like any other.

    Math: g is clipped to ±1000; d is the network's first output; x = d (mean d² + 1e-9)^(-1/2),
    the mean over the last two axes; p ← p − η x. With `orthogonalize` d is orthogonalized first,
    and tensors of rank below 2 get Adam (0.9, 0.999) with 20 η instead.

    Source: Celo2 (Moudgil et al.), as restated in the project's specification. Its other two
    outputs have no effect. η is kept as its logarithm, a meta-parameter like the weights, so
    that a perturbation scales it and never changes its sign. The authors' recipe gives embeddings
    to Adam too; this module cannot tell them from other matrices: partition with Optax. Weight
    decay: `optax.chain(optimizer, …)` or a decay of your own.

    Example:
        >>> import jax
        >>> optimizer = Celo2Optimizer.create(jax.random.key(0), learning_rate=0.1)
        >>> sum(leaf.size for leaf in jax.tree.leaves(optimizer.network))
        347
        >>> params = jnp.ones((2, 3))
        >>> updates, _ = optimizer.update(params, optimizer.init(params), params)
        >>> round(float(jnp.sqrt(jnp.mean(updates**2))), 3)
        0.1
    """

    orthogonalize: bool = eqx.field(static=True)

    @classmethod
    def create(
        cls,
        key: PRNGKeyArray,
        *,
        learning_rate: float | int | Float[Array, ""] = 1e-3,
        orthogonalize: bool = False,
        hidden_size: int = 8,
    ) -> "Celo2Optimizer":
        """Draws an untrained optimizer.

        Args:
            key: PRNG key.
            learning_rate: η, the root mean square of each step; not negative.
            orthogonalize: "Celo2": matrices by the network, orthogonalized, the rest by Adam;
                without it "Celo2-base": everything by the network.
            hidden_size: units of each hidden layer.

        Raises:
            InvalidValueError: a negative learning rate or a size below 1.
        """
        check_hyperparameters("celo2", {"learning_rate": learning_rate})
        check_count("hidden_size", hidden_size, minimum=1, maximum=1024)
        network = SmallNetwork.create(
            key,
            _NUM_HEADS,
            hidden_size=hidden_size,
            layout=CELO2,
            decays=Decays.fixed(CELO2_DECAYS),
        )
        rate = jnp.log(jnp.asarray(learning_rate, jnp.float32))
        return cls(network, rate, bool(orthogonalize))

    @property
    def adam_rate(self) -> Float[Array, ""]:
        """Adam's learning rate, for tensors of rank below 2 where matrices are orthogonalized."""
        return CELO2_ADAM_FACTOR * self.learning_rate

    def _by_network(self, rank: int) -> bool:
        return not self.orthogonalize or rank > 1

    def _direction(self, at: Coordinates) -> Float[Array, "*shape"]:
        return at.outputs[0]

    def _step(self, direction: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        if self.orthogonalize:
            direction = orthogonalized(direction)
        return -self.learning_rate * of_unit_size(direction)

    @property
    def registered_name(self) -> str:
        """The name of this class among registered optimizers."""
        return "celo2"

    def configuration(self) -> dict[str, Any]:
        """The arguments of `create` but the learning rate, which is a leaf."""
        return {
            "orthogonalize": self.orthogonalize,
            "hidden_size": self.network.hidden_bias.shape[0],
        }
