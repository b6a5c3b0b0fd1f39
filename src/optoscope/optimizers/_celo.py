"""Celo, a small learned optimizer with a learned schedule."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from optoscope._core.errors import check_count
from optoscope._core.input_layouts import CELO, StartingDecays
from optoscope._core.keys import as_key
from optoscope._core.published_numbers import NUM_LOSS_FEATURES
from optoscope.optimizers._accumulators import Decays
from optoscope.optimizers._base import OptimizerModule, Packed, as_arrays, params_of
from optoscope.optimizers._exponential import LOG2_E, times_power_of_two
from optoscope.optimizers._loss_features import (
    LossAverages,
    advance,
    features,
    start,
)
from optoscope.optimizers._lstm import LSTMLayer, draw, draw_layers
from optoscope.optimizers._small_network import Coordinates, SmallNetwork, SmallState

_NUM_HEADS = 3
_STEP_SCALE = _EXPONENT_SCALE = 1e-3
_SCHEDULE_SCALE = 0.1
_SIZE_OFFSET = 1e-9


class Scheduler(eqx.Module):
    """An LSTM that gives the factor of all updates of a step.

    Math: x = W f + b + relu(V f + c) with the features f of `_loss_features`; h = LSTM(x);
    s = 0.1 exp(w·h + e).

    Source: Celo. There every tensor has a state of its own, and the second summand is the largest
    over tensors; all of them see the same features and start alike, so that one is enough.
    """

    input_weights: Float[Array, "hidden features"]
    input_bias: Float[Array, " hidden"]
    mixing_weights: Float[Array, "hidden features"]
    mixing_bias: Float[Array, " hidden"]
    layer: LSTMLayer
    readout: Float[Array, " hidden"]
    readout_bias: Float[Array, ""]
    initial_hidden: Float[Array, " hidden"]
    initial_cell: Float[Array, " hidden"]

    @classmethod
    def create(cls, key: PRNGKeyArray, size: int) -> "Scheduler":
        """Draws weights uniform in ±1/sqrt(H); the initial state is zero."""
        (layer,) = draw_layers(key, size, size, 1)
        return cls(
            draw(key, 2, size, size, NUM_LOSS_FEATURES),
            draw(key, 3, size, size),
            draw(key, 4, size, size, NUM_LOSS_FEATURES),
            draw(key, 5, size, size),
            layer,
            draw(key, 6, size, size),
            draw(key, 7, size),
            jnp.zeros(size),
            jnp.zeros(size),
        )

    def __call__(
        self,
        seen: Float[Array, " features"],
        hidden: Float[Array, " hidden"],
        cell: Float[Array, " hidden"],
    ) -> tuple[Float[Array, ""], Float[Array, " hidden"], Float[Array, " hidden"]]:
        """The factor s, and the next hidden and cell states."""
        mixed = jax.nn.relu(self.mixing_weights @ seen + self.mixing_bias)
        inputs = self.input_weights @ seen + self.input_bias + mixed
        hidden, cell = (
            part[:, 0] for part in self.layer(inputs[:, None], hidden[:, None], cell[:, None])
        )
        factor = _SCHEDULE_SCALE * jnp.exp(self.readout @ hidden + self.readout_bias)
        return factor, hidden, cell


class CeloState(NamedTuple):
    """The averages behind the network's inputs, and what the scheduler remembers."""

    network: SmallState | Packed
    hidden: Float[Array, " hidden"]
    cell: Float[Array, " hidden"]
    losses: LossAverages
    step: Int[Array, ""]


