"""Loaded datasets: frozen pytrees of device arrays."""

import equinox as eqx
from jaxtyping import Array, Float32, Int32

from optoscope._core.showing import shown


@shown
class Split(eqx.Module):
    """Labeled images of one split.

    Attributes:
        inputs: images; pixels in [0, 1] unless standardized.
        labels: classes, from 0 to `num_classes - 1`.
    """

    inputs: Float32[Array, "num_examples height width channels"]
    labels: Int32[Array, " num_examples"]

    @property
    def num_examples(self) -> int:
        """How many images the split holds."""
        return self.inputs.shape[0]


@shown
class Dataset(eqx.Module):
    """Images with labels, in three disjoint splits.

    A pytree whose leaves are the splits' arrays: close over it, or pass it through `jit`.

    Attributes:
        name: the registered name.
        train: what optimizers train on.
        validation: held out of the training images; empty with `validation_size=0`.
        test: the official test images.
        num_classes: the number of classes.
    """

    name: str = eqx.field(static=True)
    train: Split
    validation: Split
    test: Split
    num_classes: int = eqx.field(static=True)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """The shape of one image: (height, width, channels)."""
        height, width, channels = self.train.inputs.shape[1:]
        return height, width, channels


@shown
class TextDataset(eqx.Module):
    """A text as character indices, in three contiguous splits (90%, 5%, 5%).

    Attributes:
        name: the registered name.
        train: indices into `vocabulary`, in reading order.
        validation: the part of the text after `train`.
        test: the end of the text.
        vocabulary: every character of the whole text once, sorted by code point.
    """

    name: str = eqx.field(static=True)
    train: Int32[Array, " num_train"]
    validation: Int32[Array, " num_validation"]
    test: Int32[Array, " num_test"]
    vocabulary: str = eqx.field(static=True)

    def decode(self, tokens: Int32[Array, " num_tokens"]) -> str:
        """The text that a vector of character indices spells."""
        return "".join(self.vocabulary[token] for token in tokens.tolist())
