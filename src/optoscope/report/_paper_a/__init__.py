"""The figures of paper A, drawn from the records of its parts."""

from optoscope.report._paper_a._noise import group_size, histograms, noise
from optoscope.report._paper_a._questions import another_optimizer, swept
from optoscope.report._paper_a._symmetry import (
    TRANSFERS,
    deviations,
    illustration,
    lion_sgd,
    penalties,
    released_penalty,
    sweep_beta,
    transfers,
    translation,
)
from optoscope.report._paper_a._text import (
    ANOTHER_TEXT,
    GROUP_SIZE_TEXT,
    ILLUSTRATION_TEXT,
    LION_SGD_TEXT,
    PENALTY_TEXT,
    RELEASED_TEXT,
    SWEEP_TEXT,
    TRANSFER_TEXT,
    deviation_text,
    histogram_text,
    noise_text,
    sweep_text,
)
from optoscope.report._paper_figure import PaperFigure, paper_figure


def _noise_parts(variant: str) -> tuple[str, ...]:
    """Standardized pixels are looked at on the sigmoid network alone."""
    both = (f"noise-{variant}", f"noise-{variant}-standardized")
    return both if variant == "sigmoid" else both[:1]


_NOISE = {
    "8": ("leaky-relu", "Noise, leaky ReLU"),
    "11": ("sigmoid", "Noise, sigmoid"),
    "12": ("batch-norm", "Noise, batch norm"),
}
_HISTOGRAMS = {
    "9": ("sigmoid", "Sizes of updates, sigmoid"),
    "13": ("batch-norm", "Sizes of updates, batch norm"),
    "14": ("leaky-relu", "Sizes of updates, leaky ReLU"),
}
_FIGURE_4 = {"leaky-relu": "Rescale, leaky ReLU", "batch-norm": "Scale, batch norm"}

_SWEEPS = {
    "batch-size": ("Batch size", "the number of examples in a mini-batch"),
    "width": ("Width", "the number of hidden neurons"),
    "activation": ("Activation", "the hidden activation"),
}

_UNORDERED: dict[str, PaperFigure] = {
    "2": paper_figure("2", ("illustration",), illustration, ILLUSTRATION_TEXT),
    "4": paper_figure(
        "4",
        ("deviations-leaky-relu", "deviations-batch-norm"),
        deviations(_FIGURE_4),
        deviation_text("4", "rescale (leaky ReLU) and scale (batch norm)"),
    ),
    "5": paper_figure("5", ("penalty-leaky-relu", "penalty-batch-norm"), penalties, PENALTY_TEXT),
    "6": paper_figure("6", tuple(TRANSFERS), transfers, TRANSFER_TEXT),
    "7": paper_figure("7", ("lion-sgd",), lion_sgd, LION_SGD_TEXT),
    "10": paper_figure(
        "10",
        ("deviations-sigmoid", "penalty-sigmoid"),
        translation,
        deviation_text("10", "translation (sigmoid), and training under its penalty"),
    ),
    "sweep-beta": paper_figure("sweep-beta", ("sweep-beta",), sweep_beta, SWEEP_TEXT),
    **{
        key: paper_figure(key, _noise_parts(variant), noise(variant, words), noise_text(key, words))
        for key, (variant, words) in _NOISE.items()
    },
    **{
        key: paper_figure(
            key, (f"histograms-{variant}",), histograms(variant, words), histogram_text(key, words)
        )
        for key, (variant, words) in _HISTOGRAMS.items()
    },
    **{
        f"sweep-{name}": paper_figure(
            f"sweep-{name}",
            (f"sweep-{name}",),
            swept(f"sweep-{name}", words),
            sweep_text(words, what),
        )
        for name, (words, what) in _SWEEPS.items()
    },
    "sweep-optimizer": paper_figure(
        "sweep-optimizer",
        (
            "deviations-leaky-relu",
            "deviations-leaky-relu-rnn",
            "noise-leaky-relu",
            "noise-leaky-relu-rnn",
        ),
        another_optimizer,
        ANOTHER_TEXT,
    ),
    "group-size": paper_figure(
        "group-size", ("group-size-leaky-relu",), group_size, GROUP_SIZE_TEXT
    ),
    "released-penalty": paper_figure(
        "released-penalty", ("penalty-released",), released_penalty, RELEASED_TEXT
    ),
}
_QUESTIONS = ("sweep-beta", *(f"sweep-{name}" for name in (*_SWEEPS, "optimizer")))
PAPER_A: tuple[PaperFigure, ...] = tuple(
    _UNORDERED[key]
    for key in (
        *(str(number) for number in range(2, 15) if number != 3),
        *_QUESTIONS,
        "group-size",
        "released-penalty",
    )
)
