"""A person's own code as config.json names it, and the words that name it on the command line."""

from collections.abc import Mapping
from typing import Any


def recorded_sources(config: Mapping[str, Any]) -> dict[str, str]:
    """What a run has loaded, FILE.py:NAME or MODULE:NAME, and the sha256 of each file.

    The content of a config.json can be anything; what is no source is left out.

    Example:
        >>> recorded_sources({"sources": [{"named": "a.py:task", "sha256": "12"}, 3]})
        {'a.py:task': '12'}
    """
    sources = config.get("sources")
    return {
        str(source["named"]): str(source.get("sha256", ""))
        for source in (sources if isinstance(sources, list) else [])
        if isinstance(source, Mapping) and "named" in source
    }


def argument_words(name: str, value: Any) -> list[str]:
    """The words that give a command an argument that may name code, one or several values.

    Example:
        >>> argument_words("validate_on", ["a.py:task", "quadratic"])
        ['--validate-on', 'a.py:task', 'quadratic']
        >>> argument_words("optimizer", "a.py:mine")  # which is typed without an option
        ['a.py:mine']
    """
    option = [] if name == "optimizer" else [f"--{name.replace('_', '-')}"]
    return [*option, *argument_values(value)]


def argument_values(value: Any) -> list[str]:
    """The values of an argument, as texts.

    Example:
        >>> argument_values("a,b"), argument_values(["a", "b"]), argument_values(3)
        (['a,b'], ['a', 'b'], ['3'])
    """
    return list(map(str, value)) if isinstance(value, list | tuple) else [str(value)]
