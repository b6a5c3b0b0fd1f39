"""The statistics of paper C's claims: each is one number a repetition, from the parts' arrays.

A repetition is a meta-seed unless the docstring says otherwise. What follows the protocol's
quantity names tasks and arms. A task that a scale leaves out gives no repetition at all.
"""

from collections.abc import Sequence

import numpy as np

from optoscope.papers._claims import Records
from optoscope.papers._parts import Arrays
from optoscope.papers.stability._unseen import of_figure

NONE = np.zeros(0)
# "Near" is within a tenth.
TENTH = float(np.log10(1.1))
_ROUNDING = 1e-9
_FLOOR = 1e-30


def _log(values: np.ndarray) -> np.ndarray:
    return np.log10(np.maximum(values, _FLOOR))


# Figures 1 and 2: the noisy quadratic model.


def within_circle(kind: str, records: Records) -> np.ndarray:
    """1e-3 less the share of a batch of random P that leave the circle, beyond rounding."""
    return 1e-3 - records["bounds"][f"{kind}/share_unstable"]


def _examples(intervention: str, records: Records) -> tuple[np.ndarray, np.ndarray]:
    part = records["eigenvalues"]
    return part["examples/before"], part[f"examples/{intervention}"]


def all_inside(quantity: str, records: Records) -> np.ndarray:
    """1 − ρ(A) with all interventions ("mean"), or 1 if it is positive, less 0.95.

    An example each.
    """
    margin = 1 - np.abs(_examples("all", records)[1]).max(axis=1)
    return margin if quantity == "mean" else (margin >= 0) - 0.95


def moves_left(quantity: str, records: Records) -> np.ndarray:
    """How far the mean real part moves to the left under a nominal term; an example each."""
    del quantity
    before, after = _examples("nominal", records)
    return np.real(before - after).mean(axis=1)


def nearer_real_line(quantity: str, records: Records) -> np.ndarray:
    """How much the mean imaginary size falls under a nominal term; examples that have one.

    As a share of what it was.
    """
    del quantity
    before, after = (
        np.abs(np.imag(values)).mean(axis=1) for values in _examples("nominal", records)
    )
    has = before > _ROUNDING
    return 1 - after[has] / before[has]


def pulled_to_one(quantity: str, records: Records) -> np.ndarray:
    """How much nearer to 1 weight decay brings the eigenvalues on average; an example each."""
    del quantity
    before, after = (
        np.abs(values - 1).mean(axis=1) for values in _examples("weight decay", records)
    )
    return before - after


def lowers_variance(reach: str, records: Records) -> np.ndarray:
    """Decades from the meta-gradient's variance at α > 0 up to that at α = 0; a seed's each.

    The least over T, of the mean over α up to a share of 2/λ_max: "half", or "whole" without the
    end itself; "worst" is the least over those α as well.
    """
    part = records["meta-gradient-variance"]
    share = part["nominals"] / float(part["limit"])
    inside = (share > 0) & (share <= 0.5 if reach == "half" else share < 1 - _ROUNDING)
    variance = part["repeats/trace_variance"]
    gain = _log(variance[:, :1]) - _log(np.nan_to_num(variance[:, inside], nan=np.inf))
    over_nominals = gain.min(axis=1) if reach == "worst" else gain.mean(axis=1)
    return over_nominals.min(axis=1)


def enters_circle(quantity: str, records: Records) -> np.ndarray:
    """1 − the largest |λ(A)| at the end of meta-training, a seed each.

    The mean over α > 0 ("mean"), or the worst of them ("worst").
    """
    largest = records["quadratic-meta-training"]["magnitudes"][1:, :, -1, 0]
    return 1 - (largest.mean(axis=0) if quantity == "mean" else largest.max(axis=0))


def smaller_eigenvalues(quantity: str, records: Records) -> np.ndarray:
    """How much less the largest |λ(A)| is with the largest α than with none, a seed each.

    At the end ("end"), or on average over meta-training ("mean").
    """
    largest = records["quadratic-meta-training"]["magnitudes"][..., 0]
    difference = largest[0] - largest[-1]
    return difference[:, -1] if quantity == "end" else difference.mean(axis=1)


