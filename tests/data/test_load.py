import doctest
import gzip
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import load_digits

from optoscope import data
from optoscope._core.errors import DataError, InvalidValueError, UnknownNameError
from optoscope.data import _fetch, _load
from optoscope.data._fetch import RemoteFile
from optoscope.data._readers import IdxImages
from optoscope.data._registry import SOURCES

NAMES = [
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
]


def test_names_and_unknown_names():
    assert data.names() == ("digits", "mnist", "fashion_mnist", "cifar10", "tinyshakespeare")
    with pytest.raises(UnknownNameError, match=r"unknown dataset 'minst'\. Did you mean 'mnist'"):
        data.load("minst")


def test_doctests():
    results = doctest.testmod(_load)
    assert results.attempted >= 3
    assert results.failed == 0


def test_importing_starts_nothing():
    code = "import optoscope.data, sys; print({'pooch', 'sklearn', 'requests'} & set(sys.modules))"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert child.stdout.strip() == "set()"


class TestDigits:
    def test_splits_are_the_bundled_images_each_once(self):
        dataset = data.load("digits")
        splits = [dataset.train, dataset.validation, dataset.test]
        assert [split.num_examples for split in splits] == [1297, 200, 300]
        assert dataset.input_shape == (8, 8, 1)
        assert dataset.num_classes == 10
        assert dataset.train.inputs.dtype == jnp.float32
        assert dataset.train.labels.dtype == jnp.int32
        bundled = load_digits()
        rows = [
            np.concatenate([s.inputs.reshape(-1, 64) * 16, s.labels[:, None]], 1) for s in splits
        ]
        want = np.concatenate([bundled.data, bundled.target[:, None]], 1)
        assert sorted(map(tuple, np.concatenate(rows))) == sorted(map(tuple, want))

    def test_the_order_never_changes(self):
        dataset = data.load("digits")
        assert dataset.train.labels[:8].tolist() == TRAIN_LABELS
        assert dataset.test.labels[-8:].tolist() == TEST_LABELS

    def test_validation_size_moves_only_the_border_to_train(self):
        default, none = data.load("digits"), data.load("digits", validation_size=0)
        assert none.validation.inputs.shape == (0, 8, 8, 1)
        joined = jnp.concatenate([default.train.inputs, default.validation.inputs])
        np.testing.assert_array_equal(none.train.inputs, joined)
        np.testing.assert_array_equal(none.test.inputs, default.test.inputs)

    def test_standardizing_uses_the_train_split_for_all_splits(self):
        plain = data.load("digits", size=4)
        scaled = data.load("digits", size=4, standardize=True)
        train = np.asarray(plain.train.inputs, np.float64)
        for name in ("train", "validation", "test"):
            want = (np.asarray(getattr(plain, name).inputs) - train.mean()) / train.std()
            np.testing.assert_allclose(getattr(scaled, name).inputs, want, atol=2e-6)

    def test_a_dataset_is_a_pytree_that_jit_takes(self):
        dataset = data.load("digits")
        assert len(jax.tree.leaves(dataset)) == 6
        mean = jax.jit(lambda d: d.train.inputs.mean() * d.num_classes)(dataset)
        np.testing.assert_allclose(mean, 10 * dataset.train.inputs.mean(), rtol=1e-5)


TRAIN_LABELS = [2, 8, 2, 6, 6, 7, 1, 9]
TEST_LABELS = [8, 4, 5, 3, 3, 7, 7, 8]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("digits", {"size": 0}, "size is 0; it must be an integer of at least 1 and at most 256"),
        ("digits", {"size": 257}, "size is 257"),
        ("digits", {"size": True}, "size is True"),
        ("mnist", {"validation_size": -1}, "validation_size is -1; .* at least 0, or None"),
        ("digits", {"validation_size": 1497}, "digits has 1,497 training images"),
        ("tinyshakespeare", {"size": 8}, "is text, which has no pixels"),
        ("tinyshakespeare", {"standardize": True}, "is text"),
        ("tinyshakespeare", {"validation_size": 0}, "is text"),
    ],
)
def test_bad_options_are_refused_before_any_file_is_read(name, options, message, monkeypatch):
    monkeypatch.setattr(_fetch, "find", None)
    with pytest.raises(InvalidValueError, match=message):
        data.load(name, **options)


