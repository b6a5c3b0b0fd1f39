"""The one function that loads a dataset: options, reading, scaling, splitting."""

import operator
import os
import warnings
from typing import Literal, overload

import jax.numpy as jnp
import numpy as np

from optoscope._core.errors import InvalidValueError
from optoscope.data._dataset import Dataset, Split, TextDataset
from optoscope.data._fetch import data_directory
from optoscope.data._registry import SOURCES
from optoscope.data._sources import ImageSource, RawImages, TextSource
from optoscope.data._transforms import channel_statistics, to_pixels

_ImageName = Literal["digits", "mnist", "fashion_mnist", "cifar10"]
_TextName = Literal["tinyshakespeare"]
_Directory = str | os.PathLike[str] | None
_LARGEST_SIZE = 256


def names() -> tuple[str, ...]:
    """The names `load` knows.

    >>> names()
    ('digits', 'mnist', 'fashion_mnist', 'cifar10', 'tinyshakespeare')
    """
    return SOURCES.names()


@overload
def load(
    name: _ImageName,
    *,
    data_dir: _Directory = None,
    size: int | None = None,
    standardize: bool = False,
    validation_size: int | None = None,
    verify: bool = True,
) -> Dataset: ...


@overload
def load(name: _TextName, *, data_dir: _Directory = None, verify: bool = True) -> TextDataset: ...


@overload
def load(
    name: str,
    *,
    data_dir: _Directory = None,
    size: int | None = None,
    standardize: bool = False,
    validation_size: int | None = None,
    verify: bool = True,
) -> Dataset | TextDataset: ...


def load(
    name: str,
    *,
    data_dir: _Directory = None,
    size: int | None = None,
    standardize: bool = False,
    validation_size: int | None = None,
    verify: bool = True,
) -> Dataset | TextDataset:
    """Loads a dataset, with the same splits every time; fetches it first where it is missing.

    Use `digits` where nothing may be downloaded. The test split is the official one; validation
    is the last `validation_size` of the official training images. `digits` has no official split:
    its 1,797 images are shuffled once and for all, the last 300 are the test split, and by default
    the 200 before them validation, which leaves 1,297 to train on. `tinyshakespeare` is cut into
    its first 90%, the next 5% and the last 5%.

    Args:
        name: one of `names()`.
        data_dir: the data directory; see `data_directory` for what is used where it is None.
            Files that are missing there are fetched into it (from the mirror that the environment
            variable OPTOSCOPE_DATA_URL names, else from where they are published); a folder that
            has them is only read.
        size: the new height and width in pixels, by averaging over areas; None keeps the images.
        standardize: subtract the mean of the train split's pixels and divide by their standard
            deviation (per channel, after resizing); else pixels are in [0, 1].
        validation_size: None for 5,000 (200 for `digits`); 0 for an empty validation split.
        verify: check the content: against its checksum where one is known, else its structure,
            sizes and class counts, with a warning. When False, structure alone is checked, and an
            incomplete CIFAR-10 is used as far as it goes, with a warning.

    Returns:
        `Dataset` for images (inputs of shape (n, height, width, channels), labels of shape (n,)),
        `TextDataset` for text (character indices of shape (n,)).

    Raises:
        UnknownNameError: there is no such dataset.
        InvalidValueError: an option cannot work with this dataset.
        DataError: a file is missing and cannot be fetched, or is not what it should be.

    >>> digits = load("digits")
    >>> digits.train.inputs.shape, digits.validation.num_examples, digits.test.labels.shape
    ((1297, 8, 8, 1), 200, (300,))
    """
    source = SOURCES[name]
    folder = data_directory(data_dir) / name
    if isinstance(source, TextSource):
        _refuse_image_options(name, size, standardize, validation_size)
        return _split_text(name, source.read(folder, verify))
    # Before any file is read: a bad option should not cost a download.
    _check_integer("size", size, minimum=1, maximum=_LARGEST_SIZE)
    _check_integer("validation_size", validation_size, minimum=0)
    raw = source.read(folder, verify)
    for note in raw.notes:
        warnings.warn(note, UserWarning, stacklevel=2)
    held_out = source.validation_size if validation_size is None else validation_size
    return _split_images(name, source, raw, size, standardize, held_out)


def _refuse_image_options(
    name: str, size: int | None, standardize: bool, validation_size: int | None
) -> None:
    if size is not None or standardize or validation_size is not None:
        raise InvalidValueError(
            f"{name} is text, which has no pixels and a fixed 90/5/5 split; leave out size, "
            "standardize and validation_size."
        )


def _check_integer(name: str, value: int | None, *, minimum: int, maximum: int = 10**9) -> None:
    if value is None:
        return
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool) or not minimum <= number <= maximum:
        limit = f" and at most {maximum:,}" if maximum < 10**9 else ""
        raise InvalidValueError(
            f"{name} is {value!r}; it must be an integer of at least {minimum}{limit}, or None."
        )


def _split_images(
    name: str,
    source: ImageSource,
    raw: RawImages,
    size: int | None,
    standardize: bool,
    held_out: int,
) -> Dataset:
    if held_out >= len(raw.train_labels):
        raise InvalidValueError(
            f"validation_size is {held_out:,}, but {name} has {len(raw.train_labels):,} training "
            "images here, of which at least one must be left to train on; pass a smaller "
            "validation_size."
        )
    pool = to_pixels(raw.train_images, source.maximum, size)
    test = to_pixels(raw.test_images, source.maximum, size)
    num_train = len(pool) - held_out
    statistics = channel_statistics(pool[:num_train]) if standardize else None

    def split(pixels: np.ndarray, labels: np.ndarray) -> Split:
        if statistics is not None:
            mean, deviation = (part.astype(np.float32) for part in statistics)
            pixels = (pixels - mean) / deviation
        return Split(jnp.asarray(pixels, jnp.float32), jnp.asarray(labels, jnp.int32))

    return Dataset(
        name=name,
        train=split(pool[:num_train], raw.train_labels[:num_train]),
        validation=split(pool[num_train:], raw.train_labels[num_train:]),
        test=split(test, raw.test_labels),
        num_classes=source.num_classes,
    )


def _split_text(name: str, text: str) -> TextDataset:
    # Code points through UTF-32: a Python loop over a million characters would be slow.
    code_points = np.frombuffer(text.encode("utf-32-le"), "<u4")
    vocabulary, tokens = np.unique(code_points, return_inverse=True)
    ends = [len(text) * 90 // 100, len(text) * 95 // 100]
    train, validation, test = (jnp.asarray(part, jnp.int32) for part in np.split(tokens, ends))
    return TextDataset(
        name=name,
        train=train,
        validation=validation,
        test=test,
        vocabulary="".join(chr(point) for point in vocabulary),
    )
