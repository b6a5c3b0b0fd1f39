"""Convolutional networks as pure functions of a dictionary of parameters."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from optoscope._core.errors import InvalidValueError, UnknownNameError
from optoscope.tasks._layers import INITIALIZATIONS, convolve, dense, draw_layer
from optoscope.tasks._mlp import ACTIVATIONS, MLPParams

PADDINGS = ("VALID", "SAME")
POOLINGS = ("flatten", "mean")


class CNN(eqx.Module):
    """Square convolutions one after the other, then one dense layer.

    Convolution l computes `activation(conv(x, W_l) + b_l)`; its planes are flattened or averaged
    and go through `x W + b`. A leaf's path tells its layer and type: `conv_0` … `dense`, each
    with `weights` and `bias`.

    Source: paper B, section 3.2 (the defaults: three VALID convolutions of 16 channels: 82,250
    parameters on MNIST); paper C's CNN is channels (32, 64, 64), strides (2, 1, 1), padding
    "SAME", pooling "mean", initialization "truncated_normal".

    Args:
        image_shape: height, width and channels of an image.
        channels: output channels of each convolution.
        num_outputs: logits.
        kernel_size: height and width of the kernels.
        strides: of each convolution; 1 everywhere if empty.
        padding: "VALID" or "SAME".
        pooling: what the dense layer sees: "flatten", all of the last planes, or "mean", the
            average of each.
        activation: a key of `ACTIVATIONS`.
        initialization: "uniform" in ±1/sqrt(fan_in), biases too; or "truncated_normal", a
            standard normal cut at ±2 over sqrt(fan_in), biases zero.

    Raises:
        InvalidValueError: no or wrong channels, strides of another number than the convolutions,
            or an image too small for them.
        UnknownNameError: an unknown padding, pooling, activation or initialization.
    """

    image_shape: tuple[int, int, int] = eqx.field(static=True)
    channels: tuple[int, ...] = eqx.field(static=True, default=(16, 16, 16))
    num_outputs: int = eqx.field(static=True, default=10)
    kernel_size: int = eqx.field(static=True, default=3)
    strides: tuple[int, ...] = eqx.field(static=True, default=())
    padding: str = eqx.field(static=True, default="VALID")
    pooling: str = eqx.field(static=True, default="flatten")
    activation: str = eqx.field(static=True, default="relu")
    initialization: str = eqx.field(static=True, default="uniform")

    def __check_init__(self):
        for kind, name, known in (
            ("padding", self.padding, PADDINGS),
            ("pooling", self.pooling, POOLINGS),
            ("activation", self.activation, ACTIVATIONS),
            ("initialization", self.initialization, INITIALIZATIONS),
        ):
            if name not in known:
                raise UnknownNameError(kind, name, known)
        numbers = (*self.image_shape, *self.channels, *self.strides, self.num_outputs)
        if not self.channels or min(*numbers, self.kernel_size) < 1:
            raise InvalidValueError(
                f"channels is {self.channels}, strides {self.strides}, kernel_size "
                f"{self.kernel_size}, image_shape {self.image_shape}, num_outputs "
                f"{self.num_outputs}; there must be a convolution, and every number at least 1."
            )
        if self.strides and len(self.strides) != len(self.channels):
            raise InvalidValueError(
                f"strides has {len(self.strides)} numbers for {len(self.channels)} convolutions; "
                "give one each, or none for 1 everywhere."
            )
        if min(min(plane) for plane in self.planes) < 1:
            raise InvalidValueError(
                f"images of {self.image_shape[0]}×{self.image_shape[1]} are too small for "
                f"{len(self.channels)} {self.padding} convolutions: their planes become "
                f'{", ".join(f"{h}×{w}" for h, w in self.planes)}. Use padding="SAME", fewer '
                "convolutions or larger images."
            )

    @property
    def num_layers(self) -> int:
        """Convolutions, and the dense layer."""
        return len(self.channels) + 1

    @property
    def planes(self) -> tuple[tuple[int, int], ...]:
        """Height and width after each convolution."""
        sizes, (height, width) = [], self.image_shape[:2]
        # What a kernel loses without padding.
        lost = self.kernel_size - 1 if self.padding == "VALID" else 0
        for stride in self._strides():
            height, width = (-(-(side - lost) // stride) for side in (height, width))
            sizes.append((height, width))
        return tuple(sizes)

    def _strides(self) -> tuple[int, ...]:
        return self.strides or (1,) * len(self.channels)

    @property
    def dense_inputs(self) -> int:
        """Inputs of the dense layer."""
        pixels = math.prod(self.planes[-1]) if self.pooling == "flatten" else 1
        return pixels * self.channels[-1]

    def init(self, key: PRNGKeyArray) -> MLPParams:
        """Draws `{"conv_0": {"weights": (k, k, inputs, outputs), "bias": (outputs,)}, …}`."""
        params = {}
        inputs = (self.image_shape[2], *self.channels)
        for layer, (fan_in, fan_out) in enumerate(zip(inputs, self.channels, strict=False)):
            shape = (self.kernel_size, self.kernel_size, fan_in, fan_out)
            params[f"conv_{layer}"] = draw_layer(
                jax.random.fold_in(key, layer), shape, self.initialization
            )
        params["dense"] = draw_layer(
            jax.random.fold_in(key, len(self.channels)),
            (self.dense_inputs, self.num_outputs),
            self.initialization,
        )
        return params

    def __call__(
        self, params: MLPParams, inputs: Float[Array, "batch inputs"]
    ) -> Float[Array, "batch outputs"]:
        """The outputs (logits) for a batch of flat images."""
        hidden = inputs.reshape(-1, *self.image_shape)
        for layer, stride in enumerate(self._strides()):
            hidden = convolve(params[f"conv_{layer}"], hidden, stride=stride, padding=self.padding)
            hidden = ACTIVATIONS[self.activation](hidden)
        if self.pooling == "mean":
            hidden = jnp.mean(hidden, axis=(1, 2))
        return dense(params["dense"], hidden.reshape(hidden.shape[0], -1))

    @property
    def metadata(self) -> dict[str, Any]:
        """The settings that define the task, for reports."""
        return {
            "image_shape": list(self.image_shape),
            "channels": list(self.channels),
            "kernel_size": self.kernel_size,
            "strides": list(self._strides()),
            "padding": self.padding,
            "pooling": self.pooling,
            "activation": self.activation,
            "initialization": self.initialization,
        }
