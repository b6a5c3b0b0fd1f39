"""What paper A says, as data; each statistic is one number a repetition."""

from collections.abc import Callable, Mapping
from functools import partial
from itertools import pairwise

import numpy as np
from jaxtyping import Float

from optoscope.papers._claims import Claim, Records

# The aggregate of the deviations that each protocol reads.
DEVIATIONS = {"paper": "sum_abs", "released": "signed", "corrected": "cosine"}
TAILS = {protocol: protocol for protocol in ("paper", "released", "corrected")}
SPECTRA = {"paper": "top", "corrected": "relative_top"}
# Below what float32 leaves of an exact zero; keeps a logarithm of rounding from deciding.
_FLOOR = 1e-9

Statistic = Callable[..., Float[np.ndarray, " repetitions"]]


def _measures(statistic: Statistic, protocols: Mapping[str, str], *arguments: str) -> dict:
    """The statistic for each protocol, which differ in the quantity they read."""
    return {
        protocol: partial(statistic, quantity, *arguments)
        for protocol, quantity in protocols.items()
    }


def _log(values: np.ndarray) -> np.ndarray:
    return np.log10(np.maximum(values, _FLOOR))


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
    """How far the gradients' α lies below a Gaussian's.

    The paper's reading is 2 − α; the corrected one takes the same estimate of Gaussian noise
    with the same scales, zeros and correlations in place of the 2.
    """
    alpha = _alpha(records, variant, "lstm/gradient", protocol)
    if protocol != "corrected":
        return 2.0 - alpha
    return _alpha(records, variant, "lstm/gradient", protocol, "surrogate_alpha") - alpha


def spectrum_in_order(quantity: str, variant: str, records: Records) -> np.ndarray:
    """The least ratio of neighbours in SGD < Adam < Lion < learned, in decades."""
    part = records[f"noise-{variant}"]
    order = ("momentum", "adam", "lion", "lstm")
    logs = [np.nanmean(np.log10(part[f"{name}/covariance/{quantity}"]), axis=1) for name in order]
    margins = [after - before for before, after in pairwise(logs)]
    # A baseline is one repetition, the learned optimizer one a meta-seed.
    return np.min(np.broadcast_arrays(*margins), axis=0)


