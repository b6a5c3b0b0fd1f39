"""One file over the network, within limits of size and time.

`pooch` could call this as its downloader, but what is left of it then is a temporary file and a
move: its check of a hash knows the compressed file only, while a mirror's copy is proven by its
decompressed content here; it logs on its own; and its files are readable by their owner alone.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from optoscope._core.errors import DataError

_CONNECT_SECONDS = 10
# A download that gets no byte for so long, or fewer per second on average, is given up.
_STALL_SECONDS = 30.0
_LEAST_BYTES_A_SECOND = 1_000
_TOTAL_SECONDS = 3_600.0
_CHUNK_BYTES = 2**16


def download(
    url: str,
    path: Path,
    *,
    most: int,
    stall_seconds: float = _STALL_SECONDS,
    total_seconds: float = _TOTAL_SECONDS,
) -> None:
    """Writes what the address gives into a file, with a progress bar where someone looks on.

    Args:
        url: http or https.
        path: the file to write; after an error its content must not be used.
        most: the most bytes that the file may have.
        stall_seconds: the longest time during which (almost) nothing arrives.
        total_seconds: the longest time for the whole download.

    Raises:
        OSError: the address cannot be reached, is not there, or the connection breaks.
        DataError: it gives more than `most` bytes.
    """
    # A quarter of a second to import, which only those pay who download.
    import requests

    with requests.get(
        url,
        stream=True,
        timeout=(_CONNECT_SECONDS, stall_seconds),
        headers={"Accept-Encoding": "identity"},
    ) as response:
        response.raise_for_status()
        declared = response.headers.get("Content-Length", "")
        expected = int(declared) if declared.isascii() and declared.isdigit() else None
        _refuse_large(url, expected or 0, most)
        received = 0
        with path.open("wb") as file, _progress(path.name, expected) as show:
            for chunk in _chunks(response.raw, url, stall_seconds, total_seconds):
                received += len(chunk)
                _refuse_large(url, received, most)
                file.write(chunk)
                show(received)
    if expected is not None and received < expected:
        raise ConnectionError(f"it ended after {received:,} of {expected:,} bytes")


def _refuse_large(url: str, size: int, most: int) -> None:
    if size > most:
        raise DataError(
            f"{url} sends more than {most:,} bytes, which the file that is wanted does not have, "
            "so the download was stopped. Get the file elsewhere and put it into the data "
            "directory (--data-dir or OPTOSCOPE_DATA) by hand."
        )


def _chunks(raw: Any, url: str, stall_seconds: float, total_seconds: float) -> Iterator[bytes]:
    """The bytes as they arrive; waiting for whole blocks could take forever if they come slowly."""
    from urllib3.exceptions import HTTPError

    started = window = time.monotonic()
    in_window = 0
    while True:
        try:
            chunk = raw.read1(_CHUNK_BYTES)
        except HTTPError as error:
            raise ConnectionError(f"the connection broke: {error}") from error
        if not chunk:
            return
        yield chunk
        now, in_window = time.monotonic(), in_window + len(chunk)
        if now - started > total_seconds:
            raise TimeoutError(f"it took more than {total_seconds:g} seconds")
        if now - window > stall_seconds:
            if in_window < _LEAST_BYTES_A_SECOND * (now - window):
                raise TimeoutError(
                    f"only {in_window:,} bytes came in the last {now - window:.0f} seconds"
                )
            window, in_window = now, 0


@contextmanager
def _progress(name: str, expected: int | None) -> Iterator[Callable[[int], None]]:
    """Yields a function that shows how many bytes have arrived; it is silent off a terminal."""
    if not sys.stderr.isatty():
        yield lambda received: None
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (
        TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()
    )  # fmt: skip
    # On the other stream: what a command prints there may be read by a program.
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        shown = progress.add_task(f"fetching {escape(name)}", total=expected)
        yield lambda received: progress.update(shown, completed=received)
