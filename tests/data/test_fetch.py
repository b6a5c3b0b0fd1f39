import gzip
import hashlib
import os
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from optoscope import data
from optoscope._core.errors import DataError
from optoscope.data import _fetch
from optoscope.data._fetch import RemoteFile, obtain, verified

TEXT = "All the world's a stage, and all the men and women merely players. " * 2_000


def md5(content):
    return hashlib.md5(content).hexdigest()


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def publish(server, name, content):
    (server.root / "set").mkdir(exist_ok=True)
    (server.root / "set" / name).write_bytes(content)


def test_the_directory_comes_from_the_argument_then_the_variable_then_the_cache(
    monkeypatch, tmp_path
):
    monkeypatch.setenv("OPTOSCOPE_DATA", "/from/variable")
    assert data.data_directory(tmp_path) == tmp_path
    assert data.data_directory() == Path("/from/variable")
    monkeypatch.setenv("OPTOSCOPE_DATA", "~/mine")
    assert data.data_directory() == Path.home() / "mine"
    monkeypatch.setenv("OPTOSCOPE_DATA", "")
    monkeypatch.setattr("platformdirs.user_cache_path", lambda name: tmp_path / "cache" / name)
    assert data.data_directory() == tmp_path / "cache" / "optoscope" / "data"


def test_a_missing_file_is_fetched_and_then_found(serve, tmp_path):
    server = serve()
    publish(server, "file.gz", b"content")
    file = RemoteFile("http://127.0.0.1:9/file.gz", md5=md5(b"content"))
    folder = tmp_path / "new" / "set"
    path = obtain(file, folder, verify=True)
    assert path == folder / "file.gz"
    assert path.read_bytes() == b"content"
    assert list(folder.iterdir()) == [path]
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask
    server.stop()
    assert obtain(file, folder, verify=True) == path


def test_a_mirror_may_compress_anew(serve, tmp_path):
    publish(serve(), "file.gz", gzip.compress(b"content", 1))
    file = RemoteFile("http://127.0.0.1:9/file.gz", md5="0" * 32, content_sha256=sha256(b"content"))
    assert obtain(file, tmp_path / "set", verify=True).exists()


@pytest.mark.parametrize("known", [{"md5": "0" * 32}, {"content_sha256": "0" * 64}])
@pytest.mark.parametrize(
    "content",
    [b"not a gzip", gzip.compress(b"other", mtime=0)],
    ids=["not a gzip", "other"],
)
def test_wrong_content_is_thrown_away(serve, tmp_path, known, content):
    publish(serve(), "file.gz", content)
    file = RemoteFile("http://127.0.0.1:9/file.gz", **known)
    with pytest.raises(DataError, match=r"what http://127.*/set/file\.gz sent is not file\.gz"):
        obtain(file, tmp_path / "set", verify=True)
    assert not (tmp_path / "set").exists()
    assert obtain(file, tmp_path / "set", verify=False).read_bytes() == content


def test_a_file_that_is_not_there_is_reported_and_leaves_nothing(serve, tmp_path):
    serve()
    with pytest.raises(DataError, match="HTTPError: 404"):
        obtain(RemoteFile("http://127.0.0.1:9/file.gz"), tmp_path / "set", verify=True)
    assert not (tmp_path / "set").exists()


def test_a_broken_connection_leaves_nothing(serve, tmp_path):
    class Half(serve.Handler):
        def do_GET(self):  # noqa: N802
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(bytes(500))

    serve(Half)
    with pytest.raises(DataError, match=r"fetching it from .* failed"):
        obtain(RemoteFile("http://127.0.0.1:9/file.gz"), tmp_path / "set", verify=False)
    assert not (tmp_path / "set").exists()


