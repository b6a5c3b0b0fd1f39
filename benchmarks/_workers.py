"""Measuring in a process of its own: what is measured, with which devices, from which source.

JAX fixes the number of CPU devices when it computes for the first time, and a process can import
one version of a library only. So every row of a benchmark is measured by a worker: a process with
the devices that the row needs and with the source on its PYTHONPATH. It compiles once and then
measures a round each time it is asked, so that the workers of two revisions can take turns.
"""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from _results import BenchmarkError, finite

SECONDS_TO_STOP = 5.0


class WorkerError(BenchmarkError):
    """A worker ended before it answered: its row cannot be measured."""


@dataclass(frozen=True)
class Ready:
    """What a worker says when it has compiled.

    Args:
        device_kind: as JAX calls its device.
        compile_seconds: until everything had run once.
        labels: what each side is.
        steps: of each side.
    """

    device_kind: str
    compile_seconds: float
    labels: Mapping[str, str]
    steps: Mapping[str, int]


class Worker:
    """A process that measures; a context manager, which ends it.

    Args:
        script: the program, which calls `serve` when it is given `--worker NAME`.
        name: what to measure.
        source: the folder that holds the package `optoscope`.
    """

    def __init__(self, script: Path, name: str, source: Path):
        """Starts the process, which begins to compile at once."""
        self._name = name
        # Closed by `__exit__`.
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115
        environment = dict(os.environ, PYTHONPATH=str(source), PYTHONDONTWRITEBYTECODE="1")
        # Tests are compiled quickly rather than well; what is measured here must not be.
        environment.pop("JAX_DISABLE_MOST_OPTIMIZATIONS", None)
        self._process = subprocess.Popen(
            [sys.executable, str(script), "--worker", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=environment,
            # Ctrl-C goes to the parent alone, which then ends its workers.
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        """Returns the worker itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Ends the process, whatever it is doing."""
        self._process.kill()
        self._process.communicate()
        self._errors.close()

    def ready(self) -> Ready:
        """Waits until everything is compiled.

        Raises:
            WorkerError: the process ended instead; with the error that it wrote.
        """
        return Ready(**self._answer())

    def round(self) -> dict[str, float]:
        """Measures one round: the seconds of every side.

        Raises:
            WorkerError: the process ended instead; with the error that it wrote.
        """
        try:
            print("round", file=self._process.stdin, flush=True)
        except OSError:
            raise self._failure() from None
        seconds = self._answer()
        if not finite(list(seconds.values())):
            raise WorkerError(f"{self._name} answered times that are none: {seconds}")
        return seconds

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise self._failure()
        return json.loads(line)

    def _failure(self) -> WorkerError:
        try:
            code = self._process.wait(SECONDS_TO_STOP)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        self._errors.seek(0)
        lines = [line.strip() for line in self._errors.read().splitlines() if line.strip()]
        # JAX writes advice below its exceptions.
        errors = [line for line in lines if re.match(r"[\w.]*(Error|Exception)\b", line)]
        last = (errors or lines or [""])[-1]
        return WorkerError(last or f"its process ended with code {code}")


def serve(devices: int, build: Callable[[], Mapping[str, Any]]) -> None:
    """What a worker does: builds, runs everything once, then measures a round a line of input.

    Of two rounds the second runs its sides in the other order, so that neither is always the one
    that finds the caches as somebody else left them.

    Args:
        devices: the CPU devices that JAX should show.
        build: makes the sides (`_timing.Side`) by name; called when the devices are there.
    """
    # What libraries print must not come between the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    import jax
    from _timing import one_round

    import optoscope

    source = Path(os.environ["PYTHONPATH"]).resolve()
    if not Path(optoscope.__file__).resolve().is_relative_to(source):
        raise BenchmarkError(f"optoscope is imported from {optoscope.__file__}, not {source}.")
    started = time.perf_counter()
    jax.config.update("jax_num_cpu_devices", devices)
    sides = build()
    for side in sides.values():
        jax.block_until_ready(side.run())
    ready = Ready(
        device_kind=jax.devices()[0].device_kind,
        compile_seconds=time.perf_counter() - started,
        labels={name: side.label for name, side in sides.items()},
        steps={name: side.steps for name, side in sides.items()},
    )
    print(json.dumps(vars(ready)), file=answers, flush=True)
    order = [(name, side.run) for name, side in sides.items()]
    for _ in sys.stdin:
        print(json.dumps(one_round(order)), file=answers, flush=True)
        order.reverse()


@contextmanager
def stops_cleanly() -> Iterator[None]:
    """Within it SIGTERM unwinds the program as Ctrl-C does, so that workers and files go."""

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def in_one_message(main: Callable[[], None]) -> int:
    """Calls a main function; an expected error is one message and exit code 2."""
    try:
        with stops_cleanly():
            main()
    except BenchmarkError as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("benchmark: interrupted.", file=sys.stderr)
        return 130
    return 0
