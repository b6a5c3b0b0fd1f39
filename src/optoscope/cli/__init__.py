"""The command line. Heavy imports happen inside a command, so that every --help is quick."""

from optoscope.cli._main import main

__all__ = ["main"]
