import gzip
import io
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest

from optoscope import data
from optoscope._core.errors import DataError
from optoscope.data import _cifar
from optoscope.data._cifar import CifarImages
from optoscope.data._fetch import RemoteFile

ARCHIVE = "cifar-10-binary.tar.gz"
NAMES = [f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"]


@pytest.fixture
def batches(cifar_batch, monkeypatch):
    """A complete CIFAR-10 of twenty images a batch."""
    monkeypatch.setattr(_cifar, "_BATCH_IMAGES", 20)
    return {name: cifar_batch(first, 20) for first, name in enumerate(NAMES)}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "cifar10").mkdir()
    return tmp_path / "cifar10"


def write_files(folder, batches):
    folder.mkdir(exist_ok=True)
    for name, content in batches.items():
        (folder / name).write_bytes(content)


def write_archive(folder, batches, *extra):
    with tarfile.open(folder / ARCHIVE, "w:gz") as archive:
        for name, content in batches.items():
            info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for info in extra:
            archive.addfile(info, io.BytesIO(bytes(info.size)))


def load_small(folder, **options):
    return data.load("cifar10", data_dir=folder.parent, validation_size=30, **options)


@pytest.mark.parametrize("form", ["plain", "plain in a folder", "archive"])
def test_all_forms_give_the_same_arrays(folder, batches, form):
    if form == "archive":
        write_archive(folder, batches)
    else:
        write_files(folder / ("" if form == "plain" else "cifar-10-batches-bin"), batches)
    with pytest.warns(UserWarning, match="no known checksum"):
        dataset = load_small(folder)
    assert dataset.train.inputs.shape == (70, 32, 32, 3)
    assert dataset.validation.num_examples == 30
    assert dataset.input_shape == (32, 32, 3)
    np.testing.assert_array_equal(dataset.test.labels, (5 + np.arange(20)) % 10)
    np.testing.assert_array_equal(dataset.train.labels[20:40], (1 + np.arange(20)) % 10)
    image = np.zeros((32, 32, 3), np.float32)
    image[0, 0, 0], image[0, 31, 1], image[31, 0, 2] = 0.2, 0.4, 1.0
    np.testing.assert_allclose(dataset.train.inputs[69], image, rtol=1e-7)


def test_a_known_archive_loads_without_a_warning(folder, batches, recwarn):
    import hashlib

    write_archive(folder, batches)
    md5 = hashlib.md5((folder / ARCHIVE).read_bytes()).hexdigest()
    raw = CifarImages(RemoteFile(f"http://127.0.0.1:9/{ARCHIVE}", md5=md5))(folder, True)
    assert raw.notes == ()
    assert len(raw.train_labels) == 100


