"""Sixteen tasks that no optimizer was meta-trained on, to measure generalization.

Paper C names the families, four of the tasks and the number; which sixteen, and every size but
those of the four, is this library's choice. They are neither hard nor large: what they have in
common is that they are unlike a small MLP on images of clothes.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from optoscope import data
from optoscope._core.errors import UnknownNameError
from optoscope.tasks._autoencoder import autoencoder
from optoscope.tasks._base import Task
from optoscope.tasks._classification import (
    cnn_classification,
    mlp_classification,
    residual_classification,
)
from optoscope.tasks._es_gradient import es_gradient
from optoscope.tasks._language_model import recurrent_language_model, transformer_language_model

SCALES = ("smoke", "laptop", "paper")

# How large images are where the task does not say; None is as they come.
_IMAGE_SIZES: dict[str, dict[str, int | None]] = {
    "smoke": {"digits": None, "mnist": 8, "fashion_mnist": 8, "cifar10": 8},
    "laptop": {"digits": None, "mnist": 14, "fashion_mnist": 14, "cifar10": 16},
}

Settings = dict[str, Any]


@dataclass(frozen=True)
class UnseenTask:
    """One of the sixteen: a network family with its settings at three scales.

    Args:
        make: builds the task from a dataset and settings.
        dataset: the one of "laptop" and "paper"; images are the bundled digits at "smoke".
        description: one line for lists.
        smoke: settings that compile in seconds.
        laptop: settings with which a step takes about 3 ms at most on one core.
        paper: settings in the paper's order of size.
        common: settings of all three.
        es: options of `es_gradient` where the optimizer receives estimates of the gradient.
    """

    make: Callable[..., Task]
    dataset: str
    description: str
    smoke: Settings
    laptop: Settings
    paper: Settings
    common: Settings = field(default_factory=dict)
    es: Settings | None = None

    @property
    def is_text(self) -> bool:
        """Whether it is a language model."""
        return self.dataset == "tinyshakespeare"


_NORMED: Settings = {"activation": "relu", "norm": "layer", "initialization": "truncated_normal"}
_PLAIN: Settings = {"activation": "relu", "initialization": "truncated_normal"}
_SAME: Settings = {"padding": "SAME", "initialization": "truncated_normal"}
_TINY_TEXT: Settings = {"batch_size": 8, "length": 12}
_SHORT_TEXT: Settings = {"batch_size": 16, "length": 16}
_RECURRENT = {
    "smoke": {"units": 16, "embedding_size": 8, **_TINY_TEXT},
    "laptop": {"units": 48, "embedding_size": 16, **_SHORT_TEXT},
    "paper": {"units": 256, "embedding_size": 64, "batch_size": 32, "length": 64},
}
_LAYER_NORM_MLP = {
    "smoke": {"hidden": (16,) * 3, "batch_size": 32},
    "laptop": {"hidden": (32,) * 3, "batch_size": 64},
    "paper": {"hidden": (128,) * 3, "batch_size": 128},
}
_AUTOENCODER = {
    "smoke": {"hidden": (24, 8, 24), "batch_size": 32},
    "laptop": {"hidden": (64, 16, 64), "batch_size": 64},
    "paper": {"hidden": (128, 32, 128), "batch_size": 128},
}


def _fewer_pairs(scales: dict[str, Settings]) -> dict[str, Settings]:
    """The networks with fewer pairs at laptop scale, where drawing noise takes most of the time."""
    return scales | {"laptop": scales["laptop"] | {"num_pairs": 6}}


UNSEEN_TASKS: dict[str, UnseenTask] = {
    "layer-norm-mlp": UnseenTask(
        mlp_classification,
        "cifar10",
        "CIFAR-10, MLP of 3×128 with layer norm (paper C)",
        **_LAYER_NORM_MLP,
        common=_NORMED,
    ),
    "layer-norm-tanh-mlp": UnseenTask(
        mlp_classification,
        "mnist",
        "MNIST, MLP of 5×128 with layer norm and tanh",
        smoke={"hidden": (12,) * 5, "batch_size": 32},
        laptop={"hidden": (32,) * 5, "batch_size": 64},
        paper={"hidden": (128,) * 5, "batch_size": 128},
        common=_NORMED | {"activation": "tanh"},
    ),
    "wide-mlp": UnseenTask(
        mlp_classification,
        "cifar10",
        "CIFAR-10, MLP of 2×1024 with ReLU",
        smoke={"hidden": (48,) * 2, "batch_size": 32},
        laptop={"hidden": (96,) * 2, "batch_size": 64},
        paper={"hidden": (1024,) * 2, "batch_size": 128},
        common=_PLAIN,
    ),
    "deep-mlp": UnseenTask(
        mlp_classification,
        "mnist",
        "MNIST, MLP of 5×128 with ReLU",
        smoke={"hidden": (16,) * 5, "batch_size": 32},
        laptop={"hidden": (32,) * 5, "batch_size": 64},
        paper={"hidden": (128,) * 5, "batch_size": 128},
        common=_PLAIN,
    ),
    "deep-cnn": UnseenTask(
        cnn_classification,
        "cifar10",
        "CIFAR-10, five convolutions of up to 128 channels, mean over the plane",
        smoke={"channels": (4, 4, 8), "strides": (2, 1, 1), "batch_size": 16},
        laptop={"channels": (8, 8, 16, 16), "strides": (2, 1, 2, 1), "batch_size": 32},
        paper={"channels": (32, 32, 64, 64, 128), "strides": (2, 1, 2, 1, 1), "batch_size": 128},
        common=_SAME | {"pooling": "mean"},
    ),
    "wide-cnn": UnseenTask(
        cnn_classification,
        "cifar10",
        "CIFAR-10, three convolutions of up to 256 channels with leaky ReLU, dense layer of all",
        smoke={"channels": (8, 8), "strides": (2, 2), "batch_size": 16},
        laptop={"channels": (16, 16), "strides": (2, 2), "batch_size": 32},
        paper={"channels": (128, 256, 256), "strides": (2, 2, 1), "batch_size": 128},
        common=_SAME | {"activation": "leaky_relu"},
    ),
    "tanh-cnn": UnseenTask(
        cnn_classification,
        "mnist",
        "MNIST, three convolutions of up to 64 channels with tanh, dense layer of all",
        smoke={"channels": (4, 8), "strides": (1, 2), "batch_size": 16},
        laptop={"channels": (8, 16), "strides": (2, 2), "batch_size": 32},
        paper={"channels": (32, 64, 64), "strides": (1, 2, 2), "batch_size": 128},
        common={"activation": "tanh", "initialization": "truncated_normal"},
    ),
    "residual-network": UnseenTask(
        residual_classification,
        "cifar10",
        "CIFAR-10, shallow residual network of three blocks with layer norm (paper C)",
        smoke={"channels": (4, 8), "strides": (1, 2), "batch_size": 16},
        laptop={"channels": (8, 16), "strides": (2, 2), "batch_size": 24},
        paper={"channels": (32, 64, 128), "strides": (1, 2, 2), "batch_size": 128},
    ),
    "autoencoder": UnseenTask(
        autoencoder,
        "mnist",
        "MNIST, autoencoder 128-32-128 with ReLU, squared error",
        **_AUTOENCODER,
    ),
    "cross-entropy-autoencoder": UnseenTask(
        autoencoder,
        "mnist",
        "MNIST, autoencoder 256-64-16-64-256 with tanh, cross-entropy",
        smoke={"hidden": (24, 12, 6, 12, 24), "batch_size": 32},
        laptop={"hidden": (64, 32, 8, 32, 64), "batch_size": 64},
        paper={"hidden": (256, 64, 16, 64, 256), "batch_size": 128},
        common={"activation": "tanh", "loss": "cross_entropy"},
    ),
    "rnn-language-model": UnseenTask(
        recurrent_language_model,
        "tinyshakespeare",
        "characters of Shakespeare, vanilla RNN of 256 units",
        **_RECURRENT,
        common={"cell": "vanilla"},
    ),
    "gru-language-model": UnseenTask(
        recurrent_language_model,
        "tinyshakespeare",
        "characters of Shakespeare, GRU of 256 units",
        **_RECURRENT,
        common={"cell": "gru"},
    ),
    "lstm-language-model": UnseenTask(
        recurrent_language_model,
        "tinyshakespeare",
        "characters of Shakespeare, LSTM of 256 units (paper C)",
        **_RECURRENT,
        common={"cell": "lstm"},
    ),
    "transformer-language-model": UnseenTask(
        transformer_language_model,
        "tinyshakespeare",
        "characters of Shakespeare, decoder-only transformer, 5 layers, 256 wide (paper C)",
        smoke={"num_layers": 1, "width": 16, "num_heads": 2, **_TINY_TEXT},
        laptop={"num_layers": 2, "width": 32, "num_heads": 4, **_SHORT_TEXT},
        paper={"num_layers": 5, "width": 256, "num_heads": 8, "batch_size": 32, "length": 64},
    ),
    "es-gradient-layer-norm-mlp": UnseenTask(
        mlp_classification,
        "cifar10",
        "CIFAR-10, layer-norm-mlp with ES estimates of its gradient",
        **_fewer_pairs(_LAYER_NORM_MLP),
        common=_NORMED,
        es={"num_pairs": 8, "std": 0.01},
    ),
    "es-gradient-autoencoder": UnseenTask(
        autoencoder,
        "mnist",
        "MNIST, autoencoder with ES estimates of its gradient",
        **_fewer_pairs(_AUTOENCODER),
        es={"num_pairs": 8, "std": 0.01},
    ),
}

UNSEEN: tuple[str, ...] = tuple(UNSEEN_TASKS)
"""The names of the sixteen unseen tasks, in a fixed order; see `build_unseen`.