def loss_rises_late(quantity: str, variant: str, records: Records) -> np.ndarray:
    """Decades from the learned loss around the middle of the run up to its last tenth."""
    losses = records[f"noise-{variant}"][f"lstm/{quantity}"]
    count = losses.shape[1]
    width = max(1, count // 10)
    middle = losses[:, count // 2 - width // 2 : count // 2 + width - width // 2]
    return np.log10(losses[:, -width:].mean(axis=1)) - np.log10(middle.mean(axis=1))


def alpha_falls_late(protocol: str, variant: str, records: Records) -> np.ndarray:
    """Mean α of the learned updates in the first half of the run minus that in the second."""
    part = records[f"noise-{variant}"]
    alpha, steps = part[f"lstm/update/{protocol}/alpha"], part["lstm/steps"][0]
    early = steps <= part["lstm/losses"].shape[1] // 2
    return np.nanmean(alpha[:, early], axis=1) - np.nanmean(alpha[:, ~early], axis=1)


def standardized_is_heavier(protocol: str, records: Records) -> np.ndarray:
    """By how much standardised pixels lower the mean α of the gradients."""
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
    """Half a decade minus the distance to Adam's mean size at the last step drawn."""
    del quantity
    part = records[f"histograms-{variant}"]
    distance = mean_log_size(part, "lstm")[:, -1] - mean_log_size(part, "adam")[:, -1]
    return 0.5 - np.abs(distance)


_LOSS = {"paper": "losses"}
_COUNTS = {"corrected": "counts"}
_WORDS = {
    "leaky-relu": "rescale symmetry on leaky ReLU",
    "batch-norm": "scale symmetry on batch norm",
    "sigmoid": "translation symmetry on sigmoid",
}


def _deviation_claims(figure: str, variant: str) -> tuple[Claim, ...]:
    words = _WORDS[variant]
    return (
        Claim(
            f"A{figure}-above-{variant}",
            figure,
            f"Learned updates break the {words} more than SGD's and Adam's.",
            _measures(above_baselines, DEVIATIONS, variant),
            "log10(learned mean deviation / the larger of SGD's and Adam's)",
        ),
        Claim(
            f"A{figure}-early-{variant}",
            figure,
            f"The learned optimizer breaks the {words} most at the beginning.",
            _measures(largest_early, DEVIATIONS, variant),
            "log10(mean deviation in the first tenth / in the second half)",
        ),
        Claim(
            f"A{figure}-lion-grows-{variant}",
            figure,
            f"Lion breaks the {words} more and more.",
            _measures(lion_grows, DEVIATIONS, variant),
            "log10(Lion's mean deviation in the second half / in the first tenth)",
        ),
    )


def _penalty_claims(figure: str, variant: str) -> tuple[Claim, ...]:
    words, part = _WORDS[variant], f"penalty-{variant}"
    return (
        *_performance_claims(figure, part, f"for the {words}"),
        Claim(
            f"A{figure}-deviation-{part}",
            figure,
            f"The stronger the penalty, the less the {words} is broken.",
            _measures(deviates_less_in_order, DEVIATIONS, part),
            "the least log10 decrease of the mean deviation from one β to the next",
        ),
    )


def _performance_claims(figure: str, part: str, words: str) -> tuple[Claim, ...]:
    return (
        Claim(
            f"A{figure}-slower-{part}",
            figure,
            f"A penalty slows training ({words}).",
            _measures(slower_at_most, _LOSS, part),
            "log10(mean loss under the strongest penalty / without one)",
        ),
        Claim(
            f"A{figure}-order-{part}",
            figure,
            f"The stronger the penalty, the slower the training ({words}).",
            _measures(slower_in_order, _LOSS, part),
            "the least log10 increase of the mean loss from one β to the next",
        ),
    )


def _noise_claims(figure: str, variant: str) -> tuple[Claim, ...]:
    words = variant.replace("-", " ")
    claims = (
        Claim(
            f"A{figure}-gradients-{variant}",
            figure,
            f"Gradient noise is heavy-tailed ({words}).",
            _measures(heavy_gradients, TAILS, variant),
            "2 − α (corrected: the Gaussian surrogate's α − α)",
        ),
        Claim(
            f"A{figure}-attenuates-{variant}",
            figure,
            f"Learned updates are less heavy-tailed than the gradients ({words}).",
            _measures(lighter_than_gradients, TAILS, variant),
            "α of updates − α of gradients",
        ),
        Claim(
            f"A{figure}-lighter-{variant}",
            figure,
            f"Learned updates are less heavy-tailed than Adam's and SGD's ({words}).",
            _measures(lighter_than_baselines, TAILS, variant),
            "α of learned updates − the larger of Adam's and SGD's",
        ),
        Claim(
            f"A{figure}-spectrum-{variant}",
            figure,
            f"The top eigenvalue of the update covariance: SGD < Adam < Lion < learned ({words}).",
            _measures(spectrum_in_order, SPECTRA, variant),
            "the least log10 ratio of neighbours in that order "
            "(corrected: eigenvalue over squared mean update)",
        ),
    )
    if variant == "leaky-relu":
        return claims
    return (
        *claims,
        Claim(
            f"A{figure}-late-loss-{variant}",
            figure,
            f"The learned optimizer's loss rises again late in long runs ({words}).",
            _measures(loss_rises_late, _LOSS, variant),
            "log10(mean loss in the last tenth / around the middle)",
        ),
        Claim(
            f"A{figure}-late-alpha-{variant}",
            figure,
            f"α of learned updates falls as that loss rises ({words}).",
            _measures(alpha_falls_late, TAILS, variant),
            "mean α of the first half − of the second",
        ),
    )


def _histogram_claims(figure: str, variant: str) -> tuple[Claim, ...]:
    words = variant.replace("-", " ")
    return (
        Claim(
            f"A{figure}-first-{variant}",
            figure,
            f"The learned optimizer's first updates are its largest ({words}).",
            _measures(first_updates_largest, _COUNTS, variant),
            "mean log10|u| of the first update − the largest of the later ones drawn",
        ),
        Claim(
            f"A{figure}-adam-{variant}",
            figure,
            f"Later, learned updates are about as large as Adam's ({words}).",
            _measures(later_near_adam, _COUNTS, variant),
            "half a decade − the distance of the mean log10|u| at the last step drawn",
        ),
    )


# Where the penalised optimizers of figure 6 are run: (trained on, variant); the first is wide.
TRANSFERS = (("leaky-relu", "sigmoid"), ("leaky-relu", "batch-norm"), ("sigmoid", "batch-norm"))


def transfer_part(trained_on: str, variant: str) -> str:
    """The name of a part of figure 6."""
    return f"transfer-{trained_on}-to-{variant}"


CLAIMS: tuple[Claim, ...] = (
    *_deviation_claims("4", "leaky-relu"),
    *_deviation_claims("4", "batch-norm"),
    *_penalty_claims("5", "leaky-relu"),
    *_penalty_claims("5", "batch-norm"),
    *(
        claim
        for trained_on, variant in TRANSFERS
        for claim in _performance_claims(
            "6", transfer_part(trained_on, variant), f"trained on {trained_on}, run on {variant}"
        )
    ),
    Claim(
        "A7-deviation",
        "7",
        "The larger Lion's share λ in Lion–SGD, the more the translation symmetry is broken.",
        _measures(rises_with_lion, DEVIATIONS),
        "the least log10 increase of the mean deviation from one λ to the next",
    ),
    Claim(
        "A7-performance",
        "7",
        "The larger Lion's share λ in Lion–SGD, the faster the training.",
        _measures(improves_with_lion, _LOSS),
        "the least log10 decrease of the mean loss from one λ to the next",
    ),
    *_noise_claims("8", "leaky-relu"),
    *_histogram_claims("9", "sigmoid"),
    *_deviation_claims("10", "sigmoid"),
    *_penalty_claims("10", "sigmoid"),
    *_noise_claims("11", "sigmoid"),
    Claim(
        "A11-standardized",
        "11",
        "Standardised pixels lower α of gradient noise by about 0.4.",
        _measures(standardized_is_heavier, TAILS),
        "α with pixels in [0, 1] − α with standardised ones",
        threshold=0.2,
    ),
    *_noise_claims("12", "batch-norm"),
    *_histogram_claims("13", "batch-norm"),
    *_histogram_claims("14", "leaky-relu"),
)