class CeloOptimizer(OptimizerModule):
    """A 30-4-4-3 perceptron whose steps a learned schedule scales; it has no learning rate.

    It needs the length of training when it is made, and the loss of every step, which Optax hands
    on as `value`: `update(grads, state, params, value=loss)`. Without `value` the schedule sees
    the fraction of training alone, as in its first two steps: inside `optax.chain` and the like,
    which hand it on to Optax's own types alone, put `optimizers.as_optax(celo)`. Load trained
    weights with
    `optimizers.load_published("celo", path, num_steps=…)`.

    Math: p ← p − s·1e-3·d·exp(1e-3·a)·sqrt(mean p² + 1e-9), with the network's outputs d and a,
    the factor s of the `Scheduler`, and the mean over the tensor.

    Source: Celo (Moudgil et al. 2025), as restated in the project's specification. The layers of
    the published file that have no effect are left out: 35,808 of its 37,089 numbers.

    Example:
        >>> optimizer = CeloOptimizer.create(jax.random.key(0), num_steps=100)
        >>> sum(leaf.size for leaf in jax.tree.leaves(optimizer))
        35808
    """

    network: SmallNetwork
    scheduler: Scheduler
    num_steps: int = eqx.field(static=True)

    @classmethod
    def create(
        cls,
        key: PRNGKeyArray,
        *,
        num_steps: int,
        hidden_size: int = 4,
        scheduler_size: int = 64,
    ) -> "CeloOptimizer":
        """Draws an untrained optimizer.

        Args:
            key: PRNG key.
            num_steps: T, the length of training.
            hidden_size: units of each hidden layer of the perceptron.
            scheduler_size: units of the schedule's LSTM.

        Raises:
            InvalidValueError: a length or size below 1.
        """
        check_count("num_steps", num_steps, minimum=1)
        check_count("hidden_size", hidden_size, minimum=1, maximum=1024)
        check_count("scheduler_size", scheduler_size, minimum=1, maximum=4096)
        key = as_key(key)
        network = SmallNetwork.create(
            jax.random.fold_in(key, 0),
            _NUM_HEADS,
            hidden_size=hidden_size,
            layout=CELO,
            decays=Decays.fixed(StartingDecays()),
        )
        scheduler = Scheduler.create(jax.random.fold_in(key, 1), scheduler_size)
        return cls(network, scheduler, int(num_steps))

    def init(self, params: PyTree[ArrayLike]) -> CeloState:
        """Zero averages and the trained initial state of the schedule."""
        return self._start(self.network.init(params))

    def init_packed(self, params: PyTree[ArrayLike]) -> CeloState:
        """The same with small tensors side by side."""
        return self._start(self.network.init_packed(params))

    def update(
        self,
        grads: PyTree[ArrayLike],
        state: CeloState,
        params: PyTree | None = None,
        *,
        value: Float[Array, ""] | None = None,
        **extra,
    ) -> tuple[PyTree[Array], CeloState]:
        """The updates (in the gradients' types) and the next state; `params` is needed."""
        grads, dtype = as_arrays(grads), self.network.input_weights.dtype
        losses = state.losses
        if value is not None:
            losses = advance(losses, jnp.asarray(value), state.step, self.num_steps)
        seen = features(losses, state.step, self.num_steps)
        factor, hidden, cell = self.scheduler(seen, state.hidden, state.cell)

        def rule(at: Coordinates) -> Array:
            return times_power_of_two(*at.outputs[:2])

        def scaled(update: Array, param: Array, like: Array) -> Array:
            if like.size == 0:
                return like
            mean_square = jnp.mean(jnp.square(param.astype(dtype)))
            size = factor * jnp.sqrt(mean_square + _SIZE_OFFSET)
            return (size * update).astype(like.dtype)

        own = jax.tree.map(lambda leaf: leaf.astype(dtype), grads)
        scales = (-_STEP_SCALE, _EXPONENT_SCALE * LOG2_E, 1.0)
        updates, network = self.network.update(own, state.network, params, rule, scales)
        updates = jax.tree.map(scaled, updates, params_of(grads, params), grads)
        return updates, CeloState(network, hidden, cell, losses, state.step + 1)

    def _start(self, network: SmallState | Packed) -> CeloState:
        # Copies: a state's buffers may be donated, and the optimizer's own may not.
        hidden, cell = (
            jnp.array(part, copy=True)
            for part in (self.scheduler.initial_hidden, self.scheduler.initial_cell)
        )
        return CeloState(network, hidden, cell, start(hidden.dtype), jnp.zeros((), jnp.int32))

    @property
    def registered_name(self) -> str:
        """The name of this class among registered optimizers."""
        return "celo"

    def configuration(self) -> dict[str, Any]:
        """The arguments of `create`."""
        return {
            "num_steps": self.num_steps,
            "hidden_size": self.network.hidden_bias.shape[0],
            "scheduler_size": self.scheduler.readout.shape[0],
        }