def steps_to_near_optimum(part: Arrays) -> np.ndarray:
    """Meta-steps until the expected loss is within a tenth of the least seen, (α, seeds).

    Infinite where it never is.
    """
    losses = np.nan_to_num(part["expected_loss"], nan=np.inf)
    reached = losses <= 1.1 * losses.min()
    first = part["steps"][reached.argmax(axis=-1)].astype(float)
    return np.where(reached.any(axis=-1), first, np.inf)


def sooner(quantity: str, records: Records) -> np.ndarray:
    """Decades of meta-steps that a nominal term saves on the way near the optimum, a seed each.

    The α that is best for the seed ("best"), or the worst α > 0 ("worst"). Where α = 0 never
    arrives, its meta-steps count as all there were: a lower bound.
    """
    part = records["quadratic-meta-training"]
    steps = np.minimum(np.maximum(steps_to_near_optimum(part), 1.0), float(part["steps"][-1]))
    with_term = steps[1:].min(axis=0) if quantity == "best" else steps[1:].max(axis=0)
    return np.log10(steps[0]) - np.log10(with_term)


def under_a_thousand(quantity: str, records: Records) -> np.ndarray:
    """3 − log10 of the meta-steps that the best α takes to come near the optimum, a seed each."""
    del quantity
    steps = steps_to_near_optimum(records["quadratic-meta-training"])[1:].min(axis=0)
    return 3 - np.log10(np.maximum(steps, 1.0))


# Figure 3 and its relatives: meta-training, and runs past its horizon.


def _pair(kind: str, task: str, first: str, second: str, records: Records):
    """The parts of two arms, or None where the scale leaves the task out."""
    names = [f"{kind}-{task}-{arm}" for arm in (first, second)]
    if any(name not in records for name in names):
        return None
    return records[names[0]], records[names[1]]


