"""optoscope explain: what a learned optimizer has learned, as a short program."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import tyro

from optoscope._core.errors import InvalidValueError
from optoscope._core.files import write_json, write_text
from optoscope.cli._command import RunCommand, get_task_or_own
from optoscope.cli._console import console, show_table, steps
from optoscope.cli._options import Count, Several, Share
from optoscope.cli._user_code import task_settings

if TYPE_CHECKING:
    from optoscope import report
    from optoscope.analysis.dynamics import Distillation

_LONGEST_NAME = 40
_EXAMPLE = {"learning_rate": 0.1, "momentum": 0.9}


@dataclass(frozen=True, kw_only=True)
class Explain(RunCommand):
    """Distill a learned optimizer into named mechanisms, and measure what each contributes.

    Tunes momentum on the task, reads modes, clipping, schedule and adaptation off the learned
    optimizer, and looks for the fewest of them that keep the wanted share of its gain. Writes
    distilled.py (an Optax optimizer that needs nothing else), explanation.json and a page.

    Args:
        optimizer: a run directory, a folder with a saved optimizer, or a name that
            `optoscope list pretrained` shows. It must act on every coordinate alone.
        task: what to run on, as `optoscope list tasks` shows it; by default what the optimizer
            was trained on. Your own: FILE.py:NAME or MODULE:NAME.
        set: options of the task: --set hidden=64
        share: of its gain over tuned momentum that the mechanisms are to keep.
        steps: steps per run; the mean training loss over them is what counts, by its geometric
            mean over problems.
        runs: problems for the choice, and again as many fresh ones for the table.
        samples: settings of momentum to try.
        most_modes: the most momentum modes to keep.
    """

    name: ClassVar[str] = "explain"

    optimizer: Annotated[tyro.conf.Positional[str | None], tyro.conf.arg(metavar="[OPTIMIZER]")] = (
        None
    )
    task: str | None = None
    set: tuple[str, ...] = ()
    share: Share = 0.9
    steps: Several = 200
    runs: Several = 64
    samples: Several = 1000
    most_modes: Count = 2

    def run(self) -> int:
        """Tunes the baseline, distills the optimizer, writes the results and draws the page."""
        return self.configured()._work()

    def _work(self) -> int:
        if self.optimizer is None:
            raise InvalidValueError("which optimizer? For example: optoscope explain gru-quadratic")
        from optoscope import optimizers
        from optoscope.analysis import dynamics
        from optoscope.bench._checks import check_comparison, check_search

        learned = optimizers.load(self.optimizer)
        # What has no map of its own for a coordinate cannot be explained this way; say so now.
        dynamics.coordinate_map(learned)
        task_name, task = get_task_or_own(
            self.task, self.optimizer, task_settings(self.set), **self.task_options()
        )
        check_search(
            task, optimizers.momentum, _EXAMPLE, self.samples, self.steps, min(self.runs, 16)
        )
        check_comparison(task, {"": learned}, (), num_steps=self.steps, num_runs=self.runs)
        label = Path(self.optimizer).resolve().name
        with self.new_directory(f"explain-{label}-{task_name}") as directory:
            self._distill(directory, learned, task, task_name)
        return 0

    def _distill(self, directory: Path, learned: Any, task: Any, task_name: str) -> None:
        from optoscope import optimizers, report
        from optoscope._core.keys import stream
        from optoscope.analysis import dynamics

        with steps() as show:
            baseline = self._tuned_momentum(task, show)
            found = dynamics.distill(
                learned,
                task,
                baseline=optimizers.momentum(**baseline),
                key=stream(self.seed, "distillation"),
                share=self.share,
                num_steps=self.steps,
                num_runs=self.runs,
                most_modes=self.most_modes,
                on_progress=lambda done, total: show("distilling", done, total),
            )
        explanation = _explanation(self, task_name, baseline, found)
        write_text(directory / "distilled.py", found.source)
        write_json(directory / "explanation.json", explanation.as_json())
        page = report.render(directory)
        for table in report.explanation_tables(explanation):
            show_table(table)
            console.print()
        console.print(report.in_words(explanation), style="bold")
        console.print(f"Program: {directory / 'distilled.py'}")
        console.print(f"Page:    {page}")

    def _tuned_momentum(self, task: Any, show: Any) -> dict[str, float]:
        import numpy as np

        from optoscope import bench, optimizers
        from optoscope._core.keys import stream

        # Wide, since a learned optimizer may be for any task; five decades take no longer.
        space = {
            "learning_rate": bench.LogUniform(1e-6, 10.0),
            "momentum": bench.OneMinusLogUniform(3e-3, 1.0),
        }
        found = bench.random_search(
            task,
            optimizers.momentum,
            space,
            self.samples,
            num_steps=self.steps,
            key=stream(self.seed, "tuning of momentum"),
            num_runs=min(self.runs, 16),
            on_progress=lambda done, total: show("tuning momentum", done, total),
        )
        # By the geometric mean, as `distill` measures, where losses have one.
        positive = (found.scores > 0).all()
        best = int(np.argmin((np.log(found.scores) if positive else found.scores).mean(axis=1)))
        return {name: float(values[best]) for name, values in found.hyperparameters.items()}


def _explanation(
    command: Explain, task: str, baseline: dict[str, float], found: "Distillation"
) -> "report.Explanation":
    from optoscope import report

    assert command.optimizer is not None
    modes = zip(found.modes.timescales, found.modes.learning_rates, found.modes.shares, strict=True)
    return report.Explanation(
        optimizer=Path(command.optimizer).resolve().name[:_LONGEST_NAME],
        task=task,
        baseline=baseline,
        num_steps=command.steps,
        num_runs=command.runs,
        wanted=command.share,
        num_modes=found.num_modes,
        mechanisms=found.mechanisms,
        sufficient=found.sufficient,
        gains={
            name: report.Worth(gain.loss, gain.gain, gain.share)
            for name, gain in found.gains.items()
        },
        modes=tuple(
            report.Mode(complex(timescale), complex(rate), float(share))
            for timescale, rate, share in modes
        ),
        source=found.source,
    )
