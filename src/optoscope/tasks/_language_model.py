"""Character language models: what comes next, by softmax cross-entropy."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from optoscope._core.errors import InvalidValueError, UnknownNameError, check_count
from optoscope._core.keys import new_key
from optoscope._core.trees import size
from optoscope.data import TextDataset
from optoscope.tasks._base import Task
from optoscope.tasks._cnn_symmetries import softmax_translation
from optoscope.tasks._contract import check_labels
from optoscope.tasks._layers import Layer
from optoscope.tasks._recurrent import RecurrentNetwork
from optoscope.tasks._symmetries import Symmetry
from optoscope.tasks._transformer import Transformer

# Windows that are evaluated side by side.
_WINDOWS = 64


class LanguageModel(Task):
    """A network trained to predict the next character of a text.

    A batch is `batch_size` windows of `length` + 1 characters that start anywhere in the
    training split, drawn with replacement, by index, on the device. A recurrent network starts
    every window from a zero state.

    Args:
        network: maps (params, tokens) to the logits of the next token at every position.
        splits: tokens in reading order by split name: "train", "validation", "test".
        batch_size: windows per batch.
        length: characters predicted a window.
        name: how reports call the task.

    Raises:
        InvalidValueError: a batch size or length below 1, or a split shorter than a window.
    """

    network: RecurrentNetwork | Transformer
    splits: dict[str, Int[Array, " tokens"]]
    batch_size: int = eqx.field(static=True)
    length: int = eqx.field(static=True)
    name: str = eqx.field(static=True, default="language-model")

    def __check_init__(self):
        check_count("batch_size", self.batch_size, minimum=1)
        check_count("length", self.length, minimum=1)
        shortest = min(len(tokens) for tokens in self.splits.values())
        if shortest <= self.length:
            raise InvalidValueError(
                f"length is {self.length}, but a split has {shortest} characters, and a window "
                f"needs one more than its length; take a length of at most {shortest - 1}."
            )
        for name, tokens in self.splits.items():
            check_labels(name, tokens, self.network.vocabulary_size, "tokens", "vocabulary entries")

    def init(self, key: PRNGKeyArray) -> dict[str, Layer]:
        """Draws the network's initial parameters."""
        return self.network.init(key)

    def sample_batch(self, key: PRNGKeyArray) -> Int[Array, "batch window"]:
        """Draws windows of `length` + 1 characters of the training split."""
        return self.gather(self.draw(key))

    def draw(self, key: PRNGKeyArray) -> Int[Array, "batch 1"]:
        """The positions at which the windows start."""
        last = len(self.splits["train"]) - self.length
        return jax.random.randint(key, (self.batch_size, 1), 0, last)

    def gather(self, draw: Int[Array, "batch 1"]) -> Int[Array, "batch window"]:
        """The windows that start there."""
        return self.splits["train"][draw + jnp.arange(self.length + 1)]

    def loss(self, params: dict[str, Layer], batch: Int[Array, "batch window"]) -> Float[Array, ""]:
        """The mean cross-entropy of a character, in nats."""
        logits = self.network(params, batch[:, :-1])
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, batch[:, 1:]))

    def accuracy(self, params: dict[str, Layer], split: str = "test") -> Float[Array, ""] | None:
        """The share of a split's characters that are predicted, in windows one after the other.

        What is left over at the end of the split is not counted.
        """
        if split not in self.splits:
            raise UnknownNameError("split", split, self.splits)
        return self._on_split(params, split)["accuracy"]

    def validate(
        self, params: dict[str, Layer], state: PyTree[Array] = ()
    ) -> dict[str, Float[Array, ""]]:
        """Loss and accuracy on the validation split, in windows one after the other."""
        del state
        return self._on_split(params, "validation")

    def _on_split(self, params: dict[str, Layer], split: str) -> dict[str, Float[Array, ""]]:
        tokens = self.splits[split]
        num_windows = (len(tokens) - 1) // self.length
        predicted = num_windows * self.length
        shape = (num_windows, self.length)

        def of_window(window: tuple[Array, Array]) -> dict[str, Array]:
            inputs, targets = window
            logits = self.network(params, inputs[None])[0]
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, targets)
            right = jnp.argmax(logits, axis=-1) == targets
            return {"loss": jnp.sum(losses), "accuracy": jnp.sum(right)}

        windows = (tokens[:predicted].reshape(shape), tokens[1 : predicted + 1].reshape(shape))
        sums = jax.lax.map(of_window, windows, batch_size=min(_WINDOWS, num_windows))
        return jax.tree.map(lambda each: jnp.sum(each) / predicted, sums)

    def symmetries(self, params: PyTree) -> dict[str, Symmetry]:
        """The symmetries of the last layer under the softmax; see `analysis.symmetry`."""
        del params
        return {"translation": softmax_translation()}

    @property
    def metadata(self) -> dict[str, Any]:
        """The metadata of `Classification`, whose classes are the characters."""
        num_classes = self.network.vocabulary_size
        return {
            "name": self.name,
            **self.network.metadata,
            "num_params": size(jax.eval_shape(self.init, new_key(0))),
            "batch_size": self.batch_size,
            "length": self.length,
            "num_classes": num_classes,
            "guessing_loss": math.log(num_classes),
            "split_sizes": {name: len(tokens) for name, tokens in self.splits.items()},
        }


def _text_splits(text: TextDataset) -> dict[str, Int[Array, " tokens"]]:
    return {"train": text.train, "validation": text.validation, "test": text.test}


def recurrent_language_model(
    text: TextDataset,
    *,
    cell: str = "lstm",
    units: int = 256,
    embedding_size: int = 64,
    batch_size: int = 32,
    length: int = 64,
    name: str | None = None,
) -> LanguageModel:
    """A recurrent network that predicts the next character of `text`.

    Args:
        text: as `data.load` gives it.
        cell: "vanilla", "gru" or "lstm".
        units: hidden units.
        embedding_size: numbers a character is embedded in.
        batch_size: windows per batch.
        length: characters predicted a window.
        name: how reports call the task.

    Raises:
        InvalidValueError: a size below 1, or a text shorter than a window.
        UnknownNameError: an unknown cell.
    """
    network = RecurrentNetwork(len(text.vocabulary), cell, units, embedding_size)
    name = name or f"{text.name}-{cell}"
    return LanguageModel(network, _text_splits(text), batch_size, length, name)


def transformer_language_model(
    text: TextDataset,
    *,
    num_layers: int = 5,
    width: int = 256,
    num_heads: int = 8,
    batch_size: int = 32,
    length: int = 64,
    name: str | None = None,
) -> LanguageModel:
    """A decoder-only transformer that predicts the next character of `text`.

    Args:
        text: as `data.load` gives it.
        num_layers: blocks.
        width: of the residual stream.
        num_heads: attention heads; must divide the width.
        batch_size: windows per batch.
        length: characters predicted a window.
        name: how reports call the task.

    Raises:
        InvalidValueError: a size below 1, heads that do not divide the width, or a text shorter
            than a window.
    """
    network = Transformer(len(text.vocabulary), length, num_layers, width, num_heads)
    name = name or f"{text.name}-transformer"
    return LanguageModel(network, _text_splits(text), batch_size, length, name)
