"""Residual convolutional networks as pure functions of a dictionary of parameters."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from optoscope._core.errors import InvalidValueError
from optoscope.tasks._layers import Layer, convolve, dense, draw_layer, fresh_norm, normalize

# Layer norm: over the pixels and channels of each image, with a scale and a shift a channel.
_NORM_AXES = (1, 2, 3)


class ResidualNetwork(eqx.Module):
    """A shallow residual network: a convolution, one block a stage, the mean over the plane.

    With N a layer norm over an image's pixels and channels, block k computes
    `h + conv(relu(N(conv(relu(N(h))))))`, 3×3 and SAME; its first convolution has the block's
    stride. Where stride or channels change, a 1×1 convolution of the block's input with that
    stride takes the place of h. Then N, ReLU, mean over the plane and a dense layer. Weights
    start truncated normal over sqrt(fan_in), biases at zero. The tree is `stem`, `block_0_…`,
    `norm`, `dense`.

    Source: He et al. (2016), identity mappings, with layer norm in place of batch norm, so that a
    loss does not depend on the rest of its batch. Paper C names a "shallow Resnet-like" network
    on 32×32 images and says no more.

    Args:
        image_shape: height, width and channels of an image.
        channels: output channels of each block; the stem has those of the first.
        strides: of each block.
        num_outputs: logits.

    Raises:
        InvalidValueError: no block, a number below 1, or another number of strides than blocks.
    """

    image_shape: tuple[int, int, int] = eqx.field(static=True)
    channels: tuple[int, ...] = eqx.field(static=True, default=(32, 64, 128))
    strides: tuple[int, ...] = eqx.field(static=True, default=(1, 2, 2))
    num_outputs: int = eqx.field(static=True, default=10)

    def __check_init__(self):
        numbers = (*self.image_shape, *self.channels, *self.strides, self.num_outputs)
        if not self.channels or min(numbers) < 1:
            raise InvalidValueError(
                f"channels is {self.channels}, strides {self.strides}, image_shape "
                f"{self.image_shape}, num_outputs {self.num_outputs}; there must be a block, and "
                "every number at least 1."
            )
        if len(self.strides) != len(self.channels):
            raise InvalidValueError(
                f"strides has {len(self.strides)} numbers for {len(self.channels)} blocks; give "
                "one each."
            )

    def _blocks(self) -> list[tuple[str, int, int, int]]:
        """Name, input channels, output channels and stride of each block."""
        inputs = (self.channels[0], *self.channels)
        return [
            (f"block_{block}", fan_in, fan_out, stride)
            for block, (fan_in, fan_out, stride) in enumerate(
                zip(inputs, self.channels, self.strides, strict=False)
            )
        ]

    def init(self, key: PRNGKeyArray) -> dict[str, Layer]:
        """Draws the parameters; kernels are (height, width, inputs, outputs)."""
        shapes: dict[str, tuple[int, ...]] = {"stem": (3, 3, self.image_shape[2], self.channels[0])}
        norms = {"norm": self.channels[-1]}
        for name, inputs, outputs, stride in self._blocks():
            shapes[f"{name}_conv_0"] = (3, 3, inputs, outputs)
            shapes[f"{name}_conv_1"] = (3, 3, outputs, outputs)
            if stride != 1 or inputs != outputs:
                shapes[f"{name}_shortcut"] = (1, 1, inputs, outputs)
            norms |= {f"{name}_norm_0": inputs, f"{name}_norm_1": outputs}
        shapes["dense"] = (self.channels[-1], self.num_outputs)
        params = {
            name: draw_layer(jax.random.fold_in(key, index), shape, "truncated_normal")
            for index, (name, shape) in enumerate(shapes.items())
        }
        return params | {name: fresh_norm(units) for name, units in norms.items()}

    def __call__(
        self, params: dict[str, Layer], inputs: Float[Array, "batch inputs"]
    ) -> Float[Array, "batch outputs"]:
        """The outputs (logits) for a batch of flat images."""

        def active(name: str, values: Array) -> Array:
            return jax.nn.relu(normalize(params[name], values, _NORM_AXES))

        hidden = convolve(params["stem"], inputs.reshape(-1, *self.image_shape))
        for name, _, _, stride in self._blocks():
            inside = active(f"{name}_norm_0", hidden)
            inside = convolve(params[f"{name}_conv_0"], inside, stride=stride)
            inside = convolve(params[f"{name}_conv_1"], active(f"{name}_norm_1", inside))
            if f"{name}_shortcut" in params:
                hidden = convolve(params[f"{name}_shortcut"], hidden, stride=stride)
            hidden = hidden + inside
        return dense(params["dense"], jnp.mean(active("norm", hidden), axis=(1, 2)))

    @property
    def metadata(self) -> dict[str, Any]:
        """The settings that define the task, for reports."""
        return {
            "image_shape": list(self.image_shape),
            "channels": list(self.channels),
            "strides": list(self.strides),
        }
