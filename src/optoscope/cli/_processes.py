"""One run as several processes, on one machine or many."""

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from optoscope._core.errors import InvalidValueError, OptoscopeError, RunDirectoryError
from optoscope.cli._command import use_devices
from optoscope.cli._options import CountOrZero, count

if TYPE_CHECKING:
    from optoscope.cli._command import RunCommand

_HEARTBEAT_SECONDS = 30


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
            InvalidValueError: processes that cannot be, or devices that do not divide the tasks.
        """
        self._check()
        if not self.coordinator:
            return use_devices(devices, num_tasks)
        import jax

        # Devices must not be asked for before the processes have met; on an accelerator those
        # that there are count, whatever is said here.
        jax.config.update("jax_num_cpu_devices", devices or 1)
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        place = (
            {}
            if self.coordinator == "auto"
            else {
                "coordinator_address": self.coordinator,
                "num_processes": self.processes,
                "process_id": self.process,
            }
        )
        jax.distributed.initialize(**place, heartbeat_timeout_seconds=_HEARTBEAT_SECONDS)
        return len(jax.devices())

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
        from optoscope._core.processes import anyone, is_first

        assert command.out is not None
        problem = None
        with contextlib.ExitStack() as held:
            if is_first():
                try:
                    held.enter_context(command.new_directory(default))
                except OptoscopeError as error:
                    problem = error
            # All hear of it: they would wait for the first one without end.
            if anyone(problem is not None):
                raise problem or RunDirectoryError(
                    f"the first process cannot begin a run in {command.out}; it says why."
                )
            yield command.out

    def _check(self) -> None:
        given = self.processes != 0 or self.process != -1
        if self.coordinator in ("", "auto"):
            if given:
                raise InvalidValueError(
                    "--processes and --process go with --coordinator HOST:PORT; "
                    "--coordinator auto finds them out."
                )
            return
        host, _, port = self.coordinator.rpartition(":")
        if not host or not port.isdigit():
            raise InvalidValueError(
                f"--coordinator is {self.coordinator!r}; write HOST:PORT, for example "
                "node0:1234, or auto."
            )
        if self.processes < 1 or not 0 <= self.process < self.processes:
            raise InvalidValueError(
                f"process {self.process} of {self.processes}: give --processes, their number, and "
                "--process, from 0 to one less."
            )
