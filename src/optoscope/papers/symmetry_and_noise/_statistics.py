"""The quantities of paper A's claims: one number per repetition, from the parts' arrays.

The first argument is the quantity that a protocol reads; what follows names the part.
"""

from collections.abc import Mapping
from itertools import pairwise

import numpy as np

from optoscope._core.windows import tenth
from optoscope.papers._claims import Records, Repetitions, Statistic

# Below what float32 leaves of an exact zero; keeps a logarithm of rounding from deciding.
_FLOOR = 1e-9


def _log(values: np.ndarray | float) -> np.ndarray:
    """Decades; not a number below zero, so that no verdict rests on it."""
    floored = np.where(np.asarray(values) < 0, np.nan, np.maximum(values, _FLOOR))
    return np.asarray(np.log10(floored))


def _tenth(values: np.ndarray) -> np.ndarray:
    return values[..., : max(1, values.shape[-1] // 10)].mean(axis=-1)


def _second_half(values: np.ndarray) -> np.ndarray:
    return values[..., values.shape[-1] // 2 :].mean(axis=-1)


def above_baselines(aggregate: str, variant: str, records: Records) -> np.ndarray:
    """By how many decades the learned mean deviation exceeds the larger of SGD's and Adam's."""
    part = records[f"deviations-{variant}"]
    means = {
        name: part[f"{name}/{aggregate}"].mean(axis=(1, 2)) for name in ("momentum", "adam", "lstm")
    }
    return _log(means["lstm"]) - _log(np.maximum(means["momentum"], means["adam"]))


def faster(quantity: str, variant: str, records: Records) -> np.ndarray:
    """Decades from the learned mean loss up to the least of the tuned baselines'."""
    part = records[f"deviations-{variant}"]
    others = [part[f"{name}/{quantity}"].mean() for name in ("momentum", "adam", "lion")]
    return np.log10(min(others)) - np.log10(part[f"lstm/{quantity}"].mean(axis=(1, 2)))


def largest_early(aggregate: str, variant: str, records: Records) -> np.ndarray:
    """Decades from the learned deviation's second half up to its first tenth of the steps."""
    values = records[f"deviations-{variant}"][f"lstm/{aggregate}"].mean(axis=1)
    return _log(_tenth(values)) - _log(_second_half(values))


def lion_grows(aggregate: str, variant: str, records: Records) -> np.ndarray:
    """Decades from Lion's first tenth of the steps up to its second half, for each run."""
    values = records[f"deviations-{variant}"][f"lion/{aggregate}"][0]
    return _log(_second_half(values)) - _log(_tenth(values))


def slower_in_order(quantity: str, part: str, records: Records) -> np.ndarray:
    """The least increase of the log mean loss from one β to the next, for each meta-seed."""
    losses = np.log10(records[part][quantity].mean(axis=(2, 3)))
    return np.diff(losses, axis=0).min(axis=0)


def slower_at_most(quantity: str, part: str, records: Records) -> np.ndarray:
    """The increase of the log mean loss from no penalty to the strongest, for each meta-seed."""
    losses = np.log10(records[part][quantity].mean(axis=(2, 3)))
    return losses[-1] - losses[0]


def deviates_less_in_order(aggregate: str, part: str, records: Records) -> np.ndarray:
    """The least decrease of the log mean deviation from one β to the next."""
    values = _log(records[part][aggregate].mean(axis=(2, 3)))
    return -np.diff(values, axis=0).max(axis=0)


def rises_with_lion(aggregate: str, records: Records) -> np.ndarray:
    """The least increase of the log mean deviation from one λ to the next, for each run."""
    values = _log(records["lion-sgd"][aggregate].mean(axis=2))
    return -np.diff(values, axis=0).max(axis=0)


def improves_with_lion(quantity: str, records: Records) -> np.ndarray:
    """The least decrease of the log mean loss from one λ to the next, for each run."""
    values = np.log10(records["lion-sgd"][quantity].mean(axis=2))
    return np.diff(values, axis=0).min(axis=0)


def _alpha(records: Records, variant: str, name: str, protocol: str, field: str = "alpha"):
    return np.nanmean(records[f"noise-{variant}"][f"{name}/{protocol}/{field}"], axis=1)


def lighter_than_gradients(protocol: str, variant: str, records: Records) -> np.ndarray:
    """Mean α of the learned updates minus that of the gradients they are made from."""
    update = _alpha(records, variant, "lstm/update", protocol)
    return update - _alpha(records, variant, "lstm/gradient", protocol)


def lighter_than_baselines(protocol: str, variant: str, records: Records) -> np.ndarray:
    """Mean α of the learned updates minus the larger of Adam's and SGD's."""
    others = [_alpha(records, variant, f"{name}/update", protocol) for name in ("momentum", "adam")]
    return _alpha(records, variant, "lstm/update", protocol) - np.maximum(*others)


def heavy_gradients(protocol: str, variant: str, records: Records) -> np.ndarray:
    """The gradients' α, or how far it lies below a Gaussian's.

    The paper compares α with 2; the corrected reading is the difference to the same estimate of
    Gaussian noise with the same scales, zeros and correlations.
    """
    alpha = _alpha(records, variant, "lstm/gradient", protocol)
    if protocol != "corrected":
        return alpha
    return _alpha(records, variant, "lstm/gradient", protocol, "surrogate_alpha") - alpha


def spectrum_in_order(quantity: str, variant: str, records: Records) -> np.ndarray:
    """The least ratio of neighbors in SGD < Adam < Lion < learned, in decades."""
    part = records[f"noise-{variant}"]
    order = ("momentum", "adam", "lion", "lstm")
    logs = [np.nanmean(np.log10(part[f"{name}/covariance/{quantity}"]), axis=1) for name in order]
    margins = [after - before for before, after in pairwise(logs)]
    # A baseline is one repetition, the learned optimizer one per meta-seed.
    return np.min(np.broadcast_arrays(*margins), axis=0)


def loss_rises_late(quantity: str, variant: str, records: Records) -> np.ndarray:
    """Decades from the learned loss around the middle of the run up to its last tenth."""
    losses = records[f"noise-{variant}"][f"lstm/{quantity}"]
    count = losses.shape[1]
    width = tenth(count)
    middle = losses[:, count // 2 - width // 2 : count // 2 + width - width // 2]
    return np.log10(losses[:, -width:].mean(axis=1)) - np.log10(middle.mean(axis=1))


def alpha_falls_late(protocol: str, variant: str, records: Records) -> np.ndarray:
    """Mean α of the learned updates in the first half of the run minus that in the second."""
    part = records[f"noise-{variant}"]
    alpha, steps = part[f"lstm/update/{protocol}/alpha"], part["lstm/steps"][0]
    early = steps <= part["lstm/losses"].shape[1] // 2
    return np.nanmean(alpha[:, early], axis=1) - np.nanmean(alpha[:, ~early], axis=1)


def standardized_is_heavier(protocol: str, records: Records) -> np.ndarray:
    """By how much standardized pixels lower the mean α of the gradients."""
    before, after = (
        np.nanmean(records[part][f"lstm/gradient/{protocol}/alpha"], axis=1)
        for part in ("noise-sigmoid", "noise-sigmoid-standardized")
    )
    return before - after


def mean_log_size(part: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    """Mean log10|u| of the updates inside the bins, (repetitions, steps)."""
    counts, edges = part[f"{name}/counts"], part[f"{name}/edges"][0]
    middles = 0.5 * (np.log10(edges[1:]) + np.log10(edges[:-1]))
    return (counts * middles).sum(axis=-1) / counts.sum(axis=-1)


def first_updates_largest(quantity: str, variant: str, records: Records) -> np.ndarray:
    """Decades from the largest later mean size up to that of the first update."""
    del quantity
    sizes = mean_log_size(records[f"histograms-{variant}"], "lstm")
    return sizes[:, 0] - sizes[:, 1:].max(axis=1)


def later_near_adam(quantity: str, variant: str, records: Records) -> np.ndarray:
    """The size of learned updates over that of Adam's at the last step drawn."""
    del quantity
    part = records[f"histograms-{variant}"]
    return 10 ** (mean_log_size(part, "lstm")[:, -1] - mean_log_size(part, "adam")[:, -1])


def sweet_spot(quantity: str, records: Records) -> np.ndarray:
    """Decades by which a β chosen on the other meta-seeds lowers the mean loss of this one.

    Choosing and judging on the same seeds would find a sweet spot in pure noise, so that one
    meta-seed says nothing.
    """
    losses = np.log10(records["sweep-beta"][quantity].mean(axis=(2, 3)))
    if losses.shape[1] == 1:
        return np.full(1, np.nan)
    seeds = np.arange(losses.shape[1])
    gains = []
    for seed in seeds:
        others = losses[1:, seeds != seed].mean(axis=1)
        gains.append(losses[0, seed] - losses[1 + int(np.argmin(others)), seed])
    return np.asarray(gains)


def above_baselines_throughout(aggregate: str, part: str, records: Records) -> np.ndarray:
    """The least excess over SGD's and Adam's mean deviation among the values of a sweep."""
    means = {
        name: _log(records[part][f"{name}/{aggregate}"].mean(axis=(2, 3)))
        for name in ("momentum", "adam", "lstm")
    }
    return (means["lstm"] - np.maximum(means["momentum"], means["adam"])).min(axis=0)


def another_above_baselines(aggregate: str, kind: str, records: Records) -> np.ndarray:
    """The quantity of `above_baselines` on leaky ReLU, for another learned optimizer."""
    part = records["deviations-leaky-relu"]
    others = [part[f"{name}/{aggregate}"].mean(axis=(1, 2)) for name in ("momentum", "adam")]
    found = records[f"deviations-leaky-relu-{kind}"][f"{kind}/{aggregate}"].mean(axis=(1, 2))
    return _log(found) - _log(np.maximum(*others))


def another_lighter_than_gradients(protocol: str, kind: str, records: Records) -> np.ndarray:
    """The quantity of `lighter_than_gradients` on leaky ReLU, for another learned optimizer."""
    part = records[f"noise-leaky-relu-{kind}"]
    update, gradient = (
        np.nanmean(part[f"{kind}/{quantity}/{protocol}/alpha"], axis=1)
        for quantity in ("update", "gradient")
    )
    return update - gradient


def of_another(
    quantity: str, statistic: Statistic, variant: str, kind: str, name: str, records: Records
) -> Repetitions:
    """The quantity of a claim, with another optimizer in the place of the learned one.

    It is one optimizer, so that its runs, paired with those of the baselines, are repetitions.

    Args:
        quantity: that the statistic reads.
        statistic: one of the above that is about the learned optimizer of one part.
        variant: the network.
        kind: of part in which the optimizers are measured, "deviations" or "noise".
        name: of the other optimizer, which is measured in a part of its own.
        records: both parts.
    """
    part = f"{kind}-{variant}"
    others = {key: values for key, values in records[part].items() if not key.startswith("lstm/")}
    own = records[f"{part}-{name}"]
    arrays = others | {f"lstm/{key.removeprefix(f'{name}/')}": own[key] for key in own}
    # (repetitions, runs, steps); what else there is has one run a repetition.
    by_run = {
        key: np.swapaxes(values, 0, 1) if np.ndim(values) == 3 else values
        for key, values in arrays.items()
    }
    return statistic(quantity, variant, {part: by_run})
