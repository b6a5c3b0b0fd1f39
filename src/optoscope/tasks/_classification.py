"""Image classification with softmax cross-entropy."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from optoscope._core.errors import UnknownNameError, check_count, check_number
from optoscope._core.keys import new_key
from optoscope._core.showing import shown
from optoscope._core.trees import size
from optoscope.data import Dataset
from optoscope.tasks._base import Task
from optoscope.tasks._cnn import CNN
from optoscope.tasks._cnn_symmetries import cnn_symmetries, softmax_translation
from optoscope.tasks._contract import check_labels
from optoscope.tasks._mlp import MLP, MLPParams
from optoscope.tasks._mlp_symmetries import mlp_symmetries
from optoscope.tasks._residual import ResidualNetwork
from optoscope.tasks._symmetries import Symmetry


@shown
class LabeledBatch(eqx.Module):
    """Flat inputs with their class labels."""

    inputs: Float[Array, "batch inputs"]
    labels: Int[Array, " batch"]


class Classification(Task):
    """A network trained to classify images by softmax cross-entropy.

    Batches are drawn with replacement, by index, from the training split on the device. With
    label noise a share of the labels of each batch is replaced by classes drawn uniformly, anew
    in every batch, so that they cannot be learned by heart and the loss does not reach zero.

    Args:
        network: maps (params, inputs) to logits.
        splits: flat inputs and labels by split name: "train", "validation", "test".
        batch_size: images per batch.
        name: how reports call the task.
        label_noise: the expected share of the labels of a batch that are replaced, from 0 to 1.

    Raises:
        InvalidValueError: a batch size below 1, labels that are no classes of the network, or a
            share that is not between 0 and 1.
    """

    network: MLP | CNN | ResidualNetwork
    splits: dict[str, LabeledBatch]
    batch_size: int = eqx.field(static=True)
    name: str = eqx.field(static=True, default="classification")
    label_noise: float | int = eqx.field(static=True, default=0.0)

    def __check_init__(self):
        check_count("batch_size", self.batch_size, minimum=1)
        check_number("label_noise", self.label_noise, minimum=0, maximum=1)
        for name, split in self.splits.items():
            check_labels(name, split.labels, self.network.num_outputs)

    def init(self, key: PRNGKeyArray) -> MLPParams:
        """Draws the network's initial parameters."""
        return self.network.init(key)

    def sample_batch(self, key: PRNGKeyArray) -> LabeledBatch:
        """Draws `batch_size` training images with replacement."""
        return self.gather(self.draw(key))

    def draw(self, key: PRNGKeyArray) -> PyTree[Int[Array, " batch"]]:
        """The indices of the training images in a batch; with label noise also the new labels.

        A new label of -1 leaves an image its own.
        """
        count, shape = self.splits["train"].labels.shape[0], (self.batch_size,)
        if not self.label_noise:
            return jax.random.randint(key, shape, 0, count)
        index_key, share_key, class_key = jax.random.split(key, 3)
        replaced = jax.random.bernoulli(share_key, self.label_noise, shape)
        classes = jax.random.randint(class_key, shape, 0, self.network.num_outputs)
        return jax.random.randint(index_key, shape, 0, count), jnp.where(replaced, classes, -1)

    def gather(self, draw: PyTree[Int[Array, " batch"]]) -> LabeledBatch:
        """The images that were drawn, with their labels."""
        train = self.splits["train"]
        if not self.label_noise:
            return LabeledBatch(train.inputs[draw], train.labels[draw])
        indices, new = draw
        return LabeledBatch(train.inputs[indices], jnp.where(new < 0, train.labels[indices], new))

    def loss(self, params: MLPParams, batch: LabeledBatch) -> Float[Array, ""]:
        """The mean cross-entropy, in nats."""
        logits = self.network(params, batch.inputs)
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, batch.labels))

    def accuracy(self, params: MLPParams, split: str = "test") -> Float[Array, ""] | None:
        """The share of a split's images that are classified correctly; None for an empty split."""
        if split not in self.splits:
            raise UnknownNameError("split", split, self.splits)
        data = self.splits[split]
        if data.labels.shape[0] == 0:
            return None
        return jnp.mean(jnp.argmax(self.network(params, data.inputs), axis=-1) == data.labels)

    def validate(self, params: MLPParams, state: PyTree[Array] = ()) -> dict[str, Float[Array, ""]]:
        """Loss and accuracy on the validation split; nothing where that is empty."""
        del state
        data = self.splits["validation"]
        accuracy = self.accuracy(params, "validation")
        return {} if accuracy is None else {"loss": self.loss(params, data), "accuracy": accuracy}

    def symmetries(self, params: PyTree) -> dict[str, Symmetry]:
        """The symmetries of the network under the softmax; see `analysis.symmetry`."""
        del params
        if isinstance(self.network, CNN):
            return cnn_symmetries(self.network)
        if isinstance(self.network, MLP):
            return mlp_symmetries(self.network)
        return {"translation": softmax_translation()}

    @property
    def metadata(self) -> dict[str, Any]:
        """Name, the network's settings, number of parameters, batch size, sizes of the splits.

        `guessing_loss` is what guessing costs, ln(number of classes): losses of different
        tasks are compared, and clipped, in multiples of it.
        """
        num_classes = self.network.num_outputs
        params = jax.eval_shape(self.init, new_key(0))
        return {
            "name": self.name,
            **self.network.metadata,
            "num_params": size(params),
            "batch_size": self.batch_size,
            "num_classes": num_classes,
            **({"label_noise": self.label_noise} if self.label_noise else {}),
            "guessing_loss": math.log(num_classes),
            "split_sizes": {name: len(split.labels) for name, split in self.splits.items()},
        }