class TestIdx:
    @pytest.mark.parametrize("gzipped", [True, False])
    @pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
    def test_files_become_splits(self, tmp_path, write_idx, idx_arrays, name, gzipped):
        write_idx(tmp_path / name, idx_arrays, gzipped=gzipped)
        dataset = data.load(name, data_dir=tmp_path, validation_size=3, verify=False)
        assert dataset.train.inputs.shape == (7, 28, 28, 1)
        assert dataset.validation.labels.tolist() == [6, 5, 3]
        np.testing.assert_array_equal(
            dataset.validation.inputs[:, 5, 6, 0], np.float32([70, 80, 90]) / np.float32(255)
        )
        assert dataset.test.labels.tolist() == [3, 1, 4, 1]

    def test_the_environment_names_the_directory(
        self, tmp_path, write_idx, idx_arrays, monkeypatch
    ):
        write_idx(tmp_path / "mnist", idx_arrays)
        monkeypatch.setenv("OPTOSCOPE_DATA", str(tmp_path))
        assert data.load("mnist", validation_size=0, verify=False).train.num_examples == 10

    def test_a_read_only_directory_is_only_read(self, tmp_path, write_idx, idx_arrays, monkeypatch):
        def refuse(*args, **kwargs):
            raise PermissionError(30, "Read-only file system")

        folder = write_idx(tmp_path / "mnist", idx_arrays)
        # Permissions do not stop root, so that writing is made impossible too.
        for what in ("mkdir", "write_bytes", "replace", "touch"):
            monkeypatch.setattr(Path, what, refuse)
        monkeypatch.setattr("tempfile.mkdtemp", refuse)
        monkeypatch.setattr("tempfile.mkstemp", refuse)
        folder.chmod(0o555)
        try:
            dataset = data.load("mnist", data_dir=tmp_path, validation_size=1, verify=False)
        finally:
            folder.chmod(0o755)
        assert dataset.train.num_examples == 9

    def test_the_default_validation_does_not_fit_a_small_file(
        self, tmp_path, write_idx, idx_arrays
    ):
        write_idx(tmp_path / "mnist", idx_arrays)
        with pytest.raises(InvalidValueError, match="is 5,000, but mnist has 10 training images"):
            data.load("mnist", data_dir=tmp_path, verify=False)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda a: a.__setitem__(1, a[1][:9]), "holds 10 images, but .* holds 9 labels"),
            (lambda a: a[3].__setitem__(2, 10), "t10k-labels.* has label 10 at position 2"),
            (lambda a: a.__setitem__(2, a[2][:, :27]), "images of 27x28 pixels instead of 28x28"),
            (lambda a: a.__setitem__(1, a[0]), "train-labels.* starts with 00000803"),
            (lambda a: a.__setitem__(slice(2, 4), [a[2][:0], a[3][:0]]), "holds no images"),
        ],
    )
    def test_files_that_do_not_fit_are_refused(
        self, tmp_path, write_idx, idx_arrays, change, message
    ):
        change(idx_arrays)
        write_idx(tmp_path / "mnist", idx_arrays)
        with pytest.raises(DataError, match=message):
            data.load("mnist", data_dir=tmp_path, validation_size=0, verify=False)

    def test_wrong_content_is_refused_unless_told_otherwise(self, tmp_path, write_idx, idx_arrays):
        write_idx(tmp_path / "mnist", idx_arrays)
        with pytest.raises(DataError, match=r"train-images.*wrong checksum.*verify=False"):
            data.load("mnist", data_dir=tmp_path)
        write_idx(tmp_path / "fashion_mnist", idx_arrays)
        with pytest.raises(DataError, match="holds 10 images instead of 60,000"):
            data.load("fashion_mnist", data_dir=tmp_path)


class TestFashionOfFullSize:
    """Through the reader: a full-size `load` would only cost time."""

    @pytest.fixture
    def arrays(self):
        labels = (np.arange(60_000) % 10).astype(np.uint8)
        images = np.zeros((60_000, 28, 28), np.uint8)
        return [images, labels, images[:10_000], labels[:10_000]]

    @staticmethod
    def reader(paths, md5s):
        files = [
            RemoteFile(f"http://127.0.0.1:9/{path.name}", md5=md5)
            for path, md5 in zip(paths, md5s, strict=True)
        ]
        return IdxImages(tuple(files))

    def test_known_files_are_proven_and_others_are_noted(self, tmp_path, write_idx, arrays):
        folder = write_idx(tmp_path / "fashion_mnist", arrays)
        paths = [folder / name for name in NAMES]
        md5s = [hashlib.md5(path.read_bytes()).hexdigest() for path in paths]
        assert self.reader(paths, md5s)(folder, True).notes == ()
        # The same content compressed anew: no longer provable, still right in structure.
        md5s[2] = "0" * 32
        (note,) = self.reader(paths, md5s)(folder, True).notes
        assert note.startswith(f"{paths[2]}: sizes, labels and class counts are right")
        assert self.reader(paths, md5s)(folder, False).notes == ()

    def test_other_classes_are_refused(self, tmp_path, write_idx, arrays):
        # What MNIST's files look like in Fashion-MNIST's folder.
        arrays[1] = arrays[1].copy()
        arrays[1][0] = 5
        folder = write_idx(tmp_path / "fashion_mnist", arrays, gzipped=False)
        with pytest.raises(DataError, match=r"should have 6,000 images each, but have 5999, 6000"):
            SOURCES["fashion_mnist"].read(folder, True)
        assert SOURCES["fashion_mnist"].read(folder, False).notes == ()


