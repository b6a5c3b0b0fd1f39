import contextlib
import gzip
import os
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from optoscope._core.errors import DataError
from optoscope.data._formats import parse_idx, read_bytes

SOURCE = Path("somewhere/file")


@given(
    hnp.arrays(np.uint8, hnp.array_shapes(min_dims=3, max_dims=3, min_side=0, max_side=5))
    | hnp.arrays(np.uint8, st.integers(0, 20))
)
def test_idx_round_trip(array):
    content = struct.pack(">HBB", 0, 8, array.ndim)
    content += struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()
    np.testing.assert_array_equal(parse_idx(content, SOURCE, num_dimensions=array.ndim), array)


def test_idx_by_hand():
    content = bytes([0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 10, 11, 12, 13, 14, 15])
    got = parse_idx(content, SOURCE, num_dimensions=3)
    assert got.tolist() == [[[10, 11, 12], [13, 14, 15]]]
    assert got.dtype == np.uint8


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "starts with nothing, but an IDX file of labels starts with 00000801"),
        (b"\x00\x00\x08\x03\x00\x00\x00\x01", "starts with 00000803"),
        (b"\x00\x00\x0d\x01\x00\x00\x00\x01\x05", "starts with 00000d01"),
        (b"\x00\x00\x08\x01\x00\x00", "truncated inside its IDX header"),
        (b"\x00\x00\x08\x01\x00\x00\x00\x03\x01\x02", r"is truncated: .*\(3,\), so 11 bytes.*10\."),
        (b"\x00\x00\x08\x01\x00\x00\x00\x01\x01\x02", "is too long"),
        (b"\x00\x00\x08\x01\xff\xff\xff\xff\x01", "is truncated: .* 4,294,967,303 bytes"),
    ],
)
def test_bad_idx_is_refused(content, message):
    with pytest.raises(DataError, match=message) as info:
        parse_idx(content, SOURCE, num_dimensions=1)
    assert str(SOURCE) in str(info.value)
    assert "Delete it" in str(info.value)


@given(st.binary(max_size=60))
def test_any_bytes_are_parsed_or_refused(content):
    with contextlib.suppress(DataError):
        assert parse_idx(content, SOURCE, num_dimensions=3).ndim == 3


def test_gzip_is_chosen_by_the_name(tmp_path):
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"content"))
    (tmp_path / "a").write_bytes(b"content")
    assert read_bytes(tmp_path / "a.gz") == read_bytes(tmp_path / "a") == b"content"


def test_every_truncation_of_a_gzip_is_refused(tmp_path):
    whole = gzip.compress(bytes(range(256)))
    path = tmp_path / "a.gz"
    for length in range(1, len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"a\.gz is (truncated|damaged)"):
            read_bytes(path)


def test_a_corrupt_gzip_is_refused(tmp_path):
    whole = bytearray(gzip.compress(bytes(1000)))
    path = tmp_path / "a.gz"
    path.write_bytes(b"not a gzip at all")
    with pytest.raises(DataError, match="damaged or not a gzip file"):
        read_bytes(path)
    whole[-6] ^= 0xFF  # inside the checksum
    path.write_bytes(whole)
    with pytest.raises(DataError, match="damaged or not a gzip file"):
        read_bytes(path)


def test_an_unreadable_file_is_named(tmp_path, monkeypatch):
    # Simulated: the tests may run as root, whom no permission stops.
    def refuse(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("optoscope.data._formats.open_regular", refuse)
    with pytest.raises(DataError, match=r"cannot read .*a: Permission denied.*OPTOSCOPE_DATA"):
        read_bytes(tmp_path / "a")


@pytest.mark.parametrize("name", ["a", "a.gz"])
@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_only_regular_files_are_read(tmp_path, name, make):
    make(tmp_path / name)
    with pytest.raises(DataError, match=r"cannot read .*: it is a .*, not a file"):
        read_bytes(tmp_path / name)


@pytest.mark.parametrize("name", ["a", "a.gz"])
def test_a_file_with_a_hole_is_not_read(tmp_path, name):
    with (tmp_path / name).open("wb") as file:
        file.truncate(2**31)
    with pytest.raises(DataError, match="holds more than 100,000,000 bytes"):
        read_bytes(tmp_path / name)


def test_a_gzip_of_zeros_is_read_as_far_as_a_file_can_go(tmp_path):
    path = tmp_path / "a.gz"
    path.write_bytes(b"".join([gzip.compress(bytes(10_000_000))] * 200))
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="holds more than 1,000,000 bytes"):
            read_bytes(path, most=1_000_000)
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()
