"""Functions as settings of compiled programs, which must have a hash."""

import functools
from collections.abc import Callable
from typing import Any


def hashable(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function; with a hash of its own where it has none, as methods of Equinox modules.

    These are hashed by their arrays, which fails.

    Example:
        >>> hashable(len) is len
        True
    """
    try:
        hash(function)
    except TypeError:
        return functools.partial(function)
    return function
