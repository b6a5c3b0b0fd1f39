"""Named things: one line registers, everything else (help, tests, docs) reads the list."""

from collections.abc import Iterator
from typing import Generic, TypeVar

from optoscope._core.errors import InvalidValueError, UnknownNameError

Entry = TypeVar("Entry")


class Registry(Generic[Entry]):
    """An ordered mapping from a name to an entry, with errors that suggest the nearest name.

    Args:
        kind: what the entries are, for messages ("task", "optimizer", ...).
    """

    def __init__(self, kind: str):
        self.kind = kind
        self._entries: dict[str, Entry] = {}

    def register(self, name: str, entry: Entry) -> Entry:
        """Adds `entry` under `name`; a name can be taken once."""
        if name in self._entries:
            raise InvalidValueError(
                f"{self.kind} {name!r} is registered already; choose another name."
            )
        self._entries[name] = entry
        return entry

    def __getitem__(self, name: str) -> Entry:
        try:
            return self._entries[name]
        except KeyError:
            raise UnknownNameError(self.kind, name, self._entries) from None

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def names(self) -> tuple[str, ...]:
        """All names, in the order of registration."""
        return tuple(self._entries)
