"""The optimizers by families, with what each costs beside Adam."""

from dataclasses import dataclass
from typing import Any

from optoscope.cli._console import console, show_table


@dataclass(frozen=True)
class Costs:
    """One line of the table.

    Args:
        name: of the optimizer.
        memory: bytes of state for each parameter.
        time: of an update, in Adam's; None if it has not been measured.
        description: what it is, or where its weights are.
    """

    name: str
    memory: float
    time: float | None
    description: str

    @property
    def cells(self) -> tuple[str, str, str, str]:
        """The line as texts.

        >>> Costs("adam", 8.0, 1.0, "Adam").cells
        ('adam', '8 B', '1×', 'Adam')
        """
        time = "?" if self.time is None else f"{self.time:g}×"
        return self.name, f"{self.memory:.3g} B", time, self.description


def families() -> list[tuple[str, str]]:
    """Each family with the names in it."""
    from optoscope import optimizers

    found: dict[str, list[str]] = {}
    for name in optimizers.names():
        entry = optimizers.REGISTRY[name]
        family = "learned, to be meta-trained" if entry.learned else entry.family
        found.setdefault(family, []).append(name)
    found["learned, shipped trained"] = list(optimizers.pretrained_names())
    found["learned, published by others"] = list(optimizers.PUBLISHED)
    return [(family, ", ".join(names)) for family, names in found.items()]


def hand_designed() -> dict[str, list[Costs]]:
    """The lines of each family of hand-designed optimizers."""
    from optoscope import optimizers

    found: dict[str, list[Costs]] = {}
    for name in optimizers.names():
        entry = optimizers.REGISTRY[name]
        if not entry.learned:
            found.setdefault(entry.family, []).append(_costs(name, entry.description))
    return found


def learned() -> list[Costs]:
    """A line for each learned optimizer, to be meta-trained, shipped or published.

    Shipped ones of equal cost share a line.
    """
    from optoscope import optimizers

    lines = []
    for name in optimizers.names():
        entry = optimizers.REGISTRY[name]
        if not entry.learned:
            continue
        lines.append(_costs(name, entry.description))
        shipped: dict[tuple[float, float | None], list[str]] = {}
        for own in optimizers.pretrained_names():
            if optimizers.read_description(own)["class"] == name:
                one = _costs(own, "")
                shipped.setdefault((one.memory, one.time), []).append(own)
        for (memory, time), names in shipped.items():
            lines.append(Costs("  trained", memory, time, ", ".join(names)))
        published = [p for p in optimizers.PUBLISHED if optimizers.PUBLISHED[p].registered == name]
        if published:
            last = lines[-1]
            words = f"{last.description}; published as {', '.join(published)}"
            lines[-1] = Costs(last.name, last.memory, last.time, words)
    return lines


def show_optimizers() -> None:
    """Prints the table, and how it was measured."""
    from rich.table import Table
    from rich.text import Text

    from optoscope.optimizers._costs import how_measured

    table = Table(title="optimizers", title_justify="left", box=None, pad_edge=False)
    table.add_column("name", no_wrap=True)
    table.add_column("state", justify="right", no_wrap=True)
    table.add_column("time", justify="right", no_wrap=True)
    table.add_column("what it is")
    groups = hand_designed() | {"learned": learned()}
    for family, lines in groups.items():
        table.add_row(Text(family, style="bold"))
        for line in lines:
            table.add_row(*map(Text, line.cells))
    show_table(table)
    console.print(
        f"state: bytes for each parameter of a matrix. time: of an update, in Adam's, on "
        f"{how_measured()}.\n"
        "trained: shipped weights. published: by others, see `optoscope import --help`. "
        "-cosine or -warmup-cosine behind a name is a schedule; optax.NAME works too. "
        "Details: optoscope list optimizers WORD"
    )


def _costs(name: str, description: str) -> Costs:
    from optoscope import optimizers
    from optoscope._core.errors import UnknownNameError
    from optoscope.optimizers._costs import state_bytes, step_time

    if name in optimizers.pretrained_names():
        made = optimizers.load(name)
    else:
        options: dict[str, Any] = {}
        if optimizers.entry(name).takes_num_steps:
            options["num_steps"] = 1000
        made = optimizers.get(name, **options)
    try:
        time = step_time(name)
    except UnknownNameError:  # somebody's own, registered by a program
        time = None
    return Costs(name, state_bytes(made), time, description)
