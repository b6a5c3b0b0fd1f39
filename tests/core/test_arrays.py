import io
import os
import struct
import zipfile

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from optoscope._core.arrays import read_arrays, write_arrays
from optoscope._core.errors import FileFormatError, RunDirectoryError

DTYPES = st.sampled_from(
    ["<f4", ">f4", "<f8", "<f2", "<i4", ">i8", "|u1", "|b1", "<c16", "<U3", "|S2"]
).map(np.dtype)


@settings(max_examples=60, deadline=None)
@given(
    array=DTYPES.flatmap(
        lambda dtype: hnp.arrays(
            dtype,
            hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
            elements={"allow_subnormal": False} if dtype.kind in "fc" else None,
        )
    ),
    transposed=st.booleans(),
)
def test_round_trip(tmp_path_factory, array, transposed):
    path = tmp_path_factory.getbasetemp() / "arrays.npz"
    array = array.T if transposed else array
    write_arrays(path, {"a/b": array, "file": array})
    found = read_arrays(path)
    assert list(found) == ["a/b", "file"]
    for other in found.values():
        assert other.dtype == array.dtype.newbyteorder("=")
        np.testing.assert_array_equal(other, array)
        assert other.flags.writeable


def test_numpy_reads_what_is_written_and_the_other_way_round(tmp_path):
    arrays = {"a": np.arange(6.0).reshape(2, 3), "b": np.asfortranarray(np.ones((2, 3)))}
    write_arrays(tmp_path / "ours.npz", arrays)
    np.savez(tmp_path / "theirs.npz", **arrays)
    theirs = np.load(tmp_path / "ours.npz")
    for name, array in arrays.items():
        np.testing.assert_array_equal(theirs[name], array)
        np.testing.assert_array_equal(read_arrays(tmp_path / "theirs.npz")[name], array)


def test_bfloat16_keeps_its_values_and_objects_are_refused(tmp_path):
    array = np.array([1.5, -3e38, np.inf], ml_dtypes.bfloat16)
    write_arrays(tmp_path / "a.npz", {"a": array})
    np.testing.assert_array_equal(read_arrays(tmp_path / "a.npz")["a"], array.astype(np.float32))
    with pytest.raises(FileFormatError, match="a has type object"):
        write_arrays(tmp_path / "b.npz", {"a": np.array([None])})
    assert not (tmp_path / "b.npz").exists()


def test_arrays_that_are_large_are_read_back_however_alike_their_numbers(tmp_path, monkeypatch):
    monkeypatch.setattr("optoscope._core.arrays._MOST_BYTES", 10_000)
    write_arrays(tmp_path / "a.npz", {"a": np.zeros(10_000)})
    assert read_arrays(tmp_path / "a.npz")["a"].shape == (10_000,)


def archive(descr, shape, content, *, name="a.npy", method=zipfile.ZIP_DEFLATED, copies=1):
    """An archive with one array whose header says what it likes."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": descr, "fortran_order": False, "shape": shape}
    )
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", method) as file:
        for _ in range(copies):
            file.writestr(name, header.getvalue() + content)
    return whole.getvalue()


def bomb():
    """Five gigabytes of zeros in a few kilobytes, whose table of contents is true."""
    whole = bytearray(archive("<f8", (10,), bytes(80)))
    table = whole.rindex(b"PK\1\2")
    whole[table + 24 : table + 28] = struct.pack("<I", 4_000_000_000)
    return bytes(whole)


BAD = {
    "more than there is": archive("<f8", (10**9,), bytes(80)),
    "less than there is": archive("<f8", (2,), bytes(80)),
    "sides beyond counting": archive("<f8", (0, 10**30), b""),
    "a million texts of no length": archive("<U0", (10**12,), b""),
    "objects": archive("|O", (1,), bytes(8)),
    "records": archive([("a", "<f8")], (2,), bytes(16)),
    "a negative side": archive("<f8", (-1,), b""),
    "what is no text": archive("<U1", (1,), b"\xff" * 4),
    "another kind of member": archive("<f8", (1,), bytes(8), name="a.txt"),
    "another compression": archive("<f8", (1,), bytes(8), method=zipfile.ZIP_BZIP2),
    "a bomb": bomb(),
    "nothing": b"",
    "zeros": bytes(1000),
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_array_that_is_there_twice(tmp_path):
    (tmp_path / "a.npz").write_bytes(archive("<f8", (1,), bytes(8), copies=2))
    with pytest.raises(RunDirectoryError, match="twice"):
        read_arrays(tmp_path / "a.npz")


@pytest.mark.parametrize("content", BAD.values(), ids=BAD)
def test_what_an_archive_says_is_checked_first(tmp_path, content):
    path = tmp_path / "a.npz"
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match=r"a\.npz cannot be read as a NumPy archive: ."):
        read_arrays(path, FileFormatError)


def test_the_reason_is_one_line(tmp_path):
    header = f"{{'descr': '{'x ' * 3000}'".encode() + b"\n" * 40
    content = b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as file:
        file.writestr("a.npy", content)
    with pytest.raises(RunDirectoryError) as caught:
        read_arrays(tmp_path / "a.npz")
    assert len(str(caught.value)) < 400 + len(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_a_table_of_contents_has_a_limit(tmp_path):
    with zipfile.ZipFile(tmp_path / "many.npz", "w") as file:
        for index in range(10_001):
            file.writestr(f"{index}.npy", b"")
    with pytest.raises(RunDirectoryError, match="more than 10,000 entries"):
        read_arrays(tmp_path / "many.npz")


def test_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    with (tmp_path / "hole").open("wb") as file:
        file.truncate(2**31)
    for name in ("fifo", "hole", "."):
        with pytest.raises(RunDirectoryError, match="cannot be read as a NumPy archive"):
            read_arrays(tmp_path / name)
    with pytest.raises(RunDirectoryError, match="absent does not exist"):
        read_arrays(tmp_path / "absent")
