"""Multi-layer perceptrons as pure functions of a dictionary of parameters."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from optoscope._core.errors import InvalidValueError, UnknownNameError

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "sigmoid": jax.nn.sigmoid,
    "tanh": jnp.tanh,
    "relu": jax.nn.relu,
    "leaky_relu": jax.nn.leaky_relu,
}
_NORM_EPSILON = 1e-5

MLPParams = dict[str, dict[str, Array]]


def _normalize(
    pre_activations: Float[Array, "batch units"], axis: int
) -> Float[Array, "batch units"]:
    mean = jnp.mean(pre_activations, axis=axis, keepdims=True)
    variance = jnp.var(pre_activations, axis=axis, keepdims=True)
    return (pre_activations - mean) * jax.lax.rsqrt(variance + _NORM_EPSILON)


# The axis of a (batch, units) array over which each kind of normalisation takes its statistics.
NORM_AXES = {"batch": 0, "layer": 1}


class MLP(eqx.Module):
    """A multi-layer perceptron of any widths, with an optional normalisation before activation.

    Hidden layer l computes `activation(norm(x W_l + b_l))`, the last layer `x W + b`. A norm is
    followed by a learned scale and shift (`scale`, `shift`). Batch norm takes the statistics of
    the batch it is given, in training and in evaluation. Weights and biases start uniform in
    ±1/sqrt(fan_in).

    Source: paper A, section 4 (784-20-10 with sigmoid, leaky ReLU of slope 0.01, or batch
    normalisation followed by ReLU).

    Args:
        widths: units of every layer, inputs first, outputs last.
        activation: a key of `ACTIVATIONS`.
        norm: "batch", "layer" or None.

    Raises:
        InvalidValueError: fewer than two widths, or a width below 1.
        UnknownNameError: an unknown activation or norm.
    """

    widths: tuple[int, ...] = eqx.field(static=True)
    activation: str = eqx.field(static=True, default="relu")
    norm: str | None = eqx.field(static=True, default=None)

    def __check_init__(self):
        if len(self.widths) < 2 or any(width < 1 for width in self.widths):
            raise InvalidValueError(
                f"widths is {self.widths}; it needs an input and an output, each 1 or more."
            )
        if self.activation not in ACTIVATIONS:
            raise UnknownNameError("activation", self.activation, ACTIVATIONS)
        if self.norm is not None and self.norm not in NORM_AXES:
            raise UnknownNameError("norm", self.norm, NORM_AXES)

    @property
    def num_layers(self) -> int:
        """The number of linear layers."""
        return len(self.widths) - 1

    def init(self, key: PRNGKeyArray) -> MLPParams:
        """Draws `{"layer_0": {"weights": (inputs, outputs), "bias": (outputs,)}, …}`."""
        params = {}
        for layer, (fan_in, fan_out) in enumerate(zip(self.widths, self.widths[1:], strict=False)):
            weights_key, bias_key = jax.random.split(jax.random.fold_in(key, layer))
            bound = fan_in**-0.5
            entry = {
                "weights": jax.random.uniform(
                    weights_key, (fan_in, fan_out), minval=-bound, maxval=bound
                ),
                "bias": jax.random.uniform(bias_key, (fan_out,), minval=-bound, maxval=bound),
            }
            if self.norm is not None and layer < self.num_layers - 1:
                entry |= {"scale": jnp.ones(fan_out), "shift": jnp.zeros(fan_out)}
            params[f"layer_{layer}"] = entry
        return params

    def __call__(
        self, params: MLPParams, inputs: Float[Array, "batch inputs"]
    ) -> Float[Array, "batch outputs"]:
        """The outputs (logits) for a batch of flat inputs."""
        hidden = inputs
        for layer in range(self.num_layers):
            entry = params[f"layer_{layer}"]
            hidden = hidden @ entry["weights"] + entry["bias"]
            if layer == self.num_layers - 1:
                break
            if self.norm is not None:
                hidden = _normalize(hidden, NORM_AXES[self.norm])
                hidden = hidden * entry["scale"] + entry["shift"]
            hidden = ACTIVATIONS[self.activation](hidden)
        return hidden

    @property
    def metadata(self) -> dict[str, Any]:
        """The settings."""
        return {
            "widths": list(self.widths),
            "activation": self.activation,
            "norm": self.norm,
        }
