"""Learned optimizers whose network gives the directions of matrices, with Adam for some vectors."""

from abc import abstractmethod
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PyTree

from optoscope._core.published_numbers import LARGEST_GRADIENT
from optoscope._core.roots import with_safe_roots
from optoscope.optimizers._base import OptimizerModule, Packed, without_aliases
from optoscope.optimizers._small_network import Coordinates, SmallNetwork, SmallState


class DirectedState(NamedTuple):
    """The averages behind the network's inputs, and Adam's moments where Adam has a part."""

    network: SmallState | Packed
    adam: PyTree[Array]


class DirectedOptimizer(OptimizerModule):
    """The frame of `Celo2Optimizer` and `GeneralOptimizer`, which say what a direction is.

    Math: gradients are clipped to ±1000; where the network updates, p ← p + s(d) with the
    subclass's direction d and step s; elsewhere p ← p − η_A a with Adam's direction a (decays 0.9
    and 0.999, ε = 1e-8). Either is multiplied by the subclass's `multiplier`, where it has one.
    """

    network: SmallNetwork
    log_learning_rate: Float[Array, ""]

    @property
    def learning_rate(self) -> Float[Array, ""]:
        """The learning rate η, whose logarithm is what is kept."""
        return jnp.exp(self.log_learning_rate)

    @property
    @abstractmethod
    def adam_rate(self) -> Float[Array, ""]:
        """Adam's learning rate η_A where it updates."""

    @abstractmethod
    def _by_network(self, rank: int) -> bool:
        """Whether the network updates tensors of this rank; Adam does otherwise."""

    @abstractmethod
    def _direction(self, at: Coordinates) -> Float[Array, "*shape"]:
        """The direction of one tensor, coordinate by coordinate."""

    @abstractmethod
    def _step(self, direction: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """The update that a whole tensor's direction becomes; the tensor is not empty."""

    @property
    def time_unit(self) -> float:
        """How many steps the functions of time take for one."""
        return 1.0

    def multiplier(self, step: Int[Array, ""], shape: tuple[int, ...]) -> Float[Array, ""] | None:
        """What the update of a tensor of this shape is multiplied by after so many steps."""
        del step, shape
        return None

    def init(self, params: PyTree[Array]) -> DirectedState:
        """The state before the first step, with averages of zero."""
        by_network, by_adam = self._divided(params)
        return self._start(self.network.init(by_network), by_adam)

    def init_packed(self, params: PyTree[Array]) -> DirectedState:
        """The same with small tensors side by side."""
        by_network, by_adam = self._divided(params)
        return self._start(self.network.init_packed(by_network), by_adam)

    def update(
        self,
        grads: PyTree[Array],
        state: DirectedState,
        params: PyTree[Array] | None = None,
        **extra,
    ) -> tuple[PyTree[Array], DirectedState]:
        """The updates (in the gradients' types) and the next state; `params` is needed."""
        dtype, rate = self.network.input_weights.dtype, self.adam_rate

        def clipped(gradient: Array) -> Array:
            return jnp.clip(gradient.astype(dtype), -LARGEST_GRADIENT, LARGEST_GRADIENT)

        by_network, by_adam = self._divided(jax.tree.map(clipped, grads))
        parameters, _ = (None, None) if params is None else self._divided(params)
        scales = (1.0,) * self.network.output_bias.shape[0]
        directions, network = self.network.update(
            by_network, state.network, parameters, self._direction, scales, self.time_unit
        )
        moments, adam = with_safe_roots(_adam().update)(by_adam, state.adam)
        updates = eqx.combine(
            jax.tree.map(lambda leaf: self._step(leaf) if leaf.size else leaf, directions),
            jax.tree.map(lambda moment: -rate * moment, moments),
        )
        before = state.network.state if isinstance(state.network, Packed) else state.network

        def multiplied(update: Array, like: Array) -> Array:
            factor = self.multiplier(before.step, update.shape)
            return (update if factor is None else factor * update).astype(like.dtype)

        return jax.tree.map(multiplied, updates, grads), DirectedState(network, adam)

    def _divided(self, tree: PyTree[Array]) -> tuple[PyTree[Array], PyTree[Array]]:
        """What the network and what Adam updates, with None for what the other one does."""
        own = jax.tree.map(lambda leaf: self._by_network(jnp.ndim(leaf)), tree)
        return eqx.partition(tree, own)

    def _start(self, network: SmallState | Packed, by_adam: PyTree[Array]) -> DirectedState:
        dtype = self.network.input_weights.dtype
        adam = _adam().init(jax.tree.map(lambda leaf: jnp.zeros_like(leaf, dtype), by_adam))
        return DirectedState(network, without_aliases(adam))


def _adam() -> optax.GradientTransformation:
    return optax.scale_by_adam(0.9, 0.999, 1e-8)
