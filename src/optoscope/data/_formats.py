"""Files to bytes to arrays: gzip and IDX."""

import gzip
import math
import os
import zlib
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from optoscope._core.errors import DataError
from optoscope._core.files import open_regular

_IDX_UNSIGNED_BYTE = 0x08
# The largest file of any dataset, decompressed, has half of it.
MOST_BYTES = 100_000_000
REPLACE = "Delete it and load again to fetch a fresh copy, or put an intact one in its place."


def unreadable(path: Path, error: OSError) -> DataError:
    """The error for a file or folder that the system does not let us read."""
    return DataError(
        f"cannot read {path}: {error.strerror or error}. Check its permissions, or name another "
        "data directory with --data-dir or OPTOSCOPE_DATA."
    )


def read_bytes(path: Path, *, most: int = MOST_BYTES) -> bytes:
    """The content of a file, decompressed where its name ends in `.gz`.

    Args:
        path: a regular file.
        most: bytes that it may have, before and after decompression.

    Raises:
        DataError: the file cannot be read, is a damaged or truncated gzip, or is too large.
    """
    try:
        with open_regular(path) as file:
            _refuse_large(path, os.fstat(file.fileno()).st_size, most)
            if path.suffix != ".gz":
                content = file.read(most + 1)
            else:
                with gzip.open(file, "rb") as stream:
                    content = stream.read(most + 1)
    except EOFError:
        raise DataError(f"{path} is truncated: its gzip stream ends early. {REPLACE}") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path} is damaged or not a gzip file ({error}). {REPLACE}") from None
    except OSError as error:
        raise unreadable(path, error) from None
    _refuse_large(path, len(content), most)
    return content


def _refuse_large(path: Path, size: int, most: int) -> None:
    if size > most:
        raise DataError(
            f"{path} holds more than {most:,} bytes, which no file of this kind does: it is "
            f"damaged or another kind of file. {REPLACE}"
        )


def parse_idx(content: bytes, path: Path, *, num_dimensions: int) -> UInt8[np.ndarray, "..."]:
    """Reads an IDX file of unsigned bytes: magic number, big-endian sizes, then the entries.

    Args:
        content: the decompressed file.
        path: where it came from, for messages.
        num_dimensions: 3 for images, 1 for labels.

    Raises:
        DataError: the magic number, the number of dimensions or the length is wrong.
    """
    magic = bytes([0, 0, _IDX_UNSIGNED_BYTE, num_dimensions])
    header_bytes = 4 + 4 * num_dimensions
    if content[:4] != magic:
        kind = "images" if num_dimensions == 3 else "labels"
        raise DataError(
            f"{path} starts with {content[:4].hex() or 'nothing'}, but an IDX file of {kind} "
            f"starts with {magic.hex()}: it is another kind of file or damaged. {REPLACE}"
        )
    if len(content) < header_bytes:
        raise DataError(f"{path} is truncated inside its IDX header. {REPLACE}")
    shape = tuple(int(n) for n in np.frombuffer(content, ">u4", num_dimensions, offset=4))
    expected = header_bytes + math.prod(shape)
    if len(content) != expected:
        problem = "is truncated" if len(content) < expected else "is too long"
        raise DataError(
            f"{path} {problem}: its IDX header promises shape {shape}, so {expected:,} bytes, but "
            f"it holds {len(content):,}. {REPLACE}"
        )
    return np.frombuffer(content, np.uint8, offset=header_bytes).reshape(shape)