def test_without_a_network_the_message_says_what_to_do(tmp_path, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("OPTOSCOPE_DATA_URL", url)
    with pytest.raises(DataError) as info:
        data.load("mnist", data_dir=tmp_path)
    message = str(info.value)
    name = "mnist/train-images-idx3-ubyte.gz"
    assert message.startswith(f"{tmp_path / name} is missing, and fetching it from {url}/{name} ")
    for part in ("ConnectionError", "by hand", "--data-dir", "OPTOSCOPE_DATA"):
        assert part in message
    assert "\n" not in message
    assert list(tmp_path.iterdir()) == []


def test_a_data_directory_that_is_a_file_is_reported(serve, tmp_path):
    publish(serve(), "file.gz", b"content")
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(DataError, match=r"failed: (NotADirectory|FileExists)Error"):
        obtain(RemoteFile("http://127.0.0.1:9/file.gz"), tmp_path / "file" / "set", verify=True)


def test_a_forbidden_folder_is_reported(tmp_path, monkeypatch):
    # Simulated: the tests may run as root, whom no permission stops.
    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    file = RemoteFile("http://127.0.0.1:9/file.gz")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "stat", refuse)
        with pytest.raises(DataError, match=r"cannot read .*file\.gz: Permission denied"):
            obtain(file, tmp_path, verify=True)
    with monkeypatch.context() as patch:
        patch.setattr(_fetch.tempfile, "TemporaryDirectory", refuse)
        with pytest.raises(DataError, match=r"failed: PermissionError: Permission denied.*written"):
            obtain(file, tmp_path, verify=True)


@pytest.fixture
def ordinary_user():
    """Root gives up its rights for the test; anyone else has none to give up."""
    import requests  # noqa: F401  (root's virtual environment may be closed to others)

    if not hasattr(os, "seteuid"):
        pytest.skip("permissions work differently here")
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    yield
    os.seteuid(user)


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        (0o000, r"cannot read .*/mnist/train-images-idx3-ubyte\.gz: Permission denied"),
        (0o555, "mnist can be written; or put the file there by hand"),
    ],
)
def test_a_forbidden_folder_is_reported_for_real(mode, message, ordinary_user):
    # Not tmp_path: pytest closes its own folders to other users.
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory) / "mnist"
        folder.mkdir()
        folder.chmod(mode)
        try:
            with pytest.raises(DataError, match=message) as info:
                data.load("mnist", data_dir=directory)
            assert "Permission denied" in str(info.value)
        finally:
            folder.chmod(0o700)


def test_what_a_checksum_proves(tmp_path):
    path = tmp_path / "file.gz"
    path.write_bytes(gzip.compress(b"content"))
    known = RemoteFile("http://127.0.0.1:9/file.gz", content_sha256=sha256(b"content"))
    assert verified(known, path, b"content")
    with pytest.raises(DataError, match=rf"wrong checksum: .* {sha256(b'other')}, expected"):
        verified(known, path, b"other")
    compressed = RemoteFile("http://127.0.0.1:9/file.gz", md5=md5(path.read_bytes()))
    assert verified(compressed, path, b"content")
    assert not verified(compressed, tmp_path / "file", b"content")
    assert not verified(RemoteFile("http://127.0.0.1:9/file.gz", md5="0" * 32), path, b"content")


CHILD = """
import sys
from optoscope import data
dataset = data.load("tinyshakespeare", data_dir=sys.argv[1], verify=False)
parts = (dataset.train, dataset.validation, dataset.test)
print("".join(dataset.decode(part) for part in parts), end="")
"""


def test_two_processes_that_fetch_at_once_do_not_disturb_each_other(serve, tmp_path):
    target = tmp_path / "data" / "tinyshakespeare" / "input.txt"
    half_written = []
    # Neither gets its second half before the other has had its first.
    barrier = threading.Barrier(2, action=lambda: half_written.append(target.exists()), timeout=60)

    class Slow(serve.Handler):
        def do_GET(self):  # noqa: N802
            content = TEXT.encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2])
            self.wfile.flush()
            barrier.wait()
            self.wfile.write(content[len(content) // 2 :])

    serve(Slow)
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    children = [
        subprocess.Popen(
            [sys.executable, "-c", CHILD, str(tmp_path / "data")],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    outputs = [child.communicate(timeout=120)[0] for child in children]
    assert [child.returncode for child in children] == [0, 0]
    assert outputs == [TEXT, TEXT]
    assert half_written == [False]
    assert list(target.parent.iterdir()) == [target]
    assert target.read_text() == TEXT
