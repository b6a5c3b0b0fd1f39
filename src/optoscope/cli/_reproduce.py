"""optoscope reproduce: a paper's figures and claims."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import tyro

from optoscope._core.errors import InvalidValueError, RunDirectoryError, UnknownNameError
from optoscope._core.files import write_json
from optoscope._core.locks import locked
from optoscope.cli._command import RunCommand, read_arguments, use_devices
from optoscope.cli._console import command_line, console, show_table, steps
from optoscope.cli._directories import CONFIG, check_empty
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
    parts are reused. Several processes may work in one folder at the same time: each takes the
    parts that no other one is computing.

    Args:
        paper: A (symmetry breaking, noise and update sizes of learned optimizers), B (reverse
            engineering them: momentum, clipping, schedules, adaptation), C (stability past the
            horizon, evolution strategies, unseen tasks) or published (optimizers that others
            trained, looked into; their weights are looked for in weights/ of the data folder).
        figure: its number, several separated by commas, all (of the paper), questions (what it
            leaves open), or everything.
        scale: smoke (bundled digits, minutes), laptop (MNIST, reduced), long (the
            papers' networks or counts wherever a night on two cores allows them: five hours of one
            core for A and for B, a night for C), or paper (days, or an accelerator).
        devices: local devices to use; 0 for as many as the scale can keep busy.
        reuse: another run of the paper, or docs/results/A in this library's repository, which has
            the optimizers that its page of results is about: parts with the same settings are
            taken over from there instead of being computed.
    """

    name: ClassVar[str] = "reproduce"

    paper: Annotated[tyro.conf.Positional[str | None], tyro.conf.arg(metavar="[PAPER]")] = None
    figure: str = "all"
    scale: str = "laptop"
    devices: CountOrZero = 0
    reuse: Path | None = None

    def run(self) -> int:
        """Measures the figures, judges the claims and draws the page."""
        return self.configured()._work()

    def _work(self) -> int:
        if self.paper is None:
            raise InvalidValueError("which paper? For example: optoscope reproduce A --figure 4")
        from optoscope.papers import PAPERS

        # Letters may be typed small.
        letters = {letter.upper(): letter for letter in PAPERS}
        if self.paper.upper() not in letters:
            raise UnknownNameError("paper", self.paper, PAPERS)
        return self._reproduce(PAPERS[letters[self.paper.upper()]])

    def _reproduce(self, paper: "Paper") -> int:
        wanted = paper.figure_keys(self.figure)
        scale = paper.get_scale(self.scale)
        command = dataclasses.replace(self, paper=paper.letter)
        devices, at_once = use_devices(self.devices, scale.num_tasks), 1
        setting = paper.setting(scale, self.seed, self.data_dir, devices)
        if not any(paper.figures[key].parts(setting) for key in wanted):
            why = "; ".join(paper.missing_words(setting)) or "take another --scale"
            raise InvalidValueError(
                f"{', '.join(wanted)} has nothing to measure at the scale {scale.name!r}: {why}."
            )
        if self.reuse is not None and not (self.reuse / "records").is_dir():
            raise RunDirectoryError(
                f"--reuse {self.reuse}: there are no records/ in it. Give the folder of another "
                "`optoscope reproduce`."
            )
        paper.check_data(wanted, setting, self.out, self.reuse)
        command, directory = command._begun(paper, wanted)
        keys = paper.figure_keys(command.figure)
        if self.scale == "smoke":
            import jax

            # Hardly anything is computed there: nearly all of the time goes into compiling.
            jax.config.update("jax_disable_most_optimizations", True)
            at_once = 2
        what = f"paper {paper.letter}" if len(paper.letter) == 1 else paper.letter
        console.print(f"Reproducing {what}, figures {command.figure}: {directory}")
        for line in paper.missing_words(setting):
            console.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)
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
                    reuse=self.reuse,
                    on_plan=_show_plan,
                    on_outdated=_show_outdated,
                    on_progress=show,
                )
            except KeyboardInterrupt:
                console.print(f"Stopped. Go on with: {command._again(directory)}")
                raise
        _show(result)
        return 0

    def _begun(self, paper: "Paper", wanted: tuple[str, ...]) -> tuple["Reproduce", Path]:
        """The command with all figures of its run directory, which is made or joined.

        Several processes may work in one directory: it is held only while its config.json is
        read and written, and every part while it is computed.
        """
        if self.out is None:
            command = dataclasses.replace(self, figure=",".join(wanted))
            with command.new_directory(f"reproduce-{self.paper}-{self.scale}") as directory:
                return command, directory
        if not (self.out / CONFIG).exists():
            check_empty(self.out, self._beside_a_full_one(), in_use=True)
        with locked(self.out, on_wait=lambda holder: None):
            before = self._figures_before()
            keys = paper.figure_keys((*wanted, *before))
            command = dataclasses.replace(self, figure=",".join(keys))
            write_json(self.out / CONFIG, command.described())
        return command, self.out

    def _figures_before(self) -> tuple[str, ...]:
        """The figures that the run directory holds or began, of the same paper and scale."""
        assert self.out is not None
        if not (self.out / CONFIG).exists():
            check_empty(self.out, self._beside_a_full_one())
            return ()
        arguments = read_arguments(self.out, self.name)
        for name in ("paper", "scale", "seed"):
            if arguments.get(name) != getattr(self, name):
                raise RunDirectoryError(
                    f"{self.out} was made with --{name} {arguments.get(name)}, not "
                    f"{getattr(self, name)}. Choose another --out."
                )
        return tuple(str(arguments.get("figure", "")).split(","))

    def _again(self, directory: Path) -> str:
        words = ["reproduce", self.paper, "--figure", self.figure, "--scale", self.scale]
        words += ["--seed", self.seed] if self.seed else []
        words += ["--data-dir", self.data_dir] if self.data_dir else []
        words += ["--reuse", self.reuse] if self.reuse else []
        return command_line(*words, "--out", directory)


def _show_plan(missing: Mapping[str, Sequence[str]]) -> None:
    """Says what is going to be computed: some figures need optimizers meta-trained first."""
    for figure, parts in missing.items():
        named = ", ".join(parts[:_NAMED])
        more = len(parts) - _NAMED
        console.print(f"  {figure} needs {named}{f' and {more} more' if more > 0 else ''}")


def _show_outdated(names: Sequence[str]) -> None:
    from optoscope.papers._paper import outdated_words

    console.print(f"  {outdated_words(names)}")


def _show(result: "Reproduction") -> None:
    from rich.table import Table
    from rich.text import Text

    from optoscope import report

    table = Table("verdict", "measured", "holds if", "claim", box=None, pad_edge=False)
    for claim in result.claims:
        name = f"{claim.id}/{claim.protocol}{' †' if claim.revised else ''}"
        measured, verdict = report.claim_number(claim), claim.verdict
        table.add_row(
            Text(verdict, style=_MARKS[verdict]), Text(measured), str(claim.criterion), name
        )
    show_table(table)
    console.print(report.chance(result.claims), markup=False)
    console.print(f"Page: {result.page}")
