"""Parses the command line, runs one command, turns errors into one message and exit code 2."""

import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any

import tyro

from optoscope import __version__
from optoscope._core.errors import (
    InvalidValueError,
    OptoscopeError,
    ProcessLostError,
    UnknownNameError,
)
from optoscope.cli._command import RunCommand
from optoscope.cli._demo import Demo
from optoscope.cli._evaluate import Evaluate
from optoscope.cli._explain import Explain
from optoscope.cli._list import List
from optoscope.cli._options import check_options, check_repeated
from optoscope.cli._plot import Plot
from optoscope.cli._reproduce import Reproduce
from optoscope.cli._signals import termination_interrupts
from optoscope.cli._train import Train
from optoscope.cli._tune import Tune

COMMANDS = {
    command.name: command
    for command in (Demo, Train, Evaluate, Explain, Tune, Reproduce, Plot, List)
}

_DESCRIPTION = (
    "Train, use and look inside optimizers, above all learned ones. Start with `optoscope demo`."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code (0, 2 for errors, 130 when interrupted).

    Args:
        arguments: the words after `optoscope`; `sys.argv` if not given.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if "--version" in words:
        print(f"optoscope {__version__}")
        return 0
    if words and not words[0].startswith("-") and words[0] not in COMMANDS:
        print(f"optoscope: {UnknownNameError('command', words[0], COMMANDS)}", file=sys.stderr)
        return 2
    try:
        check_repeated(words)
    except InvalidValueError as error:
        print(f"optoscope: {error}", file=sys.stderr)
        return 2
    try:
        command = tyro.extras.subcommand_cli_from_dict(
            COMMANDS, prog="optoscope", description=_DESCRIPTION, args=words or ["--help"]
        )
    except SystemExit as stop:
        return int(stop.code or 0)
    try:
        with termination_interrupts(), warnings.catch_warnings():
            warnings.showwarning = _show_warning
            check_options(command)
            if isinstance(command, RunCommand):
                _keep_programs(command.debug)
            return command.run()
    except KeyboardInterrupt:
        print("optoscope: interrupted.", file=sys.stderr)
        return 130
    except (OptoscopeError, OSError, MemoryError) as error:
        if command.debug:
            raise
        print(f"optoscope: {_message(error)}", file=sys.stderr)
        if isinstance(error, ProcessLostError):
            # On the way out JAX would wait for the lost process, and then abort.
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(2)
        return 2


def _keep_programs(debug: bool) -> None:
    """Compiled programs are kept from run to run; where that cannot be, only --debug says so."""
    from optoscope._core.compilation_cache import enable_compilation_cache

    enable_compilation_cache(on_problem=_show_warning if debug else None)


def _show_warning(message: Warning | str, *place: Any, **more: Any) -> None:
    # Where in the code a warning arose says nothing to who typed a command.
    print(f"optoscope: note: {message}", file=sys.stderr)


def _message(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        place = f" ({error.filename})" if error.filename else ""
        return f"{error.strerror}{place}. Check the space and the permissions there."
    return str(error) or type(error).__name__
