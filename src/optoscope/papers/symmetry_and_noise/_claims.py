"""The claims of paper A, and of its open questions, as data."""

import dataclasses
from functools import partial
from typing import Any

from optoscope._core.criteria import above, below, within_factor
from optoscope.papers._claims import RUN, Claim, readings
from optoscope.papers.published import CONTESTANTS
from optoscope.papers.symmetry_and_noise import _statistics as measured
from optoscope.papers.symmetry_and_noise._setting import GUESTS, PRINTED

# The aggregate of the deviations that each protocol reads.
DEVIATIONS = {"paper": "sum_abs", "released": "signed", "corrected": "cosine"}
TAILS = {protocol: protocol for protocol in ("paper", "released", "corrected")}
SPECTRA = {"paper": "top", "corrected": "relative_top"}


_LOSS = {"paper": "losses"}
_COUNTS = {"corrected": "counts"}
_WORDS = {
    "leaky-relu": "rescale symmetry on leaky ReLU",
    "batch-norm": "scale symmetry on batch norm",
    "sigmoid": "translation symmetry on sigmoid",
}
# A ratio on a logarithmic scale that is to lie above 1.
_MORE: dict[str, Any] = {"unit": "decades", "criterion": above(0.0)}
_HALF_A_DECADE = round(10**0.5, 2)


def _deviation_claims(figure: str, variant: str) -> tuple[Claim, ...]:
    words = _WORDS[variant]
    return (
        Claim(
            f"A{figure}-faster-{variant}",
            figure,
            f"The learned optimizer trains faster than tuned SGD, Adam and Lion ({variant}).",
            readings(
                measured.faster, _LOSS, variant, **_MORE,
                quantity="the best baseline's mean training loss above the learned optimizer's",
            ),
        ),
        Claim(
            f"A{figure}-above-{variant}",
            figure,
            f"Learned updates break the {words} more than SGD's and Adam's.",
            readings(
                measured.above_baselines, DEVIATIONS, variant, **_MORE,
                quantity="the learned mean deviation above the larger of SGD's and Adam's",
            ),
        ),
        Claim(
            f"A{figure}-early-{variant}",
            figure,
            f"The learned optimizer breaks the {words} most at the beginning.",
            readings(
                measured.largest_early, DEVIATIONS, variant, **_MORE,
                quantity="the mean deviation in the first tenth of the steps above that in the "
                "second half",
            ),
        ),
        Claim(
            f"A{figure}-lion-grows-{variant}",
            figure,
            f"Lion breaks the {words} more and more.",
            readings(
                measured.lion_grows, DEVIATIONS, variant, **_MORE, over=RUN,
                quantity="Lion's mean deviation in the second half of the steps above that in the "
                "first tenth",
            ),
        ),
    )  # fmt: skip


def _penalty_claims(figure: str, variant: str) -> tuple[Claim, ...]:
    words, part = _WORDS[variant], f"penalty-{variant}"
    return (
        *_performance_claims(figure, part, f"for the {words}"),
        Claim(
            f"A{figure}-deviation-{part}",
            figure,
            f"The stronger the penalty, the less the {words} is broken.",
            readings(
                measured.deviates_less_in_order, DEVIATIONS, part, **_MORE,
                quantity="the least decrease of the mean deviation from one β to the next",
            ),
        ),
    )  # fmt: skip


def _performance_claims(figure: str, part: str, words: str) -> tuple[Claim, ...]:
    return (
        Claim(
            f"A{figure}-slower-{part}",
            figure,
            f"A penalty slows training ({words}).",
            readings(
                measured.slower_at_most, _LOSS, part, **_MORE,
                quantity="the mean loss under the strongest penalty above that without one",
            ),
        ),
        Claim(
            f"A{figure}-order-{part}",
            figure,
            f"The stronger the penalty, the slower the training ({words}).",
            readings(
                measured.slower_in_order, _LOSS, part, **_MORE,
                quantity="the least increase of the mean loss from one β to the next",
            ),
        ),
    )  # fmt: skip


