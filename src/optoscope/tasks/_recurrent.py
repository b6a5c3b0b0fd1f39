"""Recurrent networks over token sequences as pure functions of a dictionary of parameters."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from optoscope._core.errors import InvalidValueError, UnknownNameError
from optoscope.tasks._layers import Layer, dense, draw_embedding, draw_layer


def vanilla_step(
    inputs: Float[Array, "batch units"],
    state: Float[Array, "batch units"],
    weights: Float[Array, "units units"],
) -> Float[Array, "batch units"]:
    """h⁺ = tanh(x + h U); like all steps here it is given x = input·W + b."""
    return jnp.tanh(inputs + state @ weights)


def gru_step(
    inputs: Float[Array, "batch gates"],
    state: Float[Array, "batch units"],
    weights: Float[Array, "units gates"],
) -> Float[Array, "batch units"]:
    """h⁺ = u⊙h + (1 − u)⊙n with u, r = σ(x + h U) and n = tanh(x_n + (r⊙h) U_n).

    Columns are the update u, the reset r and the candidate n.
    """
    both = 2 * state.shape[1]
    gates = jax.nn.sigmoid(inputs[:, :both] + state @ weights[:, :both])
    update, reset = jnp.split(gates, 2, axis=1)
    candidate = jnp.tanh(inputs[:, both:] + (reset * state) @ weights[:, both:])
    return update * state + (1 - update) * candidate


def lstm_step(
    inputs: Float[Array, "batch gates"],
    state: Float[Array, "batch state"],
    weights: Float[Array, "units gates"],
) -> Float[Array, "batch state"]:
    """c⁺ = σ(f)⊙c + σ(i)⊙tanh(g), h⁺ = σ(o)⊙tanh(c⁺) with i, f, g, o = x + h U.

    The state is [h, c].
    """
    hidden, memory = jnp.split(state, 2, axis=1)
    gates = jnp.split(inputs + hidden @ weights, 4, axis=1)
    input_gate, forget_gate, candidate, output_gate = gates
    memory = jax.nn.sigmoid(forget_gate) * memory
    memory = memory + jax.nn.sigmoid(input_gate) * jnp.tanh(candidate)
    return jnp.concatenate([jax.nn.sigmoid(output_gate) * jnp.tanh(memory), memory], axis=1)


@dataclass(frozen=True)
class RecurrentCell:
    """One kind of recurrent cell: its step and the number of its gates.

    Args:
        step: (x, state, U) to the next state, whose first entries are the hidden state.
        num_gates: columns of U a unit.
        num_states: numbers of state a unit.
    """

    step: Callable[[Array, Array, Array], Array]
    num_gates: int
    num_states: int = 1


# The learned optimizers' cells multiply their inputs inside the step: right for an optimizer,
# which has one step at a time. Here the whole sequence is known, and one product before the loop
# (and one after its backward pass) takes the place of one per step.
RECURRENT_CELLS: dict[str, RecurrentCell] = {
    "vanilla": RecurrentCell(vanilla_step, 1),
    "gru": RecurrentCell(gru_step, 3),
    "lstm": RecurrentCell(lstm_step, 4, 2),
}


class RecurrentNetwork(eqx.Module):
    """An embedding, one recurrent layer from a zero state, and a dense layer at every position.

    Weights start truncated normal over sqrt(fan_in), those of the inputs and of the state each
    by their own fan-in, biases at zero; only the LSTM's forget gates start with a bias of 1.

    Source: paper C, section 5: an LSTM of 256 units; embedding and start are this library's.

    Args:
        vocabulary_size: tokens there are; as many logits.
        cell: "vanilla", "gru" or "lstm".
        units: H, hidden units.
        embedding_size: numbers a token is embedded in.

    Raises:
        InvalidValueError: a size below 1.
        UnknownNameError: an unknown cell.
    """

    vocabulary_size: int = eqx.field(static=True)
    cell: str = eqx.field(static=True, default="lstm")
    units: int = eqx.field(static=True, default=256)
    embedding_size: int = eqx.field(static=True, default=64)

    def __check_init__(self):
        if self.cell not in RECURRENT_CELLS:
            raise UnknownNameError("cell", self.cell, RECURRENT_CELLS)
        if min(self.vocabulary_size, self.units, self.embedding_size) < 1:
            raise InvalidValueError(
                f"vocabulary_size is {self.vocabulary_size}, units {self.units}, embedding_size "
                f"{self.embedding_size}; each must be at least 1."
            )

    def init(self, key: PRNGKeyArray) -> dict[str, Layer]:
        """Draws `embedding`, `inputs`, `recurrent` and `dense`."""
        keys = jax.random.split(key, 4)
        num_gates = RECURRENT_CELLS[self.cell].num_gates * self.units
        inputs = draw_layer(keys[1], (self.embedding_size, num_gates), "truncated_normal")
        if self.cell == "lstm":
            # Without it a fresh memory halves at every step.
            inputs["bias"] = inputs["bias"].at[self.units : 2 * self.units].set(1.0)
        recurrent = draw_layer(keys[2], (self.units, num_gates), "truncated_normal")
        return {
            "embedding": draw_embedding(keys[0], self.vocabulary_size, self.embedding_size),
            "inputs": inputs,
            "recurrent": {"weights": recurrent["weights"]},
            "dense": draw_layer(keys[3], (self.units, self.vocabulary_size), "truncated_normal"),
        }

    def __call__(
        self, params: dict[str, Layer], tokens: Int[Array, "batch length"]
    ) -> Float[Array, "batch length vocabulary"]:
        """The logits of the token that follows each position."""
        cell = RECURRENT_CELLS[self.cell]
        # Time first: what the loop runs over.
        inputs = dense(params["inputs"], params["embedding"]["weights"][tokens.T])
        weights = params["recurrent"]["weights"]

        def step(state: Array, inputs: Array) -> tuple[Array, Array]:
            state = cell.step(inputs, state, weights)
            return state, state[:, : self.units]

        start = jnp.zeros((tokens.shape[0], cell.num_states * self.units), inputs.dtype)
        _, hidden = jax.lax.scan(step, start, inputs)
        return jnp.swapaxes(dense(params["dense"], hidden), 0, 1)

    @property
    def metadata(self) -> dict[str, Any]:
        """The settings that define the task, for reports."""
        return {
            "cell": self.cell,
            "units": self.units,
            "embedding_size": self.embedding_size,
        }
