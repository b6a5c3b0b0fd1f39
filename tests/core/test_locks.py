"""Locks: one holder, named, whose death releases; safe to remove, safe to take again."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from optoscope._core.errors import RunInUseError
from optoscope._core.locks import LOCK, locked

_HOLDS = """
import sys, time
from pathlib import Path
from optoscope._core.locks import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""

# Several processes add one to a number in a file, many times, each under the lock.
_ADDS = """
import sys
from pathlib import Path
from optoscope._core.locks import locked
import optoscope._core.locks as locks
locks._SECONDS_BETWEEN_TRIES = 0.001
place = Path(sys.argv[1])
for _ in range(50):
    with locked(place, on_wait=lambda holder: None):
        number = place / "number"
        number.write_text(str(int(number.read_text()) + 1))
"""


def _holding(directory: Path, seconds: float = 60) -> subprocess.Popen:
    arguments = [sys.executable, "-c", _HOLDS, str(directory), str(seconds)]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_the_message_names_the_process_and_its_death_releases_the_lock(tmp_path: Path):
    process = _holding(tmp_path)
    try:
        with (
            pytest.raises(RunInUseError, match=f"process {process.pid} on .* since 20"),
            locked(tmp_path),
        ):
            pass
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert (tmp_path / LOCK).exists(), "a killed process removes nothing"
    with locked(tmp_path):
        pass
    assert not (tmp_path / LOCK).exists()


def test_it_can_be_waited_for(tmp_path: Path):
    process = _holding(tmp_path, 1.0)
    told: list[str] = []
    with locked(tmp_path, on_wait=told.append):
        assert process.wait(5) == 0
    assert len(told) == 1
    assert f"process {process.pid} on" in told[0]


def test_the_same_thread_takes_it_again_and_another_does_not(tmp_path: Path):
    refused: list[bool] = []

    def other() -> None:
        try:
            with locked(tmp_path):
                refused.append(False)
        except RunInUseError:
            refused.append(True)

    with locked(tmp_path):
        with locked(tmp_path):
            pass
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    other()
    assert refused == [True, False]


def test_no_two_hold_it_at_once_though_its_file_comes_and_goes(tmp_path: Path):
    (tmp_path / "number").write_text("0")
    arguments = [sys.executable, "-c", _ADDS, str(tmp_path)]
    processes = [subprocess.Popen(arguments) for _ in range(3)]
    assert [process.wait(120) for process in processes] == [0, 0, 0]
    assert (tmp_path / "number").read_text() == "150"


def test_nothing_is_left_when_the_block_fails(tmp_path: Path):
    with pytest.raises(KeyError), locked(tmp_path):
        raise KeyError
    assert list(tmp_path.iterdir()) == []
    before = time.monotonic()
    with locked(tmp_path):
        assert str(os.getpid()) in (tmp_path / LOCK).read_text()
    assert time.monotonic() - before < 5
