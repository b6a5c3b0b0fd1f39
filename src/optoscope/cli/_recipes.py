"""Recipes: settings of `optoscope train` that are known to work, in small files that one can read.

A recipe is a TOML file. `description` says what it is for, and every other line is an option of
`optoscope train` by its name: `meta_steps = 3000` is --meta-steps 3000.
"""

import itertools
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from optoscope._core.errors import FileFormatError, InvalidValueError, UnknownNameError
from optoscope._core.files import read_bytes

_PLACE = Path(__file__).parent / "recipes"
_COMMAND = "train"
_MOST_BYTES = 100_000


def recipe_names() -> tuple[str, ...]:
    """The names of the recipes that come with the library."""
    return tuple(sorted(path.stem for path in _PLACE.glob("*.toml")))


def read_recipe(named: str) -> dict[str, Any]:
    """The lines of a recipe.

    Args:
        named: one that comes with the library, or a file.

    Raises:
        UnknownNameError: there is no such recipe.
        FileFormatError: the file is no recipe.
    """
    if named in recipe_names():
        path = _PLACE / f"{named}.toml"
    elif named.endswith(".toml"):
        path = Path(named).expanduser()
    else:
        raise UnknownNameError("recipe", named, recipe_names())
    try:
        lines = tomllib.loads(read_bytes(path, most=_MOST_BYTES, error=FileFormatError).decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as problem:
        raise FileFormatError(f"{path} is no TOML file: {problem}.") from None
    for name, value in lines.items():
        if not isinstance(value, (str, int, float, list)):
            raise FileFormatError(
                f"{path}: {name} is a {type(value).__name__}; a recipe has a text, a number, true "
                "or false, or a list on each line."
            )
    return lines


def with_recipe(words: Sequence[str]) -> list[str]:
    """The command line with the options of the recipe that it names, where they are not typed.

    What is typed after --set is added to the recipe's, and counts where both say something. Where
    other tasks are typed, what the recipe says of its own ones alone is left out.

    Args:
        words: what was typed after `optoscope`.

    Raises:
        InvalidValueError: --recipe has nothing behind it.
        UnknownNameError: there is no such recipe.
        FileFormatError: the file is no recipe.
    """
    words = list(words)
    named = _value_of(words, "recipe") if words[:1] == [_COMMAND] else None
    # A run that is repeated or resumed has its settings; the recipe is among them.
    if named is None or {"config", "resume"} & {_name(word) for word in words}:
        return words
    typed = {_name(word) for word in words if word.startswith("--")}
    lines = read_recipe(named)
    lines.pop("description", None)
    optimizer = lines.pop("optimizer", None)
    words, chosen = _with_optimizer(words, optimizer)
    if chosen != optimizer:
        lines = _without_settings_of(lines, optimizer)
    if "task" in typed:
        lines = _without_its_tasks(lines, str(_value_of(words, "task")))
    if "set" in typed:
        words = _with_settings(words, lines.pop("set", []))
    for name, value in lines.items():
        if name not in typed:
            words += _as_words(name, value)
    return words


def _with_optimizer(words: Sequence[str], optimizer: Any) -> tuple[list[str], Any]:
    """The command line with an optimizer in its first place, and that one: what is typed counts.

    It is typed there, or right behind the recipe.
    """
    words = list(words)
    if len(words) > 1 and not words[1].startswith("-"):
        return words, words[1]
    place = next(place for place, word in enumerate(words) if _name(word) == "recipe")
    behind = place + (1 if "=" in words[place] else 2)
    if behind < len(words) and not words[behind].startswith("-"):
        words.insert(1, words.pop(behind))
        return words, words[1]
    if optimizer is not None:
        words.insert(1, str(optimizer))
    return words, optimizer


def _without_settings_of(lines: Mapping[str, Any], owner: Any) -> dict[str, Any]:
    """A recipe's lines, but for what they set of an optimizer that another one is typed for."""
    kept = dict(lines)
    if "set" in kept:
        kept["set"] = [one for one in kept["set"] if _owner(one) != owner]
    return kept


def _owner(setting: str) -> str:
    """What NAME.option=value is for; empty if it is for all tasks."""
    return setting.partition("=")[0].rpartition(".")[0]


def _without_its_tasks(lines: Mapping[str, Any], typed: str) -> dict[str, Any]:
    """A recipe's lines, but for what they say of tasks that are not among those typed."""
    own, there = (set(text.split(",")) for text in (str(lines.get("task", "")), typed))
    kept = {name: value for name, value in lines.items() if name != "task_horizons"}
    if "set" in kept:
        kept["set"] = [one for one in kept["set"] if _owner(one) not in own - there]
    return kept


def _with_settings(words: list[str], settings: Sequence[str]) -> list[str]:
    """The command line with those of a recipe's settings that are not typed after --set."""
    place = next(place for place, word in enumerate(words) if _name(word) == "set")
    first = words[place].partition("=")[2]
    rest = words[place + 1 :]
    typed = [first] if first else list(itertools.takewhile(lambda w: not w.startswith("--"), rest))
    names = {one.partition("=")[0] for one in typed}
    added = [one for one in settings if one.partition("=")[0] not in names]
    return [*words[:place], "--set", *added, *([first] if first else []), *rest]


def _name(word: str) -> str:
    return word.split("=", 1)[0].removeprefix("--").removeprefix("no-").replace("-", "_")


def _value_of(words: list[str], name: str) -> str | None:
    for place, word in enumerate(words):
        if word.startswith("--") and _name(word) == name:
            if "=" in word:
                return word.split("=", 1)[1]
            if place + 1 == len(words):
                raise InvalidValueError(f"--{name} needs a name behind it.")
            return words[place + 1]
    return None


def _as_words(name: str, value: Any) -> list[str]:
    option = name.replace("_", "-")
    if isinstance(value, bool):
        return [f"--{option}" if value else f"--no-{option}"]
    values = value if isinstance(value, list) else [value]
    return [f"--{option}", *map(str, values)]
