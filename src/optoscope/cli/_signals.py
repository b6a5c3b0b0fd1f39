"""How a command is stopped from outside: Ctrl-C, and the signal of a scheduler that ends a job."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

Handler = Callable[[int, Any], None]


@contextmanager
def _handled(handlers: dict[signal.Signals, Handler]) -> Iterator[None]:
    """Handles signals in the main thread; Python allows it in no other, where nothing changes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextmanager
def stop_on_signals() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C or SIGTERM asked to stop, for a run that ends at the next good moment.

    A second Ctrl-C interrupts at once.
    """
    asked = threading.Event()

    def request(number: int, frame: Any) -> None:
        if asked.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked.set()

    with _handled({signal.SIGINT: request, signal.SIGTERM: request}):
        yield asked.is_set


@contextmanager
def termination_interrupts() -> Iterator[None]:
    """SIGTERM does what Ctrl-C does, so that what is done is kept and temporary files go."""

    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    with _handled({signal.SIGTERM: interrupt}), _lost_interrupts_come_again():
        yield


@contextmanager
def _lost_interrupts_come_again() -> Iterator[None]:
    """Sends SIGTERM again where an interrupt is raised in a callback whose exceptions are dropped.

    JAX has one that runs whenever Python collects garbage.
    """
    shown = sys.unraisablehook

    def hook(dropped: Any) -> None:
        if not issubclass(dropped.exc_type, KeyboardInterrupt):
            shown(dropped)
            return
        # Not from here: it would be raised in this function, and be dropped too.
        threading.Timer(0.01, os.kill, (os.getpid(), signal.SIGTERM)).start()

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = shown
