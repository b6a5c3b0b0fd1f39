"""The readers of scikit-learn's digits, of IDX datasets and of plain text."""

import functools
import importlib.util
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from optoscope._core.errors import DataError
from optoscope.data._fetch import RemoteFile, obtain, verified
from optoscope.data._formats import parse_idx, read_bytes
from optoscope.data._sources import RawImages, check_balance, check_labels, unproven_notes

_IDX_SHAPE = (28, 28)


def read_digits(folder: Path, verify: bool) -> RawImages:
    """scikit-learn's 8x8 digits in a fixed random order; needs no folder and no checksum."""
    images, labels = _digits()
    return RawImages(images[:-300], labels[:-300], images[-300:], labels[-300:])


@functools.cache
def _digits() -> tuple[np.ndarray, np.ndarray]:
    """All images and labels, to be read only: parsing their text takes longer than the rest."""
    table = _digits_table()
    images, labels = table[:, :-1], table[:, -1]
    # RandomState, not Generator: NumPy promises that its stream never changes.
    order = np.random.RandomState(0).permutation(len(labels))
    images = images.astype(np.uint8).reshape(-1, 8, 8, 1)[order]
    labels = labels.astype(np.uint8)[order]
    images.flags.writeable = labels.flags.writeable = False
    return images, labels


def _digits_table() -> np.ndarray:
    """Pixels and label of each image, (images, 65): scikit-learn's file, as it is installed.

    Importing scikit-learn for it would be a tenth of the time of a short command.
    """
    package = importlib.util.find_spec("sklearn")
    if package is not None and package.origin is not None:
        file = Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
        if file.is_file():
            return np.loadtxt(file, delimiter=",")
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    return np.column_stack([images, labels])


@dataclass(frozen=True)
class IdxImages:
    """Reads the four IDX files of MNIST and of the datasets that took over its format.

    Attributes:
        files: training images, training labels, test images, test labels.
    """

    files: tuple[RemoteFile, RemoteFile, RemoteFile, RemoteFile]

    def __call__(self, folder: Path, verify: bool) -> RawImages:
        """Reads, checks and pairs the four files."""
        arrays, paths, unproven = [], [], []
        for file, num_dimensions in zip(self.files, (3, 1, 3, 1), strict=True):
            path = obtain(file, folder, verify=verify)
            content = read_bytes(path)
            # Structure first: "truncated" says more than "wrong checksum".
            arrays.append(parse_idx(content, path, num_dimensions=num_dimensions))
            paths.append(path)
            if verify and not verified(file, path, content):
                unproven.append(path)
        for i in (0, 2):
            _check_images(arrays[i], arrays[i + 1], paths[i], paths[i + 1])
        if verify:
            for i, expected in ((0, 60_000), (2, 10_000)):
                if len(arrays[i]) != expected:
                    raise DataError(
                        f"{paths[i]} holds {len(arrays[i]):,} images instead of {expected:,}. "
                        "Replace it, or pass verify=False to use the images that are there."
                    )
            if unproven:
                check_balance(arrays[1], paths[1])
                check_balance(arrays[3], paths[3])
        train_images, train_labels, test_images, test_labels = arrays
        return RawImages(
            train_images[..., None],
            train_labels,
            test_images[..., None],
            test_labels,
            unproven_notes(unproven),
        )


@dataclass(frozen=True)
class PlainText:
    """Reads one UTF-8 text file."""

    file: RemoteFile

    def __call__(self, folder: Path, verify: bool) -> str:
        """Reads and checks the text; line ends are kept as they are."""
        path = obtain(self.file, folder, verify=verify)
        content = read_bytes(path)
        if verify:
            verified(self.file, path, content)
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError as error:
            raise DataError(f"{path} is not UTF-8 text: {error}. Replace the file.") from None
        if len(text) < 20:
            raise DataError(
                f"{path} holds {len(text)} characters; a split of 90%, 5% and 5% needs at least 20."
                " Replace the file."
            )
        return text


def _check_images(images: np.ndarray, labels: np.ndarray, path: Path, labels_path: Path) -> None:
    if images.shape[1:] != _IDX_SHAPE:
        raise DataError(
            f"{path} holds images of {images.shape[1]}x{images.shape[2]} pixels instead of 28x28: "
            "it is another dataset. Replace the file."
        )
    if len(images) != len(labels):
        raise DataError(
            f"{path} holds {len(images):,} images, but {labels_path} holds {len(labels):,} labels: "
            "they do not belong together. Replace both."
        )
    if not len(images):
        raise DataError(f"{path} holds no images. Replace the file.")
    check_labels(labels, labels_path)
