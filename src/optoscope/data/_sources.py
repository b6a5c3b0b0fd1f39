"""The types that readers return, and the checks of labels that all datasets share."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from optoscope._core.errors import DataError


@dataclass(frozen=True)
class RawImages:
    """Images as stored, before scaling and splitting; `notes` are warnings for the user."""

    train_images: UInt8[np.ndarray, "n height width channels"]
    train_labels: UInt8[np.ndarray, " n"]
    test_images: UInt8[np.ndarray, "m height width channels"]
    test_labels: UInt8[np.ndarray, " m"]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ImageSource:
    """How to read one image dataset.

    Attributes:
        read: takes the dataset's folder and whether to verify.
        num_classes: the number of classes.
        maximum: the largest pixel value, which becomes 1.
        validation_size: how many training images are held out by default.
    """

    read: Callable[[Path, bool], RawImages]
    num_classes: int = 10
    maximum: int = 255
    validation_size: int = 5_000


@dataclass(frozen=True)
class TextSource:
    """How to read one text dataset: `read` takes the dataset's folder and whether to verify."""

    read: Callable[[Path, bool], str]


def check_labels(labels: UInt8[np.ndarray, " n"], path: Path) -> None:
    """Raises DataError unless every label is a class from 0 to 9."""
    if labels.max() > 9:
        at = int(np.argmax(labels > 9))
        raise DataError(
            f"{path} has label {labels[at]} at position {at}, but labels go from 0 to 9: the file "
            "is damaged or another dataset. Replace it."
        )


def check_balance(labels: UInt8[np.ndarray, " n"], path: Path) -> None:
    """Raises DataError unless each of ten classes has equally many images."""
    # Fashion-MNIST and CIFAR-10 have equally many images of each class and MNIST has not, so that
    # this catches MNIST's files, which have the same names and shapes, in the wrong folder.
    counts = np.bincount(labels, minlength=10)
    if np.any(counts != len(labels) // 10):
        raise DataError(
            f"{path} is not the published dataset: its classes should have {len(labels) // 10:,} "
            f"images each, but have {', '.join(map(str, counts))}. Replace it, or pass "
            "verify=False to use it as it is."
        )


def unproven_notes(paths: list[Path]) -> tuple[str, ...]:
    """A warning for the user about files that no known checksum could verify."""
    if not paths:
        return ()
    return (
        f"{', '.join(map(str, paths))}: sizes, labels and class counts are right, but no known "
        "checksum covers this form of the files, so the pixels are unverified. The published "
        "compressed files can be verified.",
    )
