"""optoscope reproduce: a paper's figures and claims."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import tyro

from optoscope._core.errors import InvalidValueError, RunDirectoryError, UnknownNameError
from optoscope._core.files import write_json
from optoscope.cli._command import RunCommand, read_arguments, use_devices, versions
from optoscope.cli._console import console, steps
from optoscope.cli._options import CountOrZero

if TYPE_CHECKING:
    from optoscope.papers import Paper, Reproduction

# Parts of a figure that are named before they are computed.
_NAMED = 6
_MARKS = {"holds": "green", "does not hold": "red", "inconclusive": "yellow"}


@dataclass(frozen=True, kw_only=True)
class Reproduce(RunCommand):
    """Reproduce figures of a paper: measure them, judge what the paper says, draw a page.

    Give --out the same folder again to go on after an interruption or to add figures: finished
    parts are reused.

    Args:
        paper: A (symmetry breaking, noise and update sizes of learned optimizers), B (reverse
            engineering them: momentum, clipping, schedules, adaptation) or C (stability past the
            horizon, evolution strategies, unseen tasks).
        figure: its number, several separated by commas, all (of the paper), questions (what it
            leaves open), or everything.
        scale: smoke (bundled digits, minutes), laptop (MNIST, reduced), or paper.
        devices: local devices to use; 0 for as many as the scale can keep busy.
    """

    name: ClassVar[str] = "reproduce"

    paper: Annotated[tyro.conf.Positional[str | None], tyro.conf.arg(metavar="[PAPER]")] = None
    figure: str = "all"
    scale: str = "laptop"
    devices: CountOrZero = 0

    def run(self) -> int:
        """Measures, judges and draws."""
        return self.configured()._work()

    def _work(self) -> int:
        if self.paper is None:
            raise InvalidValueError("which paper? For example: optoscope reproduce A --figure 4")
        from optoscope.papers import PAPERS

        if self.paper.upper() not in PAPERS:
            raise UnknownNameError("paper", self.paper, PAPERS)
        return self._reproduce(PAPERS[self.paper.upper()])

    def _reproduce(self, paper: "Paper") -> int:
        wanted = paper.figure_keys(self.figure)
        scale = paper.get_scale(self.scale)
        command = dataclasses.replace(self, paper=paper.letter)
        directory, before = command._directory()
        keys = paper.figure_keys((*wanted, *before))
        command = dataclasses.replace(command, figure=",".join(keys))
        command._write_config(directory)
        devices, at_once = use_devices(self.devices, scale.num_tasks), 1
        if self.scale == "smoke":
            import jax

            # Hardly anything is computed there: nearly all of the time goes into compiling.
            jax.config.update("jax_disable_most_optimizations", True)
            at_once = 2
        console.print(f"Reproducing paper {command.paper}, figures {command.figure}: {directory}")
        with steps() as show:
            try:
                result = paper.reproduce(
                    keys,
                    scale,
                    directory,
                    seed=self.seed,
                    data_dir=self.data_dir,
                    devices=devices,
                    at_once=at_once,
                    on_plan=_show_plan,
                    on_progress=show,
                )
            except KeyboardInterrupt:
                console.print(f"Stopped. Go on with: {command._again(directory)}")
                raise
        _show(result)
        return 0

    def _directory(self) -> tuple[Path, tuple[str, ...]]:
        """The run directory, and the figures that it holds or began."""
        config = None if self.out is None else self.out / "config.json"
        if self.out is None or config is None or not config.exists():
            return self.new_directory(f"reproduce-{self.paper}-{self.scale}"), ()
        arguments = read_arguments(config, self.name)
        for name in ("paper", "scale", "seed"):
            if arguments.get(name) != getattr(self, name):
                raise RunDirectoryError(
                    f"{self.out} was made with --{name} {arguments.get(name)}, not "
                    f"{getattr(self, name)}. Choose another --out."
                )
        return self.out, tuple(str(arguments.get("figure", "")).split(","))

    def _write_config(self, directory: Path) -> None:
        content: dict[str, Any] = {"command": self.name, "arguments": self.arguments()}
        write_json(directory / "config.json", content | {"versions": versions()})

    def _again(self, directory: Path) -> str:
        words = f"optoscope reproduce {self.paper} --figure {self.figure} --scale {self.scale}"
        seed = f" --seed {self.seed}" if self.seed else ""
        data = f" --data-dir {self.data_dir}" if self.data_dir else ""
        return f"{words}{seed}{data} --out {directory}"


def _show_plan(missing: Mapping[str, Sequence[str]]) -> None:
    """Says what is going to be computed: some figures need optimizers meta-trained first."""
    for figure, parts in missing.items():
        named = ", ".join(parts[:_NAMED])
        more = len(parts) - _NAMED
        console.print(f"  {figure} needs {named}{f' and {more} more' if more > 0 else ''}")


def _show(result: "Reproduction") -> None:
    from rich.table import Table

    table = Table("verdict", "measured", "claim", box=None, pad_edge=False)
    for claim in result.claims:
        measured = "–" if claim["measured"] is None else f"{claim['measured']:.3g}"
        verdict = claim["verdict"]
        table.add_row(f"[{_MARKS[verdict]}]{verdict}[/]", measured, claim["id"])
    console.print(table)
    console.print(f"Page: {result.page}")
