"""What paper A says, as data, and what is asked beyond it."""

from optoscope.papers._claims import Claim, measures
from optoscope.papers.symmetry_and_noise import _statistics as measured

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


def _deviation_claims(figure: str, variant: str) -> tuple[Claim, ...]:
    words = _WORDS[variant]
    return (
        Claim(
            f"A{figure}-faster-{variant}",
            figure,
            f"The learned optimizer trains faster than tuned SGD, Adam and Lion ({variant}).",
            measures(measured.faster, _LOSS, variant),
            "log10(the best baseline's mean training loss / the learned optimizer's)",
        ),
        Claim(
            f"A{figure}-above-{variant}",
            figure,
            f"Learned updates break the {words} more than SGD's and Adam's.",
            measures(measured.above_baselines, DEVIATIONS, variant),
            "log10(learned mean deviation / the larger of SGD's and Adam's)",
        ),
        Claim(
            f"A{figure}-early-{variant}",
            figure,
            f"The learned optimizer breaks the {words} most at the beginning.",
            measures(measured.largest_early, DEVIATIONS, variant),
            "log10(mean deviation in the first tenth / in the second half)",
        ),
        Claim(
            f"A{figure}-lion-grows-{variant}",
            figure,
            f"Lion breaks the {words} more and more.",
            measures(measured.lion_grows, DEVIATIONS, variant),
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
            measures(measured.deviates_less_in_order, DEVIATIONS, part),
            "the least log10 decrease of the mean deviation from one β to the next",
        ),
    )


def _performance_claims(figure: str, part: str, words: str) -> tuple[Claim, ...]:
    return (
        Claim(
            f"A{figure}-slower-{part}",
            figure,
            f"A penalty slows training ({words}).",
            measures(measured.slower_at_most, _LOSS, part),
            "log10(mean loss under the strongest penalty / without one)",
        ),
        Claim(
            f"A{figure}-order-{part}",
            figure,
            f"The stronger the penalty, the slower the training ({words}).",
            measures(measured.slower_in_order, _LOSS, part),
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
            measures(measured.heavy_gradients, TAILS, variant),
            "2 − α (corrected: the Gaussian surrogate's α − α)",
        ),
        Claim(
            f"A{figure}-attenuates-{variant}",
            figure,
            f"Learned updates are less heavy-tailed than the gradients ({words}).",
            measures(measured.lighter_than_gradients, TAILS, variant),
            "α of updates − α of gradients",
        ),
        Claim(
            f"A{figure}-lighter-{variant}",
            figure,
            f"Learned updates are less heavy-tailed than Adam's and SGD's ({words}).",
            measures(measured.lighter_than_baselines, TAILS, variant),
            "α of learned updates − the larger of Adam's and SGD's",
        ),
        Claim(
            f"A{figure}-spectrum-{variant}",
            figure,
            f"The top eigenvalue of the update covariance: SGD < Adam < Lion < learned ({words}).",
            measures(measured.spectrum_in_order, SPECTRA, variant),
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
            measures(measured.loss_rises_late, _LOSS, variant),
            "log10(mean loss in the last tenth / around the middle)",
        ),
        Claim(
            f"A{figure}-late-alpha-{variant}",
            figure,
            f"α of learned updates falls as that loss rises ({words}).",
            measures(measured.alpha_falls_late, TAILS, variant),
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
            measures(measured.first_updates_largest, _COUNTS, variant),
            "mean log10|u| of the first update − the largest of the later ones drawn",
        ),
        Claim(
            f"A{figure}-adam-{variant}",
            figure,
            f"Later, learned updates are about as large as Adam's ({words}).",
            measures(measured.later_near_adam, _COUNTS, variant),
            "half a decade − the distance of the mean log10|u| at the last step drawn",
        ),
    )


# Where the penalised optimizers of figure 6 are run: (trained on, variant); the first is wide.
TRANSFERS = (("leaky-relu", "sigmoid"), ("leaky-relu", "batch-norm"), ("sigmoid", "batch-norm"))


def transfer_part(trained_on: str, variant: str) -> str:
    """The name of a part of figure 6."""
    return f"transfer-{trained_on}-to-{variant}"


def _question_claims() -> tuple[Claim, ...]:
    """What the paper leaves open, stated so that a measurement can decide."""
    sweeps = {"batch-size": "batch sizes", "width": "widths", "activation": "activations"}
    return (
        Claim(
            "A-sweet-spot",
            "sweep-beta",
            "Some strength of the penalty trains faster than none.",
            measures(measured.sweet_spot, _LOSS),
            "log10(mean loss without penalty / with the β that is best on the other meta-seeds)",
        ),
        *(
            Claim(
                f"A-above-{name}",
                f"sweep-{name}",
                f"Learned updates break symmetry more than SGD's and Adam's at all {words}.",
                measures(measured.above_baselines_throughout, DEVIATIONS, f"sweep-{name}"),
                "the least log10(learned mean deviation / the larger of SGD's and Adam's)",
            )
            for name, words in sweeps.items()
        ),
        Claim(
            "A-above-rnn",
            "sweep-optimizer",
            "A learned GRU breaks the rescale symmetry more than SGD and Adam do.",
            measures(measured.another_above_baselines, DEVIATIONS, "rnn"),
            "log10(its mean deviation / the larger of SGD's and Adam's)",
        ),
        Claim(
            "A-attenuates-rnn",
            "sweep-optimizer",
            "Updates of a learned GRU are less heavy-tailed than the gradients.",
            measures(measured.another_lighter_than_gradients, TAILS, "rnn"),
            "α of updates − α of gradients",
        ),
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
        measures(measured.rises_with_lion, DEVIATIONS),
        "the least log10 increase of the mean deviation from one λ to the next",
    ),
    Claim(
        "A7-performance",
        "7",
        "The larger Lion's share λ in Lion–SGD, the faster the training.",
        measures(measured.improves_with_lion, _LOSS),
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
        measures(measured.standardized_is_heavier, TAILS),
        "α with pixels in [0, 1] − α with standardised ones",
        threshold=0.2,
    ),
    *_noise_claims("12", "batch-norm"),
    *_histogram_claims("13", "batch-norm"),
    *_histogram_claims("14", "leaky-relu"),
    *_question_claims(),
)
