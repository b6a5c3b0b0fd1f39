"""What `optoscope train` judges optimizers by while it meta-trains them, and what that takes."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from optoscope.cli._console import steps

if TYPE_CHECKING:
    from optoscope.bench import HeldOutScore
    from optoscope.meta import Trainer

JudgeBy = Literal["loss", "final-loss", "final-ratio", "speed-up", "equivalent-steps"]
_LOSSES = ("loss", "final-loss")
# Runs of each task, and the share of the time that judging may take before it is spoken of.
_NUM_RUNS = 4
_MOST_TIME = 0.1


@runtime_checkable
class Judging(Protocol):
    """Those settings of meta-training that say what optimizers are judged by, and how often."""

    @property
    def judge_by(self) -> JudgeBy: ...
    @property
    def judge_against(self) -> str: ...
    @property
    def judge_rates(self) -> int: ...
    @property
    def meta_steps(self) -> int: ...
    @property
    def evaluate_every(self) -> int: ...


def evaluation(
    settings: Judging,
    judging: Sequence[Any],
    lengths: Sequence[int],
    seed: int,
    directory: Path | None,
) -> Callable[[Any], float]:
    """The evaluation that the settings describe.

    Args:
        settings: of meta-training.
        judging: the distributions of tasks that the optimizer is judged on.
        lengths: the steps of their runs.
        seed: of these runs.
        directory: of the run, where the runs of a reference are kept.
    """
    import jax.numpy as jnp

    from optoscope import bench, meta
    from optoscope._core.keys import stream

    pairs = list(zip(judging, lengths, strict=True))
    if settings.judge_by in _LOSSES:
        key = stream(seed, "held-out loss")
        measure = meta.final_mean if settings.judge_by == "final-loss" else jnp.mean
        parts = tuple(
            meta.HeldOutLoss(one, length, _NUM_RUNS, key, measure) for one, length in pairs
        )
        return parts[0] if len(parts) == 1 else meta.GeometricMean(parts)
    # By number, because two tasks of a mixture may have one name.
    names = [f"{place}-{_name(one)}" for place, one in enumerate(judging)]
    return bench.HeldOutScore(
        dict(zip(names, judging, strict=True)),
        dict(zip(names, lengths, strict=True)),
        settings.judge_by.replace("-", "_"),
        settings.judge_against,
        settings.judge_rates,
        _NUM_RUNS,
        seed,
        None if directory is None else directory / "judge",
    )


def _name(task: Any) -> str:
    from optoscope.tasks._contract import metadata_of

    return str(metadata_of(task).get("name", type(task).__name__))


def check(settings: Judging) -> None:
    """Raises UnknownNameError or InvalidValueError for a reference that there is not.

    Also where it is not used, so that no configuration is kept that names nothing.
    """
    from optoscope.bench._entrants import entrants

    entrants({}, [settings.judge_against], settings.judge_rates, False)


def prepare(trainers: Sequence["Trainer"]) -> None:
    """Tunes the references that trainers judge by, once, and shows how far that is."""
    from optoscope import bench

    for trainer in trainers:
        if isinstance(judge := trainer.evaluation, bench.HeldOutScore):
            _prepare(judge)


def _prepare(judge: "HeldOutScore") -> None:
    with steps() as show:
        judge.prepare(lambda done, total, what: show("tuning the reference", done, total, what))


def best_in_words(
    settings: Judging, best_loss: float | None, num_tasks: int, num_steps: int
) -> str:
    """The best evaluation of a run, in a sentence.

    Args:
        settings: of meta-training.
        best_loss: of the result: None where no evaluation was finite.
        num_tasks: that it was judged on.
        num_steps: most steps of the runs that it was judged by.
    """
    if settings.judge_by in _LOSSES:
        best = "infinite every time" if best_loss is None else f"{best_loss:.4f}"
        over = "over" if settings.judge_by == "loss" else "over the last tenth of"
        return f"Best held-out training loss {over} {num_steps} steps: {best}."
    tasks = "1 task" if num_tasks == 1 else f"{num_tasks} tasks"
    best = "0 every time" if best_loss is None else f"{1 / best_loss:.4f}"
    return (
        f"Best {settings.judge_by.replace('-', ' ')} against {settings.judge_against}, tuned by "
        f"{settings.judge_rates} learning rates, on {tasks} over {num_steps} steps: {best}."
    )


def time_in_words(settings: Judging, seconds: float, evaluation_seconds: float) -> str:
    """The share of the time that evaluations took; if it is large, what makes it smaller.

    Args:
        settings: of meta-training.
        seconds: that it took in all.
        evaluation_seconds: that evaluations took of these.
    """
    if not seconds:
        return ""
    share = evaluation_seconds / seconds
    said = f"Evaluations took {100 * share:.0f}% of the time."
    if share <= _MOST_TIME:
        return said
    said = f"Evaluations took {100 * share:.0f}% of the time, more than a tenth."
    # So many times as seldom, they would take a tenth of what is then left.
    rarer = share / (1 - share) * (1 - _MOST_TIME) / _MOST_TIME
    every = min(settings.meta_steps, math.ceil(rarer * settings.evaluate_every))
    if every > settings.evaluate_every:
        said += f" With --evaluate-every {every} they would take about that."
    steps = "--validation-steps (fewer inner steps)"
    return f"{said} What also lowers it: {steps}, and fewer tasks in --validate-on."
