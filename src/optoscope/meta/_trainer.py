"""The meta-trainer: it improves an optimizer by meta-gradients and can be resumed at any time."""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, PyTree

from optoscope._core.errors import (
    InvalidValueError,
    MetaTrainingDivergedError,
    RunDirectoryError,
    check_count,
    check_number,
)
from optoscope._core.keys import as_key
from optoscope._core.locks import locked
from optoscope._core.memory import check_memory
from optoscope._core.non_finite import CAUSES, advice, describe
from optoscope._core.processes import agreed, anyone, is_first, stops_with_the_others
from optoscope._core.trees import global_norm
from optoscope.meta._checkpoints import Checkpoints
from optoscope.meta._estimator import Estimator, placed
from optoscope.meta._memory import distributions, estimated_bytes
from optoscope.meta._meta_step import MetaState, advance, init_workers
from optoscope.meta._metrics import MetricsLog
from optoscope.meta._reports import MetaTrainingResult, Report
from optoscope.optimizers import Optimizer, evaluation_params
from optoscope.tasks._contract import check_task


@dataclass(frozen=True)
class Trainer:
    """Meta-trains an optimizer: a loop over meta-steps, with reports, checkpoints and resume.

    In every meta-step the estimator runs the optimizer on its tasks and estimates the gradient of
    the meta-loss with respect to the optimizer's own weights; the meta-optimizer then moves these
    weights by one step, as Adam moves the weights of a network.

    Meta-steps run `steps_per_call` at a time inside one compiled program. A meta-step is skipped
    and counted where its gradient is not finite, or the meta-optimizer's state would not be after
    it; after `patience` of them in a row the run stops with a diagnosis. With a directory,
    `checkpoints/` and `metrics.jsonl` are kept there: a run killed at any moment and resumed ends
    with bit-identical meta-parameters.

    Args:
        estimator: gives the meta-gradients.
        meta_optimizer: an Optax transformation or one of this library's optimizers, with its
            clipping and schedules; the numbers of an `OptaxOptimizer` are arrays, so that other
            numbers, or an equal optimizer made anew, need no other program.
        steps_per_call: meta-steps a call of the compiled program; reports come as often.
        evaluation: gives a loss for an optimizer; the best one seen is kept.
        evaluate_every: meta-steps between evaluations.
        checkpoint_every: meta-steps between checkpoints.
        patience: skipped meta-steps in a row before giving up.
        keep: how many checkpoints are kept.
        averaging: decay, from 0 to 1, of an exponential moving average of the meta-parameters;
            each evaluation then also tries the average, and the better of the two may become
            the best. 0 keeps none.
        give_up_after: end when the evaluation has not improved for so many meta-steps; None goes
            on to the last one.
    """

    estimator: Estimator
    meta_optimizer: Optimizer
    steps_per_call: int = 10
    evaluation: Callable[[Optimizer], float] | None = None
    evaluate_every: int = 100
    checkpoint_every: int = 100
    patience: int = 50
    keep: int = 3
    averaging: float = 0.0
    give_up_after: int | None = None

    def __post_init__(self):
        check_number("averaging", self.averaging, minimum=0, maximum=0.999999)
        if self.give_up_after is not None:
            check_count("give_up_after", self.give_up_after, minimum=1)
            if self.evaluation is None:
                raise InvalidValueError("give_up_after needs an evaluation to go by.")
        for name in (
            "steps_per_call",
            "evaluate_every",
            "checkpoint_every",
            "patience",
            "keep",
        ):
            check_count(name, getattr(self, name))

    def run(
        self,
        optimizer: Optimizer,
        num_steps: int,
        *,
        key: PRNGKeyArray,
        directory: str | Path | None = None,
        on_report: Callable[[Report], None] | None = None,
        stop: Callable[[], bool] | None = None,
    ) -> MetaTrainingResult:
        """Meta-trains for `num_steps` meta-steps in all, going on from the newest checkpoint.

        No signal handler is installed. A KeyboardInterrupt (Ctrl-C) is passed on, after what is
        done has been kept in a checkpoint.

        Args:
            optimizer: where to start; its inexact array leaves are trained.
            num_steps: meta-steps, those before a resume included.
            key: PRNG key; the same for a resume.
            directory: the run directory; without one nothing is written.
            on_report: called with every report; of several processes, only the first's is.
            stop: asked after every call of the compiled program; once it says yes the run ends
                early, with a checkpoint, and its result says that it was interrupted.

        Raises:
            InvalidValueError: fewer than one meta-step, or more than fits into memory.
            MetaTrainingDivergedError: too many meta-steps in a row were skipped.
            RunDirectoryError: the directory cannot be written, or no checkpoint is intact.
            RunInUseError: another process runs in the directory.
            ProcessLostError: another process of a run under `jax.distributed` was lost.
        """
        check_count("num_steps", num_steps, minimum=1)
        for tasks in distributions(self.estimator):
            check_task(tasks)
        self.check_memory(optimizer)
        with contextlib.ExitStack() as held:
            if directory is not None and is_first():
                held.enter_context(locked(Path(directory)))
            return self._run(optimizer, num_steps, key, directory, on_report, stop)

    def check_memory(self, optimizer: Optimizer) -> None:
        """Raises InvalidValueError where meta-training this optimizer cannot fit into memory."""
        needed = estimated_bytes(self.estimator, optimizer)
        check_memory(needed, "Take fewer tasks or particles, or a shorter unroll.")

    def _run(
        self,
        optimizer: Optimizer,
        num_steps: int,
        key: PRNGKeyArray,
        directory: str | Path | None,
        on_report: Callable[[Report], None] | None,
        stop: Callable[[], bool] | None,
    ) -> MetaTrainingResult:
        meta_params, rest = eqx.partition(optimizer, eqx.is_inexact_array)
        init_key, step_key = jax.random.split(as_key(key))
        state = self._initial(optimizer, meta_params, init_key)
        checkpoints = log = None
        seconds = evaluating = 0.0
        if directory is not None:
            checkpoints = Checkpoints(Path(directory) / "checkpoints", self.keep)
            found = checkpoints.restore(state)
            if found is not None:
                _, state, info = found
                seconds = info["seconds"]
                evaluating = info.get("evaluation_seconds", 0.0)
            if not agreed(int(state.step)):
                raise RunDirectoryError(
                    f"the processes found different checkpoints in {directory}; it must be one "
                    "directory that all of them see."
                )
            if is_first():
                log = MetricsLog(Path(directory) / "metrics.jsonl", int(state.step))
        interrupted, causes = False, dict.fromkeys(CAUSES, 0)
        averaging = jnp.asarray(self.averaging, jnp.float32)
        started = time.perf_counter() - seconds
        kept = state, _times(seconds, evaluating)
        with stops_with_the_others(_advice(directory)), _kept(checkpoints, lambda: kept):
            while (step := int(state.step)) < num_steps and not (
                interrupted or self._gives_up(state)
            ):
                length = min(self.steps_per_call - step % self.steps_per_call, num_steps - step)
                state, metrics, skips = advance(
                    self.estimator,
                    self.meta_optimizer,
                    rest,
                    self._placed(state),
                    step_key,
                    averaging,
                    length,
                )
                now = step + length
                skipped = {name: int(count) for name, count in skips.items()}
                # Causes are counted over the present streak of skipped meta-steps.
                ongoing = int(state.skipped_in_a_row) > length
                causes = {n: skipped[n] + (causes[n] if ongoing else 0) for n in CAUSES}
                before = time.perf_counter()
                state, evaluation_loss = self._evaluate(state, rest, step, now, num_steps)
                evaluating += time.perf_counter() - before
                interrupted = anyone(stop is not None and stop()) and now < num_steps
                times = _times(time.perf_counter() - started, evaluating)
                report = _report(state, metrics, skipped, times, evaluation_loss)
                if log is not None:
                    log.append(report)
                if int(state.skipped_in_a_row) >= self.patience:
                    reached = self._result(state, rest, num_steps, times, directory)
                    raise MetaTrainingDivergedError(_diverged_words(state, causes), reached)
                if checkpoints is not None and (
                    interrupted
                    or self._gives_up(state)
                    or _due(step, now, num_steps, self.checkpoint_every)
                ):
                    checkpoints.save(now, state, times)
                kept = state, times
                if on_report is not None and is_first():
                    on_report(report)
        result = self._result(state, rest, num_steps, kept[1], directory)
        return dataclasses.replace(result, interrupted=interrupted)

    def _result(
        self,
        state: MetaState,
        rest: PyTree,
        num_steps: int,
        times: dict[str, float],
        directory: str | Path | None,
    ) -> MetaTrainingResult:
        evaluated = bool(jnp.isfinite(state.best_loss))
        return MetaTrainingResult(
            optimizer=eqx.combine(self._trained(state), rest),
            best=eqx.combine(state.best_meta_params if evaluated else self._trained(state), rest),
            best_loss=float(state.best_loss) if evaluated else None,
            step=int(state.step),
            skipped=int(state.skipped),
            non_finite_tasks=int(state.non_finite_tasks),
            interrupted=False,
            gave_up=int(state.step) < num_steps and self._gives_up(state),
            directories=() if directory is None else (Path(directory),),
            **times,
        )

    def _gives_up(self, state: MetaState) -> bool:
        """Whether the evaluation has not improved for too long."""
        if self.give_up_after is None:
            return False
        assert state.best_step is not None
        return int(state.step) - int(state.best_step) >= self.give_up_after

    def _initial(self, optimizer: Optimizer, meta_params: PyTree, key: PRNGKeyArray) -> MetaState:
        zero = jnp.zeros((), jnp.int32)
        return MetaState(
            meta_params=meta_params,
            meta_optimizer_state=self.meta_optimizer.init(meta_params),
            workers=init_workers(self.estimator, optimizer, key),
            step=zero,
            skipped=zero,
            skipped_in_a_row=zero,
            non_finite_tasks=jnp.zeros(()),
            best_meta_params=meta_params,
            best_loss=jnp.asarray(jnp.inf, jnp.float32),
            averaged=meta_params if self.averaging else None,
            best_step=None if self.give_up_after is None else zero,
        )

    def _trained(self, state: MetaState) -> PyTree[Array]:
        """The meta-parameters to use, where the meta-optimizer wants them to be evaluated."""
        return evaluation_params(self.meta_optimizer, state.meta_optimizer_state, state.meta_params)

    def _placed(self, state: MetaState) -> MetaState:
        """The state on the devices where the compiled program leaves it.

        JAX compiles a program again for arguments on other devices; with the first state placed
        like all later ones, the program is compiled once.
        """
        others = eqx.tree_at(lambda s: s.workers, state, None)
        others, workers = placed(others, state.workers, self.estimator.devices)
        return eqx.tree_at(lambda s: s.workers, others, workers, is_leaf=lambda leaf: leaf is None)

    def _evaluate(
        self, state: MetaState, rest: PyTree, before: int, now: int, num_steps: int
    ) -> tuple[MetaState, float | None]:
        if self.evaluation is None or not _due(before, now, num_steps, self.evaluate_every):
            return state, None
        candidates = [self._trained(state)]
        if state.averaged is not None:
            candidates.append(state.averaged)
        losses = [self.evaluation(eqx.combine(candidate, rest)) for candidate in candidates]
        loss = min(losses)
        if loss < float(state.best_loss):
            best = candidates[losses.index(loss)]
            state = dataclasses.replace(
                state,
                best_meta_params=best,
                best_loss=jnp.asarray(loss, jnp.float32),
                best_step=None if state.best_step is None else state.step,
            )
        return state, loss


