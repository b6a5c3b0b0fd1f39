"""Several starts, of which only the better ones are meta-trained to the end."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

from jaxtyping import PRNGKeyArray

from optoscope._core.errors import InvalidValueError, MetaTrainingDivergedError, check_count
from optoscope._core.keys import as_key
from optoscope.meta._reports import MetaTrainingResult, Report
from optoscope.meta._trainer import Trainer
from optoscope.optimizers import Optimizer


def successive_halving(
    trainer: Trainer,
    starts: Sequence[Optimizer],
    num_steps: int,
    *,
    key: PRNGKeyArray,
    directory: str | Path | None = None,
    on_report: Callable[[int, Report], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> MetaTrainingResult:
    """Meta-trains several starts, dropping the worse half of them at every rung.

    Meta-training depends on its first weights; the held-out loss tells the lucky ones from the
    others long before the end. With S starts and R = ⌈log₂ S⌉ rungs, all take `num_steps`/2^R
    meta-steps, the better half goes on to `num_steps`/2^(R−1), and so on, until one is left that
    takes all of them. In all that costs (R/2 + 1) times as much as one, for S a power of two.

    A start that diverges is dropped as the worst; only if all of them do, that is an error.

    With a directory, start i is kept in `start-<i>/`, so that a killed run goes on exactly.
    Without one, a start that goes on does so from its state in a temporary directory.

    Source: Jamieson & Talwalkar (2016), successive halving.

    Args:
        trainer: with an evaluation, by which the starts are judged.
        starts: untrained optimizers of one kind.
        num_steps: meta-steps of the one that is left.
        key: PRNG key; all starts meet the same problems.
        directory: the run directory.
        on_report: called with the start's number and its report.
        stop: asked after every call of the compiled program; see `Trainer.run`.

    Returns:
        The result of the start that was left; it says interrupted where `stop` ended one.

    Raises:
        InvalidValueError: no start, a trainer without an evaluation, or fewer than one meta-step.
        MetaTrainingDivergedError: every start that was left has diverged.
    """
    check_count("num_steps", num_steps, minimum=1)
    if not starts:
        raise InvalidValueError("starts is empty; give at least one untrained optimizer.")
    if trainer.evaluation is None:
        raise InvalidValueError("starts are judged by the trainer's evaluation; give it one.")
    if directory is None:
        import tempfile

        with tempfile.TemporaryDirectory() as made:
            return successive_halving(
                trainer, starts, num_steps, key=key, directory=made, on_report=on_report, stop=stop
            )
    key, left = as_key(key), list(range(len(starts)))
    rungs = math.ceil(math.log2(len(starts)))
    results: dict[int, MetaTrainingResult] = {}
    for rung in range(rungs, -1, -1):
        lost: dict[int, MetaTrainingDivergedError] = {}
        # Of a start that fared badly nothing more than its rank is needed.
        for start in left:
            try:
                results[start] = trainer.run(
                    starts[start],
                    max(1, num_steps >> rung),
                    key=key,
                    directory=Path(directory) / f"start-{start}",
                    on_report=_with_number(on_report, start),
                    stop=stop,
                )
            except MetaTrainingDivergedError as error:
                lost[start] = error
                continue
            if results[start].interrupted:
                return results[start]
        count = max(1, len(left) // 2) if rung else 1
        going = [start for start in left if start not in lost]
        if not going:
            raise lost[left[0]]
        left = sorted(going, key=lambda start: _rank(results[start]))[:count]
    return results[left[0]]


def halving_steps(num_starts: int, num_steps: int) -> int:
    """The meta-steps that all starts of `successive_halving` take together.

    Example:
        >>> halving_steps(1, 40), halving_steps(4, 40), halving_steps(3, 40)
        (40, 80, 60)
    """
    left, before, total = num_starts, 0, 0
    for rung in range(math.ceil(math.log2(num_starts)), -1, -1):
        now = max(1, num_steps >> rung)
        total += left * (now - before)
        left, before = max(1, left // 2), now
    return total


def _with_number(
    on_report: Callable[[int, Report], None] | None, start: int
) -> Callable[[Report], None] | None:
    return None if on_report is None else lambda report: on_report(start, report)


def _rank(result: MetaTrainingResult) -> float:
    return math.inf if result.best_loss is None else result.best_loss