class TestText:
    TEXT = "to be, or not to be: that is the question.\r\n" * 3 + "é\N{SNOWMAN}"

    @staticmethod
    def write(directory, content):
        (directory / "tinyshakespeare").mkdir(exist_ok=True)
        (directory / "tinyshakespeare" / "input.txt").write_bytes(content)

    def test_characters_and_splits(self, tmp_path):
        self.write(tmp_path, self.TEXT.encode())
        dataset = data.load("tinyshakespeare", data_dir=tmp_path, verify=False)
        assert dataset.vocabulary == "".join(sorted(set(self.TEXT)))
        parts = [dataset.train, dataset.validation, dataset.test]
        assert [part.shape for part in parts] == [(120,), (7,), (7,)]
        assert all(part.dtype == jnp.int32 for part in parts)
        assert "".join(map(dataset.decode, parts)) == self.TEXT

    @pytest.mark.parametrize(
        ("content", "verify", "message"),
        [
            (b"to be" * 10, True, r"input\.txt has the wrong checksum"),
            (b"to be" * 10 + b"\xff", False, r"input\.txt is not UTF-8 text"),
            (b"to be", False, "holds 5 characters"),
        ],
    )
    def test_bad_text_is_refused(self, tmp_path, content, verify, message):
        self.write(tmp_path, content)
        with pytest.raises(DataError, match=message):
            data.load("tinyshakespeare", data_dir=tmp_path, verify=verify)


def real(name):
    directory = os.environ.get("OPTOSCOPE_DATA")
    if not directory:
        pytest.skip("OPTOSCOPE_DATA is not set")
    if not (Path(directory) / name).is_dir():
        pytest.skip(f"OPTOSCOPE_DATA names a folder without {name}")
    return name


def test_real_mnist():
    dataset = data.load(real("mnist"))
    splits = [dataset.train, dataset.validation, dataset.test]
    assert [split.inputs.shape for split in splits] == [
        (55_000, 28, 28, 1),
        (5_000, 28, 28, 1),
        (10_000, 28, 28, 1),
    ]
    assert dataset.train.labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert dataset.test.labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    labels = np.concatenate([dataset.train.labels, dataset.validation.labels])
    counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(labels).tolist() == counts
    # The mean and deviation of MNIST's training pixels that everyone standardizes with.
    pixels = np.concatenate([dataset.train.inputs, dataset.validation.inputs])
    np.testing.assert_allclose(pixels.mean(dtype=np.float64), 0.1307, atol=5e-5)
    np.testing.assert_allclose(pixels.std(dtype=np.float64), 0.3081, atol=5e-5)


def test_real_mnist_resized_and_standardized():
    dataset = data.load(real("mnist"), size=14, standardize=True, validation_size=0)
    assert dataset.train.inputs.shape == (60_000, 14, 14, 1)
    assert dataset.validation.inputs.shape == (0, 14, 14, 1)
    train = np.asarray(dataset.train.inputs, np.float64)
    np.testing.assert_allclose([train.mean(), train.std()], [0, 1], atol=1e-5)


def test_real_mnist_in_the_wrong_folder(tmp_path):
    source = Path(os.environ.get("OPTOSCOPE_DATA", "")) / real("mnist")
    (tmp_path / "fashion_mnist").symlink_to(source.resolve())
    with pytest.raises(DataError, match="is not the published dataset"):
        data.load("fashion_mnist", data_dir=tmp_path)


def test_one_flipped_pixel_of_real_mnist_is_noticed(tmp_path):
    source = Path(os.environ.get("OPTOSCOPE_DATA", "")) / real("mnist")
    (tmp_path / "mnist").mkdir()
    for path in source.iterdir():
        (tmp_path / "mnist" / path.name).symlink_to(path.resolve())
    name = "t10k-images-idx3-ubyte.gz"
    if not (source / name).exists():
        pytest.skip("the MNIST there is not gzipped")
    content = bytearray(gzip.decompress((source / name).read_bytes()))
    content[-1] ^= 1
    (tmp_path / "mnist" / name).unlink()
    (tmp_path / "mnist" / name).write_bytes(gzip.compress(content, 1))
    with pytest.raises(DataError, match=rf"{name} has the wrong checksum"):
        data.load("mnist", data_dir=tmp_path)


def test_real_text():
    dataset = data.load(real("tinyshakespeare"))
    assert len(dataset.vocabulary) == 65
    assert dataset.decode(dataset.train[:14]) == "First Citizen:"
    sizes = [part.size for part in (dataset.train, dataset.validation, dataset.test)]
    assert sizes == [1_003_854, 55_770, 55_770]
