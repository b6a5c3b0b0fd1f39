"""The figures of paper A, drawn from the records of its parts."""

from optoscope.report.papers._figure import PaperFigure
from optoscope.report.papers.symmetry_and_noise._noise import group_size, histograms, noise
from optoscope.report.papers.symmetry_and_noise._questions import another_optimizer, others, swept
from optoscope.report.papers.symmetry_and_noise._symmetry import (
    deviations,
    illustration,
    lion_sgd,
    penalties,
    released_penalty,
    sweep_beta,
    transfers,
    translation,
)
from optoscope.report.papers.symmetry_and_noise._text import (
    ANOTHER_TEXT,
    DEVIATION_TEXT,
    GROUP_SIZE_TEXT,
    HISTOGRAM_TEXT,
    ILLUSTRATION_TEXT,
    LION_SGD_TEXT,
    NOISE_TEXT,
    OTHERS_TEXT,
    PENALTY_TEXT,
    RELEASED_TEXT,
    SWEEP_TEXT,
    TRANSFER_TEXT,
    sweep_text,
)
from optoscope.report.papers.symmetry_and_noise._words import STATEMENTS, words

__all__ = ["FIGURES", "STATEMENTS", "words"]

_FIGURE_4 = {"leaky-relu": "Rescale, leaky ReLU", "batch-norm": "Scale, batch norm"}
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
_SWEEPS = {
    "sweep-batch-size": ("Batch size", "the number of examples in a mini-batch"),
    "sweep-width": ("Width", "the number of hidden neurons"),
    "sweep-activation": ("Activation", "the hidden activation"),
}

FIGURES: dict[str, PaperFigure] = {
    "2": PaperFigure(illustration, ILLUSTRATION_TEXT),
    "4": PaperFigure(deviations(_FIGURE_4), DEVIATION_TEXT),
    "5": PaperFigure(penalties, PENALTY_TEXT),
    "6": PaperFigure(transfers, TRANSFER_TEXT),
    "7": PaperFigure(lion_sgd, LION_SGD_TEXT),
    "10": PaperFigure(translation, DEVIATION_TEXT),
    "sweep-beta": PaperFigure(sweep_beta, SWEEP_TEXT),
    "sweep-optimizer": PaperFigure(another_optimizer, ANOTHER_TEXT),
    "others": PaperFigure(others, OTHERS_TEXT),
    "group-size": PaperFigure(group_size, GROUP_SIZE_TEXT),
    "released-penalty": PaperFigure(released_penalty, RELEASED_TEXT),
    **{
        key: PaperFigure(noise(variant, words), NOISE_TEXT)
        for key, (variant, words) in _NOISE.items()
    },
    **{
        key: PaperFigure(histograms(variant, words), HISTOGRAM_TEXT)
        for key, (variant, words) in _HISTOGRAMS.items()
    },
    **{
        part: PaperFigure(swept(part, words), sweep_text(what))
        for part, (words, what) in _SWEEPS.items()
    },
}
