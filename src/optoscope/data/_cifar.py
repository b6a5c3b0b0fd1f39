"""CIFAR-10's binary batches, read from plain files or straight out of the original archive.

Nothing here unpickles, and nothing is extracted to disk.
"""

import gzip
import os
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import UInt8

from optoscope._core.errors import DataError
from optoscope._core.files import open_regular
from optoscope.data._fetch import RemoteFile, find, obtain, verified
from optoscope.data._formats import REPLACE, read_bytes, unreadable
from optoscope.data._sources import RawImages, check_balance, check_labels, unproven_notes

_TRAIN_NAMES = tuple(f"data_batch_{i}.bin" for i in range(1, 6))
_TEST_NAME = "test_batch.bin"
_NAMES = (*_TRAIN_NAMES, _TEST_NAME)
_FOLDER = "cifar-10-batches-bin"
_IMAGE_SHAPE = (3, 32, 32)
_RECORD_BYTES = 1 + 3 * 32 * 32
_BATCH_IMAGES = 10_000
# Of plain batches and of the archive, decompressed; both have half of it.
_BATCH_BYTES = 2 * _BATCH_IMAGES * _RECORD_BYTES
_ARCHIVE_BYTES = 6 * _BATCH_BYTES
_EXTENSIONS = (
    tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK
)  # fmt: skip
_EXTENSION_BYTES = 65_536
_CHUNK_BYTES = 2**20


@dataclass(frozen=True)
class CifarImages:
    """Reads CIFAR-10's binary batches, from the original archive or as plain files."""

    archive: RemoteFile

    def __call__(self, folder: Path, verify: bool) -> RawImages:
        """Reads and joins the batches; refuses an incomplete set when verifying."""
        contents, place, proven = self._contents(folder, verify)
        batches = {}
        for name, content in contents.items():
            images, labels = _parse_batch(content, place / name)
            check_labels(labels, place / name)
            batches[name] = images, labels
        problems = _incompleteness(batches)
        train_names = [name for name in _TRAIN_NAMES if name in batches]
        if not train_names or (verify and problems):
            raise DataError(
                f"{place} is not a complete CIFAR-10: {'; '.join(problems)}. Put "
                f"{self.archive.name} from {self.archive.url} into {folder}, or pass verify=False "
                "to use the batches that are there (never for a published number)."
            )
        nothing = np.zeros((0, 32, 32, 3), np.uint8), np.zeros(0, np.uint8)
        train_images = np.concatenate([batches[name][0] for name in train_names])
        train_labels = np.concatenate([batches[name][1] for name in train_names])
        test_images, test_labels = batches.get(_TEST_NAME, nothing)
        notes = ()
        if verify and not proven:
            check_balance(train_labels, place)
            check_balance(test_labels, place / _TEST_NAME)
            notes = unproven_notes([place])
        elif problems:
            used = f"{len(train_labels):,} training and {len(test_labels):,} test images"
            notes = (
                f"{place} is not a complete CIFAR-10 ({'; '.join(problems)}); using the {used} "
                "that are there, unverified: never for a published number.",
            )
        return RawImages(train_images, train_labels, test_images, test_labels, notes)

    def _contents(self, folder: Path, verify: bool) -> tuple[dict[str, bytes], Path, bool]:
        """The batches' bytes by name, where they came from, and whether a checksum proves them."""
        if find(folder, self.archive.name) is None:
            for place in (folder, folder / _FOLDER):
                paths = [path for name in _NAMES if (path := find(place, name))]
                if paths:
                    return (
                        {path.name: read_bytes(path, most=_BATCH_BYTES) for path in paths},
                        place,
                        False,
                    )
        path = obtain(self.archive, folder, verify=verify)
        proven = verify and verified(self.archive, path)
        return _read_archive(path), path, proven


def _incompleteness(batches: dict[str, tuple[np.ndarray, np.ndarray]]) -> list[str]:
    missing = [name for name in _NAMES if name not in batches]
    problems = [f"{', '.join(missing)} missing"] if missing else []
    for name, (_, labels) in batches.items():
        if len(labels) != _BATCH_IMAGES:
            problems.append(f"{name} has {len(labels):,} images instead of {_BATCH_IMAGES:,}")
    return problems


