"""The symmetries of convolutional networks."""

from dataclasses import dataclass
from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array, PyTree

from optoscope.tasks._cnn import CNN
from optoscope.tasks._mlp_symmetries import HOMOGENEOUS_ACTIVATIONS
from optoscope.tasks._symmetries import Symmetry, join, rescale, translation


@dataclass(frozen=True)
class _ChannelEntries:
    """Selects arrays of one layer; equal by value, so that rebuilding it recompiles nothing.

    Args:
        layer: "conv_0", …, "dense".
        names: the arrays to select.
        by: what the generators are counted by: output channels; input channels, the last but
            one axis; or the whole layer.
        num_channels: how many channels the inputs of a dense layer come from, each with all of
            its pixels.
    """

    layer: str
    names: tuple[str, ...]
    by: Literal["input", "output", "layer"]
    num_channels: int | None = None

    def __call__(self, params: PyTree[Array]) -> list[Array]:
        leaves = [params[self.layer][name] for name in self.names]
        if self.num_channels is not None:
            leaves = [leaf.reshape(-1, self.num_channels, leaf.shape[-1]) for leaf in leaves]
        if self.by == "layer":
            return [leaf[None] for leaf in leaves]
        return [jnp.moveaxis(leaf, -1 if self.by == "output" else -2, 0) for leaf in leaves]


def softmax_translation() -> Symmetry:
    """One number added to all outputs of the layer "dense", by an input's weights or by the bias.

    Source: paper A, equation 12.
    """
    return join(
        translation(_ChannelEntries("dense", ("weights",), "input"), label="dense input"),
        translation(_ChannelEntries("dense", ("bias",), "layer"), label="dense bias"),
    )


def cnn_symmetries(network: CNN) -> dict[str, Symmetry]:
    """The symmetries of a convolutional network under a softmax cross-entropy.

    - "translation": the softmax ignores a number added to all logits, as for an MLP: one
      generator for each input of the dense layer and one for its bias.
    - "rescale", for ReLU and leaky ReLU: one generator for each channel of each convolution. Its
      kernels and bias against the kernels that read it in the next layer, or against the rows of
      the dense layer that come from its pixels.

    Source: paper A, equations 12 and 15, for networks that it does not have.
    """
    symmetries = {"translation": softmax_translation()}
    if network.activation not in HOMOGENEOUS_ACTIVATIONS:
        return symmetries
    last = len(network.channels) - 1
    readers = [_ChannelEntries(f"conv_{k + 1}", ("weights",), "input") for k in range(last)]
    readers.append(_ChannelEntries("dense", ("weights",), "input", network.channels[-1]))
    symmetries["rescale"] = join(
        *(
            rescale(
                _ChannelEntries(f"conv_{layer}", ("weights", "bias"), "output"),
                reader,
                label=f"conv_{layer} channel",
            )
            for layer, reader in enumerate(readers)
        )
    )
    return symmetries