def _difference(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Paired by the leading axis; an arm can have fewer meta-seeds."""
    count = min(len(one), len(other))
    return one[:count] - other[:count]


def _area(part: Arrays, quantity: str) -> np.ndarray:
    steps = part["steps" if quantity == "held_out" else "report_steps"]
    values = np.nan_to_num(part[quantity], nan=float(part["maximum"]))
    if len(steps) < 2:
        return values[:, 0]
    return np.trapezoid(values, steps, axis=1) / (steps[-1] - steps[0])


def trains_faster(quantity: str, task: str, first: str, second: str, records: Records):
    """How much less the loss of the first arm is on average over meta-training.

    What meta-training saw ("meta_loss"), or the loss of the optimizer itself on runs held out.
    """
    parts = _pair("training", task, first, second, records)
    if parts is None:
        return NONE
    return _difference(_area(parts[1], quantity), _area(parts[0], quantity))


def trains_better(quantity: str, task: str, first: str, second: str, records: Records):
    """How much less the held-out loss of the first arm is, at the end or at its best."""
    parts = _pair("training", task, first, second, records)
    if parts is None:
        return NONE
    one, other = (
        part["held_out"][:, -1] if quantity == "last" else part["held_out"].min(axis=1)
        for part in parts
    )
    return _difference(other, one)


def share_diverged(place: int, task: str, arm: str, records: Records) -> np.ndarray:
    """The share of runs that diverged by a multiple of the horizon."""
    part = records.get(f"far-{task}-{arm}")
    return NONE if part is None else part["diverged"][..., place].mean(axis=1)


def _rise(part: Arrays, place: int) -> np.ndarray:
    """Decades from the loss at the horizon up to that at a multiple of it, (meta-seeds,)."""
    later, sooner_ = part["at_multiples"][..., place].mean(axis=1), part["at_horizon"].mean(axis=1)
    return _log(later) - _log(sooner_)


def diverges(quantity: str, place: int, task: str, arm: str, records: Records) -> np.ndarray:
    """Whether runs of an arm are lost past its horizon.

    The share that diverged less a half ("share"); or by how many decades the normalised loss is
    above that at the horizon, less a tenth ("rise").
    """
    if quantity == "share":
        return share_diverged(place, task, arm, records) - 0.5
    part = records.get(f"far-{task}-{arm}")
    return NONE if part is None else _rise(part, place) - TENTH


def stays(quantity: str, place: int, task: str, arm: str, records: Records) -> np.ndarray:
    """Whether runs of an arm are as good past its horizon.

    A tenth less the share that diverged ("share"); or a tenth less the decades that the
    normalised loss rose by ("rise").
    """
    if quantity == "share":
        return 0.1 - share_diverged(place, task, arm, records)
    part = records.get(f"far-{task}-{arm}")
    return NONE if part is None else TENTH - _rise(part, place)


def less_loss(unit: str, place: int | None, task: str, first: str, second: str, records: Records):
    """How much less the normalised loss of the first arm is, at the horizon or a multiple.

    Paired by meta-seed ("seed"), or by run, of the first meta-seed alone ("run").
    """
    parts = _pair("far", task, first, second, records)
    if parts is None:
        return NONE
    one, other = (
        part["at_horizon"] if place is None else part["at_multiples"][..., place] for part in parts
    )
    if unit == "run":
        return other[0] - one[0]
    return _difference(other.mean(axis=1), one.mean(axis=1))


def spread_grows(quantity: str, task: str, arms: Sequence[str], records: Records) -> np.ndarray:
    """Decades by which the range over seeds and runs grows past the horizon, an arm each."""
    del quantity
    found = []
    for arm in arms:
        part = records.get(f"far-{task}-{arm}")
        if part is not None:
            later, at_horizon = np.ptp(part["at_multiples"][..., -1]), np.ptp(part["at_horizon"])
            found.append(_log(later) - _log(at_horizon))
    return np.asarray(found)


# Figure 4, App. 5 and App. 6: unseen tasks. A repetition is a task.


def _measured(figure: str, records: Records, *labels: str) -> list[Arrays]:
    """The tasks of a figure on which all these optimizers were measured."""
    names = (f"unseen-{name}" for name in of_figure(figure))
    found = [records[name] for name in names if name in records]
    return [part for part in found if all(f"{label}/final" in part for label in labels)]


def _final(part: Arrays, label: str) -> float:
    """The mean final loss in units of what guessing costs, each run at most 1.5."""
    return float(np.minimum(part[f"{label}/final"] / float(part["guess"]), 1.5).mean())


def unseen_diverges(quantity: str, figure: str, label: str, records: Records) -> np.ndarray:
    """The share of runs that diverged less a half; or of those that end above their start."""
    found = []
    for part in _measured(figure, records, label):
        lost = part[f"{label}/diverged"]
        if quantity == "rise":
            lost = ~(part[f"{label}/final"] < part["initial"])
        found.append(lost.mean() - 0.5)
    return np.asarray(found)


def unseen_descends(quantity: str, figure: str, label: str, records: Records) -> np.ndarray:
    """A tenth less the share of runs that diverged; or decades that the loss falls, less 0.04."""
    found = []
    for part in _measured(figure, records, label):
        if quantity == "share":
            found.append(0.1 - part[f"{label}/diverged"].mean())
        else:
            fallen = part["initial"].mean() / float(part["guess"])
            found.append(np.log10(fallen / max(_final(part, label), _FLOOR)) - TENTH)
    return np.asarray(found)


def unseen_better(quantity: str, figure: str, first: str, second: str, records: Records):
    """How much less the final loss of the first is, in units of what guessing costs.

    The best meta-seed of each ("best"), or the mean over meta-seeds.
    """
    found = []
    for part in _measured(figure, records, first, second):
        if quantity == "best":
            one, other = (
                np.minimum(part[f"{label}/final"].mean(axis=1) / float(part["guess"]), 1.5).min()
                for label in (first, second)
            )
            found.append(other - one)
        else:
            found.append(_final(part, second) - _final(part, first))
    return np.asarray(found)


def unseen_near(quantity: str, figure: str, label: str, baseline: str, records: Records):
    """As `unseen_better`, with a tenth of what guessing costs allowed."""
    return 0.1 + unseen_better(quantity, figure, label, baseline, records)


def more_curvature(quantity: str, momenta: Sequence[float], records: Records) -> np.ndarray:
    """By what factor less 1 momentum's largest stable curvature is above SGD's; a β each."""
    del quantity
    part = records["stable-curvature"]
    edge = part["sgd/intervals"][0, 1]
    found = [part[f"momentum-{momentum:g}/intervals"][0, 1] for momentum in momenta]
    return np.asarray(found) / edge - 1
