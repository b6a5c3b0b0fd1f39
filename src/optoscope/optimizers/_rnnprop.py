"""RNNProp: the coordinate-wise LSTM optimizer that sees normalized gradients."""

import functools
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from optoscope._core.errors import check_count, check_number
from optoscope._core.keys import as_key
from optoscope._core.roots import safe_root
from optoscope.optimizers._accumulators import capped_square
from optoscope.optimizers._base import OptimizerModule, Packed
from optoscope.optimizers._lstm import (
    LSTMLayer,
    draw,
    draw_layers,
    log_and_sign,
    run_layers,
    tensor_by_tensor,
    zero_states,
)
from optoscope.optimizers._one_vector import as_one_vector, update_as_one_vector

_OFFSET = 1e-8
# What is added with `log_inputs`: the exponent p of the preprocessing, as DeepMind's program.
_EXPONENT, _LOG_OFFSET = 5.0, 1.19e-7


class RNNPropState(NamedTuple):
    """Averages of gradients and squares, and the states of the layers, each as a tree.

    A parameter without coordinates has None in each tree.
    """

    first: PyTree[Array]
    second: PyTree[Array]
    hidden: tuple[PyTree[Array], ...]
    cell: tuple[PyTree[Array], ...]
    step: Int[Array, ""]


