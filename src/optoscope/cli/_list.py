"""optoscope list: tables of the tasks, optimizers, datasets and so on that there are."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import tyro

from optoscope.cli._command import Command
from optoscope.cli._console import console, show_table


@dataclass(frozen=True, kw_only=True)
class List(Command):
    """List tasks, optimizers, estimators, datasets, probes and pretrained optimizers.

    Args:
        kind: what to list.
    """

    name: ClassVar[str] = "list"

    kind: tyro.conf.Positional[
        Literal["all", "tasks", "optimizers", "estimators", "pretrained", "datasets", "probes"]
    ] = "all"

    def run(self) -> int:
        """Prints a table for each kind."""
        kinds = list(_ROWS) if self.kind == "all" else [self.kind]
        for kind in kinds:
            from rich.table import Table

            table = Table(title=kind, title_justify="left", box=None, pad_edge=False)
            table.add_column("name", no_wrap=True, style="bold")
            table.add_column("what it is")
            for name, description in _ROWS[kind]():
                table.add_row(name, description)
            show_table(table)
            console.print()
        return 0


def _tasks() -> list[tuple[str, str]]:
    from optoscope import tasks

    return [(name, tasks.REGISTRY[name].description) for name in tasks.names()]


def _optimizers() -> list[tuple[str, str]]:
    from optoscope import optimizers

    entries = {name: optimizers.REGISTRY[name] for name in optimizers.names()}
    return [
        (name, entry.description + (" (learned)" if entry.learned else ""))
        for name, entry in entries.items()
    ]


def _estimators() -> list[tuple[str, str]]:
    from optoscope import meta

    entries = {name: meta.ESTIMATORS[name] for name in meta.ESTIMATORS}
    return [
        (name, f"{entry.description}; needs {entry.needs}; {entry.bias}")
        for name, entry in entries.items()
    ]


def _pretrained() -> list[tuple[str, str]]:
    from optoscope import optimizers

    rows = []
    for name in optimizers.pretrained_names():
        metadata = optimizers.read_description(name)["metadata"]
        task = metadata.get("task", {}).get("name", "?")
        rows.append((name, f"meta-trained on {task}, {metadata.get('meta_steps_done')} meta-steps"))
    return rows


def _datasets() -> list[tuple[str, str]]:
    from optoscope import data

    place = data.data_directory()
    return [
        (name, "bundled" if name == "digits" else f"looked for in {place / name}")
        for name in data.names()
    ]


def _probes() -> list[tuple[str, str]]:
    # `analysis` registers its probes.
    from optoscope import analysis, training  # noqa: F401

    return [
        (name, (training.PROBES[name].__doc__ or "").splitlines()[0]) for name in training.PROBES
    ]


_ROWS = {
    "tasks": _tasks,
    "optimizers": _optimizers,
    "estimators": _estimators,
    "pretrained": _pretrained,
    "datasets": _datasets,
    "probes": _probes,
}
