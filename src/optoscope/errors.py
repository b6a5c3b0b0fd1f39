"""Every error that this library raises on purpose.

All of them derive from `OptoscopeError`, so that one `except` clause catches what the library
itself refuses and lets everything else through. Their messages say what was got, why that cannot
work and what to write instead; the command line prints the message and exits with status 2.
"""

from optoscope._core.errors import (
    DataError,
    FileFormatError,
    InvalidValueError,
    MetaTrainingDivergedError,
    OptoscopeError,
    ProcessLostError,
    RunDirectoryError,
    RunInUseError,
    UnknownNameError,
)

__all__ = [
    "DataError",
    "FileFormatError",
    "InvalidValueError",
    "MetaTrainingDivergedError",
    "OptoscopeError",
    "ProcessLostError",
    "RunDirectoryError",
    "RunInUseError",
    "UnknownNameError",
]