def test_standardizing_is_per_channel(folder, cifar_batch):
    rng = np.random.RandomState(0)
    records = rng.randint(0, 256, (60, 3073)).astype(np.uint8)
    records[:, 0] %= 10
    records[:, 1:1025] //= 2
    write_files(folder, {"data_batch_1.bin": records.tobytes()})
    with pytest.warns(UserWarning, match="60 training and 0 test images"):
        train = load_small(folder, verify=False, standardize=True).train.inputs
    np.testing.assert_allclose(train.mean((0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(train.std((0, 1, 2)), 1, atol=1e-5)


def test_an_incomplete_set_is_refused_unless_told_otherwise(folder, batches, cifar_batch):
    write_files(folder, {"data_batch_2.bin": batches["data_batch_2.bin"]})
    (folder / "data_batch_4.bin").write_bytes(cifar_batch(0, 15))
    with pytest.raises(DataError) as info:
        load_small(folder)
    assert str(info.value).startswith(
        f"{folder} is not a complete CIFAR-10: data_batch_1.bin, data_batch_3.bin, "
        "data_batch_5.bin, test_batch.bin missing; data_batch_4.bin has 15 images instead of 20."
    )
    assert "verify=False" in str(info.value)
    with pytest.warns(UserWarning, match="35 training and 0 test images that are there") as record:
        dataset = load_small(folder, verify=False)
    # Attributed to the caller (the type checker's wrapper, where it is on), not to the library.
    assert "optoscope" not in Path(record[0].filename).parts
    assert (dataset.train.num_examples, dataset.test.num_examples) == (5, 0)


def test_without_a_training_batch_there_is_nothing_to_use(folder, batches):
    write_files(folder, {"test_batch.bin": batches["test_batch.bin"]})
    with pytest.raises(DataError, match="not a complete CIFAR-10"):
        load_small(folder, verify=False)


def test_damaged_batches_are_refused(folder, batches):
    for content, message in [
        (batches["data_batch_1.bin"][:-1], "61,459 bytes, which is not a whole number"),
        (b"", "0 bytes, which is not a whole number"),
        (b"\x0a" + bytes(3072), r"data_batch_1\.bin has label 10 at position 0"),
    ]:
        write_files(folder, {"data_batch_1.bin": content})
        with pytest.raises(DataError, match=message):
            load_small(folder, verify=False)


def test_unbalanced_classes_are_refused(folder, batches):
    batches["data_batch_3.bin"] = b"\x07" + batches["data_batch_3.bin"][1:]
    write_files(folder, batches)
    with pytest.raises(DataError, match="should have 10 images each, but have"):
        load_small(folder)


def member(name, kind=tarfile.REGTYPE, size=0, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, size, target
    return info


@pytest.mark.parametrize(
    ("evil", "message"),
    [
        (member("/etc/evil.bin", size=4), "an absolute path"),
        (member("cifar-10-batches-bin/../../evil.bin", size=4), "a path that leaves the archive"),
        (member("data_batch_1.bin", tarfile.SYMTYPE, target="/etc/passwd"), "a link or a device"),
        (member("data_batch_1.bin", tarfile.LNKTYPE, target="x"), "a link or a device"),
        (member("fifo", tarfile.FIFOTYPE), "a link or a device"),
        (member("elsewhere/data_batch_1.bin", size=3073), "twice"),
    ],
)
@pytest.mark.parametrize("verify", [True, False])
def test_an_evil_archive_is_refused_and_nothing_is_written(folder, batches, evil, message, verify):
    write_archive(folder, batches, evil)
    before = sorted(folder.parent.rglob("*"))
    with pytest.raises(DataError, match=f"is refused: .*{message}"):
        load_small(folder, verify=verify)
    assert sorted(folder.parent.rglob("*")) == before


def test_an_oversized_member_is_refused_before_it_is_read(folder, batches):
    write_archive(folder, {"data_batch_1.bin": bytes(3073 * 21)})
    with pytest.raises(DataError, match="64,533 bytes, more than 20 CIFAR-10 records"):
        load_small(folder)


@pytest.mark.parametrize(
    "kind", [tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE]
)
def test_a_long_name_takes_no_memory(folder, kind):
    header = member("long", kind, size=1_200_000_000).tobuf(tarfile.GNU_FORMAT)
    (folder / ARCHIVE).write_bytes(gzip.compress(header + bytes(1_000_000)))
    with pytest.raises(DataError, match="an extended header of 1,200,000,000 bytes"):
        load_small(folder, verify=False)


def test_ordinary_extended_headers_are_passed_over(folder, batches):
    with tarfile.open(folder / ARCHIVE, "w:gz", format=tarfile.PAX_FORMAT) as archive:
        for name, content in batches.items():
            info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            info.size, info.pax_headers = len(content), {"comment": "é" * 300}
            archive.addfile(info, io.BytesIO(content))
    with pytest.warns(UserWarning, match="the pixels are unverified"):
        assert load_small(folder).train.num_examples > 0


@pytest.mark.parametrize("where", ["before", "after"])
def test_an_archive_of_zeros_ends_early(folder, where):
    zeros = b"".join([gzip.compress(bytes(10_000_000), 1)] * 60)
    if where == "before":
        zeros = gzip.compress(member("zeros", size=600_000_000).tobuf()) + zeros
    (folder / ARCHIVE).write_bytes(zeros)
    with pytest.raises(DataError, match=r"is refused: it holds more than 368,760,000 bytes"):
        load_small(folder, verify=False)


@pytest.mark.parametrize("name", [ARCHIVE, "data_batch_1.bin"])
def test_what_is_no_file_is_refused(folder, name):
    os.mkfifo(folder / name)
    with pytest.raises(DataError, match="it is a pipe, a socket or a device, not a file"):
        load_small(folder, verify=False)


def test_a_damaged_archive_is_refused(folder, batches):
    write_archive(folder, batches)
    path = folder / ARCHIVE
    whole = path.read_bytes()
    for content in [
        whole[: len(whole) // 2],
        whole[:-4],
        whole[:-8] + b"\0\0\0\0" + whole[-4:],  # only the checksum is wrong
        b"not an archive",
        gzip.compress(b"not a tar" * 100),
    ]:
        path.write_bytes(content)
        with pytest.raises(DataError, match="damaged or truncated archive"):
            load_small(folder, verify=False)


def test_the_stand_in_for_cifar10_is_refused_by_default():
    directory = os.environ.get("OPTOSCOPE_DATA")
    if not directory or not (Path(directory) / "cifar10" / "data_batch_1.bin").exists():
        pytest.skip("OPTOSCOPE_DATA names no folder with cifar10/data_batch_1.bin")
    if (Path(directory) / "cifar10" / "data_batch_2.bin").exists():
        pytest.skip("the CIFAR-10 there is complete")
    with pytest.raises(DataError, match="not a complete CIFAR-10"):
        data.load("cifar10")
    with pytest.warns(UserWarning, match="never for a published number"):
        dataset = data.load("cifar10", verify=False)
    assert dataset.train.inputs.shape[1:] == (32, 32, 3)
    assert 0.4 < float(dataset.test.inputs.mean()) < 0.55
