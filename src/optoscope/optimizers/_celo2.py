"""Celo2, a small learned optimizer whose network gives directions of unit size."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from optoscope._core.errors import check_count
from optoscope._core.roots import with_safe_roots
from optoscope.optimizers._accumulators import Decays, StartingDecays
from optoscope.optimizers._base import OptimizerModule, Packed, without_aliases
from optoscope.optimizers._directions import of_unit_size, orthogonalized
from optoscope.optimizers._domains import check_hyperparameters
from optoscope.optimizers._input_layouts import CELO2
from optoscope.optimizers._small_network import Coordinates, SmallNetwork, SmallState

_DECAYS = StartingDecays(second_moment=0.95)
_LARGEST_GRADIENT = 1000.0
_NUM_HEADS = 3
# In the authors' recipe Adam's learning rate is so many times that of the network's directions.
_ADAM_FACTOR = 20.0


class Celo2State(NamedTuple):
    """The averages behind the network's inputs, and Adam's moments where Adam has a part."""

    network: SmallState | Packed
    adam: PyTree[Array]


class Celo2Optimizer(OptimizerModule):
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
        >>> optimizer = Celo2Optimizer.create(jax.random.key(0), learning_rate=0.1)
        >>> sum(leaf.size for leaf in jax.tree.leaves(optimizer.network))
        347
        >>> params = jnp.ones((2, 3))
        >>> updates, _ = optimizer.update(params, optimizer.init(params), params)
        >>> round(float(jnp.sqrt(jnp.mean(updates**2))), 3)
        0.1
    """

    network: SmallNetwork
    log_learning_rate: Float[Array, ""]
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
            key, _NUM_HEADS, hidden_size=hidden_size, layout=CELO2, decays=Decays.fixed(_DECAYS)
        )
        rate = jnp.log(jnp.asarray(learning_rate, jnp.float32))
        return cls(network, rate, bool(orthogonalize))

    @property
    def learning_rate(self) -> Float[Array, ""]:
        """The learning rate η, whose logarithm is what is kept."""
        return jnp.exp(self.log_learning_rate)

    def init(self, params: PyTree[Array]) -> Celo2State:
        """The state before the first step, with averages of zero."""
        by_network, by_adam = self._divided(params)
        return self._start(self.network.init(by_network), by_adam)

    def init_packed(self, params: PyTree[Array]) -> Celo2State:
        """The same with small tensors side by side."""
        by_network, by_adam = self._divided(params)
        return self._start(self.network.init_packed(by_network), by_adam)

    def update(
        self,
        grads: PyTree[Array],
        state: Celo2State,
        params: PyTree[Array] | None = None,
        **extra,
    ) -> tuple[PyTree[Array], Celo2State]:
        """The updates (in the gradients' types) and the next state; `params` is needed."""
        dtype, rate = self.network.input_weights.dtype, self.learning_rate

        def clipped(gradient: Array) -> Array:
            return jnp.clip(gradient.astype(dtype), -_LARGEST_GRADIENT, _LARGEST_GRADIENT)

        def direction(at: Coordinates) -> Array:
            return at.outputs[0]

        def step(direction: Array) -> Array:
            if direction.size == 0:
                return direction
            if self.orthogonalize:
                direction = orthogonalized(direction)
            return -rate * of_unit_size(direction)

        by_network, by_adam = self._divided(jax.tree.map(clipped, grads))
        parameters, _ = (None, None) if params is None else self._divided(params)
        directions, network = self.network.update(
            by_network, state.network, parameters, direction, (1.0,) * _NUM_HEADS
        )
        moments, adam = with_safe_roots(_adam().update)(by_adam, state.adam)
        updates = eqx.combine(
            jax.tree.map(step, directions),
            jax.tree.map(lambda moment: -_ADAM_FACTOR * rate * moment, moments),
        )
        updates = jax.tree.map(lambda update, leaf: update.astype(leaf.dtype), updates, grads)
        return updates, Celo2State(network, adam)

    def _divided(self, tree: PyTree[Array]) -> tuple[PyTree[Array], PyTree[Array]]:
        """What the network and what Adam updates, with None for what the other one does."""
        return eqx.partition(
            tree, jax.tree.map(lambda leaf: not self.orthogonalize or jnp.ndim(leaf) > 1, tree)
        )

    def _start(self, network: SmallState | Packed, by_adam: PyTree[Array]) -> Celo2State:
        dtype = self.network.input_weights.dtype
        adam = _adam().init(jax.tree.map(lambda leaf: jnp.zeros_like(leaf, dtype), by_adam))
        return Celo2State(network, without_aliases(adam))

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


def _adam() -> optax.GradientTransformation:
    return optax.scale_by_adam(0.9, 0.999, 1e-8)
