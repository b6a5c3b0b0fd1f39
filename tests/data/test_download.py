import time

import pytest

from optoscope import data
from optoscope._core.errors import DataError
from optoscope.data import _download
from optoscope.data._download import download
from optoscope.data._fetch import RemoteFile, obtain


@pytest.fixture
def serve_body(serve):
    """Starts a server whose answer is written by a function of the handler."""

    def start(write, **headers):
        class Body(serve.Handler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):  # noqa: N802
                self.send_response(200)
                self.send_header("Connection", "close")
                for name, value in headers.items():
                    self.send_header(name.replace("_", "-"), value)
                self.end_headers()
                self.close_connection = True
                try:
                    write(self.wfile)
                except OSError:  # the other side has had enough
                    return

        return serve(Body).url + "/set/file"

    return start


def drip(file):
    for _ in range(100):
        file.write(b"x")
        file.flush()
        time.sleep(0.05)


def endless(file):
    while True:
        file.write(bytes(100_000))


def endless_in_chunks(file):
    while True:
        file.write(b"186a0\r\n" + bytes(100_000) + b"\r\n")


@pytest.mark.parametrize("declared", [{}, {"Content_Length": "1000000"}])
def test_a_byte_at_a_time_ends_with_a_message(serve_body, tmp_path, declared):
    url = serve_body(drip, **declared)
    started = time.monotonic()
    with pytest.raises(TimeoutError, match=r"only .* bytes came in the last 0 seconds"):
        download(url, tmp_path / "file", most=10**6, stall_seconds=0.3)
    with pytest.raises(TimeoutError, match=r"it took more than 0\.3 seconds"):
        download(url, tmp_path / "file", most=10**6, total_seconds=0.3)
    assert time.monotonic() - started < 3


def test_silence_ends_with_a_message(serve_body, tmp_path):
    url = serve_body(lambda file: time.sleep(1), Content_Length="10")
    with pytest.raises(OSError, match=r"(?i)timed out"):
        download(url, tmp_path / "file", most=100, stall_seconds=0.2)


@pytest.mark.parametrize(
    ("write", "headers"),
    [
        (endless, {}),
        (endless, {"Content_Length": str(10**12)}),
        (endless_in_chunks, {"Transfer_Encoding": "chunked"}),
    ],
)
def test_an_endless_body_is_cut(serve_body, tmp_path, write, headers):
    url = serve_body(write, **headers)
    with pytest.raises(DataError, match="sends more than 1,000,000 bytes"):
        download(url, tmp_path / "file", most=10**6)
    path = tmp_path / "file"
    assert not path.exists() or path.stat().st_size <= 10**6


@pytest.mark.parametrize(
    ("write", "headers"),
    [
        (lambda file: file.write(b"0123456789"), {}),
        (lambda file: file.write(b"0123456789"), {"Content_Length": "10"}),
        (
            lambda file: file.write(b"a\r\n0123456789\r\n0\r\n\r\n"),
            {"Transfer_Encoding": "chunked"},
        ),
    ],
)
def test_what_comes_is_written(serve_body, tmp_path, write, headers):
    download(serve_body(write, **headers), tmp_path / "file", most=10)
    assert (tmp_path / "file").read_bytes() == b"0123456789"


@pytest.mark.parametrize("limit", ["size", "time"])
def test_a_fetch_keeps_to_the_limits_and_leaves_nothing(serve_body, tmp_path, monkeypatch, limit):
    serve_body(endless if limit == "size" else drip)
    monkeypatch.setattr(
        "optoscope.data._fetch.download",
        lambda *args, **known: download(*args, **known, stall_seconds=0.3),
    )
    file = RemoteFile("http://127.0.0.1:9/file", size=1000)
    with pytest.raises(DataError, match="more than 102,000 bytes" if limit == "size" else "only"):
        obtain(file, tmp_path / "data" / "set", verify=True)
    assert not (tmp_path / "data" / "set").exists()


def test_the_limit_of_every_published_file_is_known(monkeypatch, tmp_path):
    asked = []

    def refuse(url, path, *, most):
        asked.append((url, most))
        raise OSError("no network")

    monkeypatch.setattr("optoscope.data._fetch.download", refuse)
    monkeypatch.delenv("OPTOSCOPE_DATA_URL", raising=False)
    for name in data.names():
        if name != "digits":
            with pytest.raises(DataError, match=r"get http.* where there is a network, and copy"):
                data.load(name, data_dir=tmp_path)
    assert [most % 2 == 0 and 100_000 < most < 400_000_000 for _, most in asked] == [True] * 4
    assert list(tmp_path.iterdir()) == []


def test_a_progress_bar_is_for_who_looks_on(monkeypatch, capsys):
    with _download._progress("file", 10) as show:
        show(5)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with _download._progress("[file]", 10) as show:
        show(10)
    assert "fetching [file]" in capsys.readouterr().err