def _noise_claims(figure: str, variant: str) -> tuple[Claim, ...]:
    words = variant.replace("-", " ")
    as_printed = {protocol: TAILS[protocol] for protocol in ("paper", "released")}
    claims = (
        Claim(
            f"A{figure}-gradients-{variant}",
            figure,
            f"Gradient noise is heavy-tailed ({words}).",
            readings(
                measured.heavy_gradients, as_printed, variant,
                quantity="α of the gradients", criterion=below(2.0),
            )
            | readings(
                measured.heavy_gradients, {"corrected": "corrected"}, variant,
                quantity="α of Gaussian noise with the same scales, silence and correlations, less "
                "α of the gradients",
                criterion=above(0.0),
            ),
        ),
        Claim(
            f"A{figure}-attenuates-{variant}",
            figure,
            f"Learned updates are less heavy-tailed than the gradients ({words}).",
            readings(
                measured.lighter_than_gradients, TAILS, variant,
                quantity="α of the updates less α of the gradients", criterion=above(0.0),
            ),
        ),
        Claim(
            f"A{figure}-lighter-{variant}",
            figure,
            f"Learned updates are less heavy-tailed than Adam's and SGD's ({words}).",
            readings(
                measured.lighter_than_baselines, TAILS, variant,
                quantity="α of the learned updates less the larger of Adam's and SGD's",
                criterion=above(0.0),
            ),
        ),
        Claim(
            f"A{figure}-spectrum-{variant}",
            figure,
            f"The top eigenvalue of the update covariance: SGD < Adam < Lion < learned ({words}).",
            readings(
                measured.spectrum_in_order, {"paper": "top"}, variant, **_MORE,
                quantity="the least rise of the top eigenvalue between neighbors in that order",
            )
            | readings(
                measured.spectrum_in_order, {"corrected": "relative_top"}, variant, **_MORE,
                quantity="the least rise of the top eigenvalue over the squared mean update "
                "between neighbors in that order",
            ),
        ),
    )  # fmt: skip
    if variant == "leaky-relu":
        return claims
    return (
        *claims,
        Claim(
            f"A{figure}-late-loss-{variant}",
            figure,
            f"The learned optimizer's loss rises again late in long runs ({words}).",
            readings(
                measured.loss_rises_late, _LOSS, variant, **_MORE,
                quantity="the mean loss in the last tenth above that around the middle",
            ),
        ),
        Claim(
            f"A{figure}-late-alpha-{variant}",
            figure,
            f"α of learned updates falls as that loss rises ({words}).",
            readings(
                measured.alpha_falls_late, TAILS, variant,
                quantity="mean α in the first half of the steps less that in the second",
                criterion=above(0.0),
            ),
        ),
    )  # fmt: skip


def _histogram_claims(figure: str, variant: str) -> tuple[Claim, ...]:
    words = variant.replace("-", " ")
    return (
        Claim(
            f"A{figure}-first-{variant}",
            figure,
            f"The learned optimizer's first updates are its largest ({words}).",
            readings(
                measured.first_updates_largest, _COUNTS, variant, **_MORE,
                quantity="the mean size of the first update above the largest of the later ones "
                "drawn",
            ),
        ),
        Claim(
            f"A{figure}-adam-{variant}",
            figure,
            f"Later, learned updates are about as large as Adam's ({words}).",
            readings(
                measured.later_near_adam, _COUNTS, variant, unit="factor", logarithmic=True,
                quantity="the mean size of learned updates over that of Adam's at the last step "
                "drawn",
                criterion=within_factor(_HALF_A_DECADE),
            ),
        ),
    )  # fmt: skip


# Where the penalized optimizers of figure 6 are run: (trained on, variant); the first is wide.
TRANSFERS = (("leaky-relu", "sigmoid"), ("leaky-relu", "batch-norm"), ("sigmoid", "batch-norm"))


def transfer_part(trained_on: str, variant: str) -> str:
    """The name of a part of figure 6."""
    return f"transfer-{trained_on}-to-{variant}"


def _question_claims() -> tuple[Claim, ...]:
    """The paper's open questions, stated as claims so that a measurement can decide them."""
    sweeps = {"batch-size": "batch sizes", "width": "widths", "activation": "activations"}
    return (
        Claim(
            "A-sweet-spot",
            "sweep-beta",
            "Some strength of the penalty trains faster than none.",
            readings(
                measured.sweet_spot, _LOSS, **_MORE,
                quantity="the mean loss without penalty above that with the β that is best on the "
                "other meta-seeds",
            ),
        ),
        *(
            Claim(
                f"A-above-{name}",
                f"sweep-{name}",
                f"Learned updates break symmetry more than SGD's and Adam's at all {words}.",
                readings(
                    measured.above_baselines_throughout, DEVIATIONS, f"sweep-{name}", **_MORE,
                    quantity=f"the learned mean deviation above the larger of SGD's and Adam's, "
                    f"the least over {words}",
                ),
            )
            for name, words in sweeps.items()
        ),
        Claim(
            "A-above-rnn",
            "sweep-optimizer",
            "A learned GRU breaks the rescale symmetry more than SGD and Adam do.",
            readings(
                measured.another_above_baselines, DEVIATIONS, "rnn", **_MORE,
                quantity="its mean deviation above the larger of SGD's and Adam's",
            ),
        ),
        Claim(
            "A-attenuates-rnn",
            "sweep-optimizer",
            "Updates of a learned GRU are less heavy-tailed than the gradients.",
            readings(
                measured.another_lighter_than_gradients, TAILS, "rnn",
                quantity="α of the updates less α of the gradients", criterion=above(0.0),
            ),
        ),
    )  # fmt: skip


