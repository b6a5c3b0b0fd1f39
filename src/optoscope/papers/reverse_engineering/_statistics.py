"""The quantities of paper B's claims: one number per repetition, from the parts' arrays.

A repetition is a meta-seed, except where the docstring says that it is a problem. What follows the
protocol's quantity names the part.
"""

import numpy as np

from optoscope._core.ranks import rank_correlation
from optoscope.papers._claims import Records

_FLOOR = 1e-30
_LOST = 10.0


def _log(values: np.ndarray | float) -> np.ndarray:
    """Decades; not a number below zero, so that no verdict rests on it."""
    floored = np.where(np.asarray(values) < 0, np.nan, np.maximum(values, _FLOOR))
    return np.asarray(np.log10(floored))


def _tuned(records: Records, name: str, hyperparameter: str, baseline: str = "momentum") -> float:
    return float(records[f"tuned-{name}"][f"{baseline}/best/{hyperparameter}"])


def beats(reading: str, name: str, baseline: str, records: Records) -> np.ndarray:
    """How far the learned meta-objective lies below the baseline's, for each (paired) problem.

    The paper's reading: the best meta-seed's difference, as a share of the baseline's mean. A
    single problem on which the baseline diverges dominates that mean. The corrected one: the
    logarithm of the ratio, averaged over meta-seeds. Every value above ten times the first loss
    counts as ten times the first loss, so that diverged runs do not dominate.
    """
    part = records[f"performance-{name}"]
    learned, other = part["learned/objective"], part[f"{baseline}/objective"][0]
    if reading == "difference":
        return (other - learned[int(part["best"])]) / np.abs(other.mean())
    worst = _LOST * part[f"{baseline}/losses"][0, :, 0]
    return np.mean(_log(np.fmin(other, worst)) - _log(np.fmin(learned, worst)), axis=0)


def variance_vanishes(quantity: str, name: str, records: Records) -> np.ndarray:
    """Decades from the largest total variance of states down to that at the end of the runs."""
    del quantity
    variance = records[f"fixed-points-{name}"]["variance"]
    return _log(np.nanmax(variance, axis=1)) - _log(variance[:, -1])


def one_attractor(quantity: str, name: str, records: Records) -> np.ndarray:
    """Whether there is exactly one fixed point that is no saddle.

    Slow points and points of a line count, as trajectories end at them.
    """
    del quantity
    return records[f"fixed-points-{name}"]["attracting"] == 1


def _dominance(quantity: str, part) -> np.ndarray:
    if quantity == "rate":
        sizes = np.abs(part["learning_rates"])
        return sizes / np.maximum(sizes.sum(axis=1, keepdims=True), _FLOOR)
    return part["shares"]


def two_modes_dominate(quantity: str, name: str, records: Records) -> np.ndarray:
    """The share of the two largest modes (a conjugate pair is one).

    The paper's reading: of Σ|α|. The corrected one: of the impulse response Σ|α|/(1 − |β|).
    """
    part = records[f"fixed-points-{name}"]
    found = []
    for shares, timescales in zip(_dominance(quantity, part), part["timescales"], strict=True):
        # Of a pair only the half with a positive imaginary part stands for both.
        alone = np.where(timescales.imag == 0, shares, 2 * shares)
        counted = np.sort(alone[timescales.imag >= 0])[::-1]
        found.append(counted[:2].sum())
    return np.asarray(found)


def timescale_near_tuned(quantity: str, name: str, records: Records) -> np.ndarray:
    """How the dominant mode's |β| compares with tuned momentum's.

    The paper's reading: the size of their difference. The corrected one: the ratio of 1 − β, the
    inverse of the time over which gradients are remembered.
    """
    part = records[f"fixed-points-{name}"]
    beta, tuned = np.abs(part["timescales"][:, 0]), _tuned(records, name, "momentum")
    if quantity == "difference":
        return np.abs(beta - tuned)
    return np.abs(1 - beta) / (1 - tuned)


