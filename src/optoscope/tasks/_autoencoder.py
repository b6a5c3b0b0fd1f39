"""Autoencoders: networks that give back their input through a narrow layer."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree
from scipy.special import entr

from optoscope._core.errors import InvalidValueError, UnknownNameError, check_count
from optoscope._core.keys import new_key
from optoscope._core.trees import size
from optoscope.data import Dataset
from optoscope.tasks._base import Task
from optoscope.tasks._classification import flat_splits
from optoscope.tasks._mlp import MLP, MLPParams

LOSSES = ("squared_error", "cross_entropy")


def _guess_loss(images: Float[Array, "images inputs"], loss: str) -> float:
    """The loss of the best constant answer, the mean image."""
    pixels = np.asarray(images)
    if loss == "squared_error":
        return float(np.mean(np.var(pixels, axis=0, dtype=np.float64)))
    mean = np.mean(pixels, axis=0, dtype=np.float64)
    # The cross-entropy is linear in the target: its mean is the entropy of the mean.
    return float(np.mean(entr(mean) + entr(1 - mean)))


class Autoencoder(Task):
    """A multi-layer perceptron trained to give back flat images. Make it with `autoencoder`.

    Batches are drawn with replacement, by index, from the training split on the device.

    Math: the mean over images and pixels of (y − x)² for "squared_error", or of
    −x ln σ(y) − (1 − x) ln(1 − σ(y)) for "cross_entropy", where y are the network's outputs. The
    least cross-entropy is not zero but the pixels' own entropy.

    Args:
        network: as many outputs as inputs.
        splits: flat images by split name.
        batch_size: images per batch.
        loss_name: "squared_error" or "cross_entropy".
        guess_loss: the loss of the best constant answer, for normalizing.
        name: how reports call the task.
    """

    network: MLP
    splits: dict[str, Float[Array, "images inputs"]]
    batch_size: int = eqx.field(static=True)
    loss_name: str = eqx.field(static=True, default="squared_error")
    guess_loss: float = eqx.field(static=True, default=1.0)
    name: str = eqx.field(static=True, default="autoencoder")

    def __check_init__(self):
        check_count("batch_size", self.batch_size, minimum=1)
        if self.loss_name not in LOSSES:
            raise UnknownNameError("loss", self.loss_name, LOSSES)

    def init(self, key: PRNGKeyArray) -> MLPParams:
        """Draws the network's initial parameters."""
        return self.network.init(key)

    def sample_batch(self, key: PRNGKeyArray) -> Float[Array, "batch inputs"]:
        """Draws `batch_size` training images with replacement."""
        return self.gather(self.draw(key))

    def draw(self, key: PRNGKeyArray) -> Int[Array, " batch"]:
        """The indices of the training images in a batch."""
        return jax.random.randint(key, (self.batch_size,), 0, self.splits["train"].shape[0])

    def gather(self, draw: Int[Array, " batch"]) -> Float[Array, "batch inputs"]:
        """The images that a draw of indices stands for."""
        return self.splits["train"][draw]

    def loss(self, params: MLPParams, batch: Float[Array, "batch inputs"]) -> Float[Array, ""]:
        """The mean loss of a pixel; in nats for the cross-entropy."""
        outputs = self.network(params, batch)
        if self.loss_name == "squared_error":
            return jnp.mean(jnp.square(outputs - batch))
        return jnp.mean(optax.sigmoid_binary_cross_entropy(outputs, batch))

    def validate(self, params: MLPParams, state: PyTree[Array] = ()) -> dict[str, Float[Array, ""]]:
        """The loss on the validation split; nothing where that is empty."""
        del state
        images = self.splits["validation"]
        return {"loss": self.loss(params, images)} if len(images) else {}

    @property
    def metadata(self) -> dict[str, Any]:
        """As in `Classification`, without classes; `guessing_loss` is that of a constant answer."""
        return {
            "name": self.name,
            **self.network.metadata,
            "loss": self.loss_name,
            "num_params": size(jax.eval_shape(self.init, new_key(0))),
            "batch_size": self.batch_size,
            "num_classes": None,
            "guessing_loss": self.guess_loss,
            "split_sizes": {name: len(images) for name, images in self.splits.items()},
        }


def autoencoder(
    dataset: Dataset,
    *,
    hidden: tuple[int, ...] = (128, 32, 128),
    activation: str = "relu",
    norm: str | None = None,
    initialization: str = "truncated_normal",
    loss: str = "squared_error",
    batch_size: int = 128,
    name: str | None = None,
) -> Autoencoder:
    """A multi-layer perceptron that gives back the images of `dataset`.

    Args:
        dataset: as `data.load` gives it; for the cross-entropy pixels must be in [0, 1].
        hidden: units of each hidden layer, the narrow one in the middle.
        activation: as for `MLP`.
        norm: "batch", "layer" or None.
        initialization: "uniform" or "truncated_normal", see `MLP`.
        loss: "squared_error" or "cross_entropy".
        batch_size: images per batch.
        name: how reports call the task.

    Raises:
        InvalidValueError: standardized pixels with the cross-entropy, or wrong sizes.
        UnknownNameError: an unknown loss, activation, norm or initialization.

    Example:
        >>> from optoscope import data
        >>> metadata = autoencoder(data.load("digits"), hidden=(16, 4, 16)).metadata
        >>> metadata["widths"], round(metadata["guessing_loss"], 3)
        ([64, 16, 4, 16, 64], 0.073)
    """
    if loss not in LOSSES:
        raise UnknownNameError("loss", loss, LOSSES)
    splits = {split: part.inputs for split, part in flat_splits(dataset).items()}
    if loss == "cross_entropy":
        low, high = (float(edge(splits["train"])) for edge in (jnp.min, jnp.max))
        if low < 0 or high > 1:
            raise InvalidValueError(
                f"pixels go from {low:.3g} to {high:.3g}; the cross-entropy needs them in [0, 1]. "
                'Leave out standardize, or take loss="squared_error".'
            )
    num_inputs = math.prod(dataset.input_shape)
    network = MLP((num_inputs, *hidden, num_inputs), activation, norm, initialization)
    guess_loss = _guess_loss(splits["train"], loss)
    name = name or f"{dataset.name}-autoencoder"
    return Autoencoder(network, splits, batch_size, loss, guess_loss, name)