class RNNPropOptimizer(OptimizerModule):
    """A two-layer LSTM that sees a coordinate's gradient as Adam and RMSProp would scale it.

    Its inputs do not depend on the scale of the loss, so that it carries over to other problems
    better than `LSTMOptimizer`, and its updates are bounded by `update_scale`.

    Math: m̂ and v̂ are averages of g and g² with one decay and bias correction;
    x = [m̂/(√v̂ + 1e-8), g/(√v̂ + 1e-8)]; h = LSTM(LSTM(ELU(P x + q)));
    p ← p + update_scale · tanh(w·h + c). Zero start. With `log_inputs` x has the two inputs of
    `LSTMOptimizer` too (p = 5), which tell the size of the gradient that the others hide.

    Source: Lv et al. (2017), as in the programs of Chen et al. (2020), whose trained weights
    `optimizers.load_published("rnnprop", path)` reads. The options `log_inputs` and `bounded`
    are this library's own.

    Example:
        >>> optimizer = RNNPropOptimizer.create(jax.random.key(0))
        >>> sum(leaf.size for leaf in jax.tree.leaves(optimizer))
        6641
    """

    coordinate_axis: ClassVar[int | None] = -1
    projection: Float[Array, "hidden inputs"]
    projection_bias: Float[Array, " hidden"]
    layers: tuple[LSTMLayer, ...]
    readout: Float[Array, " hidden"]
    readout_bias: Float[Array, ""]
    update_scale: float = eqx.field(static=True)
    decay: float = eqx.field(static=True)
    log_inputs: bool = eqx.field(static=True, default=False)
    bounded: bool = eqx.field(static=True, default=True)

    @classmethod
    def create(
        cls,
        key: PRNGKeyArray,
        *,
        hidden_size: int = 20,
        num_layers: int = 2,
        update_scale: float | int = 0.01,
        decay: float = 0.95,
        log_inputs: bool = False,
        bounded: bool = True,
    ) -> "RNNPropOptimizer":
        """Draws an untrained optimizer, its weights uniform in ±1/sqrt(H).

        Args:
            key: PRNG key.
            hidden_size: units H of the projection and of each cell.
            num_layers: stacked cells.
            update_scale: the largest update; without `bounded` the factor on the readout.
            decay: of both averages, from 0 to 1.
            log_inputs: whether the network also sees the gradient's logarithm and sign.
            bounded: whether updates are bounded by a tanh.

        Raises:
            InvalidValueError: a size below 1, a scale that is not positive, or such a decay.
        """
        check_count("hidden_size", hidden_size, minimum=1)
        check_count("num_layers", num_layers, minimum=1, maximum=64)
        check_number("update_scale", update_scale, minimum=0, exclusive_minimum=True)
        check_number("decay", decay, minimum=0, maximum=0.999999)
        key, after = as_key(key), 2 * num_layers
        return cls(
            draw(key, after, hidden_size, hidden_size, 4 if log_inputs else 2),
            draw(key, after + 1, hidden_size, hidden_size),
            draw_layers(key, hidden_size, hidden_size, num_layers),
            draw(key, after + 2, hidden_size, hidden_size),
            draw(key, after + 3, hidden_size),
            float(update_scale),
            float(decay),
            bool(log_inputs),
            bool(bounded),
        )

    def init(self, params: PyTree[ArrayLike]) -> RNNPropState:
        """Zero averages and states for every coordinate."""
        dtype, size = self.readout.dtype, self.readout.shape
        first, second = (zero_states(params, dtype, ()) for _ in range(2))
        hidden, cell = (
            tuple(zero_states(params, dtype, size) for _ in self.layers) for _ in range(2)
        )
        return RNNPropState(first, second, hidden, cell, jnp.zeros((), jnp.int32))

    def init_packed(self, params: PyTree[ArrayLike]) -> Packed:
        """The same for all coordinates as one vector."""
        return Packed(self.init(as_one_vector(params)))

    def update(
        self,
        grads: PyTree[ArrayLike],
        state: RNNPropState | Packed,
        params: PyTree | None = None,
        **extra,
    ) -> tuple[PyTree[Array], RNNPropState | Packed]:
        """The updates (in the gradients' types) and the next state."""
        if isinstance(state, Packed):
            return update_as_one_vector(self, grads, state)
        step, count = state.step + 1, len(self.layers)
        parts = (state.first, state.second, *state.hidden, *state.cell)
        advance = functools.partial(self._advance, step)
        updates, (first, second, *states) = tensor_by_tensor(advance, grads, parts)
        hidden, cell = tuple(states[:count]), tuple(states[count:])
        return updates, RNNPropState(first, second, hidden, cell, step)

    def _advance(
        self,
        step: Int[Array, ""],
        gradient: Float[Array, "*shape"],
        first: Float[Array, "*shape"],
        second: Float[Array, "*shape"],
        *states: Float[Array, "hidden ..."],
    ) -> tuple[Array, ...]:
        """One tensor's update, its averages, and the hidden and the cell states."""
        count, dtype = len(self.layers), self.readout.dtype
        g, rate = gradient.astype(dtype), 1 - self.decay
        first = first + rate * (g - first)
        second = second + rate * (capped_square(g) - second)
        correction = 1 - self.decay ** step.astype(dtype)
        scale = safe_root(second / correction) + _OFFSET
        inputs = jnp.stack([first / correction / scale, g / scale])
        if self.log_inputs:
            inputs = jnp.concatenate([inputs, log_and_sign(g, _EXPONENT, _LOG_OFFSET)])
        bias = self.projection_bias.reshape(-1, *(1,) * g.ndim)
        seen = jax.nn.elu(jnp.tensordot(self.projection, inputs, axes=1) + bias)
        hidden, cell = run_layers(self.layers, seen, states[:count], states[count:])
        output = jnp.tensordot(self.readout, hidden[-1], axes=1) + self.readout_bias
        update = self.update_scale * (jnp.tanh(output) if self.bounded else output)
        return (update.astype(gradient.dtype), first, second, *hidden, *cell)

    @property
    def registered_name(self) -> str:
        """The name of this class among registered optimizers."""
        return "rnnprop"

    def configuration(self) -> dict[str, Any]:
        """The arguments of `create`."""
        return {
            "hidden_size": self.readout.shape[0],
            "num_layers": len(self.layers),
            "update_scale": self.update_scale,
            "decay": self.decay,
            "log_inputs": self.log_inputs,
            "bounded": self.bounded,
        }
