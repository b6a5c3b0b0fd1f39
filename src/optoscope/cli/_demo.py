"""optoscope demo: a learned optimizer against tuned baselines, in minutes, on real digits."""

import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from optoscope._core.files import write_json
from optoscope.cli._command import RunCommand, get_task, use_devices
from optoscope.cli._console import console, steps
from optoscope.cli._evaluate import show_results
from optoscope.cli._meta_training import MetaTraining, export, meta_train
from optoscope.cli._options import Count
from optoscope.cli._scheme import Scheme

if TYPE_CHECKING:
    from optoscope import report
    from optoscope.bench import Comparison

_TASK = "digits-mlp-sigmoid"
_BASELINES = ("momentum", "adam", "lion")
_MARGIN = 0.25
_LEARNED = "general"
# Directions of unit size and a learned schedule leave little to get wrong: it learns within a
# hundred meta-steps. More than eight hidden units are matrix products, which compile quickly.
_OPTIONS = {
    "inputs": "small_fc",
    "vectors": "network",
    "nominal": "mixed",
    "hidden_size": 16,
    "orthogonalize": True,
    "refresh_every": None,
    "learning_rate": 0.015,
    "learned_schedule": True,
}
_METRIC_STEPS = 100


def margin_claim(comparison: "Comparison", scale: str) -> "report.Claim":
    """Whether the learned optimizer is at least 25% better; decided by the whole interval."""
    from optoscope import bench, report

    headline = comparison.headline()
    assert headline is not None
    evaluation, pair = comparison.evaluation, (headline["learned"], headline["baseline"])
    learned, baseline = (
        evaluation.optimizers[name].values(comparison.metric, _METRIC_STEPS) for name in pair
    )
    gain, criterion = bench.relative_decrease(learned, baseline), bench.above(_MARGIN)
    return report.Claim(
        id="demo-margin",
        paper="optoscope",
        figure="early_losses",
        statement=(
            f"The learned optimizer's mean training loss over the first {_METRIC_STEPS} steps is "
            f"at least {_MARGIN:.0%} below the best tuned baseline's ({pair[1]})."
        ),
        protocol="paired runs",
        scale=scale,
        quantity="by what share it lies below",
        unit="share",
        criterion=criterion,
        repeated_over="run",
        chosen=False,
        repetitions=tuple((1 - learned / baseline).tolist()),
        estimate=gain,
        verdict=criterion.verdict(gain),
    )


@dataclass(frozen=True, kw_only=True)
class Demo(RunCommand):
    """Meta-train an optimizer on handwritten digits and race it against tuned baselines.

    Takes about two minutes on two cores. Searches learning rates for SGD with momentum, Adam and
    Lion, compares all on fresh paired runs, prints a table and writes a page with figures.

    Args:
        meta_steps: updates of the learned optimizer's weights.
        runs: paired evaluation runs.
        steps: steps per evaluation run.
    """

    name: ClassVar[str] = "demo"

    meta_steps: Count = 80
    runs: Count = 20
    steps: Count = 200

    def run(self) -> int:
        """Tunes the baselines, meta-trains, compares all optimizers and draws the page."""
        return self.configured()._work()

    def _work(self) -> int:
        started = time.perf_counter()
        settings = MetaTraining(
            meta_steps=self.meta_steps,
            num_tasks=2,
            horizon=2 * _METRIC_STEPS,
            # Long unrolls: with short ones what is learned is short-sighted.
            truncation=_METRIC_STEPS,
            stagger=True,
            objective="mean",
            meta_learning_rate=2e-2,
            schedule="cosine",
            clip=0.2,
            validation_steps=_METRIC_STEPS,
            evaluate_every=20,
            checkpoint_every=20,
            devices=use_devices(0, 2),
        )
        from optoscope import optimizers
        from optoscope._core.keys import stream
        from optoscope.bench._checks import check_comparison
        from optoscope.bench._contestants import contestants

        task = get_task(_TASK)
        key = stream(self.seed, "untrained weights")
        learned = optimizers.get(_LEARNED, key=key, **_OPTIONS)
        scheme = Scheme(settings, [task], (), [learned], self.seed)
        check_comparison(
            task,
            {_LEARNED: learned},
            contestants(_BASELINES),
            num_steps=self.steps,
            num_runs=self.runs,
        )
        with self.new_directory("demo") as directory:
            return self._meta_train_and_race(directory, scheme, started)

    def _meta_train_and_race(
        self,
        directory: Path,
        scheme: Scheme,
        started: float,
    ) -> int:
        from optoscope import bench, report

        console.print(
            f"Meta-training an optimizer on {_TASK}, then racing it against "
            f"{', '.join(_BASELINES)}. Everything goes to {directory}."
        )
        task, settings = scheme.problems[0], scheme.settings
        result = meta_train(
            lambda **callbacks: scheme.run(directory, **callbacks), self.meta_steps, self.seed
        )
        if result.interrupted:
            console.print(f"Stopped after {result.step} meta-steps; nothing was compared.")
            return 130
        export(directory, result, [task], _LEARNED, settings, self.seed)
        with steps() as show:
            comparison = bench.compare(
                task,
                {_LEARNED: result.best},
                _BASELINES,
                num_steps=self.steps,
                seed=self.seed,
                num_runs=self.runs,
                metric_steps=_METRIC_STEPS,
                tune_learned=False,
                horizons={_LEARNED: settings.horizon},
                on_progress=show,
            )
        comparison = dataclasses.replace(comparison, seconds=time.perf_counter() - started)
        comparison.write(directory, draw=False)
        scale = f"{self.meta_steps} meta-steps, {self.runs} runs"
        claims = report.claims_as_json([margin_claim(comparison, scale)])
        write_json(directory / "claims.json", claims)
        page = show_results(directory)
        seconds = time.perf_counter() - started
        console.print(f"Done in {seconds / 60:.1f} minutes.")
        console.print(f"Page: {Path(page).resolve()}")
        return 0