def shifts_vertically(quantity: str, name: str, records: Records) -> np.ndarray:
    """The share of the change of the update function along the slow mode that is an offset.

    The mean square change over gradients and over places along the mode. The paper's slow mode is
    the one of the largest |α| (which is seldom the slowest); the corrected one has the largest
    share of the impulse response.
    """
    part = records[f"fixed-points-{name}"]
    found = []
    for seed, updates in enumerate(part["mode_updates"]):
        rates = np.abs(part["learning_rates"][seed][part["mode_index"][seed]])
        mode = int(np.argmax(rates)) if quantity == "rate" else 0
        functions = updates[mode]
        change = functions - functions[len(functions) // 2]
        offset = change.mean(axis=1, keepdims=True)
        total = np.mean(change**2)
        found.append(np.mean(offset**2) / total if total > 0 else np.nan)
    return np.asarray(found)


def bends(quantity: str, name: str, records: Records) -> np.ndarray:
    """By what share the update at the largest gradients lies below the linear one.

    At the initial state ("initial"), where the paper looks, or where runs converge.
    """
    part = records[f"clipping-{name}"]
    grid, updates = part["grid"], part[f"{quantity}_updates"]
    slope = part["linear_rate" if quantity == "initial" else "convergence_linear_rate"]
    secant = -(updates[:, -1] - updates[:, 0]) / (grid[:, -1] - grid[:, 0])
    # A slope of the other sign, or none, is no clipping.
    return np.where(slope > 0, 1 - secant / np.maximum(slope, _FLOOR), np.nan)


def clips_more(quantity: str, name: str, other: str, records: Records) -> np.ndarray:
    """The share of met gradients that saturate, less that of another task; pairs of meta-seeds."""
    key = "saturated" if quantity == "initial" else "convergence_saturated"
    first, second = records[f"clipping-{name}"][key], records[f"clipping-{other}"][key]
    count = min(len(first), len(second))
    return first[:count] - second[:count]


def _largest_over_least(rates: np.ndarray) -> np.ndarray:
    """Along the last axis. A rate that falls to zero or below has changed by a million."""
    largest = rates.max(axis=-1)
    return largest / np.maximum(rates.min(axis=-1), largest * 1e-6)


def schedule_range(quantity: str, name: str, records: Records) -> np.ndarray:
    """The largest rate over the least along the autonomous trajectory.

    The whole horizon in the paper's reading, the first half of it in the corrected one: what comes
    late changes little.
    """
    rates = records[f"schedule-{name}"]["rates"]
    if quantity == "met":
        # Weighted as runs see it: the state has moved on by then in most of the steps.
        rates = rates[:, : max(2, rates.shape[1] // 2)]
    return _largest_over_least(rates)


def silent(quantity: str, name: str, records: Records) -> np.ndarray:
    """How far the state's motion without a gradient moves the parameters.

    The paper's reading: its mean |cos| with the readout, over that of a random direction. The
    corrected one: the largest drift of the update, over the updates made in runs.
    """
    part = records[f"schedule-{name}"]
    if quantity == "alignment":
        return np.nanmean(part["alignment"][:, 1:], axis=1) / float(part["chance"])
    return np.maximum(np.abs(part["drift"]).max(axis=1), _FLOOR) / part["update_scale"]


def falls_along_arms(quantity: str, name: str, records: Records) -> np.ndarray:
    """The rank correlation of the rate with |g|, on the arm where it is the larger.

    The paper's reading: the slope of the update function at g = 0. The corrected one: the step per
    gradient that the optimizer really makes under the gradient held, −Δ(g)/g.
    """
    part = records[f"adaptation-{name}"]
    sizes, found = np.abs(part["gradients"]), []
    for rates in part[quantity]:
        arms = []
        for side in (part["gradients"] < 0, part["gradients"] > 0):
            known = side & np.isfinite(rates)
            arms.append(rank_correlation(sizes[known], rates[known]))
        found.append(np.max(arms))
    return np.asarray(found)


def lowest_rate_near_tuned(quantity: str, name: str, records: Records) -> np.ndarray:
    """The lowest rate on the arms over momentum's.

    The paper's reading: momentum's learning rate α. The corrected one: α / (1 − β), what its
    steps amount to under a gradient that lasts, as on the arms.
    """
    rates = np.nanmin(records[f"adaptation-{name}"]["rates"], axis=1)
    tuned = _tuned(records, name, "learning_rate")
    if quantity == "lasting":
        tuned /= 1 - _tuned(records, name, "momentum")
        rates = np.nanmin(records[f"adaptation-{name}"]["gains"], axis=1)
    return rates / tuned


def groups_separate(quantity: str, records: Records) -> np.ndarray:
    """Decades by which variance between layers and types exceeds what single runs would make."""
    del quantity
    return _log(records["groups-cnn"]["separation"])


def _group_rates(records: Records) -> np.ndarray:
    """The mean rate of each group after the first step, (meta-seeds, groups)."""
    return records["groups-cnn"]["rates"][:, :, 1:].mean(axis=2)


def biases_slower(quantity: str, records: Records) -> np.ndarray:
    """Decades from the biases' mean rate up to that of the weights.

    The paper's reading: means over layers. The corrected one: the least over layers ("layers").
    """
    part, rates = records["groups-cnn"], _group_rates(records)
    weights, biases = rates[:, part["types"] == "weights"], rates[:, part["types"] == "bias"]
    if quantity == "layers":
        return (_log(weights) - _log(biases)).min(axis=1)
    return _log(weights.mean(axis=1)) - _log(biases.mean(axis=1))


def later_faster(quantity: str, records: Records) -> np.ndarray:
    """The rank correlation of a layer's place with its weights' mean rate (biases' too).

    The paper's reading: the weights. The corrected one: the lesser of weights and biases.
    """
    part, rates = records["groups-cnn"], _group_rates(records)
    found = []
    for one in rates:
        of_type = [
            rank_correlation(part["layers"][part["types"] == kind], one[part["types"] == kind])
            for kind in (("weights",) if quantity == "weights" else ("weights", "bias"))
        ]
        found.append(np.min(of_type))
    return np.asarray(found)


def line_of_points(quantity: str, name: str, records: Records) -> np.ndarray:
    """Whether there is a line of fixed points rather than one.

    The paper's reading: whether approximate points lie along one direction (0.8 of their
    variance) and spread over a hundredth of the variance of states. The corrected one: how far the
    eigenvalue nearest to 1 is from it where runs converge; a manifold has one of exactly 1.
    """
    if quantity == "approximate":
        part = records[f"manifold-{name}"]
        return (part["explained"] > 0.8) & (part["spread"] > 0.01)
    nearest = np.abs(records[f"fixed-points-{name}"]["timescales"] - 1).min(axis=1)
    return np.maximum(nearest, _FLOOR)


def line_of_another(quantity: str, name: str, records: Records) -> np.ndarray:
    """The same of a published optimizer, of which there is one."""
    part = records[f"line-{name}"]
    if quantity == "approximate":
        return np.array([part["explained"] > 0.8 and part["spread"] > 0.01])
    return np.array([max(np.abs(part["eigenvalues"] - 1).min(), _FLOOR)])


def rate_changes_along(quantity: str, name: str, records: Records) -> np.ndarray:
    """The largest rate over the least on the approximate fixed points."""
    del quantity
    return _largest_over_least(records[f"manifold-{name}"]["rates"])


def rate_near_tuned(quantity: str, name: str, records: Records) -> np.ndarray:
    """The dominant mode's |α| over a target.

    The paper's reading: the tuned rate. The corrected one: heavy ball's optimum, which is
    derived and not searched ("optimum").
    """
    alpha = np.abs(records[f"fixed-points-{name}"]["learning_rates"][:, 0])
    target = _tuned(records, name, "learning_rate")
    if quantity == "optimum":
        target = float(records[f"tuned-{name}"]["optimum"][0])
    return alpha / target


def as_good_as(repetition: str, name: str, first: str, second: str, records: Records):
    """How much one meta-objective differs from the other, as a share of it.

    The paper's reading: the best meta-seed, one number per problem. The corrected one: means over
    problems, one number per meta-seed.
    """
    part = records[f"performance-{name}"]
    one, two = part[f"{first}/objective"], part[f"{second}/objective"]
    if repetition == "problem":
        best = int(part["best"])
        one, two = (values[best if len(values) > 1 else 0] for values in (one, two))
    else:
        one, two = one.mean(axis=1), two.mean(axis=1)
    # What is not positive has no shares.
    return np.where(two > 0, np.abs(one / np.where(two > 0, two, 1) - 1), np.nan)


def one_component(quantity: str, name: str, records: Records) -> np.ndarray:
    """The share of the states' variance along the first principal component."""
    del quantity
    return records[f"fixed-points-{name}"]["pca_explained"][:, 0]


def one_mode(quantity: str, name: str, records: Records) -> np.ndarray:
    """The share of the dominant mode, by |α| or of the impulse response."""
    return _dominance(quantity, records[f"fixed-points-{name}"]).max(axis=1)


def approaches(quantity: str, name: str, records: Records) -> np.ndarray:
    """Decades by which (α, 1 − β) of the final mode come nearer to a target in meta-training.

    The paper's reading: the analytic optimum. The corrected one: tuned momentum, the best for
    the meta-objective itself ("tuned").
    """
    part = records[f"meta-training-{name}"]
    rate, decay = part["optimum"]
    if quantity == "tuned":
        rate, decay = _tuned(records, name, "learning_rate"), _tuned(records, name, "momentum")
    alpha, beta = np.abs(part["learning_rates"][:, :, 0]), np.abs(part["timescales"][:, :, 0])
    distance = np.hypot(_log(alpha) - np.log10(rate), _log(np.abs(1 - beta)) - np.log10(1 - decay))
    found = []
    for one in distance:
        known = one[np.isfinite(one)]
        found.append(known[0] - known[-1] if len(known) > 1 else np.nan)
    return np.asarray(found)
