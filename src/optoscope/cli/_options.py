"""The domains of options, which typed words and a config.json both obey."""

import dataclasses
import re
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

from optoscope._core.errors import MAX_SEED, InvalidValueError, check_number, check_seed
from optoscope._core.files import with_home
from optoscope._core.kinds import check_kind

# Single precision, in which everything is computed: beyond it a number is infinite, below it 0.
_SMALLEST, _LARGEST = 2.0**-126, 3.4028e38
_LARGEST_COUNT = 2**31 - 1


@dataclass(frozen=True)
class Domain:
    """The numbers that an option can be.

    Args:
        minimum: the least.
        maximum: the greatest.
        exclusive_minimum: whether `minimum` itself is not one of them.
    """

    minimum: float
    maximum: float = _LARGEST
    exclusive_minimum: bool = False

    def check(self, name: str, value: float) -> None:
        """Raises InvalidValueError where the value is not in the domain."""
        check_number(
            name,
            value,
            minimum=self.minimum,
            maximum=self.maximum,
            exclusive_minimum=self.exclusive_minimum,
        )
        if 0 < value < _SMALLEST:
            raise InvalidValueError(
                f"{name} is {value!r}, which is zero in single precision; the least number above "
                f"zero is {_SMALLEST:.3g}."
            )


class SeedDomain(Domain):
    """Seeds, here as everywhere else in the library."""

    def check(self, name: str, value: float) -> None:
        """Raises InvalidValueError where the value is no seed."""
        check_seed(value, name)


def count(minimum: int) -> Domain:
    """Whole numbers from `minimum` on, as many as a program can count."""
    return Domain(minimum, _LARGEST_COUNT)


Seed = Annotated[int, SeedDomain(0, MAX_SEED)]
Count = Annotated[int, count(1)]
CountOrZero = Annotated[int, count(0)]
Several = Annotated[int, count(2)]
Positive = Annotated[float, Domain(0, exclusive_minimum=True)]
PositiveOrZero = Annotated[float, Domain(0)]
ShareOrZero = Annotated[float, Domain(0, 0.999999)]
ZeroToOne = Annotated[float, Domain(0, 1)]
Stretch = Annotated[float, Domain(1)]
Share = Annotated[float, Domain(0, 1, exclusive_minimum=True)]


def check_options(command: Any, place: str = "") -> None:
    """Checks every field of a command, whether it was typed or read.

    Args:
        command: a dataclass whose fields have the types above.
        place: where the values were read, if they were not typed.

    Raises:
        InvalidValueError: a field is of another type, or outside of its domain.
    """
    values = {field.name: getattr(command, field.name) for field in dataclasses.fields(command)}
    check_values(type(command), values, place)


def check_values(kind: type, values: Mapping[str, Any], place: str = "") -> None:
    """Checks values by their names, before a command is made from them.

    Args:
        kind: the class of the command.
        values: of some of its fields.
        place: where the values were read, if they were not typed.

    Raises:
        InvalidValueError: a value is of another type, or outside of its domain.
    """
    hints = typing.get_type_hints(kind, include_extras=True)
    for name, value in values.items():
        check_option(name, hints[name], value, place)


def check_option(name: str, hint: Any, value: Any, place: str = "") -> None:
    """Checks one value against the type of its field.

    Raises:
        InvalidValueError: it is of another type, or outside of its domain.
    """
    shown = f"{name} in {place}" if place else f"--{name.replace('_', '-')}"
    domains = []
    while typing.get_origin(hint) is Annotated:
        hint, *more = typing.get_args(hint)
        domains += [one for one in more if isinstance(one, Domain)]
    check_kind(shown, value, hint)
    for domain in domains:
        domain.check(shown, value)


def check_repeated(words: Sequence[str]) -> None:
    """Refuses an option that is given twice, of which the parser would take the last.

    Args:
        words: what was typed, as the parser gets them.

    Raises:
        InvalidValueError: two words name one option.
    """
    seen: dict[str, str] = {}
    for word in words:
        if word == "--":
            return
        if not word.startswith("--"):
            continue
        given = word.split("=", 1)[0]
        name = given.replace("_", "-").removeprefix("--").removeprefix("no-")
        if name in seen:
            twice = given if given == seen[name] else f"{seen[name]} and {given}"
            raise InvalidValueError(
                f"{twice} {'is given twice' if given == seen[name] else 'name one option'}; "
                "only one of them can hold. Leave the other one out."
            )
        seen[name] = given


def typed_options(words: Sequence[str]) -> frozenset[str]:
    """The names of the fields that are given as options.

    >>> sorted(typed_options(["train", "--meta-steps", "3", "--no-stagger", "--task=quadratic"]))
    ['meta_steps', 'stagger', 'task']
    """
    names = (word.split("=", 1)[0][2:] for word in words if word.startswith("--"))
    return frozenset(name.replace("-", "_").removeprefix("no_") for name in names)


# gs://bucket/run, and what is left of it as a path.
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")

_Any = TypeVar("_Any")


def with_local_paths(command: _Any) -> _Any:
    """The command with `~` spelled out in its paths.

    A shell does that for a word that begins with it, not for `--out=~/run`.

    Raises:
        InvalidValueError: a path is an address on the net, or a home that is not there.
    """
    paths = {}
    for field in dataclasses.fields(command):  # pyright: ignore[reportArgumentType]
        value = getattr(command, field.name)
        if not isinstance(value, Path):
            continue
        option = f"--{field.name.replace('_', '-')}"
        if _URL.match(str(value)):
            raise InvalidValueError(
                f"{option} is {str(value)!r}, an address on the net; give a folder that this "
                "machine sees, for example one where the bucket is mounted."
            )
        paths[field.name] = with_home(value, option)
    return dataclasses.replace(command, **paths)  # pyright: ignore[reportArgumentType]
