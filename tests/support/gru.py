"""A GRU optimizer written out in a few lines, for hand-made weights with known answers."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree


class GRU(eqx.Module):
    inputs: jax.Array  # (3, hidden), rows u, r, n
    recurrent: jax.Array  # (3, hidden, hidden)
    bias: jax.Array  # (3, hidden)
    readout: jax.Array
    start: jax.Array

    def init(self, params):
        vector, _ = ravel_pytree(params)
        return jnp.broadcast_to(self.start[:, None], (len(self.start), len(vector)))

    def update(self, grads, state, params=None):
        del params
        vector, unravel = ravel_pytree(grads)

        def pre(gate, hidden):
            return (
                self.inputs[gate][:, None] * vector
                + self.recurrent[gate] @ hidden
                + self.bias[gate][:, None]
            )

        update = jax.nn.sigmoid(pre(0, state))
        reset = jax.nn.sigmoid(pre(1, state))
        new = jnp.tanh(pre(2, reset * state))
        state = update * state + (1 - update) * new
        return unravel(self.readout @ state), state


def hand_made(
    size, *, update_bias=0.0, inputs=0.0, recurrent=0.0, bias=0.0, readout=1.0, start=0.0
):
    """Update gates of sigmoid(update_bias), open reset gates, n = tanh(inputs g + recurrent h)."""

    def vector(value):
        return np.broadcast_to(np.asarray(value, np.float64), (size,))

    zeros, square = np.zeros(size), np.zeros((size, size))
    recurrent = np.diag(vector(recurrent)) if np.ndim(recurrent) < 2 else recurrent
    return GRU(
        np.stack([zeros, zeros, vector(inputs)]),
        np.stack([square, square, recurrent]),
        np.stack([vector(update_bias), np.full(size, 60.0), vector(bias)]),
        vector(readout),
        vector(start),
    )


def random_gru(seed, size=32, gain=1.0):
    generator = np.random.default_rng(seed)
    scale = gain / size**0.5
    return GRU(
        generator.normal(size=(3, size)),
        scale * generator.normal(size=(3, size, size)),
        0.3 * generator.normal(size=(3, size)),
        generator.normal(size=size) / size,
        0.5 * generator.normal(size=size),
    )