def _diverged_words(state: MetaState, causes: dict[str, int]) -> str:
    norm = float(global_norm(state.meta_params))
    return (
        f"meta-training cannot go on: the last {int(state.skipped_in_a_row)} meta-steps were "
        f"skipped, {describe(causes)} (meta-step {int(state.step)}, {int(state.skipped)} skipped "
        f"in all, norm of the meta-parameters {norm:.3g}). {advice(causes)}"
    )


@contextmanager
def _kept(
    checkpoints: Checkpoints | None, newest: Callable[[], tuple[MetaState, dict[str, float]]]
) -> Iterator[None]:
    """On Ctrl-C, saves the newest complete state in a checkpoint and passes the interrupt on.

    Several processes must save together, but Ctrl-C may have reached only one of them: then
    nothing is saved here.
    """
    try:
        yield
    except KeyboardInterrupt:
        state, times = newest()
        step = int(state.step)
        alone = jax.process_count() == 1
        if checkpoints is not None and alone and step and step not in checkpoints.steps():
            checkpoints.save(step, state, times)
        raise


def _advice(directory: str | Path | None) -> str:
    if directory is None:
        return "Nothing was written to go on from: give the run a directory."
    return f"Start all processes again to go on from the newest checkpoint in {directory}."


def _due(before: int, now: int, last: int, every: int) -> bool:
    return now // every > before // every or now == last


def _times(seconds: float, evaluating: float) -> dict[str, float]:
    """What a checkpoint and a report say of the time spent, that before a resume included."""
    return {"seconds": seconds, "evaluation_seconds": evaluating}


def _report(
    state: MetaState,
    metrics: dict[str, Array],
    skipped: dict[str, int],
    times: dict[str, float],
    evaluation_loss: float | None,
) -> Report:
    return Report(
        step=int(state.step),
        meta_loss=float(metrics["meta_loss"]),
        inner_loss=float(metrics["inner_loss"]),
        gradient_norm=float(metrics["gradient_norm"]),
        skipped=int(state.skipped),
        non_finite_tasks=int(state.non_finite_tasks),
        **times,
        evaluation_loss=evaluation_loss,
        skipped_for_loss=skipped["loss"],
        skipped_for_gradient=skipped["gradient"],
        skipped_for_state=skipped["state"],
    )