def flat_splits(dataset: Dataset) -> dict[str, LabeledBatch]:
    """The splits of `dataset` by name, every image a vector: row by row, channels last."""
    num_inputs = math.prod(dataset.input_shape)
    return {
        split: LabeledBatch(data.inputs.reshape(data.inputs.shape[0], num_inputs), data.labels)
        for split, data in (
            ("train", dataset.train),
            ("validation", dataset.validation),
            ("test", dataset.test),
        )
    }


def mlp_classification(
    dataset: Dataset,
    *,
    hidden: tuple[int, ...] = (20,),
    activation: str = "sigmoid",
    norm: str | None = None,
    initialization: str = "uniform",
    batch_size: int = 128,
    label_noise: float = 0.0,
    name: str | None = None,
) -> Classification:
    """A multi-layer perceptron on the images of `dataset`.

    Source: paper A, section 4: on MNIST the defaults are its 784-20-10 sigmoid network; paper C's
    has hidden (128, 128), activation "relu", initialization "truncated_normal".

    Args:
        dataset: as `data.load` gives it.
        hidden: units of each hidden layer.
        activation: "sigmoid", "tanh", "relu" or "leaky_relu".
        norm: "batch", "layer" or None.
        initialization: "uniform" or "truncated_normal", see `MLP`.
        batch_size: images per batch.
        label_noise: the share of each batch's labels that are replaced, see `Classification`.
        name: how reports call the task.
    """
    num_inputs = math.prod(dataset.input_shape)
    widths = (num_inputs, *hidden, dataset.num_classes)
    network = MLP(widths, activation, norm, initialization)
    name = name or f"{dataset.name}-mlp"
    return Classification(network, flat_splits(dataset), batch_size, name, label_noise)


def cnn_classification(
    dataset: Dataset,
    *,
    channels: tuple[int, ...] = (16, 16, 16),
    strides: tuple[int, ...] = (),
    padding: str = "VALID",
    pooling: str = "flatten",
    activation: str = "relu",
    initialization: str = "uniform",
    batch_size: int = 100,
    label_noise: float = 0.0,
    name: str | None = None,
) -> Classification:
    """A convolutional network on the images of `dataset`.

    Source: paper B, section 3.2: on MNIST the defaults are its network of 82,250 parameters.

    Args:
        dataset: as `data.load` gives it.
        channels: output channels of each 3×3 convolution.
        strides: of each convolution; 1 everywhere if empty.
        padding: "VALID" or "SAME".
        pooling: "flatten" or "mean".
        activation: as for `MLP`.
        initialization: "uniform" or "truncated_normal", see `CNN`.
        batch_size: images per batch.
        label_noise: the share of each batch's labels that are replaced, see `Classification`.
        name: how reports call the task.
    """
    network = CNN(
        dataset.input_shape,
        channels,
        dataset.num_classes,
        strides=strides,
        padding=padding,
        pooling=pooling,
        activation=activation,
        initialization=initialization,
    )
    name = name or f"{dataset.name}-cnn"
    return Classification(network, flat_splits(dataset), batch_size, name, label_noise)


def residual_classification(
    dataset: Dataset,
    *,
    channels: tuple[int, ...] = (32, 64, 128),
    strides: tuple[int, ...] = (1, 2, 2),
    batch_size: int = 128,
    label_noise: float = 0.0,
    name: str | None = None,
) -> Classification:
    """A shallow residual network on the images of `dataset`; see `ResidualNetwork`.

    Args:
        dataset: as `data.load` gives it.
        channels: output channels of each block.
        strides: of each block.
        batch_size: images per batch.
        label_noise: the share of each batch's labels that are replaced, see `Classification`.
        name: how reports call the task.

    Example:
        >>> from optoscope import data
        >>> residual_classification(data.load("digits")).metadata["num_params"]
        308362
    """
    network = ResidualNetwork(dataset.input_shape, channels, strides, dataset.num_classes)
    name = name or f"{dataset.name}-residual-network"
    return Classification(network, flat_splits(dataset), batch_size, name, label_noise)
