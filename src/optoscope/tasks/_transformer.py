"""Decoder-only transformers as pure functions of a dictionary of parameters."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from optoscope._core.errors import InvalidValueError, check_count
from optoscope.tasks._layers import (
    Layer,
    dense,
    draw_embedding,
    draw_layer,
    fresh_norm,
    normalize,
)

_MOST_LAYERS = 1_000


def causal_attention(
    queries: Float[Array, "batch length heads width"],
    keys: Float[Array, "batch length heads width"],
    values: Float[Array, "batch length heads width"],
) -> Float[Array, "batch length heads width"]:
    """Every position's mean of the values up to it, weighted by softmax(q·k/sqrt(width)).

    Example:
        >>> first, second = jnp.array([1.0, 3.0]), jnp.zeros((1, 2, 1, 1))
        >>> causal_attention(second, second, first.reshape(1, 2, 1, 1)).ravel().tolist()
        [1.0, 2.0]
    """
    length, width = queries.shape[1], queries.shape[-1]
    scores = jnp.einsum("bqhw,bkhw->bhqk", queries, keys) * width**-0.5
    past = jnp.tril(jnp.ones((length, length), bool))
    weights = jax.nn.softmax(jnp.where(past, scores, -jnp.inf), axis=-1)
    return jnp.einsum("bhqk,bkhw->bqhw", weights, values)


class Transformer(eqx.Module):
    """A decoder-only transformer with learned positions and layer norm before every branch.

    Each block adds attention(N(h)) and then contract(relu(expand(N(h)))), four times as wide
    inside; N is a layer norm. A last N and a dense layer give the logits. Weights start truncated
    normal over sqrt(fan_in), biases at zero. Queries, keys and values have no bias: the softmax
    ignores a key's, so that its gradient would be rounding alone.

    Source: Vaswani et al. (2017), with the norms moved before the branches; paper C, section 5:
    5 layers, 256 wide; heads and everything else are this library's choice.

    Args:
        vocabulary_size: tokens there are; as many logits.
        length: the longest sequence.
        num_layers: blocks.
        width: of the residual stream.
        num_heads: attention heads; must divide the width.

    Raises:
        InvalidValueError: a size below 1, or heads that do not divide the width.
    """

    vocabulary_size: int = eqx.field(static=True)
    length: int = eqx.field(static=True)
    num_layers: int = eqx.field(static=True, default=5)
    width: int = eqx.field(static=True, default=256)
    num_heads: int = eqx.field(static=True, default=8)

    def __check_init__(self):
        sizes = (self.vocabulary_size, self.length, self.num_layers, self.width, self.num_heads)
        if min(sizes) < 1 or self.width % self.num_heads:
            raise InvalidValueError(
                f"vocabulary_size is {self.vocabulary_size}, length {self.length}, num_layers "
                f"{self.num_layers}, width {self.width}, num_heads {self.num_heads}; each must be "
                "at least 1, and num_heads must divide width."
            )
        # Every block is written out in the program.
        check_count("num_layers", self.num_layers, maximum=_MOST_LAYERS)

    def init(self, key: PRNGKeyArray) -> dict[str, Layer]:
        """Draws the parameters; a block's are `block_0_queries` and so on."""
        width = self.width
        shapes: dict[str, tuple[int, int]] = {}
        norms = ["norm"]
        for block in range(self.num_layers):
            name = f"block_{block}"
            for part in ("queries", "keys", "values", "outputs"):
                shapes[f"{name}_{part}"] = (width, width)
            shapes[f"{name}_expand"] = (width, 4 * width)
            shapes[f"{name}_contract"] = (4 * width, width)
            norms += [f"{name}_attention_norm", f"{name}_expand_norm"]
        shapes["dense"] = (width, self.vocabulary_size)
        embedding_key, position_key, layers_key = jax.random.split(key, 3)
        params = {
            "embedding": draw_embedding(embedding_key, self.vocabulary_size, width),
            "positions": draw_embedding(position_key, self.length, width),
        }
        for index, (name, shape) in enumerate(shapes.items()):
            layer = draw_layer(jax.random.fold_in(layers_key, index), shape, "truncated_normal")
            if name.endswith(("queries", "keys", "values")):
                del layer["bias"]
            params[name] = layer
        return params | {name: fresh_norm(width) for name in norms}

    def _attend(
        self, params: dict[str, Layer], block: str, hidden: Float[Array, "batch length width"]
    ) -> Float[Array, "batch length width"]:
        heads = (*hidden.shape[:2], self.num_heads, -1)
        queries, keys, values = (
            (hidden @ params[f"{block}_{part}"]["weights"]).reshape(heads)
            for part in ("queries", "keys", "values")
        )
        attended = causal_attention(queries, keys, values).reshape(hidden.shape)
        return dense(params[f"{block}_outputs"], attended)

    def __call__(
        self, params: dict[str, Layer], tokens: Int[Array, "batch length"]
    ) -> Float[Array, "batch length vocabulary"]:
        """The logits of the token that follows each position."""
        positions = params["positions"]["weights"][: tokens.shape[1]]
        hidden = params["embedding"]["weights"][tokens] + positions
        for index in range(self.num_layers):
            block = f"block_{index}"
            normed = normalize(params[f"{block}_attention_norm"], hidden)
            hidden = hidden + self._attend(params, block, normed)
            normed = normalize(params[f"{block}_expand_norm"], hidden)
            inside = jax.nn.relu(dense(params[f"{block}_expand"], normed))
            hidden = hidden + dense(params[f"{block}_contract"], inside)
        return dense(params["dense"], normalize(params["norm"], hidden))

    @property
    def metadata(self) -> dict[str, Any]:
        """The settings that define the task, for reports."""
        return {
            "num_layers": self.num_layers,
            "width": self.width,
            "num_heads": self.num_heads,
        }
