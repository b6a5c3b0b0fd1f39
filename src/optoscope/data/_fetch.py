"""Finds the files of datasets, fetches missing ones, and checks their content."""

import contextlib
import hashlib
import logging
import os
import tempfile
import textwrap
from dataclasses import dataclass
from pathlib import Path

from optoscope._core.errors import DataError
from optoscope._core.files import open_regular, with_home
from optoscope.data._download import download
from optoscope.data._formats import MOST_BYTES, read_bytes, unreadable

_SLACK_BYTES = 100_000
_logger = logging.getLogger("optoscope.data")


@dataclass(frozen=True)
class RemoteFile:
    """A file of a dataset: where it is published and what is known of its content.

    Attributes:
        url: the canonical address; its last part is the canonical file name.
        md5: of the file as published (compressed, where it is).
        content_sha256: of the decompressed content.
        size: bytes of the file as published.
    """

    url: str
    md5: str | None = None
    content_sha256: str | None = None
    size: int | None = None

    @property
    def name(self) -> str:
        """The canonical file name."""
        return self.url.rsplit("/", 1)[1]

    @property
    def most_bytes(self) -> int:
        """The most bytes that a download may have; a mirror may compress less well."""
        return MOST_BYTES if self.size is None else 2 * self.size + _SLACK_BYTES


def data_directory(data_dir: str | os.PathLike[str] | None = None) -> Path:
    """The folder datasets are looked for in and fetched into; it need not exist yet.

    Args:
        data_dir: the folder; if not given, the environment variable OPTOSCOPE_DATA, else the
            user's cache folder.

    Returns:
        The folder; a dataset's files lie in `<folder>/<dataset>/<canonical file name>`.
    """
    chosen = data_dir or os.environ.get("OPTOSCOPE_DATA")
    if chosen:
        return with_home(chosen, "the data directory")
    import platformdirs

    return platformdirs.user_cache_path("optoscope") / "data"


def find(folder: Path, *names: str) -> Path | None:
    """The first of the named files that is in the folder, or None.

    Raises:
        DataError: the folder may not be looked into.
    """
    for name in names:
        try:
            # Not is_file(): its silence on a forbidden folder differs between Python versions.
            (folder / name).stat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise unreadable(folder / name, error) from None
        return folder / name
    return None


def obtain(file: RemoteFile, folder: Path, *, verify: bool) -> Path:
    """The path of a file in the folder (plain or gzipped), fetched first where it is missing.

    Raises:
        DataError: it is not there and cannot be fetched.
    """
    found = find(folder, file.name, file.name.removesuffix(".gz"))
    return found or _fetch(file, folder, verify=verify)


def verified(file: RemoteFile, path: Path, content: bytes | None = None) -> bool:
    """Whether a known checksum proves the content; False where none can tell.

    Args:
        file: what is known.
        path: the file found.
        content: its decompressed content; None for an archive, known only by its md5.

    Raises:
        DataError: the content is known and this is not it.
    """
    if file.content_sha256 is not None and content is not None:
        got = hashlib.sha256(content).hexdigest()
        if got != file.content_sha256:
            raise DataError(
                f"{path} has the wrong checksum: the sha256 of its content is {got}, expected "
                f"{file.content_sha256}. Delete it and load again to fetch a fresh copy, or pass "
                "verify=False to use it as it is."
            )
        return True
    # Compressing anew changes the md5 and not the content, so that a mismatch proves nothing.
    return path.name == file.name and _has_md5(path, file.md5)


def _fetch(file: RemoteFile, folder: Path, *, verify: bool) -> Path:
    # A mirror has the layout of a data directory.
    mirror = os.environ.get("OPTOSCOPE_DATA_URL")
    url = f"{mirror.rstrip('/')}/{folder.name}/{file.name}" if mirror else file.url
    target = folder / file.name
    _logger.info("fetching %s to %s", url, target)
    is_new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Each process downloads into a folder of its own and renames: the last one replaces
        # a whole file by the same whole file, and what fails leaves nothing.
        with tempfile.TemporaryDirectory(dir=folder, prefix=".fetch-") as private:
            temporary = Path(private) / file.name
            download(url, temporary, most=file.most_bytes)
            if verify:
                _check_download(file, temporary, url)
            temporary.replace(target)
    except (OSError, DataError) as error:  # requests' exceptions are OSErrors too
        if is_new:
            with contextlib.suppress(OSError):  # not empty: another process is at work in it
                folder.rmdir()
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"{target} is missing, and fetching it from {url} failed: {_reason(error)}. Check the "
            f"network and that {folder} can be written; or put the file there by hand: get "
            f"{file.url} where there is a network, and copy it to {target}; or name a "
            f"data directory that has {folder.name}/{file.name} with --data-dir or OPTOSCOPE_DATA."
        ) from error
    return target


def _check_download(file: RemoteFile, path: Path, url: str) -> None:
    if _has_md5(path, file.md5):
        return
    if file.content_sha256 is not None:
        try:
            content = read_bytes(path)
        except DataError:
            content = b""
        if hashlib.sha256(content).hexdigest() == file.content_sha256:
            return
    raise DataError(
        f"what {url} sent is not {file.name}: its checksum is wrong, so it was thrown away. Load "
        "again; if that does not help, get the file elsewhere and put it into the data directory "
        "(--data-dir or OPTOSCOPE_DATA) by hand."
    )


def _has_md5(path: Path, expected: str | None) -> bool:
    if expected is None:
        return False
    try:
        with open_regular(path) as stream:
            # md5 is what the publishers give; against accidents, not against attackers.
            result = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False))
    except OSError as error:
        raise unreadable(path, error) from None
    return result.hexdigest() == expected


def _reason(error: OSError) -> str:
    # Connection errors carry a page of nested causes; the kind and the beginning say it all.
    text = str(error).partition(" (Caused by")[0]
    text = error.strerror or textwrap.shorten(text, 150, placeholder=" ...")
    return f"{type(error).__name__}: {text}".rstrip(" :.")
