"""Recurrent cells over coordinates: every coordinate has its own state, all share the weights."""

import abc
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from optoscope.optimizers._lstm import LSTMLayer


class Cell(eqx.Module):
    """One step of a recurrent network for every coordinate.

    Features come last, after the coordinates' own axes; a coordinate is a row here, not a column
    as in `LSTMLayer`: problems side by side then add rows to one product instead of asking for one
    small product each, which is 1.6 times as fast for 32 problems in five parameters and makes no
    difference for one network of 10⁴.

    The first `hidden_size` entries of a state are what a readout may see.
    """

    num_gates: ClassVar[int]

    @property
    @abc.abstractmethod
    def hidden_size(self) -> int:
        """H, the number of hidden units."""

    @property
    def state_size(self) -> int:
        """Size of the state of a coordinate: H, or more with a memory beside the hidden state."""
        return self.hidden_size

    @abc.abstractmethod
    def __call__(
        self,
        inputs: Float[Array, "*coordinates inputs"],
        state: Float[Array, "*coordinates state"],
    ) -> Float[Array, "*coordinates state"]:
        """The next state of every coordinate."""

    @classmethod
    @abc.abstractmethod
    def create(cls, key: PRNGKeyArray, num_inputs: int, hidden_size: int) -> "Cell":
        """A cell with randomly drawn weights."""


def _draw_weights(
    key: PRNGKeyArray, num_gates: int, num_inputs: int, hidden_size: int
) -> tuple[Float[Array, "gates inputs"], Float[Array, "gates hidden"]]:
    """Normal weights of variance 1/fan_in, the inputs and the state together making the fan-in.

    With the input's own fan-in of 1, gradients above 1 saturate an untrained GRU, and after 600
    meta-steps on the quadratic its loss was 0.065 instead of 0.054.
    """
    fan_in = num_inputs + hidden_size
    weights = jax.random.normal(key, (num_gates * hidden_size, fan_in)) / fan_in**0.5
    return weights[:, :num_inputs], weights[:, num_inputs:]


class _MatrixCell(Cell):
    """A cell with one input matrix W, one recurrent matrix U and one bias, gates stacked."""

    input_weights: Float[Array, "gates inputs"]
    recurrent_weights: Float[Array, "gates hidden"]
    bias: Float[Array, " gates"]

    @property
    def hidden_size(self) -> int:
        """H, the number of hidden units."""
        return self.recurrent_weights.shape[1]

    @classmethod
    def create(cls, key: PRNGKeyArray, num_inputs: int, hidden_size: int) -> "_MatrixCell":
        """Draws W and U with variance 1/fan_in; the bias is zero."""
        weights = _draw_weights(key, cls.num_gates, num_inputs, hidden_size)
        return cls(*weights, jnp.zeros(cls.num_gates * hidden_size))


class VanillaCell(_MatrixCell):
    """h⁺ = tanh(W x + U h + b).

    Example:
        >>> one = jnp.ones((1, 1))
        >>> cell = VanillaCell(one, 0.5 * one, jnp.zeros(1))
        >>> round(float(cell(one, one)[0, 0]), 4)  # tanh(1.5)
        0.9051
    """

    num_gates: ClassVar[int] = 1

    def __call__(
        self,
        inputs: Float[Array, "*coordinates inputs"],
        state: Float[Array, "*coordinates state"],
    ) -> Float[Array, "*coordinates state"]:
        """The next hidden state of every coordinate."""
        return jnp.tanh(
            inputs @ self.input_weights.T + state @ self.recurrent_weights.T + self.bias
        )


class GRUCell(_MatrixCell):
    """u = σ(W_u x + U_u h + b_u), r = σ(W_r x + U_r h + b_r), h⁺ = u⊙h + (1 − u)⊙n.

    The candidate n = tanh(W_n x + U_n (r⊙h) + b_n) resets the state before the product. Rows of
    the weights and of the bias: update u, reset r, candidate n, each H.

    Source: Cho et al. (2014); paper B, appendix D.2. Some programs exchange u and 1 − u, or reset
    after the product.

    Example: u = σ(2) keeps most of the state, n = tanh(1 + ½·σ(0)).
        >>> column = jnp.array([[2.0], [0.0], [1.0]])
        >>> cell = GRUCell(column, jnp.array([[0.0], [0.0], [0.5]]), jnp.zeros(3))
        >>> round(float(cell(jnp.ones((1, 1)), jnp.ones((1, 1)))[0, 0]), 4)
        0.9819
    """

    num_gates: ClassVar[int] = 3

    def __call__(
        self,
        inputs: Float[Array, "*coordinates inputs"],
        state: Float[Array, "*coordinates state"],
    ) -> Float[Array, "*coordinates state"]:
        """The next hidden state of every coordinate."""
        both = 2 * self.hidden_size
        # Separate products of the input and the state, sliced here: concatenating them would
        # copy the state, and one product for all gates is not possible with this reset.
        gates = jax.nn.sigmoid(
            inputs @ self.input_weights[:both].T
            + state @ self.recurrent_weights[:both].T
            + self.bias[:both]
        )
        update, reset = jnp.split(gates, 2, axis=-1)
        candidate = jnp.tanh(
            inputs @ self.input_weights[both:].T
            + (reset * state) @ self.recurrent_weights[both:].T
            + self.bias[both:]
        )
        return update * state + (1 - update) * candidate


class LSTMCell(Cell):
    """The LSTM layer of `LSTMOptimizer` on a state [hidden, memory] of 2H numbers."""

    num_gates: ClassVar[int] = 4
    layer: LSTMLayer

    @property
    def hidden_size(self) -> int:
        """H, the number of hidden units."""
        return self.layer.bias.shape[0] // self.num_gates

    @property
    def state_size(self) -> int:
        """2H: the hidden state and the memory."""
        return 2 * self.hidden_size

    def __call__(
        self,
        inputs: Float[Array, "*coordinates inputs"],
        state: Float[Array, "*coordinates state"],
    ) -> Float[Array, "*coordinates state"]:
        """The next hidden state and memory of every coordinate."""
        features_first = (jnp.moveaxis(x, -1, 0) for x in (inputs, *jnp.split(state, 2, axis=-1)))
        return jnp.moveaxis(jnp.concatenate(self.layer(*features_first)), 0, -1)

    @classmethod
    def create(cls, key: PRNGKeyArray, num_inputs: int, hidden_size: int) -> "LSTMCell":
        """Draws the weights with variance 1/fan_in; the bias is zero."""
        weights = _draw_weights(key, cls.num_gates, num_inputs, hidden_size)
        bias = jnp.zeros(cls.num_gates * hidden_size)
        return cls(LSTMLayer(jnp.concatenate(weights, axis=1), bias))


CELLS: dict[str, type[Cell]] = {"gru": GRUCell, "vanilla": VanillaCell, "lstm": LSTMCell}