Paper C measures generalization on sixteen tasks and names four of them; the choice of sixteen is
this library's.
"""


def _load(
    entry: UnseenTask, scale: str, dataset: str | None, options: dict[str, Any]
) -> data.Dataset | data.TextDataset:
    if entry.is_text:
        return data.load(entry.dataset, **options)
    dataset = dataset or ("digits" if scale == "smoke" else entry.dataset)
    size = options.pop("size", None) or _IMAGE_SIZES.get(scale, {}).get(dataset)
    return data.load(dataset, size=size, **options)


def build_unseen(
    name: str,
    *,
    scale: str = "paper",
    dataset: str | None = None,
    data_dir: str | Path | None = None,
    verify: bool = True,
    size: int | None = None,
    standardize: bool = False,
    validation_size: int | None = None,
    **settings: Any,
) -> Task:
    """One of the sixteen unseen tasks.

    Args:
        name: one of `UNSEEN`.
        scale: "smoke" (tiny; images are the bundled digits), "laptop" (images of 14×14 or 16×16,
            a step of about 3 ms at most on one core) or "paper".
        dataset: other images than the scale's.
        data_dir: as for `data.load`.
        verify: as for `data.load`.
        size: height and width of the images, other than the scale's.
        standardize: as for `data.load`.
        validation_size: as for `data.load`.
        **settings: other settings than the scale's; for ES gradients `num_pairs` and `std` too.

    Raises:
        UnknownNameError: no such scale or dataset.
        DataError: the dataset is missing or damaged.
    """
    entry = UNSEEN_TASKS[name]
    if scale not in SCALES:
        raise UnknownNameError("scale", scale, SCALES)
    options: dict[str, Any] = {"data_dir": data_dir, "verify": verify}
    if not entry.is_text:
        options |= {"size": size, "standardize": standardize, "validation_size": validation_size}
    loaded = _load(entry, scale, dataset, options)
    settings = (entry.es or {}) | entry.common | getattr(entry, scale) | settings
    if entry.es is None:
        return entry.make(loaded, name=name, **settings)
    noise = {option: settings.pop(option) for option in entry.es}
    return es_gradient(entry.make(loaded, name=name, **settings), name=name, **noise)
