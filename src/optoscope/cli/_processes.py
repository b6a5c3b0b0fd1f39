"""One run as several processes, on one machine or many."""

import contextlib
import os
import re
import socket
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from optoscope._core.errors import (
    InvalidValueError,
    OptoscopeError,
    ProcessLostError,
    RunDirectoryError,
)
from optoscope.cli._command import use_devices
from optoscope.cli._options import CountOrZero, count

if TYPE_CHECKING:
    from optoscope.cli._command import RunCommand

_HEARTBEAT_SECONDS = 30
# How long the processes wait for each other at the start: clusters start them one by one.
SECONDS_TO_MEET = 300
# By how much the runtime's own limit, which aborts the program, is later.
_LATER_SECONDS = 60


def quiet_runtime() -> None:
    """Keeps the runtime's own log of a lost process off the screen; call it before JAX starts.

    What happened is said in one message instead.
    """
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    os.environ["GRPC_VERBOSITY"] = "NONE"


@dataclass(frozen=True, kw_only=True)
class Processes:
    """How a run is spread over processes.

    Args:
        coordinator: host:port of the first process; "auto" where the cluster says who is who
            (Slurm, Open MPI, Kubernetes); empty for one process.
        processes: how many there are.
        process: which one this is, from 0.
    """

    coordinator: str = ""
    processes: CountOrZero = 0
    process: Annotated[int, count(-1)] = -1

    def join(self, devices: int, num_tasks: int) -> int:
        """Sets up this process's devices, meets the others, and returns how many devices to use.

        Args:
            devices: local ones to use; 0 for as many as there are, of several processes on
                CPUs one each.
            num_tasks: what is spread over the devices of all processes.

        Raises:
            InvalidValueError: processes that cannot be, a port that is taken, or devices that do
                not divide the tasks.
            ProcessLostError: the others did not come in time.
        """
        self._check()
        if not self.coordinator:
            return use_devices(devices, num_tasks)
        import jax

        # Devices must not be asked for before the processes have met; on an accelerator those
        # that there are count, whatever is said here.
        jax.config.update("jax_num_cpu_devices", devices or 1)
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        if self.coordinator == "auto":
            self._initialize({}, SECONDS_TO_MEET)
        else:
            self._meet()
        return len(jax.devices())

    def _meet(self) -> None:
        host, port = self._address()
        who = f"process {self.process} of {self.processes}"
        warnings.warn(
            f"{who} meets the others at {self.coordinator}; it waits for at most "
            f"{SECONDS_TO_MEET} seconds.",
            stacklevel=2,
        )
        deadline = time.monotonic() + SECONDS_TO_MEET
        if self.process == 0:
            _check_free(port)
        else:
            _wait_for(host, port, deadline, who)
        place = {
            "coordinator_address": self.coordinator,
            "num_processes": self.processes,
            "process_id": self.process,
        }
        self._initialize(place, max(1, round(deadline - time.monotonic())))

    def _initialize(self, place: dict[str, Any], seconds: int) -> None:
        import jax

        who = f"process {self.process} of {self.processes}" if place else "this process"
        others = "all the others" if self.process == 0 else "the others"
        where = f" at {self.coordinator}" if place else ""
        late = (
            f"{who} did not meet {others}{where} within {SECONDS_TO_MEET} seconds. Start all of "
            "them at about the same time, each as another process."
        )
        try:
            with _ended_after(seconds, late):
                jax.distributed.initialize(
                    **place,
                    initialization_timeout=seconds + _LATER_SECONDS,
                    heartbeat_timeout_seconds=_HEARTBEAT_SECONDS,
                )
        except (RuntimeError, ValueError) as error:
            if not place:
                raise InvalidValueError(
                    "--coordinator auto finds no cluster that says who is who "
                    f"({_first_line(error)}); give HOST:PORT, --processes and --process."
                ) from error
            raise ProcessLostError(f"{late} ({_first_line(error)})") from error

    @contextmanager
    def shared_directory(self, command: "RunCommand", default: str) -> Iterator[Path]:
        """The run directory: made and held by the first process, and there for all in the block.

        Args:
            command: whose it is; with `out` where there are several processes.
            default: its name under runs/ where none is given.
        """
        if not self.coordinator:
            with command.new_directory(default) as directory:
                yield directory
            return
        assert command.out is not None
        with self.held_by_the_first(command.new_directory(default), command.out):
            yield command.out

    @contextmanager
    def held_by_the_first(
        self, hold: AbstractContextManager[Any], directory: Path
    ) -> Iterator[None]:
        """The block runs while the first process holds a directory; where it cannot, all stop.

        Args:
            hold: how the first process makes or locks the directory.
            directory: the one that is held.

        Raises:
            RunDirectoryError: the first process cannot hold it; there, whatever stops it.
        """
        from optoscope._core.processes import anyone, is_first

        problem = None
        with contextlib.ExitStack() as held:
            if is_first():
                try:
                    held.enter_context(hold)
                except (OptoscopeError, OSError) as error:
                    problem = error
            # All hear of it: they would wait for the first one without end.
            if anyone(problem is not None):
                raise problem or RunDirectoryError(
                    f"the first process cannot begin or go on with a run in {directory}; it says "
                    "why."
                )
            yield

    def _check(self) -> None:
        given = self.processes != 0 or self.process != -1
        if self.coordinator in ("", "auto"):
            if given:
                raise InvalidValueError(
                    "--processes and --process go with --coordinator HOST:PORT; "
                    "--coordinator auto finds them out."
                )
            return
        self._address()
        if self.processes < 1 or not 0 <= self.process < self.processes:
            raise InvalidValueError(
                f"process {self.process} of {self.processes}: give --processes, their number, and "
                "--process, from 0 to one less."
            )

    def _address(self) -> tuple[str, int]:
        host, _, port = self.coordinator.rpartition(":")
        # Only ASCII digits: str.isdigit takes others, such as superscripts, too.
        if not host or not re.fullmatch("[0-9]{1,5}", port) or not 1 <= int(port) <= 65535:
            raise InvalidValueError(
                f"--coordinator is {self.coordinator!r}; write HOST:PORT, for example "
                "node0:1234, or auto."
            )
        return host.strip("[]"), int(port)


@contextmanager
def _ended_after(seconds: float, message: str) -> Iterator[None]:
    """Ends the program with a message where the block takes longer than that.

    Nothing softer can: the runtime waits where no exception reaches it, and aborts the program
    without a word when its own time is up.
    """

    def end() -> None:
        print(f"optoscope: {message}", file=sys.stderr, flush=True)
        os._exit(2)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _check_free(port: int) -> None:
    """Raises InvalidValueError where the first process cannot wait at the port."""
    with socket.socket() as probe:
        # Connections of a run before this one, which are just closing, are not in the way.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError as error:
            raise InvalidValueError(
                f"the processes cannot meet at port {port} of this machine "
                f"({error.strerror or error}); give all of them another port in --coordinator."
            ) from None


def _wait_for(host: str, port: int, deadline: float, who: str) -> None:
    """Returns when something answers there.

    Raises:
        ProcessLostError: nothing did, until the deadline.
    """
    while True:
        try:
            with socket.create_connection((host, port), timeout=2):
                return
        except OSError as error:
            if time.monotonic() > deadline:
                raise ProcessLostError(
                    f"{who} waited {SECONDS_TO_MEET} seconds for the first process at "
                    f"{host}:{port}, which did not come ({error.strerror or error}). Check the "
                    "address, and that --process 0 was started there."
                ) from None
        time.sleep(0.5)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
