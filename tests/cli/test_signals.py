"""Signals ask a command to stop; only the command line handles them."""

import gc
import os
import signal
import sys
import threading
import time

import pytest

from optoscope.cli import _main
from optoscope.cli._list import List
from optoscope.cli._signals import stop_on_signals, termination_interrupts


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_asks_to_stop_and_the_handlers_are_put_back(number):
    before = signal.getsignal(number)
    with stop_on_signals() as stop:
        assert not stop()
        os.kill(os.getpid(), number)
        assert stop()
    assert signal.getsignal(number) is before


def test_a_second_interrupt_does_not_wait():
    with stop_on_signals() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        assert stop()


def test_termination_interrupts_a_command(monkeypatch, capsys):
    monkeypatch.setattr(List, "run", lambda self: os.kill(os.getpid(), signal.SIGTERM))
    before = signal.getsignal(signal.SIGTERM)
    assert _main.main(["list"]) == 130
    assert "interrupted" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) is before


def test_an_interrupt_that_a_callback_drops_comes_again():
    """Python drops what is raised while it collects garbage."""

    def collected(phase, info):
        gc.callbacks.remove(collected)
        os.kill(os.getpid(), signal.SIGTERM)

    def run():
        gc.callbacks.append(collected)
        gc.collect()
        for _ in range(600):  # a signal between the look for signals and a sleep does not end it
            time.sleep(0.1)

    before, started = sys.unraisablehook, time.monotonic()
    with pytest.raises(KeyboardInterrupt), termination_interrupts():
        run()
    assert time.monotonic() - started < 30
    assert sys.unraisablehook is before


def test_another_thread_leaves_signals_alone():
    seen = []

    def work():
        with stop_on_signals() as stop, termination_interrupts():
            seen.append((stop(), signal.getsignal(signal.SIGTERM)))

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(False, before)]
