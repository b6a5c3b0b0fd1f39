"""Scores over many tasks, as others define them: AlgoPerf's, Celo's and VeLO's."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from optoscope._core.errors import InvalidValueError, check_number
from optoscope._core.estimates import Estimate, not_negative
from optoscope._core.inference import interquartile_mean, mean_share
from optoscope._core.showing import shown

Losses = Float[np.ndarray, "runs steps"]
# A ratio above it counts as never: AlgoPerf's.
MOST = 4.0
SMOOTHING = 0.9


@shown
@dataclass(frozen=True)
class Scores:
    """One optimizer's scores over several tasks.

    Tasks are chosen, so every interval is over runs: run r of an optimizer has the start and the
    batches of run r of every other one.

    Args:
        profile: AlgoPerf's score, from 0 to 1: the mean of the performance profile.
        shares: the performance profile: for each of `score`'s `ratios` the share of tasks and
            runs in which the target was reached in at most so many times the steps of the best.
        reached: in how many of the tasks' runs the target was reached, as a share.
        geometric_speed_up: geometric mean, over the tasks and runs in which both reached the
            target, of the steps of the reference over this optimizer's; NaN where there are none.
        final_ratio: Celo's: interquartile mean of the reference's final loss over this one's.
        speed_up: Celo's: interquartile mean of the number of steps over the steps that it takes to
            reach the reference's final loss.
        equivalent_steps: VeLO's: interquartile mean of the share of the run in which the lower
            envelope of the baselines reaches this optimizer's final loss.
        beyond: in how many tasks and runs the envelope never does, as a share; they count as the
            length of the envelope.
        diverged: runs of all tasks with a loss that is not finite.
    """

    profile: Estimate
    shares: Float[np.ndarray, " ratios"]
    reached: float
    geometric_speed_up: float
    final_ratio: Estimate
    speed_up: Estimate
    equivalent_steps: Estimate
    beyond: float
    diverged: int

    def as_json(self) -> dict[str, Any]:
        """JSON-serializable; what is not finite becomes None."""
        geometric = self.geometric_speed_up
        return {
            "profile": self.profile.as_json(),
            "shares": [float(share) for share in self.shares],
            "reached": self.reached,
            "geometric_speed_up": geometric if math.isfinite(geometric) else None,
            "final_ratio": self.final_ratio.as_json(),
            "speed_up": self.speed_up.as_json(),
            "equivalent_steps": self.equivalent_steps.as_json(),
            "beyond": self.beyond,
            "diverged": self.diverged,
        }


def smoothed(
    losses: Float[np.ndarray, "*runs steps"], decay: float = SMOOTHING
) -> Float[np.ndarray, "*runs steps"]:
    """The exponential moving average of losses, from the first one on.

    Math: e₁ = ℓ₁, eₜ = β eₜ₋₁ + (1 − β) ℓₜ. From the first loss on that is not finite, it is
    infinite: a run that diverged has not come back.

    Args:
        losses: along the last axis.
        decay: β.

    Example:
        >>> smoothed(np.array([2.0, 1.0, np.nan, 1.0]), 0.5).tolist()
        [2.0, 1.5, inf, inf]
    """
    check_number("decay", decay, minimum=0, maximum=1)
    losses = np.asarray(losses, np.float64)
    broken = np.logical_or.accumulate(~np.isfinite(losses), axis=-1)
    losses = np.where(broken, 0.0, losses)
    found = np.empty_like(losses)
    average = losses[..., 0]
    for step in range(losses.shape[-1]):
        average = decay * average + (1 - decay) * losses[..., step]
        found[..., step] = average
    return np.where(broken, np.inf, found)


def steps_to(
    target: Float[np.ndarray, "*runs"] | float, curves: Float[np.ndarray, "*runs steps"]
) -> Float[np.ndarray, "*runs"]:
    """The number of steps after which curves are at their target for the first time.

    Args:
        target: of all runs, or one for each.
        curves: smoothed losses.

    Returns:
        Counted from 1; infinite where it is never reached. An infinite target, which all baselines
        diverged from, is reached by the runs that end at a finite loss.

    Example:
        >>> steps_to(1.0, np.array([[3.0, 1.0, 2.0], [3.0, 2.0, 1.5]])).tolist()
        [2.0, inf]
    """
    curves, target = np.asarray(curves), np.asarray(target, np.float64)
    met = np.isfinite(curves) & (curves <= target[..., None])
    met &= (np.isfinite(target) | np.isfinite(curves[..., -1]))[..., None]
    return np.where(met.any(axis=-1), 1.0 + np.argmax(met, axis=-1), np.inf)


def step_ratios(
    steps: Float[np.ndarray, "optimizers ..."], most: float = MOST
) -> Float[np.ndarray, "optimizers ..."]:
    """The steps to a target over those of the best optimizer in the same case.

    Math: rₛ = tₛ / minₛ' tₛ', infinite where that is above `most`, where the target is not
    reached, and where nobody reaches it.

    Source: G. Dahl et al., "Benchmarking Neural Network Training Algorithms" (AlgoPerf, 2023),
    section 4, with steps in the place of seconds. AlgoPerf takes the median over its five
    repetitions first; here each run is a case of its own, so that runs give an interval.

    Args:
        steps: for each optimizer and case (a task's run).
        most: the largest ratio that counts.
    """
    best = np.min(steps, axis=0)
    with np.errstate(invalid="ignore"):
        ratios = np.where(np.isfinite(steps), steps / best, np.inf)
    return np.where(ratios <= most, ratios, np.inf)


def profile(
    ratios: Float[np.ndarray, "runs tasks"], places: Float[np.ndarray, " places"]
) -> Float[np.ndarray, " places"]:
    """The performance profile ρ(τ): the share of cases whose ratio is at most τ, at each place τ.

    Example:
        >>> profile(np.array([[1.0, 2.0], [3.0, np.inf]]), np.array([1.0, 2.5, 4.0])).tolist()
        [0.25, 0.5, 0.75]
    """
    return np.mean(np.asarray(ratios).ravel()[:, None] <= np.asarray(places), axis=0)


def profile_score(ratios: Float[np.ndarray, "runs tasks"], most: float = MOST) -> Estimate:
    """AlgoPerf's score: the mean of the performance profile over τ from 1 to `most`.

    Math: 1/(M − 1) ∫₁ᴹ ρ(τ) dτ, which is the mean over tasks of max(0, M − r)/(M − 1). One number
    for each run; their mean and its interval over runs.

    Source: as `step_ratios`, equation 2.

    Args:
        ratios: as `step_ratios` gives them.
        most: M.

    Example:
        >>> round(profile_score(np.array([[1.0, 2.0], [2.5, np.inf]])).value, 6)
        0.541667
    """
    each = np.maximum(0.0, most - np.minimum(np.asarray(ratios, np.float64), most)) / (most - 1)
    return mean_share(np.mean(each, axis=1))


def final_ratios(
    curves: Losses, reference: Losses, task: str = "this task"
) -> Float[np.ndarray, " runs"]:
    """Celo's final ratio of each run: the reference's last smoothed loss over this one's.

    Math: L_ref(T) / L(T). A run that diverged has the ratio 0; where only the reference diverged
    it is infinite.

    Source: A. Moudgil et al., "Celo: Training Versatile Learned Optimizers on a Compute Diet"
    (2025), section 5, with the moving average for the loss of one batch.

    Args:
        curves: smoothed losses of the optimizer.
        reference: of the same runs with tuned Adam.
        task: how a message calls it.

    Raises:
        InvalidValueError: a last loss is not positive, so that there is no ratio.
    """
    last, of_reference = curves[:, -1], reference[:, -1]
    if (last <= 0).any() or (of_reference <= 0).any():
        raise InvalidValueError(
            f"a final loss on {task} is {min(last.min(), of_reference.min()):.3g}, so that ratios "
            "of losses say nothing; leave the task out, or add a constant to its loss."
        )
    with np.errstate(invalid="ignore"):
        return np.where(np.isfinite(last), of_reference / last, 0.0)


def speed_ups(curves: Losses, reference: Losses) -> Float[np.ndarray, " runs"]:
    """Celo's speed-up of each run over the reference.

    Math: T over the first step at which the smoothed loss is at most the reference's last one; 0
    where it never is. Where the reference diverged, every finite loss is below its last one.

    Source: as `final_ratios`.

    Args:
        curves: smoothed losses of the optimizer.
        reference: of the same runs with tuned Adam.
    """
    target = np.where(np.isfinite(reference[:, -1]), reference[:, -1], np.finfo(np.float64).max)
    return curves.shape[1] / steps_to(target, curves)


def lower_envelope(
    trials: Float[np.ndarray, "trials runs steps"],
) -> Float[np.ndarray, "runs steps"]:
    """The least smoothed loss that any trial of the baselines has had up to each step.

    Args:
        trials: smoothed losses of all baselines with all their learning rates.
    """
    return np.minimum.accumulate(np.min(trials, axis=0), axis=-1)


def equivalent_steps(
    curves: Losses, envelope: Float[np.ndarray, "runs longer"]
) -> Float[np.ndarray, " runs"]:
    """VeLO's measure of each run: how long tuned baselines take to get as low, over its length.

    Math: min {t: E(t) ≤ L(T)} / T with the lower envelope E of the baselines. Where E never gets
    there, it is the length of E over T, which is then too small; a run that diverged has 0.

    Source: L. Metz et al., "VeLO: Training Versatile Learned Optimizers by Scaling Up" (2022),
    section 4.1, who normalize by Adam with fifteen learning rates.

    Args:
        curves: smoothed losses of the optimizer, T steps long.
        envelope: `lower_envelope` of the same runs, T steps long or longer.

    Example:
        >>> equivalent_steps(np.array([[3.0, 2.0, 1.0, 1.0]]), np.array([[2.5, 2.0, 1.0, 0.5]]))
        array([0.75])
    """
    last = curves[:, -1]
    steps = np.minimum(steps_to(last, envelope), envelope.shape[1])
    return np.where(np.isfinite(last), steps / curves.shape[1], 0.0)


def score(
    losses: Mapping[str, Mapping[str, Float[np.ndarray, "..."]]],
    reference: str,
    *,
    targets: Mapping[str, float],
    trials: Mapping[str, Float[np.ndarray, "..."]] | None = None,
    ratios: Float[np.ndarray, " ratios"] | None = None,
    decay: float = SMOOTHING,
) -> dict[str, Scores]:
    """AlgoPerf's, Celo's and VeLO's scores of several optimizers over several tasks.

    All compare smoothed training losses of paired runs: run r of a task has the same start and
    batches for all optimizers. Nothing is left out: a run that never reaches a target counts as
    the worst that there is, and one that diverged ends at an infinite loss, though a target that
    it reached before counts as reached, as it does for the sources.

    Args:
        losses: for each optimizer and each task the losses before each step, of shape
            (runs, steps); as many runs everywhere.
        reference: the optimizer that Celo's scores and the geometric mean compare with: tuned
            Adam, or AdamW.
        targets: for each task the loss of AlgoPerf's score, of the moving average.
        trials: for each task the losses of all baselines with all their hyper-parameters, of
            shape (trials, runs, steps), for VeLO's measure; the reference alone if not given.
        ratios: the places of the performance profile, by default 1 to 4 in steps of 0.05.
        decay: of the moving average.

    Returns:
        The scores by optimizer.

    Raises:
        InvalidValueError: no optimizer, tasks or runs that are not the same for all, or losses
            that are not positive at the end.

    Example:
        >>> slow, fast = np.array([[4.0, 3.0, 2.0, 1.0]]), np.array([[4.0, 2.0, 1.0, 0.5]])
        >>> found = score({"slow": {"bowl": slow}, "fast": {"bowl": fast}}, "slow",
        ...               targets={"bowl": 1.0}, decay=0.0)
        >>> round(found["slow"].profile.value, 3), found["fast"].final_ratio.value
        (0.889, 2.0)
        >>> round(found["fast"].speed_up.value, 3), found["slow"].equivalent_steps.value
        (1.333, 1.0)
    """
    tasks = _checked(losses, reference, targets, trials)
    places = np.linspace(1, MOST, 61) if ratios is None else np.asarray(ratios)
    curves = {
        name: {task: smoothed(of_task[task], decay) for task in tasks}
        for name, of_task in losses.items()
    }
    of_reference = curves[reference]
    envelopes = {
        task: lower_envelope(smoothed(trials[task], decay) if trials else of_reference[task][None])
        for task in tasks
    }
    steps = {
        name: _over(tasks, lambda task, one=one: steps_to(targets[task], one[task]))
        for name, one in curves.items()
    }
    relative = dict(zip(steps, step_ratios(np.stack(list(steps.values()))), strict=True))
    return {
        name: Scores(
            profile=profile_score(relative[name]),
            shares=profile(relative[name], places),
            reached=float(np.isfinite(steps[name]).mean()),
            geometric_speed_up=_geometric(steps[reference], steps[name]),
            **_of_final_losses(tasks, one, of_reference, envelopes),
        )
        for name, one in curves.items()
    }


def _over(tasks: Sequence[str], measure: Callable[[str], Any]) -> np.ndarray:
    """What is measured of each task's runs, with axes of runs and tasks."""
    return np.stack([measure(task) for task in tasks], axis=1)


def _of_final_losses(
    tasks: Sequence[str],
    curves: Mapping[str, np.ndarray],
    reference: Mapping[str, np.ndarray],
    envelopes: Mapping[str, np.ndarray],
) -> dict[str, Any]:
    """The scores that depend on where an optimizer's runs end."""
    last = _over(tasks, lambda task: curves[task][:, -1])
    lowest = _over(tasks, lambda task: envelopes[task][:, -1])
    ratios = _over(tasks, lambda task: final_ratios(curves[task], reference[task], task))
    speeds = _over(tasks, lambda task: speed_ups(curves[task], reference[task]))
    equivalent = _over(tasks, lambda task: equivalent_steps(curves[task], envelopes[task]))
    longest = max(envelopes[task].shape[1] / curves[task].shape[1] for task in tasks)
    return {
        "final_ratio": not_negative(interquartile_mean(ratios)),
        "speed_up": not_negative(interquartile_mean(speeds)),
        "equivalent_steps": not_negative(interquartile_mean(equivalent), longest),
        "beyond": float(np.mean(last < lowest)),
        "diverged": int(np.sum(~np.isfinite(last))),
    }


def _geometric(reference: np.ndarray, steps: np.ndarray) -> float:
    both = np.isfinite(reference) & np.isfinite(steps)
    return float(np.exp(np.mean(np.log(reference[both] / steps[both])))) if both.any() else math.nan


def _checked(
    losses: Mapping[str, Mapping[str, Losses]],
    reference: str,
    targets: Mapping[str, float],
    trials: Mapping[str, np.ndarray] | None,
) -> tuple[str, ...]:
    """The tasks, which must be the same, with as many runs, for everyone."""
    if reference not in losses:
        raise InvalidValueError(
            f"the reference {reference!r} is not among the optimizers: {', '.join(losses)}."
        )
    tasks = tuple(losses[reference])
    if not tasks:
        raise InvalidValueError("there is no task; give the losses of at least one.")
    for name, of_task in losses.items():
        if set(of_task) != set(tasks):
            odd = sorted(set(of_task) ^ set(tasks))[0]
            raise InvalidValueError(
                f"{name!r} and {reference!r} have not the same tasks: only one of them has {odd!r}."
            )
    for given, what in ((targets, "targets"), (trials, "trials")):
        for task in tasks:
            if given is not None and task not in given:
                raise InvalidValueError(f"{what} has no {task!r}; give one for every task.")
    num_runs = {np.shape(one)[0] for of_task in losses.values() for one in of_task.values()}
    if len(num_runs) != 1 or any(np.ndim(x) != 2 for y in losses.values() for x in y.values()):
        raise InvalidValueError(
            "losses must be of shape (runs, steps), with as many runs for every optimizer and task."
        )
    for task in tasks:
        lengths = {np.shape(of_task[task])[1] for of_task in losses.values()}
        runs = {np.shape(trials[task])[1]} if trials is not None else num_runs
        if len(lengths) != 1 or 0 in lengths or runs != num_runs:
            raise InvalidValueError(
                f"the runs on {task!r} are not the same for all optimizers and trials: "
                f"{sorted(lengths)} steps; give paired runs."
            )
    return tasks
