"""Multi-layer perceptrons as pure functions of a dictionary of parameters."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from optoscope._core.errors import InvalidValueError, UnknownNameError
from optoscope.tasks._layers import INITIALIZATIONS, dense, draw_layer, fresh_norm, normalize

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "sigmoid": jax.nn.sigmoid,
    "tanh": jnp.tanh,
    "relu": jax.nn.relu,
    "leaky_relu": jax.nn.leaky_relu,
}
MLPParams = dict[str, dict[str, Array]]

# The axis of a (batch, units) array over which each kind of normalization takes its statistics.
NORM_AXES = {"batch": 0, "layer": 1}


class MLP(eqx.Module):
    """A multi-layer perceptron of any widths, with an optional normalization before activation.

    Hidden layer l computes `activation(norm(x W_l + b_l))`, the last layer `x W + b`. A norm is
    followed by a learned scale and shift (`scale`, `shift`). Batch norm takes the statistics of
    the batch it is given, in training and in evaluation.

    Source: paper A, section 4 (784-20-10 with sigmoid, leaky ReLU of slope 0.01, or batch
    normalization followed by ReLU); paper C's MLP is 784-128-128-10 with ReLU and
    initialization "truncated_normal".

    Args:
        widths: units of every layer, inputs first, outputs last.
        activation: a key of `ACTIVATIONS`.
        norm: "batch", "layer" or None.
        initialization: "uniform" in ±1/sqrt(fan_in), biases too; "truncated_normal", a
            standard normal cut at ±2 over sqrt(fan_in), biases zero; or "small_normal", a normal
            of standard deviation 0.01, biases too.

    Raises:
        InvalidValueError: fewer than two widths, or a width below 1.
        UnknownNameError: an unknown activation, norm or initialization.
    """

    widths: tuple[int, ...] = eqx.field(static=True)
    activation: str = eqx.field(static=True, default="relu")
    norm: str | None = eqx.field(static=True, default=None)
    initialization: str = eqx.field(static=True, default="uniform")

    def __check_init__(self):
        if len(self.widths) < 2 or any(width < 1 for width in self.widths):
            raise InvalidValueError(
                f"widths is {self.widths}; it needs an input and an output, each 1 or more."
            )
        if self.activation not in ACTIVATIONS:
            raise UnknownNameError("activation", self.activation, ACTIVATIONS)
        if self.norm is not None and self.norm not in NORM_AXES:
            raise UnknownNameError("norm", self.norm, NORM_AXES)
        if self.initialization not in INITIALIZATIONS:
            raise UnknownNameError("initialization", self.initialization, INITIALIZATIONS)

    @property
    def num_layers(self) -> int:
        """The number of linear layers."""
        return len(self.widths) - 1

    @property
    def num_outputs(self) -> int:
        """The units of the last layer."""
        return self.widths[-1]

    def init(self, key: PRNGKeyArray) -> MLPParams:
        """Draws `{"layer_0": {"weights": (inputs, outputs), "bias": (outputs,)}, …}`."""
        params = {}
        for layer, (fan_in, fan_out) in enumerate(zip(self.widths, self.widths[1:], strict=False)):
            entry = draw_layer(
                jax.random.fold_in(key, layer), (fan_in, fan_out), self.initialization
            )
            if self.norm is not None and layer < self.num_layers - 1:
                entry |= fresh_norm(fan_out)
            params[f"layer_{layer}"] = entry
        return params

    def __call__(
        self, params: MLPParams, inputs: Float[Array, "batch inputs"]
    ) -> Float[Array, "batch outputs"]:
        """The outputs (logits) for a batch of flat inputs."""
        hidden = inputs
        for layer in range(self.num_layers):
            entry = params[f"layer_{layer}"]
            hidden = dense(entry, hidden)
            if layer == self.num_layers - 1:
                break
            if self.norm is not None:
                hidden = normalize(entry, hidden, NORM_AXES[self.norm])
            hidden = ACTIVATIONS[self.activation](hidden)
        return hidden

    @property
    def metadata(self) -> dict[str, Any]:
        """The settings that define the task, for reports."""
        return {
            "widths": list(self.widths),
            "activation": self.activation,
            "norm": self.norm,
            "initialization": self.initialization,
        }
