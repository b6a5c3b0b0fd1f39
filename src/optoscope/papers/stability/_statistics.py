"""The quantities of paper C's claims: one number per repetition, from the parts' arrays.

A repetition is a meta-seed unless the docstring says otherwise. What follows the protocol's
quantity names tasks and arms. A task that a scale leaves out gives no repetition at all.
"""

from collections.abc import Sequence

import numpy as np

from optoscope.papers._claims import Records
from optoscope.papers._parts import Arrays
from optoscope.papers.stability._unseen import of_figure

NONE = np.zeros(0)
_ROUNDING = 1e-9
_FLOOR = 1e-30


def _log(values: np.ndarray | float) -> np.ndarray:
    """Decades; not a number below zero, so that no verdict rests on it."""
    floored = np.where(np.asarray(values) < 0, np.nan, np.maximum(values, _FLOOR))
    return np.asarray(np.log10(floored))


# Figures 1 and 2: the noisy quadratic model.


def within_circle(kind: str, records: Records) -> np.ndarray:
    """Whether each random P within the bounds leaves the unit circle, beyond rounding."""
    return records["bounds"][f"{kind}/radius"].ravel() > 1 + _ROUNDING


def _examples(intervention: str, records: Records) -> tuple[np.ndarray, np.ndarray]:
    part = records["eigenvalues"]
    return part["examples/before"], part[f"examples/{intervention}"]


def all_inside(quantity: str, records: Records) -> np.ndarray:
    """ρ(A) with all interventions ("mean"), or whether it is at most 1; one per example."""
    radius = np.abs(_examples("all", records)[1]).max(axis=1)
    return radius if quantity == "mean" else radius <= 1


def moves_left(quantity: str, records: Records) -> np.ndarray:
    """Whether the mean real part moves to the left under a nominal term; one per example.

    By how much is the same in all examples: the trace of the nominal term.
    """
    del quantity
    before, after = _examples("nominal", records)
    return np.real(before - after).mean(axis=1) > _ROUNDING


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
    """How much nearer to 1 weight decay brings the eigenvalues on average; one per example."""
    del quantity
    before, after = (
        np.abs(values - 1).mean(axis=1) for values in _examples("weight decay", records)
    )
    return before - after


def lowers_variance(reach: str, records: Records) -> np.ndarray:
    """Decades from the meta-gradient's variance at α > 0 up to that at α = 0; one per seed.

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
    """The largest |λ(A)| at the end of meta-training, one per seed.

    The mean over α > 0 ("mean"), or the worst of them ("worst").
    """
    largest = records["quadratic-meta-training"]["magnitudes"][1:, :, -1, 0]
    return largest.mean(axis=0) if quantity == "mean" else largest.max(axis=0)


def smaller_eigenvalues(quantity: str, records: Records) -> np.ndarray:
    """How much less the largest |λ(A)| is with the largest α than with none, one per seed.

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
    """Decades of meta-steps that a nominal term saves on the way to the optimum, one per seed.

    The α that is best for the seed ("best"), or the worst α > 0 ("worst"). Where α = 0 never
    arrives, its meta-steps count as all there were: a lower bound.
    """
    part = records["quadratic-meta-training"]
    steps = np.minimum(np.maximum(steps_to_near_optimum(part), 1.0), float(part["steps"][-1]))
    with_term = steps[1:].min(axis=0) if quantity == "best" else steps[1:].max(axis=0)
    return np.log10(steps[0]) - np.log10(with_term)


def under_a_thousand(quantity: str, records: Records) -> np.ndarray:
    """The meta-steps that the best α takes to come near the optimum, one per seed."""
    del quantity
    return np.maximum(steps_to_near_optimum(records["quadratic-meta-training"])[1:].min(axis=0), 1)


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