# The figures in which deviations and noise of a network's optimizers are judged.
_DEVIATIONS_IN = {"leaky-relu": "4", "batch-norm": "4", "sigmoid": "10"}
_NOISE_IN = {"leaky-relu": "8", "sigmoid": "11", "batch-norm": "12"}
OTHERS = "others"
# What is said of the learned optimizer itself.
_OF_THE_LEARNED = (
    measured.faster,
    measured.above_baselines,
    measured.largest_early,
    measured.lighter_than_gradients,
    measured.lighter_than_baselines,
    measured.spectrum_in_order,
    measured.loss_rises_late,
    measured.alpha_falls_late,
)


def _of_another(claim: Claim, kind: str, variant: str, name: str) -> Claim:
    """The same claim, of another optimizer than the scale's own."""
    protocol_words = "an LSTM made by the paper's protocol"
    words = protocol_words if name == PRINTED else CONTESTANTS[name].words
    found = {}
    for protocol, reading in claim.readings.items():
        quantity, network = reading.statistic.args
        statistic = partial(
            measured.of_another, quantity, reading.statistic.func, network, kind, name
        )
        found[protocol] = dataclasses.replace(reading, statistic=statistic, over=RUN)
    return Claim(
        f"{claim.id}-{name}",
        OTHERS,
        f"{claim.statement} Here it is {words}.",
        found,
        only_with=f"{kind}-{variant}-{name}",
    )


def _claims_on_others() -> tuple[Claim, ...]:
    """Every claim about the learned optimizer, for each that may stand beside it."""
    claims = [
        (claim, kind, variant)
        for kind, figures, made in (
            ("deviations", _DEVIATIONS_IN, _deviation_claims),
            ("noise", _NOISE_IN, _noise_claims),
        )
        for variant, figure in figures.items()
        for claim in made(figure, variant)
    ]
    return tuple(
        _of_another(claim, kind, variant, name)
        for name in GUESTS
        for claim, kind, variant in claims
        if all(reading.statistic.func in _OF_THE_LEARNED for reading in claim.readings.values())
    )


CLAIMS: tuple[Claim, ...] = (
    *_deviation_claims("4", "leaky-relu"),
    *_deviation_claims("4", "batch-norm"),
    *_penalty_claims("5", "leaky-relu"),
    *_penalty_claims("5", "batch-norm"),
    *_performance_claims(
        "released-penalty", "penalty-released", "rescale on leaky ReLU, the released protocol"
    ),
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
        readings(
            measured.rises_with_lion, DEVIATIONS, **_MORE, over=RUN,
            quantity="the least increase of the mean deviation from one λ to the next",
        ),
    ),
    Claim(
        "A7-performance",
        "7",
        "The larger Lion's share λ in Lion–SGD, the faster the training.",
        readings(
            measured.improves_with_lion, _LOSS, **_MORE, over=RUN,
            quantity="the least decrease of the mean loss from one λ to the next",
        ),
    ),
    *_noise_claims("8", "leaky-relu"),
    *_histogram_claims("9", "sigmoid"),
    *_deviation_claims("10", "sigmoid"),
    *_penalty_claims("10", "sigmoid"),
    *_noise_claims("11", "sigmoid"),
    Claim(
        "A11-standardized",
        "11",
        "Standardized pixels lower α of gradient noise by about 0.4.",
        readings(
            measured.standardized_is_heavier, TAILS,
            quantity="α with pixels in [0, 1] less α with standardized ones", criterion=above(0.2),
            signed=True,
        ),
    ),
    *_noise_claims("12", "batch-norm"),
    *_histogram_claims("13", "batch-norm"),
    *_histogram_claims("14", "leaky-relu"),
    *_question_claims(),
    *_claims_on_others(),
)  # fmt: skip
