"""Learned optimizers whose network gives the directions of matrices, with Adam for some vectors."""

import itertools
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int, PyTree

from optoscope._core.published_numbers import LARGEST_GRADIENT
from optoscope._core.roots import with_safe_roots
from optoscope.optimizers import _adaptive_sizes
from optoscope.optimizers._adaptive_sizes import AdaptiveSize
from optoscope.optimizers._base import (
    OptimizerModule,
    Packed,
    as_arrays,
    params_of,
    without_aliases,
)
from optoscope.optimizers._eigenbases import (
    Eigenbases,
    advanced,
    as_matrices,
    start,
    turned,
    turned_back,
    turned_gradient,
)
from optoscope.optimizers._placement import follow
from optoscope.optimizers._small_network import Coordinates, SmallNetwork, SmallState


class DirectedState(NamedTuple):
    """What is kept between steps.

    Args:
        network: the averages behind the network's inputs.
        adam: Adam's moments where Adam has a part.
        bases: for each tensor that the network updates, in their order, the eigenbases of its
            matrices, where they are seen in these; else None.
        sizes: likewise what the size of its steps has become, where it adapts; else None.
    """

    # In a row, and in no trees like the parameters': some libraries (Flax NNX) let only arrays be
    # leaves of such a tree.
    network: SmallState | Packed
    adam: PyTree[Array]
    bases: tuple[Eigenbases | None, ...]
    sizes: tuple[AdaptiveSize | None, ...]


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

    @property
    def steps_between_bases(self) -> int | None:
        """Steps between refreshes of the eigenbases of matrices; None: they have none."""
        return None

    def multiplier(self, step: Int[Array, ""], shape: tuple[int, ...]) -> Float[Array, ""] | None:
        """What the update of a tensor of this shape is multiplied by after so many steps."""
        del step, shape
        return None

    @property
    def adapts_over(self) -> int | None:
        """The length of training in whose first part sizes of steps adapt; None: they never do."""
        return None

    def init(self, params: PyTree[ArrayLike]) -> DirectedState:
        """The state before the first step, with averages of zero."""
        return self._init(params, self.network.init)

    def init_packed(self, params: PyTree[ArrayLike]) -> DirectedState:
        """The same with small tensors side by side, where none turns on its own."""
        return self._init(params, self.network.init_packed)

    def update(
        self,
        grads: PyTree[ArrayLike],
        state: DirectedState,
        params: PyTree | None = None,
        **extra,
    ) -> tuple[PyTree[Array], DirectedState]:
        """The updates (in the gradients' types) and the next state; `params` is needed."""
        dtype, rate = self.network.input_weights.dtype, self.adam_rate
        grads = as_arrays(grads)

        def clipped(gradient: Array) -> Array:
            return jnp.clip(gradient.astype(dtype), -LARGEST_GRADIENT, LARGEST_GRADIENT)

        by_network, by_adam = self._divided(jax.tree.map(clipped, grads))
        parameters, _ = self._divided(params_of(grads, params))
        directions, network, bases = self._directions(by_network, state, parameters)
        moments, adam = with_safe_roots(_adam().update)(by_adam, state.adam)
        steps = jax.tree.map(lambda leaf: self._step(leaf) if leaf.size else leaf, directions)
        steps, sizes = self._sized(by_network, steps, state)
        updates = eqx.combine(steps, jax.tree.map(lambda moment: -rate * moment, moments))
        step = _steps(state)

        def multiplied(update: Array, like: Array) -> Array:
            factor = self.multiplier(step, update.shape)
            return (update if factor is None else factor * update).astype(like.dtype)

        updates = jax.tree.map(multiplied, updates, grads)
        return updates, DirectedState(network, adam, bases, sizes)

    def _directions(
        self, gradients: PyTree[Array], state: DirectedState, parameters: PyTree[Array] | None
    ) -> tuple[PyTree[Array], SmallState | Packed, tuple[Eigenbases | None, ...]]:
        """The directions of all tensors, and what is kept of this step."""
        every, averages, bases = self.steps_between_bases, state.network, state.bases
        scales = (1.0,) * self.network.output_bias.shape[0]
        if every is None:
            directions, averages = self.network.update(
                gradients, averages, parameters, self._direction, scales, self.time_unit
            )
            return directions, averages, bases
        assert isinstance(averages, SmallState)
        structure = jax.tree.structure(gradients)
        bases, averages = _follow(gradients, averages, bases, averages.step % every == 0)

        def each(function: Callable[..., Array], *trees: PyTree[Array]) -> PyTree[Array]:
            leaves = zip(*map(structure.flatten_up_to, trees), bases, strict=True)
            return structure.unflatten(itertools.starmap(function, leaves))

        if parameters is not None:
            parameters = each(turned, parameters)
        directions, averages = self.network.update(
            each(turned_gradient, gradients),
            averages,
            parameters,
            self._direction,
            scales,
            self.time_unit,
        )
        return each(turned_back, directions, gradients), averages, bases

    def _sized(
        self, gradients: PyTree[Array], steps: PyTree[Array], state: DirectedState
    ) -> tuple[PyTree[Array], tuple[AdaptiveSize | None, ...]]:
        """The steps as large as they have become, and what is kept of them."""
        length, step = self.adapts_over, _steps(state)
        if length is None:
            return steps, state.sizes
        leaves, structure = jax.tree.flatten(steps)
        sizes = []
        for place, gradient in enumerate(structure.flatten_up_to(gradients)):
            size = state.sizes[place]
            if size is not None:
                size = _adaptive_sizes.advanced(size, gradient, step, length)
                size = size._replace(before=leaves[place])
                leaves[place] = _adaptive_sizes.factor(size, step, length) * leaves[place]
            sizes.append(size)
        return structure.unflatten(leaves), tuple(sizes)

    def _divided(self, tree: PyTree[Array]) -> tuple[PyTree[Array], PyTree[Array]]:
        """What the network and what Adam updates, with None for what the other one does."""
        own = jax.tree.map(lambda leaf: self._by_network(jnp.ndim(leaf)), tree)
        return eqx.partition(tree, own)

    def _init(
        self, params: PyTree[ArrayLike], start_network: Callable[[PyTree], SmallState | Packed]
    ) -> DirectedState:
        by_network, by_adam = self._divided(as_arrays(params))
        leaves, dtype = jax.tree.leaves(by_network), self.network.input_weights.dtype
        bases: list[Eigenbases | None] = [None] * len(leaves)
        sizes: list[AdaptiveSize | None] = [None] * len(leaves)
        if self.steps_between_bases is None:
            network = start_network(by_network)
        else:  # every tensor turns on its own
            network = self.network.init(jax.tree.map(as_matrices, by_network))
            bases = [start(leaf, dtype) for leaf in leaves]
        if self.adapts_over is not None:
            sizes = [_adaptive_sizes.start(leaf, dtype) for leaf in leaves]
        adam = _adam().init(jax.tree.map(lambda leaf: jnp.zeros_like(leaf, dtype), by_adam))
        adam = follow(without_aliases(adam), by_adam)
        return DirectedState(network, adam, tuple(bases), tuple(sizes))


def _follow(
    gradients: PyTree[Array],
    averages: SmallState,
    bases: Sequence[Eigenbases | None],
    refresh: Bool[Array, ""],
) -> tuple[tuple[Eigenbases | None, ...], SmallState]:
    """The eigenbases of all tensors after one more gradient, and the momenta in them."""
    leaves, structure = jax.tree.flatten(gradients)
    momenta = zip(*map(structure.flatten_up_to, averages.momenta), strict=True)
    after = [
        (own, part) if own is None else advanced(own, as_matrices(leaf), part, refresh)
        for leaf, own, part in zip(leaves, bases, momenta, strict=True)
    ]
    places = range(len(averages.momenta))
    momenta = tuple(structure.unflatten([part[k] for _, part in after]) for k in places)
    return tuple(own for own, _ in after), averages._replace(momenta=momenta)


def _steps(state: DirectedState) -> Int[Array, ""]:
    """How many steps were taken."""
    return state.network.state.step if isinstance(state.network, Packed) else state.network.step


def _adam() -> optax.GradientTransformation:
    return optax.scale_by_adam(0.9, 0.999, 1e-8)
