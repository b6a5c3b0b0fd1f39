"""Output that prints in any encoding, and ends quietly when its reader has gone."""

import codecs
import contextlib
import io
import os
import sys

_HANDLER = "optoscope.readable"
# What help and messages use, for terminals that have only ASCII or a code page.
_PLAIN = str.maketrans(
    {
        **dict.fromkeys("─━═–—−", "-"),
        **dict.fromkeys("│┃║", "|"),
        **dict.fromkeys("╭╮╰╯┌┐└┘├┤┬┴┼╞╡╪┏┓┗┛┣┫╋╸╺", "+"),
        **dict.fromkeys("•●·", "*"),
        **dict.fromkeys("‘’", "'"),
        **dict.fromkeys("“”", '"'),
        "…": "...",
        "×": "x",
    }
)


def _readable(error: UnicodeError) -> tuple[str, int]:
    """The nearest ASCII of what an encoding lacks, else its number, so that nothing is lost."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end].translate(_PLAIN)
    return lacking.encode("ascii", "backslashreplace").decode("ascii"), error.end


def make_printable() -> None:
    """Makes standard output and errors take every character, whatever their encoding."""
    codecs.register_error(_HANDLER, _readable)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            with contextlib.suppress(ValueError, OSError):
                stream.reconfigure(errors=_HANDLER)


def flush_output() -> None:
    """Writes what was printed; raises OSError where it cannot be written."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            with contextlib.suppress(ValueError):  # closed
                stream.flush()


def drop_output() -> None:
    """Discards the output that is still buffered, which would fail again when Python ends."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, ValueError, OSError):
            with contextlib.suppress(AttributeError, ValueError, OSError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, stream.fileno())
                os.close(nowhere)
