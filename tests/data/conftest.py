import functools
import gzip
import http.server
import struct
import threading
from pathlib import Path

import numpy as np
import pytest

IDX_NAMES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def encode_idx(array):
    """IDX by the format's description, written independently of the reader."""
    header = struct.pack(">HBB", 0, 0x08, array.ndim)
    sizes = b"".join(struct.pack(">I", n) for n in array.shape)
    return header + sizes + array.tobytes()


@pytest.fixture
def to_idx():
    return encode_idx


@pytest.fixture
def idx_arrays():
    """Ten training and four test images whose pixels all equal ten times their position."""

    def images(count):
        values = (10 * np.arange(count, dtype=np.uint8))[:, None, None]
        return np.broadcast_to(values, (count, 28, 28)).copy()

    labels = np.array([3, 1, 4, 1, 5, 9, 2, 6, 5, 3], np.uint8)
    return [images(10), labels, images(4), labels[:4].copy()]


@pytest.fixture
def write_idx():
    """Writes four arrays as a dataset's IDX files, gzipped or plain."""

    def write(folder, arrays, *, gzipped=True):
        folder.mkdir(parents=True, exist_ok=True)
        for name, array in zip(IDX_NAMES, arrays, strict=True):
            content = encode_idx(array)
            if gzipped:
                (folder / f"{name}.gz").write_bytes(gzip.compress(content, 1))
            else:
                (folder / name).write_bytes(content)
        return folder

    return write


@pytest.fixture
def cifar_batch():
    """The bytes of a batch: image i has label (first + i) % 10 and known corner pixels."""

    def make(first, count):
        records = np.zeros((count, 3073), np.uint8)
        records[:, 0] = (first + np.arange(count)) % 10
        planes = records[:, 1:].reshape(count, 3, 32, 32)
        planes[:, 0, 0, 0] = 51  # red, top left
        planes[:, 1, 0, 31] = 102  # green, top right
        planes[:, 2, 31, 0] = 255  # blue, bottom left
        return records.tobytes()

    return make


class _Server:
    def __init__(self, root: Path, handler):
        self.root = root
        self._server = http.server.ThreadingHTTPServer(
            ("127.0.0.1", 0), functools.partial(handler, directory=str(root))
        )
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self):
        self._server.shutdown()
        self._server.server_close()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format, *args):
        pass


@pytest.fixture
def serve(tmp_path, monkeypatch):
    """Starts a server on the loopback whose root is laid out like a data directory."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    started = []

    def start(handler=QuietHandler):
        root = tmp_path / "served"
        root.mkdir(exist_ok=True)
        started.append(_Server(root, handler))
        monkeypatch.setenv("OPTOSCOPE_DATA_URL", started[-1].url)
        return started[-1]

    start.Handler = QuietHandler
    yield start
    for server in started:
        server.stop()
