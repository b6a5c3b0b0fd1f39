"""Networks of this library as PyTorch modules, with the same weights, to compare steps with JAX.

A twin has a PyTorch layer for each of a network's layers, under the same name, laid out as PyTorch
lays it out: `Linear` weights (outputs, inputs), kernels (outputs, inputs, height, width).
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from optoscope.tasks import CNN, Transformer

Arrays = Mapping[str, Mapping[str, Any]]
# From this library's (inputs, outputs) and (height, width, inputs, outputs), and back again.
_FORTH = {1: (0,), 2: (1, 0), 4: (3, 2, 0, 1)}
_BACK = {1: (0,), 2: (1, 0), 4: (2, 3, 1, 0)}
# What the layers of both are called.
_NAMES = {"weights": "weight", "scale": "weight", "bias": "bias", "shift": "bias"}
_ACTIVATIONS = {
    "relu": functional.relu,
    "leaky_relu": functional.leaky_relu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
}


class Table(nn.Module):
    """An embedding whose weights are (width, entries).

    The optimizers for PyTorch take every matrix transposed, embeddings too, so that the one of
    `nn.Embedding` would be the transpose of what JAX sees.
    """

    def __init__(self, num_entries: int, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width, num_entries))

    def forward(self, tokens: Tensor) -> Tensor:
        return functional.embedding(tokens, self.weight.T)


class Twin(nn.Module):
    """The layers of a network; `loss` is that of its task."""

    def __init__(self, network: Any, params: Arrays):
        super().__init__()
        self.network = network
        self.layers = nn.ModuleDict({name: _layer(layer) for name, layer in params.items()})
        self.write(params)

    @torch.no_grad()
    def write(self, params: Arrays) -> None:
        """Takes the numbers of JAX's parameters."""
        for name, layer in params.items():
            for part, values in layer.items():
                array = np.asarray(values, np.float32).transpose(_FORTH[np.ndim(values)])
                getattr(self.layers[name], _NAMES[part]).copy_(torch.from_numpy(array.copy()))

    def read(self, like: Arrays) -> dict[str, dict[str, np.ndarray]]:
        """The parameters in JAX's layout and under JAX's names."""
        return {
            name: {
                part: getattr(self.layers[name], _NAMES[part])
                .detach()
                .numpy()
                .transpose(_BACK[np.ndim(values)])
                for part, values in layer.items()
            }
            for name, layer in like.items()
        }


def _layer(params: Mapping[str, Any]) -> nn.Module:
    if "scale" in params:
        return nn.LayerNorm(len(params["scale"]), eps=1e-5)
    shape = params["weights"].shape
    if len(shape) == 4:
        height, width, inputs, outputs = shape
        return nn.Conv2d(inputs, outputs, (height, width))
    return nn.Linear(*shape, bias="bias" in params)


class TransformerTwin(Twin):
    """A decoder-only transformer; see `optoscope.tasks.Transformer`."""

    def __init__(self, network: Transformer, params: Arrays):
        super().__init__(network, params)
        for name in ("embedding", "positions"):
            self.layers[name] = Table(*params[name]["weights"].shape)
        self.write(params)

    def forward(self, tokens: Tensor) -> Tensor:
        layers, network = self.layers, self.network
        hidden = layers["embedding"](tokens) + layers["positions"](torch.arange(tokens.shape[1]))
        for index in range(network.num_layers):
            block = f"block_{index}"
            normed = layers[f"{block}_attention_norm"](hidden)
            heads = (*hidden.shape[:2], network.num_heads, -1)
            queries, keys, values = (
                layers[f"{block}_{part}"](normed).view(heads).transpose(1, 2)
                for part in ("queries", "keys", "values")
            )
            attended = functional.scaled_dot_product_attention(
                queries, keys, values, is_causal=True
            )
            attended = attended.transpose(1, 2).reshape(hidden.shape)
            hidden = hidden + layers[f"{block}_outputs"](attended)
            inside = functional.relu(
                layers[f"{block}_expand"](layers[f"{block}_expand_norm"](hidden))
            )
            hidden = hidden + layers[f"{block}_contract"](inside)
        return layers["dense"](layers["norm"](hidden))

    def loss(self, batch: Any) -> Tensor:
        """The mean cross-entropy of a character, of windows of tokens."""
        windows = torch.from_numpy(np.array(batch, np.int64))
        logits = self(windows[:, :-1])
        return functional.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten())


class CNNTwin(Twin):
    """Convolutions and a dense layer; see `optoscope.tasks.CNN`."""

    def forward(self, images: Tensor) -> Tensor:
        network = self.network
        hidden = images.view(-1, *network.image_shape).permute(0, 3, 1, 2)
        activation = _ACTIVATIONS[network.activation]
        strides = network.strides or (1,) * len(network.channels)
        for index, stride in enumerate(strides):
            layer = self.layers[f"conv_{index}"]
            if network.padding == "SAME":
                hidden = functional.pad(hidden, _edges(hidden.shape, network.kernel_size, stride))
            hidden = activation(functional.conv2d(hidden, layer.weight, layer.bias, stride))
        if network.pooling == "mean":
            return self.layers["dense"](hidden.mean(dim=(2, 3)))
        return self.layers["dense"](hidden.permute(0, 2, 3, 1).flatten(1))

    def loss(self, batch: Any) -> Tensor:
        """The mean cross-entropy of labeled images."""
        logits = self(torch.from_numpy(np.array(batch.inputs, np.float32)))
        return functional.cross_entropy(logits, torch.from_numpy(np.array(batch.labels, np.int64)))


def _edges(shape: Any, kernel_size: int, stride: int) -> list[int]:
    """XLA's "SAME": as many outputs as inputs over the stride, the odd pixel at the far side."""
    edges: list[int] = []
    for side in (shape[3], shape[2]):
        total = max((math.ceil(side / stride) - 1) * stride + kernel_size - side, 0)
        edges += [total // 2, total - total // 2]
    return edges


def twin(network: Any, params: Arrays) -> Twin:
    """The twin of a network, with these parameters."""
    kinds = {Transformer: TransformerTwin, CNN: CNNTwin}
    return kinds[type(network)](network, params)
