"""optoscope symmetries: the symmetries of a task, found from its losses."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import tyro

from optoscope._core.errors import InvalidValueError
from optoscope.cli._command import Command, get_task
from optoscope.cli._console import console, show_table
from optoscope.cli._options import CountOrZero, Seed
from optoscope.cli._user_code import task_settings


@dataclass(frozen=True, kw_only=True)
class Symmetries(Command):
    """Find the symmetries of a task: the directions that change the loss of no example.

    Prints how many there are, which of them have a name (translation, rescale, query_key, …),
    and which parameters are dead: inputs that are always 0, units that are always off. Works for
    your own model; `optoscope evaluate --probe symmetry` then measures how optimizers move along
    what is found.

    Args:
        task: what to look at, as `optoscope list tasks` shows it, or your own: FILE.py:NAME or
            MODULE:NAME.
        set: options of the task: --set "hidden=(8,)"
        inputs: data, the task's own; or generic, numbers like them, but so that no pixel is
            always dark.
        exact_up_to: the most parameters to decompose the whole Jacobian of, some minutes at 5000.
        seed: of the parameters and of the examples.
        data_dir: where datasets lie (default: $OPTOSCOPE_DATA, else the user's cache).
    """

    name: ClassVar[str] = "symmetries"

    task: Annotated[tyro.conf.Positional[str | None], tyro.conf.arg(metavar="[TASK]")] = None
    set: tuple[str, ...] = ()
    inputs: Literal["data", "generic"] = "data"
    exact_up_to: CountOrZero = 5000
    seed: Seed = 0
    data_dir: Path | None = None

    def run(self) -> int:
        """Searches, and prints a table of what was found."""
        if self.task is None:
            raise InvalidValueError("of which task? For example: optoscope symmetries digits-cnn")
        from rich import box
        from rich.table import Table
        from rich.text import Text

        from optoscope._core.keys import stream
        from optoscope.analysis import symmetry

        options = {} if self.data_dir is None else {"data_dir": self.data_dir}
        found = symmetry.discover(
            get_task(self.task, task_settings(self.set), **options),
            key=stream(self.seed, "symmetries"),
            inputs=self.inputs,
            exact_up_to=self.exact_up_to,
        )
        table = Table("directions", "number", box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
        for name, count in found.named.items():
            table.add_row(Text(name), str(count))
        table.add_row("without a name", str(found.unnamed))
        show_table(table)
        console.print(str(found).splitlines()[0], style="bold")
        return 0
