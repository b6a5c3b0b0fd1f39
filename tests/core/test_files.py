import json
import math
import os
import resource
import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optoscope._core.errors import FileFormatError, RunDirectoryError
from optoscope._core.files import (
    delete,
    read_bytes,
    read_json,
    read_lines,
    replacing,
    write_json,
    write_text,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)  # fmt: skip


@pytest.fixture
def small_files_only():
    """A disk that is full after 4 kB, as far as this process can tell."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_the_new_content_replaces_the_old(tmp_path):
    path = tmp_path / "deep" / "er" / "file.txt"
    write_text(path, "old")
    write_text(path, "new ü")
    assert path.read_bytes() == "new ü".encode()
    assert list(path.parent.iterdir()) == [path]


def test_the_temporary_path_is_beside_hidden_and_keeps_the_suffix(tmp_path):
    path = tmp_path / "arrays.npz"
    with replacing(path) as temporary:
        assert temporary.parent == tmp_path
        assert temporary.suffix == ".npz"
        assert temporary.name.startswith(".")
        assert not path.exists()
        temporary.write_bytes(b"x")
    assert path.read_bytes() == b"x"


@pytest.mark.parametrize("error", [KeyError("x"), KeyboardInterrupt(), ValueError("y")])
def test_a_failing_block_leaves_the_old_content_and_nothing_else(tmp_path, error):
    path = tmp_path / "file.txt"
    write_text(path, "old")

    def write_half():
        with replacing(path) as temporary:
            temporary.write_text("half")
            assert path.read_text() == "old"
            raise error

    with pytest.raises(type(error)):
        write_half()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failing_block_makes_no_file(tmp_path):
    with pytest.raises(ZeroDivisionError), replacing(tmp_path / "file.txt"):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_permissions_obey_the_umask(tmp_path, umask):
    before = os.umask(umask)
    try:
        write_text(tmp_path / "file", "x")
        (tmp_path / "other").write_text("x")
        assert os.umask(umask) == umask
    finally:
        os.umask(before)
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("file", "other")}
    assert modes == {0o666 & ~umask}


def test_a_file_in_place_of_the_folder(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunDirectoryError, match=r"cannot write .*file/inside\.txt") as caught:
        write_text(tmp_path / "file" / "inside.txt", "x")
    assert "--out" in str(caught.value)
    assert (tmp_path / "file").read_text() == "x"


def test_a_folder_in_place_of_the_file(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(RunDirectoryError, match="cannot write"):
        write_text(tmp_path / "folder", "x")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs Linux's /proc")
def test_an_unwritable_place():
    with pytest.raises(RunDirectoryError, match=r"cannot write /proc/optoscope/file\.txt"):
        write_text(Path("/proc/optoscope/file.txt"), "x")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(RunDirectoryError, match="Permission denied"):
        write_text(tmp_path / "file", "x")


@pytest.mark.usefixtures("small_files_only")
def test_a_full_disk_leaves_the_old_content(tmp_path):
    path = tmp_path / "file"
    write_text(path, "old")
    with pytest.raises(RunDirectoryError, match="Check the space"):
        write_text(path, "x" * 10_000)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@settings(deadline=None)
@given(value=JSON)
def test_json_round_trip(tmp_path_factory, value):
    path = tmp_path_factory.getbasetemp() / "round-trip.json"
    write_json(path, value)
    assert read_json(path) == value


@pytest.mark.parametrize("value", [math.nan, math.inf, [1.0, {"a": -math.inf}]])
def test_write_json_refuses_what_json_cannot_say(tmp_path, value):
    path = tmp_path / "file.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, value)
    assert json.loads(path.read_text()) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [RunDirectoryError, FileFormatError])
def test_read_json_of_a_missing_file(tmp_path, error):
    with pytest.raises(error, match=r"absent\.json does not exist"):
        read_json(tmp_path / "absent.json", error)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"{'a': 1}",
        b"\xff\xfe",
        b"\x80\x04\x95",
        pytest.param(b"[" * 200_000, id="nested too deep"),
        pytest.param(b"1" * 10_000, id="number with too many digits"),
    ],
)
def test_read_json_of_damaged_content_names_the_file(tmp_path, content):
    path = tmp_path / "file.json"
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match=r"file\.json cannot be read as JSON"):
        read_json(path, FileFormatError)


def test_read_json_of_a_folder(tmp_path):
    with pytest.raises(RunDirectoryError, match="cannot be read: it is a folder, not a file"):
        read_json(tmp_path)


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_only_regular_files_are_read(tmp_path, make):
    path = tmp_path / "place"
    make(path)
    with pytest.raises(RunDirectoryError, match=r"place cannot be read: it is a .*, not a file"):
        read_bytes(path, most=10)


@pytest.mark.parametrize("size", [11, 2**31])
def test_a_file_that_is_too_large_is_not_read(tmp_path, size):
    path = tmp_path / "file"
    with path.open("wb") as file:
        file.truncate(size)
    with pytest.raises(FileFormatError, match=rf"file has {size:,} bytes, and .* at most 10"):
        read_bytes(path, most=10, error=FileFormatError)


def test_a_file_that_says_that_it_is_empty_is_bounded_too():
    with pytest.raises(RunDirectoryError, match="at most 3"):
        read_bytes(Path("/proc/self/status"), most=3)


def test_the_bytes_of_a_file_and_of_a_link(tmp_path):
    (tmp_path / "file").write_bytes(b"0123456789")
    (tmp_path / "link").symlink_to("file")
    assert read_bytes(tmp_path / "link", most=10) == b"0123456789"
    with pytest.raises(RunDirectoryError, match="absent does not exist"):
        read_bytes(tmp_path / "absent", most=10)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"a": NaN}', "NaN is no number of JSON"),
        ('{"a": -Infinity}', "-Infinity is no number"),
        ('{"a": 1e400}', "1e400 is too large for a number"),
        ("[" * 65 + "]" * 65, "nested too deep"),
        ('{"a": ' * 65 + "1" + "}" * 65, "nested too deep"),
        ('{"a": "\\ud800"}', "surrogates not allowed"),
        ('{"\\udfff": 1}', "surrogates not allowed"),
    ],
)
def test_json_that_could_not_be_used(tmp_path, content, message):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(FileFormatError, match=rf"a\.json cannot be read as JSON: .*{message}"):
        read_json(tmp_path / "a.json", FileFormatError)


def test_json_of_a_fifo_and_of_a_file_with_a_hole(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    with (tmp_path / "hole").open("wb") as file:
        file.truncate(2**31)
    for read in (read_json, read_lines):
        with pytest.raises(RunDirectoryError, match=r"it is a pipe, a socket or a device"):
            read(tmp_path / "fifo")
        with pytest.raises(RunDirectoryError, match=r"has 2,147,483,648 bytes"):
            read(tmp_path / "hole")


def test_lines_without_the_last_that_a_kill_cut_off(tmp_path):
    (tmp_path / "a").write_text('{"a": 1}\n\n[2]\n{"a": ')
    assert read_lines(tmp_path / "a") == [{"a": 1}, [2]]
    (tmp_path / "a").write_text('{"a": \n{"a": 1}\n')
    with pytest.raises(RunDirectoryError, match="a line 1 is not JSON"):
        read_lines(tmp_path / "a")


def test_what_cannot_be_deleted_is_one_message(tmp_path):
    delete(tmp_path / "absent")
    (tmp_path / "folder").mkdir()
    with pytest.raises(RunDirectoryError, match=r"cannot replace .*folder: .* Move it away"):
        delete(tmp_path / "folder")
