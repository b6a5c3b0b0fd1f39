"""Named arrays as NumPy archives, whose declared sizes are checked before they are read."""

import math
import os
import textwrap
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np

from optoscope._core.errors import FileFormatError, RunDirectoryError
from optoscope._core.files import open_regular, replacing
from optoscope._core.tensors import native

# An archive may hold so much, or four times what it takes on the disk: a file with a hole takes
# little, and zeros shrink to a thousandth. What is larger is written without compression.
_MOST_BYTES = 2**28
_MOST_MEMBERS = 10_000
_DIRECTORY_BYTES = 4_000_000
_CHUNK_BYTES = 2**20
_END_BYTES = 22
_KINDS = "biufcUS"


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes a NumPy archive, atomically.

    Types that NumPy does not have (bfloat16) become float32, which holds all their values.

    Raises:
        FileFormatError: an array of objects, which could only be stored as a program.
    """
    plain = {name: _plain(name, np.asarray(array)) for name, array in arrays.items()}
    is_large = sum(array.nbytes for array in plain.values()) > _MOST_BYTES // 2
    method = zipfile.ZIP_STORED if is_large else zipfile.ZIP_DEFLATED
    # Not `savez`, whose own arguments are names that an array may have.
    with (
        replacing(path) as temporary,
        zipfile.ZipFile(temporary, "w", method) as archive,
    ):
        for name, array in plain.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, array, allow_pickle=False)


def _plain(name: str, array: np.ndarray) -> np.ndarray:
    if array.dtype.kind == "V" and array.dtype.names is None:
        return array.astype(np.float32)
    if array.dtype.kind not in _KINDS:
        raise FileFormatError(
            f"{name} has type {array.dtype}; an archive holds numbers, booleans and texts."
        )
    return array


def read_arrays(path: Path, error: type[Exception] = RunDirectoryError) -> dict[str, np.ndarray]:
    """The arrays of a NumPy archive.

    The sizes that it declares are checked before anything is read, objects are refused, and
    whatever is wrong is one `error` that names the file.
    """
    try:
        with open_regular(path) as file:
            _check_end(file)
            taken = getattr(os.fstat(file.fileno()), "st_blocks", 0) * 512
            with zipfile.ZipFile(file) as archive:
                members = archive.infolist()
                _check_members(members, max(_MOST_BYTES, 4 * taken))
                return {name: _read(archive, member) for name, member in _named(members)}
    except FileNotFoundError:
        raise error(f"{path} does not exist.") from None
    # Damage shows up as errors of the archive, of the compression or of the parser that reads an
    # array's header: there is no list of them all.
    except Exception as problem:
        # Some quote what they found, which can be long and of many lines.
        reason = str(getattr(problem, "strerror", None) or problem)
        reason = textwrap.shorten(reason, 200, placeholder=" ...").rstrip(".")
        raise error(f"{path} cannot be read as a NumPy archive: {reason}.") from None


def _check_end(file: BinaryIO) -> None:
    """Refuses a table of contents that is larger than any of ours, before it is read."""
    size = file.seek(0, os.SEEK_END)
    # Before the end of a large archive there is another end, with wider numbers.
    file.seek(max(0, size - _END_BYTES - 20))
    wide, end = file.read()[:-_END_BYTES], b""
    file.seek(max(0, size - _END_BYTES))
    end = file.read()
    if len(end) < _END_BYTES or end[:4] != b"PK\5\6" or end[-2:] != b"\0\0":
        raise FileFormatError("it does not end as an archive does")
    count, length = int.from_bytes(end[10:12], "little"), int.from_bytes(end[12:16], "little")
    if wide[:4] == b"PK\6\7" or count > _MOST_MEMBERS or length > _DIRECTORY_BYTES:
        raise FileFormatError(f"its table of contents has more than {_MOST_MEMBERS:,} entries")
    file.seek(0)


def _check_members(members: list[zipfile.ZipInfo], most: int) -> None:
    total = sum(member.file_size for member in members)
    if total > most:
        raise FileFormatError(
            f"its arrays would take {total:,} bytes, and such a file holds at most {most:,}"
        )
    if len({member.filename for member in members}) < len(members):
        raise FileFormatError("it holds an array twice")
    for member in members:
        known = member.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
        if not member.filename.endswith(".npy") or not known:
            raise FileFormatError(f"its member {member.filename!r} is no array")


def _named(members: list[zipfile.ZipInfo]) -> Iterator[tuple[str, zipfile.ZipInfo]]:
    for member in members:
        yield member.filename.removesuffix(".npy"), member


def _read(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    with archive.open(member) as stream:
        version = np.lib.format.read_magic(stream)
        if version != (1, 0):
            raise FileFormatError(f"{member.filename!r} has a header of version {version}")
        shape, by_columns, dtype = np.lib.format.read_array_header_1_0(stream)
        expected = math.prod(shape) * dtype.itemsize
        if dtype.kind not in _KINDS or dtype.itemsize == 0 or min(shape, default=0) < 0:
            raise FileFormatError(f"{member.filename!r} has type {dtype} and shape {shape}")
        if expected != member.file_size - stream.tell():
            raise FileFormatError(
                f"{member.filename!r} declares type {dtype} and shape {shape}, which are "
                f"{expected:,} bytes, but has {member.file_size - stream.tell():,}"
            )
        content = bytearray(expected)
        for start in range(0, expected, _CHUNK_BYTES):
            chunk = stream.read(min(_CHUNK_BYTES, expected - start))
            content[start : start + len(chunk)] = chunk
        # At the end, and nowhere else, the checksum is compared.
        if stream.read(1) or len(content) != expected:
            raise FileFormatError(f"{member.filename!r} has another length than it declares")
    array = np.frombuffer(content, dtype)
    if dtype.kind == "U" and array.size and array.view(np.uint32).max() > 0x10FFFF:
        raise FileFormatError(f"{member.filename!r} holds what is no text")
    array = array.reshape(shape[::-1]).T if by_columns else array.reshape(shape)
    return native(array)
