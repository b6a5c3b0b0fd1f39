"""optoscope list: what there is, by families on one screen or name by name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import tyro

from optoscope._core.errors import UnknownNameError
from optoscope.cli._command import Command
from optoscope.cli._console import console, show_table
from optoscope.cli._optimizer_table import families as optimizer_families
from optoscope.cli._optimizer_table import show_optimizers
from optoscope.cli._recipes import read_recipe, recipe_names

if TYPE_CHECKING:
    from rich.table import Table

Rows = list[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class List(Command):
    """List tasks, optimizers, estimators, recipes, datasets, probes and pretrained optimizers.

    Tasks and optimizers are shown by families. For single names say a part of them, as in
    `optoscope list tasks mnist`, or `--all`.

    Args:
        kind: what to list.
        word: only names that hold this, one a line.
        all: every name, one a line.
    """

    name: ClassVar[str] = "list"

    kind: tyro.conf.Positional[
        Literal[
            "all",
            "tasks",
            "optimizers",
            "estimators",
            "recipes",
            "pretrained",
            "datasets",
            "probes",
        ]
    ] = "all"
    word: tyro.conf.Positional[str] = ""
    all: bool = False

    def run(self) -> int:
        """Prints a table for each kind."""
        if self.all or self.word:
            self._show_names(list(_ROWS) if self.kind == "all" else [self.kind])
        elif self.kind == "optimizers":
            show_optimizers()
        elif self.kind in _FAMILIES:
            _show(self.kind, "family", _FAMILIES[self.kind]())
            console.print(
                f"A name joins one of each with hyphens. Single names: optoscope list {self.kind} "
                f"WORD, or --all."
            )
        elif self.kind != "all":
            _show(self.kind, "name", _ROWS[self.kind]())
        else:
            _show_kinds()
        return 0

    def _show_names(self, kinds: list[str]) -> None:
        known: list[str] = []
        shown = False
        for kind in kinds:
            rows = _ROWS[kind]()
            known += [name for name, _ in rows]
            rows = [(name, text) for name, text in rows if self.word in name]
            if rows:
                _show(kind, "name", rows)
                shown = True
        if not shown:
            what = "name" if self.kind == "all" else f"name among {self.kind}"
            raise UnknownNameError(what, self.word, known, listed=self.kind)
        if "tasks" in kinds:
            _show_options(self.word)


def _show_options(task: str) -> None:
    """What `--set` takes for a task, if there is one of this name."""
    from optoscope import tasks
    from optoscope._core.kinds import in_words

    if task not in tasks.REGISTRY:
        return
    entry = tasks.REGISTRY[task]
    defaults, by_scale = entry.option_defaults, "scale" in entry.option_types
    table = _table(f"options of {task}: --set OPTION=VALUE")
    for heading in ("option", "takes", "if not given"):
        table.add_column(heading, no_wrap=heading == "option")
    for option, kind in entry.option_types.items():
        value = defaults.get(option, "by scale" if by_scale else "must be given")
        _add_row(table, option, in_words(kind), "nothing" if value is None else f"{value}")
    show_table(table)
    console.print()


def _show_kinds() -> None:
    """A screen of everything: families of tasks and optimizers, names of all else."""
    for kind, names in _ROWS.items():
        if kind in _FAMILIES:
            _show(kind, "", _FAMILIES[kind]())
        elif kind != "pretrained":  # they are among the optimizers
            _show(kind, "", [("", ", ".join(name for name, _ in names()))])
    console.print("More on each: optoscope list KIND [WORD] [--all]")


def _table(title: str) -> "Table":
    from rich.table import Table

    return Table(title=title, title_justify="left", box=None, pad_edge=False)


def _add_row(table: "Table", *texts: str) -> None:
    from rich.text import Text

    # Text objects and not strings: a name with square brackets is no markup.
    table.add_row(*map(Text, texts))


def _show(title: str, heading: str, rows: Rows) -> None:
    table = _table(title)
    table.show_header = bool(heading)
    first = any(name for name, _ in rows)
    if first:
        table.add_column(heading, no_wrap=heading == "name", style="bold", min_width=24)
    table.add_column("what it is" if heading == "name" else "")
    for name, description in rows:
        _add_row(table, *((name, description) if first else (description,)))
    show_table(table)
    if heading:
        console.print()


def _tasks() -> Rows:
    from optoscope import tasks

    return [(name, tasks.REGISTRY[name].description) for name in tasks.names()]


def _task_families() -> Rows:
    from optoscope import tasks

    found: dict[str, list[tuple[str, ...]]] = {}
    for name in tasks.names():
        entry = tasks.REGISTRY[name]
        found.setdefault(entry.family, []).append(entry.parts or (name,))
    return [
        (
            family,
            " × ".join(", ".join(dict.fromkeys(column)) for column in zip(*parts, strict=True)),
        )
        for family, parts in found.items()
    ]


def _optimizers() -> Rows:
    from optoscope import optimizers

    entries = {name: optimizers.REGISTRY[name] for name in optimizers.names()}
    return [
        (
            name,
            f"{entry.description}{' (learned)' if entry.learned else ''}; takes "
            f"{', '.join(entry.arguments)}",
        )
        for name, entry in entries.items()
    ]


def _estimators() -> Rows:
    from optoscope import meta

    entries = {name: meta.ESTIMATORS[name] for name in meta.ESTIMATORS}
    return [
        (name, f"{entry.description}; needs {entry.needs}; {entry.bias}")
        for name, entry in entries.items()
    ]


def _recipes() -> Rows:
    return [(name, read_recipe(name)["description"]) for name in recipe_names()]


def _pretrained() -> Rows:
    from optoscope import optimizers

    rows = []
    for name in optimizers.pretrained_names():
        metadata = optimizers.read_description(name)["metadata"]
        task = metadata.get("task", {}).get("name", "?")
        others = len(metadata.get("tasks", ())) - 1
        more = f" and {others} other{'s' * (others > 1)}" if others > 0 else ""
        done = metadata.get("meta_steps_done")
        rows.append((name, f"meta-trained on {task}{more}, {done} meta-steps"))
    return rows


def _datasets() -> Rows:
    from optoscope import data

    place = data.data_directory()
    return [
        (name, "bundled" if name == "digits" else f"looked for in {place / name}")
        for name in data.names()
    ]


def _probes() -> Rows:
    # `analysis` registers its probes.
    from optoscope import analysis, training  # noqa: F401

    return [
        (name, (training.PROBES[name].__doc__ or "").splitlines()[0]) for name in training.PROBES
    ]


_ROWS: Mapping[str, Callable[[], Rows]] = {
    "tasks": _tasks,
    "optimizers": _optimizers,
    "estimators": _estimators,
    "recipes": _recipes,
    "pretrained": _pretrained,
    "datasets": _datasets,
    "probes": _probes,
}
_FAMILIES: Mapping[str, Callable[[], Rows]] = {
    "tasks": _task_families,
    "optimizers": optimizer_families,
}