def lost(quantity: str, place: int, task: str, arm: str, records: Records) -> np.ndarray:
    """How runs past the horizon end.

    Whether each run of each meta-seed diverged by a multiple of the horizon ("run", of shape
    (meta-seeds, runs)), or each meta-seed's mean normalized loss there over that at the horizon
    ("rise").
    """
    part = records.get(f"far-{task}-{arm}")
    if part is None:
        return NONE
    if quantity == "run":
        return part["diverged"][..., place]
    later, sooner_ = part["at_multiples"][..., place].mean(axis=1), part["at_horizon"].mean(axis=1)
    return np.maximum(later, _FLOOR) / np.maximum(sooner_, _FLOOR)


def less_loss(unit: str, place: int | None, task: str, first: str, second: str, records: Records):
    """How much less the normalized loss of the first arm is, at the horizon or a multiple.

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
    """Decades by which the range over seeds and runs grows past the horizon, one per arm."""
    del quantity
    found = []
    for arm in arms:
        part = records.get(f"far-{task}-{arm}")
        if part is not None:
            later, at_horizon = np.ptp(part["at_multiples"][..., -1]), np.ptp(part["at_horizon"])
            found.append(_log(later) - _log(at_horizon))
    return np.asarray(found)


# Figure 4, App. 5 and App. 6: unseen tasks. The tasks were chosen.


def _measured(figure: str, records: Records, *labels: str) -> list[Arrays]:
    """The tasks of a figure on which all these optimizers were measured."""
    names = (f"unseen-{name}" for name in of_figure(figure))
    found = [records[name] for name in names if name in records]
    return [part for part in found if all(f"{label}/final" in part for label in labels)]


def _final(part: Arrays, label: str) -> np.ndarray:
    """The final loss in units of what guessing costs, each run at most 1.5; one per meta-seed."""
    return np.minimum(part[f"{label}/final"] / float(part["guess"]), 1.5).mean(axis=1)


def unseen_lost(quantity: str, figure: str, label: str, records: Records) -> np.ndarray:
    """Whether each run on each task diverged ("diverged"), or ended above its start ("rise").

    Of shape (meta-seeds, runs of all tasks).
    """
    found = []
    for part in _measured(figure, records, label):
        if quantity == "rise":
            found.append(~(part[f"{label}/final"] < part["initial"]))
        else:
            found.append(part[f"{label}/diverged"])
    return np.concatenate(found, axis=1) if found else NONE.astype(bool)


def unseen_falls(quantity: str, figure: str, label: str, records: Records) -> np.ndarray:
    """The loss at the start over that at the end, the geometric mean over tasks.

    A meta-seed each.
    """
    del quantity
    found = [
        np.log(part["initial"].mean() / float(part["guess"]))
        - np.log(np.maximum(_final(part, label), _FLOOR))
        for part in _measured(figure, records, label)
    ]
    return np.exp(np.mean(found, axis=0)) if found else NONE


def unseen_difference(quantity: str, figure: str, first: str, second: str, records: Records):
    """The final loss of the first minus that of the second, in units of what guessing costs.

    The best meta-seed of each, one per task ("best"); or each meta-seed, the mean over tasks
    ("mean").
    """
    found = []
    for part in _measured(figure, records, first, second):
        if quantity == "best":
            one, other = (
                np.minimum(part[f"{label}/final"].mean(axis=1) / float(part["guess"]), 1.5).min()
                for label in (first, second)
            )
            found.append(one - other)
        else:
            one, other = (_final(part, label) for label in (first, second))
            # A tuned baseline is one optimizer, which every meta-seed is compared with.
            found.append(one - other if len(other) == 1 else _difference(one, other))
    if not found:
        return NONE
    return np.asarray(found) if quantity == "best" else np.mean(found, axis=0)


def more_curvature(quantity: str, momenta: Sequence[float], records: Records) -> np.ndarray:
    """Momentum's largest stable curvature over SGD's; one per β."""
    del quantity
    part = records["stable-curvature"]
    edge = part["sgd/intervals"][0, 1]
    found = [part[f"momentum-{momentum:g}/intervals"][0, 1] for momentum in momenta]
    return np.asarray(found) / edge
