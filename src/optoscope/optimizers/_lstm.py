"""The coordinate-wise LSTM optimizer of Andrychowicz et al. (2016)."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from optoscope._core.errors import check_count, check_number
from optoscope._core.keys import as_key
from optoscope._core.trees import size
from optoscope.optimizers._base import OptimizerModule

_NUM_INPUTS = 2


class LSTMLayer(eqx.Module):
    """An LSTM cell over coordinates: features are rows, coordinates are columns.

    Inputs and hidden state are stacked, so that a step is one (4H, F) by (F, N) product. The
    rows of `weights` are the input, forget, candidate and output gates.
    """

    weights: Float[Array, "gates features"]
    bias: Float[Array, " gates"]

    def __call__(
        self,
        inputs: Float[Array, "inputs coordinates"],
        hidden: Float[Array, "hidden coordinates"],
        cell: Float[Array, "hidden coordinates"],
    ) -> tuple[Float[Array, "hidden coordinates"], Float[Array, "hidden coordinates"]]:
        """The next hidden and cell states."""
        pre_activations = self.weights @ jnp.concatenate([inputs, hidden]) + self.bias[:, None]
        input_gate, forget_gate, candidate, output_gate = jnp.split(pre_activations, 4)
        cell = jax.nn.sigmoid(forget_gate) * cell + jax.nn.sigmoid(input_gate) * jnp.tanh(candidate)
        return jax.nn.sigmoid(output_gate) * jnp.tanh(cell), cell


class LSTMState(eqx.Module):
    """Hidden and cell states, layer by layer, each of shape (hidden_size, coordinates)."""

    hidden: tuple[Float[Array, "hidden coordinates"], ...]
    cell: tuple[Float[Array, "hidden coordinates"], ...]


def log_and_sign(
    grads: Float[Array, " coordinates"], exponent: float, log_offset: float = 0.0
) -> Float[Array, "2 coordinates"]:
    """The two inputs made from a gradient g: its log size and its sign, or g itself if tiny.

    With p = `exponent`: (log(|g| + offset)/p, sign g) where |g| ≥ e^−p, else (−1, e^p g).

    Source: Andrychowicz et al. (2016), appendix A.

    Example:
        >>> log_and_sign(jnp.array([-jnp.exp(5.0), 0.0]), 10.0).tolist()
        [[0.5, -1.0], [-1.0, 0.0]]
    """
    magnitude = jnp.abs(grads)
    large = magnitude >= jnp.exp(-exponent)
    # The inner `where` keeps log's derivative finite where its value is not used.
    log_size = jnp.log(jnp.where(large, magnitude, 1.0) + log_offset) / exponent
    return jnp.stack(
        [
            jnp.where(large, log_size, -1.0),
            jnp.where(large, jnp.sign(grads), jnp.exp(exponent) * grads),
        ]
    )


class LSTMOptimizer(OptimizerModule):
    """A two-layer LSTM that sees one coordinate's gradient and gives that coordinate's update.

    Every scalar parameter has its own state, all share the weights. All parameters are taken as
    one vector of N coordinates. The state starts at zero, the weights uniform in ±1/sqrt(H).

    Source: Andrychowicz et al. (2016); paper A, section 2.1. The factor `update_scale` is
    found in the paper's program only, not in its text.

    Example:
        >>> optimizer = LSTMOptimizer.create(jax.random.key(0))
        >>> params = {"w": jnp.ones((3, 2)), "b": jnp.zeros(2)}
        >>> updates, state = optimizer.update(params, optimizer.init(params), params)
        >>> updates["w"].shape, state.hidden[0].shape
        ((3, 2), (20, 8))
    """

    layers: tuple[LSTMLayer, ...]
    readout: Float[Array, " hidden"]
    readout_bias: Float[Array, ""]
    update_scale: float = eqx.field(static=True)
    exponent: float = eqx.field(static=True)
    log_offset: float = eqx.field(static=True)

    @classmethod
    def create(
        cls,
        key: PRNGKeyArray,
        *,
        hidden_size: int = 20,
        num_layers: int = 2,
        update_scale: float | int = 0.1,
        exponent: float | int = 10.0,
        log_offset: float | int = 0.0,
    ) -> "LSTMOptimizer":
        """Draws an untrained optimizer.

        Args:
            key: PRNG key.
            hidden_size: units H of each cell.
            num_layers: stacked cells.
            update_scale: factor on the readout.
            exponent: p of the gradient preprocessing.
            log_offset: added inside its logarithm; the program released with paper A uses 1e-8.

        Raises:
            InvalidValueError: a size below 1, or a scale or exponent that is not positive.
        """
        check_count("hidden_size", hidden_size, minimum=1)
        check_count("num_layers", num_layers, minimum=1, maximum=64)
        check_number("update_scale", update_scale, minimum=0, exclusive_minimum=True)
        check_number("exponent", exponent, minimum=0, exclusive_minimum=True)
        check_number("log_offset", log_offset, minimum=0)
        key = as_key(key)
        bound = hidden_size**-0.5

        def uniform(index: int, *shape: int) -> Array:
            return jax.random.uniform(
                jax.random.fold_in(key, index), shape, minval=-bound, maxval=bound
            )

        layers = []
        for layer in range(num_layers):
            num_features = (_NUM_INPUTS if layer == 0 else hidden_size) + hidden_size
            weights = uniform(2 * layer, 4 * hidden_size, num_features)
            layers.append(LSTMLayer(weights, uniform(2 * layer + 1, 4 * hidden_size)))
        readout = uniform(2 * num_layers, hidden_size)
        readout_bias = uniform(2 * num_layers + 1)
        return cls(
            tuple(layers),
            readout,
            readout_bias,
            float(update_scale),
            float(exponent),
            float(log_offset),
        )

    def init(self, params: PyTree[Array]) -> LSTMState:
        """Zero states for every coordinate of `params`."""
        shape = (self.readout.shape[0], size(params))
        zeros = tuple(jnp.zeros(shape, self.readout.dtype) for _ in self.layers)
        return LSTMState(zeros, zeros)

    def update(
        self, grads: PyTree[Array], state: LSTMState, params: PyTree[Array] | None = None, **extra
    ) -> tuple[PyTree[Array], LSTMState]:
        """The updates (in the gradients' types) and the next state."""
        vector, unravel = ravel_pytree(grads)
        hidden = log_and_sign(vector.astype(self.readout.dtype), self.exponent, self.log_offset)
        hiddens, cells = [], []
        for layer, previous, cell in zip(self.layers, state.hidden, state.cell, strict=True):
            hidden, next_cell = layer(hidden, previous, cell)
            hiddens.append(hidden)
            cells.append(next_cell)
        output = self.update_scale * (self.readout @ hidden + self.readout_bias)
        return unravel(output.astype(vector.dtype)), LSTMState(tuple(hiddens), tuple(cells))

    @property
    def registered_name(self) -> str:
        """The name in the registry, "lstm"."""
        return "lstm"

    def configuration(self) -> dict[str, Any]:
        """The arguments of `create`."""
        return {
            "hidden_size": self.readout.shape[0],
            "num_layers": len(self.layers),
            "update_scale": self.update_scale,
            "exponent": self.exponent,
            "log_offset": self.log_offset,
        }
