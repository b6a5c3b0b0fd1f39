"""Parses the command line, runs one command, turns errors into one message and exit code 2."""

import contextlib
import gc
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import tyro

from optoscope import __version__
from optoscope._core.errors import (
    InvalidValueError,
    OptoscopeError,
    ProcessLostError,
    UnknownNameError,
)
from optoscope.cli._command import Command, RunCommand
from optoscope.cli._demo import Demo
from optoscope.cli._evaluate import Evaluate
from optoscope.cli._explain import Explain
from optoscope.cli._fetch import Fetch
from optoscope.cli._import import Import
from optoscope.cli._inspect import Inspect
from optoscope.cli._list import List
from optoscope.cli._options import check_options, check_repeated, typed_options, with_local_paths
from optoscope.cli._output import drop_output, flush_output, make_printable
from optoscope.cli._plot import Plot
from optoscope.cli._processes import Processes, quiet_runtime
from optoscope.cli._recipes import with_recipe
from optoscope.cli._reproduce import Reproduce
from optoscope.cli._signals import termination_interrupts
from optoscope.cli._suite import Suite
from optoscope.cli._symmetries import Symmetries
from optoscope.cli._train import Train
from optoscope.cli._tune import Tune
from optoscope.cli._user_code import forget_sources

COMMANDS = {
    command.name: command
    for command in (
        Demo,
        Train,
        Evaluate,
        Inspect,
        Explain,
        Symmetries,
        Tune,
        Suite,
        Reproduce,
        Plot,
        List,
        Fetch,
        Import,
    )
}

# So many more objects than have gone make Python look for garbage. Tracing makes millions that
# stay: after every 700, Python's own number, that took a tenth of a command's time.
_COLLECT_AFTER = 10_000
# As a shell reports a program that a signal (here number 13, SIGPIPE) has ended.
_BROKEN_PIPE = 128 + 13

_DESCRIPTION = (
    "Train, use and look inside optimizers, above all learned ones. Start with `optoscope demo`."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code.

    0; 2 for errors; 130 when interrupted; 141 when whoever read the output has gone.

    Args:
        arguments: the words after `optoscope`; `sys.argv` if not given.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    make_printable()
    try:
        with _collecting_less():
            code = _parse_and_run(words)
        # What is still in the buffer would fail when Python ends, where it cannot be caught.
        flush_output()
    except BrokenPipeError:
        drop_output()
        return _BROKEN_PIPE
    except SystemExit as stop:
        # Rich, which prints help and tables, turns a broken pipe into an exit of its own.
        if not isinstance(stop.__context__, BrokenPipeError):
            raise
        drop_output()
        return _BROKEN_PIPE
    except OSError as error:
        drop_output()
        return _refused(error)
    return code


@contextlib.contextmanager
def _collecting_less() -> Iterator[None]:
    """Has Python look for garbage less often, unless it does so already."""
    youngest, *older = before = gc.get_threshold()
    if 0 < youngest < _COLLECT_AFTER:
        gc.set_threshold(_COLLECT_AFTER, *older)
    try:
        yield
    finally:
        gc.set_threshold(*before)


def _parse_and_run(words: list[str]) -> int:
    if "--version" in words:
        print(f"optoscope {__version__}")
        return 0
    if words and not words[0].startswith("-") and words[0] not in COMMANDS:
        return _refused(UnknownNameError("command", words[0], COMMANDS))
    try:
        check_repeated(words)
        words = with_recipe(words)
    except OptoscopeError as error:
        return _refused(error)
    try:
        command = tyro.extras.subcommand_cli_from_dict(
            COMMANDS, prog="optoscope", description=_DESCRIPTION, args=words or ["--help"]
        )
    except SystemExit as stop:
        if isinstance(stop.__context__, BrokenPipeError):
            raise
        return int(stop.code or 0)
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        return _run(command, words)


def _run(command: Command, words: Sequence[str]) -> int:
    forget_sources()
    try:
        command = with_local_paths(command)
        check_options(command)
        if isinstance(command, Processes) and command.coordinator and not command.debug:
            quiet_runtime()
        if isinstance(command, RunCommand):
            command.check_beside(typed_options(words))
            _prepare_to_compile(command.debug)
        with termination_interrupts():
            return command.run()
    except KeyboardInterrupt:
        print("optoscope: interrupted.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        raise
    except (OptoscopeError, OSError, MemoryError) as error:
        if command.debug:
            raise
        code = _refused(error)
        if isinstance(error, ProcessLostError):
            # On the way out JAX would wait for the lost process, and then abort.
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
        return code
    except (RuntimeError, AssertionError) as error:
        reason = _runtime_problem(error)
        if command.debug or reason is None:
            raise
        return _refused(reason)


def _runtime_problem(error: BaseException) -> OptoscopeError | None:
    """The message of a failure of JAX's runtime that is no fault of the program, or None."""
    from optoscope._core.platforms import check_platform

    try:
        check_platform()
    except InvalidValueError as problem:
        return problem
    lines = (str(error).strip() or " ").splitlines()
    first = lines[0][:300]
    if "CpuCallback error" in first:
        return OptoscopeError(
            f"data or a model on the host failed: {lines[-1][:300]}. With --debug the whole "
            "traceback is shown."
        )
    if first.startswith("RESOURCE_EXHAUSTED"):
        return OptoscopeError(f"the memory is full ({first}). Take fewer tasks, runs or steps.")
    return None


def _refused(error: BaseException) -> int:
    """Prints in one message why the command failed; returns the exit code."""
    with contextlib.suppress(OSError):
        print(f"optoscope: {_message(error)}", file=sys.stderr)
    return 2


def _prepare_to_compile(debug: bool) -> None:
    """Compiled programs are kept from run to run; where that cannot be, only --debug says so.

    Only with --debug does a program note which line of code each of its operations comes from.
    """
    import jax

    from optoscope._core.compilation_cache import enable_compilation_cache

    enable_compilation_cache(on_problem=_show_warning if debug else None)
    if not debug:
        with contextlib.suppress(AttributeError):  # another version of JAX
            jax.config.update("jax_traceback_in_locations_limit", 0)


def _show_warning(message: Warning | str, *place: Any, **more: Any) -> None:
    # Where in the code a warning arose says nothing to who typed a command.
    print(f"optoscope: note: {message}", file=sys.stderr)


def _message(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        place = f" ({error.filename})" if error.filename else ""
        return f"{error.strerror}{place}. Check the space and the permissions there."
    return str(error) or type(error).__name__
