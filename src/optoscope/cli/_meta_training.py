"""How the command line meta-trains: its settings, its progress, and what comes out."""

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from optoscope.cli._console import steps
from optoscope.cli._judging import JudgeBy
from optoscope.cli._options import (
    Count,
    CountOrZero,
    Positive,
    PositiveOrZero,
    ShareOrZero,
    Stretch,
    ZeroToOne,
)
from optoscope.cli._signals import stop_on_signals

if TYPE_CHECKING:
    from optoscope.meta import MetaTrainingResult, Report


@dataclass(frozen=True, kw_only=True)
class MetaTraining:
    """How to meta-train; the defaults are paper A's.

    Args:
        estimator: of meta-gradients, as `optoscope list estimators` shows it: backpropagation
            through truncated or whole unrolls, or evolution strategies (persistent, truncated,
            whole), which need no derivative and stand long horizons.
        meta_steps: updates of the optimizer's weights.
        num_tasks: problems (of evolution strategies: antithetic pairs) side by side, whose
            meta-gradients are averaged.
        truncation: inner steps per unroll; whole ones take the horizon.
        horizon: inner steps before a problem is started afresh.
        task_horizons: the horizon of each task of a mixture, in their order; empty: `horizon` for
            all. An optimizer that knows the length of training is told them.
        std: of the perturbations of evolution strategies.
        objective: how the losses of an unroll are reduced to a meta-loss.
        end_share: the weight in it, from 0 to 1, that belongs to the last tenth of the horizon
            alone; the rest is spread over all steps.
        meta_learning_rate: of Adam on the optimizer's weights.
        schedule: of the meta learning rate: constant, or a cosine down to zero.
        clip: largest norm of the meta-gradient; 0 does not clip.
        backward_clip: of backpropagation: largest norm of what flows back from a step to the one
            before it, against meta-gradients that explode; 0 does not clip.
        second_order: whether the gradient flows through the optimizer's input too.
        stagger: start the problems at different places in the horizon.
        rescale: multiplies each problem's parameters by a random number from 1/S to S, so that
            gradients have any size; 1 does not.
        imitate: optimizers to learn from at first, each with its learning rate: adam=0.01. Part
            of the meta-loss is then the distance to the updates that they would make.
        imitation_weight: of that distance, at the first meta-step.
        imitation_steps: meta-steps after which its weight is zero; 0: a quarter of them all.
        starts: untrained optimizers to start from; by their held-out loss the worse half is
            dropped time after time.
        curriculum: horizons that follow `horizon`, each longer than the one before, as long as
            the held-out loss improves. Each takes as many meta-steps.
        averaging: decay of a moving average of the optimizer's weights, which is evaluated beside
            them; 0 keeps none.
        validate_on: tasks that the optimizer is judged on while it is meta-trained, by the
            geometric mean of its losses there; those it is trained on, if none is named.
        validation_steps: inner steps of those runs; 0: the horizon.
        judge_by: what the best optimizer is chosen by: its mean loss on these tasks; its final
            loss there, over the last tenth of the steps; or a score against a tuned optimizer on
            the same runs. Final ratio: that one's final loss over one's own (Celo's); speed-up: all
            steps over those that it takes to get as low; or equivalent steps: the share of the run
            that the tuned one takes to get as low (VeLO's).
        judge_against: the optimizer of the scores, which is tuned once, at the start.
        judge_rates: learning rates that it is tuned by.
        evaluate_every: meta-steps between evaluations; the best optimizer seen is kept.
        checkpoint_every: meta-steps between checkpoints.
        devices: local devices (on a CPU: cores) to spread the problems over; 0: as many as fit.
            A multiple of the problems shares each one's parameters, which pays from some thousand
            on (backpropagation of lstm, rnn and rnnprop).
    """

    estimator: str = "truncated-backprop"
    meta_steps: Count = 10_000
    num_tasks: Count = 1
    truncation: Count = 20
    horizon: Count = 200
    task_horizons: tuple[int, ...] = ()
    std: Positive = 0.01
    objective: Literal["mean", "sum", "log_sum", "mean_log", "last"] = "sum"
    end_share: ZeroToOne = 0.0
    meta_learning_rate: Positive = 1e-3
    schedule: Literal["constant", "cosine"] = "constant"
    clip: PositiveOrZero = 0.0
    backward_clip: PositiveOrZero = 0.0
    second_order: bool = False
    stagger: bool = False
    rescale: Stretch = 1.0
    imitate: tuple[str, ...] = ()
    imitation_weight: Positive = 1.0
    imitation_steps: CountOrZero = 0
    starts: Count = 1
    curriculum: tuple[int, ...] = ()
    averaging: ShareOrZero = 0.0
    validate_on: tuple[str, ...] = ()
    validation_steps: CountOrZero = 0
    judge_by: JudgeBy = "loss"
    judge_against: str = "adamw-cosine"
    judge_rates: Count = 5
    evaluate_every: Count = 200
    checkpoint_every: Count = 200
    devices: CountOrZero = 0

    @property
    def horizons(self) -> tuple[int, ...]:
        """The horizon of every stage."""
        return (self.horizon, *self.curriculum)

    @property
    def stage_steps(self) -> int:
        """Meta-steps of every stage."""
        return max(1, self.meta_steps // len(self.horizons))


def meta_train(
    run: Callable[..., "MetaTrainingResult"],
    meta_steps: int,
    seed: int,
    extra_report: Any = None,
) -> "MetaTrainingResult":
    """Meta-trains, stops when asked to, and shows how far it is.

    Args:
        run: takes `key`, `on_report` and `stop`, as `Trainer.run` does.
        meta_steps: meta-steps in all.
        seed: of everything random.
        extra_report: called with each report too.
    """
    from optoscope._core.keys import stream

    with steps() as show, stop_on_signals() as stop:

        def on_report(report: "Report") -> None:
            detail = f"inner loss {report.inner_loss:.3f}"
            if report.skipped:
                detail += f", {report.skipped} skipped" + f" ({report.skips})" * bool(report.skips)
            if report.non_finite_tasks:
                detail += f", {report.non_finite_tasks} problems left out"
            show("meta-training", min(report.step, meta_steps), meta_steps, detail)
            if extra_report is not None:
                extra_report(report)

        show("meta-training", 0, meta_steps, "compiling")
        return run(key=stream(seed, "meta-training"), on_report=on_report, stop=stop)


def export(
    directory: Path,
    result: "MetaTrainingResult",
    problems: Sequence[Any],
    name: str,
    settings: MetaTraining,
    seed: int,
    task_settings: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Writes the best optimizer and its provenance to `optimizer/`.

    Args:
        directory: of the run.
        result: of meta-training.
        problems: tasks or distributions that it was meta-trained on.
        name: of the optimizer.
        settings: of meta-training.
        seed: of everything random.
        task_settings: the options of each task, from `--set`.
    """
    from optoscope import optimizers
    from optoscope.optimizers._scheduled import Scheduled
    from optoscope.tasks._contract import metadata_of

    tasks = [
        {**metadata_of(one), "options": _lasting(own)}
        for one, own in zip(problems, task_settings or itertools.repeat({}), strict=False)
    ]
    provenance = {
        "optimizer": name,
        "task": tasks[0],
        "tasks": tasks,
        "meta_training": {
            f.name: getattr(settings, f.name) for f in dataclasses.fields(MetaTraining)
        },
        "seed": seed,
        "meta_steps_done": result.step,
        "evaluation_loss": result.best_loss,
        "skipped": result.skipped,
        "non_finite_tasks": result.non_finite_tasks,
    }
    best: Any = result.best
    # A schedule belongs to the lengths that were trained on; what is learned goes without it.
    best = best.optimizer if isinstance(best, Scheduled) else best
    optimizers.save(directory / "optimizer", best, provenance)


def _lasting(options: Mapping[str, Any]) -> dict[str, Any]:
    """A task's options but where data lie and whether they are checked, which a machine decides."""
    return {name: value for name, value in options.items() if name not in ("data_dir", "verify")}