def _parse_batch(
    content: bytes, path: str | Path
) -> tuple[UInt8[np.ndarray, "n 32 32 3"], UInt8[np.ndarray, " n"]]:
    """Reads one CIFAR-10 binary batch: records of a label byte and a channel-major image.

    Raises:
        DataError: the file is empty or ends inside a record.
    """
    if not content or len(content) % _RECORD_BYTES:
        raise DataError(
            f"{path} holds {len(content):,} bytes, which is not a whole number of CIFAR-10 "
            f"records ({_RECORD_BYTES:,} bytes each): it is truncated or another kind of file. "
            f"{REPLACE}"
        )
    records = np.frombuffer(content, np.uint8).reshape(-1, _RECORD_BYTES)
    images = records[:, 1:].reshape(-1, *_IMAGE_SHAPE).transpose(0, 2, 3, 1)
    return images, records[:, 0]


def _read_archive(path: Path) -> dict[str, bytes]:
    """The named batches inside the original `.tar.gz`, read without writing anything to disk.

    Raises:
        DataError: the archive is damaged, or has a member that a dataset has no business with
            (an absolute path, `..`, a link, a device, an oversized batch).
    """
    batches: dict[str, bytes] = {}
    try:
        with open_regular(path) as file, gzip.open(file, "rb") as stream:
            _refuse_large_archive(path, _ARCHIVE_BYTES - os.fstat(file.fileno()).st_size)
            left = _ARCHIVE_BYTES
            while (header := stream.read(tarfile.BLOCKSIZE)).strip(b"\0"):
                member = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
                blocks = _following_bytes(member)
                left -= tarfile.BLOCKSIZE + blocks
                _refuse_unsafe_member(member, path, left)
                name = PurePosixPath(member.name).name
                wanted = member.isreg() and name in _NAMES
                if wanted:
                    _refuse_unexpected_batch(member, path, already=name in batches)
                content = _read_member(stream, blocks, keep=wanted)
                if wanted:
                    batches[name] = content[: member.size]
            # Only the end of the gzip stream has the checksum.
            while rest := stream.read(_CHUNK_BYTES):
                left -= len(rest)
                _refuse_large_archive(path, left)
    except (EOFError, tarfile.TarError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path} is a damaged or truncated archive ({error}). {REPLACE}") from None
    except OSError as error:
        raise unreadable(path, error) from None
    return batches


def _following_bytes(member: tarfile.TarInfo) -> int:
    """The bytes of the blocks between a member's header and the next."""
    if member.size < 0:
        raise tarfile.HeaderError(f"a member has {member.size} bytes")
    if not (member.isreg() or member.type in _EXTENSIONS):
        return 0
    return -(-member.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE


def _read_member(stream: gzip.GzipFile, length: int, *, keep: bool) -> bytes:
    """The next bytes, or nothing in their place."""
    parts = []
    while length:
        part = stream.read(min(length, _CHUNK_BYTES))
        if not part:
            raise EOFError("it ends inside a member")
        length -= len(part)
        if keep:
            parts.append(part)
    return b"".join(parts)


def _refuse_large_archive(path: Path, left: int) -> None:
    if left < 0:
        raise DataError(
            f"{path} is refused: it holds more than {_ARCHIVE_BYTES:,} bytes, and CIFAR-10 has "
            f"half of that. {REPLACE}"
        )


def _refuse_unsafe_member(member: tarfile.TarInfo, path: Path, left: int) -> None:
    # Nothing is ever extracted, so such a member could do no harm; but an archive that has one is
    # not the dataset it claims to be.
    name = PurePosixPath(member.name)
    problem = None
    if name.is_absolute():
        problem = "an absolute path"
    elif ".." in name.parts:
        problem = "a path that leaves the archive"
    elif member.type in _EXTENSIONS and member.size <= _EXTENSION_BYTES:
        # Long names and times of what follows; a batch needs neither.
        pass
    elif member.type in _EXTENSIONS:
        problem = f"an extended header of {member.size:,} bytes"
    elif not (member.isreg() or member.isdir()):
        problem = "a link or a device"
    if problem:
        raise DataError(f"{path} is refused: its member {member.name!r} is {problem}. {REPLACE}")
    _refuse_large_archive(path, left)


def _refuse_unexpected_batch(member: tarfile.TarInfo, path: Path, *, already: bool) -> None:
    if already:
        raise DataError(f"{path} is refused: it holds {member.name!r} twice. {REPLACE}")
    if member.size > _BATCH_IMAGES * _RECORD_BYTES:
        raise DataError(
            f"{path} is refused: its member {member.name!r} has {member.size:,} bytes, more than "
            f"{_BATCH_IMAGES:,} CIFAR-10 records. {REPLACE}"
        )
