"""optoscope explain: what a learned optimizer has learned, as a short program."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import tyro

from optoscope._core.errors import InvalidValueError
from optoscope._core.files import write_json, write_text
from optoscope.cli._command import get_task_or_own
from optoscope.cli._console import console, show_table, steps
from optoscope.cli._named_optimizers import (
    as_shipped,
    is_made_here,
    label_of,
    load_saved,
    saved_at,
)
from optoscope.cli._optimizer_command import OptimizerCommand
from optoscope.cli._options import Count, Several, Share
from optoscope.cli._user_code import check_owners, parse_settings

if TYPE_CHECKING:
    from optoscope import report
    from optoscope.analysis.dynamics import Distillation

_LONGEST_NAME = 40
# For optimizers that were trained on nothing.
_DEFAULT_TASK = "quadratic"
_EXAMPLE = {"learning_rate": 0.1, "momentum": 0.9}


@dataclass(frozen=True, kw_only=True)
class Explain(OptimizerCommand):
    """Distill an optimizer into named mechanisms, and measure what each contributes.

    A small recurrent optimizer (a GRU, momentum) is distilled to modes of momentum, clipping, a
    schedule and adaptation, beside a tuned momentum. Any other (Adam, STAR, MLP, Celo, LSTM,
    Optax's, yours) is fitted by a short formula of running means, second moments, signs and the
    like, beside standing still. Each part is switched off, and only what costs something beyond
    its interval is named. Writes distilled.py (an Optax optimizer that needs nothing else),
    explanation.json and a page.

    Args:
        optimizer: a run directory, a folder with a saved optimizer, a name that
            `optoscope list pretrained` or `list optimizers` shows, one of Optax's (optax.lamb),
            or your own: FILE.py:NAME or MODULE:NAME.
        task: what to run on, as `optoscope list tasks` shows it; by default what the optimizer
            was trained on, or quadratic. Your own: FILE.py:NAME or MODULE:NAME.
        set: options of the task, or of a function that makes the optimizer:
            --set hidden=64 adam.learning_rate=0.1
        share: of its gain that the distilled program is to keep.
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
            raise InvalidValueError(
                "which optimizer? For example: optoscope explain hyperparam-mnist-mlp "
                "--task digits-mlp-relu"
            )
        from optoscope import optimizers
        from optoscope.analysis import dynamics
        from optoscope.bench._checks import check_comparison, check_search

        self.check_trust()
        given = parse_settings(self.set)
        learned, is_saved = self._learned(given)
        task_name, task = get_task_or_own(
            self.task if is_saved or self.task is not None else _DEFAULT_TASK,
            self.optimizer,
            given.get("", {}),
            **self.task_options(),
        )
        recurrent = dynamics.is_recurrent(learned)
        if recurrent:
            check_search(
                task, optimizers.momentum, _EXAMPLE, self.samples, self.steps, min(self.runs, 16)
            )
        check_comparison(task, {"": learned}, (), num_steps=self.steps, num_runs=self.runs)
        label = label_of(self.optimizer) if not is_saved else saved_at(self.optimizer).name
        with self.new_directory(f"explain-{label}-{task_name}") as directory:
            self._distill(directory, learned, task, task_name, label, recurrent)
        return 0

    def _learned(self, given: Mapping[str, Mapping[str, Any]]) -> tuple[Any, bool]:
        """The optimizer that is named, and whether it is a saved one."""
        place = self.optimizer
        assert place is not None
        label = label_of(place)
        check_owners(given, [label])
        if is_made_here(place):
            return as_shipped(place, given.get(label, {}), self.steps), False
        return load_saved(place, self.trust, self.steps, given.get(label)), True

    def _distill(
        self, directory: Path, learned: Any, task: Any, task_name: str, label: str, recurrent: bool
    ) -> None:
        from optoscope import optimizers, report
        from optoscope._core.keys import stream
        from optoscope.analysis import dynamics

        baseline: dict[str, float] = {}
        key = stream(self.seed, "distillation")
        settings: dict[str, Any] = {
            "share": self.share,
            "num_steps": self.steps,
            "num_runs": self.runs,
        }
        with steps() as show:
            if recurrent:
                baseline = self._tuned_momentum(task, show)
                found = dynamics.distill(
                    learned,
                    task,
                    baseline=optimizers.momentum(**baseline),
                    key=key,
                    most_modes=self.most_modes,
                    on_progress=lambda done, total: show("distilling", done, total),
                    **settings,
                )
                found = dynamics.with_formula(
                    found, learned, task, key=stream(self.seed, "formula"), num_steps=self.steps
                )
            else:
                found = dynamics.distill_formula(
                    learned,
                    task,
                    key=key,
                    on_progress=lambda done, total: show("fitting a formula", done, total),
                    **settings,
                )
        explanation = _explanation(self, label, task_name, baseline, found)
        write_text(directory / "distilled.py", found.source)
        write_json(directory / "explanation.json", explanation.as_json())
        page = report.render(directory)
        for table in report.explanation_tables(explanation):
            if table.row_count:
                show_table(table)
                console.print()
        console.print(explanation.formula)
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
    command: Explain, label: str, task: str, baseline: dict[str, float], found: "Distillation"
) -> "report.Explanation":
    from optoscope import report

    assert found.formula is not None
    modes = () if found.modes is None else zip(
        found.modes.timescales, found.modes.learning_rates, found.modes.shares, strict=True
    )  # fmt: skip
    return report.Explanation(
        optimizer=label[:_LONGEST_NAME],
        task=task,
        baseline=baseline,
        num_steps=command.steps,
        num_runs=command.runs,
        wanted=command.share,
        num_modes=found.num_modes,
        mechanisms=found.mechanisms,
        sufficient=found.sufficient,
        gains={
            name: report.Worth(gain.loss, gain.gain, gain.share, gain.kept)
            for name, gain in found.gains.items()
        },
        modes=tuple(
            report.Mode(complex(timescale), complex(rate), float(share))
            for timescale, rate, share in modes
        ),
        source=found.source,
        costs=found.costs,
        formula=str(found.formula),
        explained=found.formula.explained,
        baseline_name="tuned momentum" if baseline else "standing still",
        remaining=found.remaining,
    )
