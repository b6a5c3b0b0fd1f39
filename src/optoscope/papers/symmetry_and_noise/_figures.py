"""The figures of paper A as data: what each is measured from."""

from collections.abc import Callable
from dataclasses import dataclass

from optoscope.papers._parts import Part
from optoscope.papers.symmetry_and_noise import _runs as runs
from optoscope.papers.symmetry_and_noise._claims import TRANSFERS, transfer_part
from optoscope.papers.symmetry_and_noise._meta_training import Setting


@dataclass(frozen=True)
class Figure:
    """A figure of the paper, or one of its open questions.

    How it is drawn, and the words beside it, are the report's (`report.PAPER_A`): a picture can
    be drawn again from the records alone.

    Args:
        key: as the command line takes it ("4", "sweep-beta").
        title: what it is about, in a line.
        parts: the parts that it is drawn from.
    """

    key: str
    title: str
    parts: Callable[[Setting], tuple[Part, ...]]


def _penalty(setting: Setting, variant: str) -> Part:
    scale = setting.scale
    betas = scale.translation_betas if variant == "sigmoid" else scale.betas
    return runs.penalized(setting, variant, betas)


def _transfers(setting: Setting) -> tuple[Part, ...]:
    scale = setting.scale
    parts = []
    for trained_on, variant in TRANSFERS:
        wide = (trained_on, variant) == TRANSFERS[0]
        parts.append(
            runs.penalized(
                setting,
                trained_on,
                scale.translation_betas if trained_on == "sigmoid" else scale.betas,
                on=(variant, scale.wide if wide else "mlp"),
                name=transfer_part(trained_on, variant),
            )
        )
    return tuple(parts)


def _sweep(setting: Setting) -> tuple[Part, ...]:
    betas = setting.scale.sweep_betas
    return (runs.penalized(setting, "leaky-relu", betas, name="sweep-beta"),)


_ALL = (
    Figure("2", "Symmetry and gradients of x² + y² (figures 2 and 3)",
           lambda setting: (runs.illustration(),)),
    Figure("4", "Deviations on leaky ReLU and batch norm",
           lambda setting: (
               runs.deviations(setting, "leaky-relu"), runs.deviations(setting, "batch-norm"),
           )),
    Figure("5", "Training under the penalty",
           lambda setting: (_penalty(setting, "leaky-relu"), _penalty(setting, "batch-norm"))),
    Figure("6", "Penalised optimizers on unseen architectures", _transfers),
    Figure("7", "Between Lion and SGD", lambda setting: (runs.lion_sgd(setting),)),
    Figure("8", "Noise and covariance on leaky ReLU",
           lambda setting: (runs.noise(setting, "leaky-relu"),)),
    Figure("9", "Sizes of updates on sigmoid",
           lambda setting: (runs.histograms(setting, "sigmoid"),)),
    Figure("10", "Translation: deviations and penalty on sigmoid",
           lambda setting: (runs.deviations(setting, "sigmoid"), _penalty(setting, "sigmoid"))),
    Figure("11", "Noise and covariance on sigmoid",
           lambda setting: (
               runs.noise(setting, "sigmoid"), runs.noise(setting, "sigmoid", standardize=True),
           )),
    Figure("12", "Noise and covariance on batch norm",
           lambda setting: (runs.noise(setting, "batch-norm"),)),
    Figure("13", "Sizes of updates on batch norm",
           lambda setting: (runs.histograms(setting, "batch-norm"),)),
    Figure("14", "Sizes of updates on leaky ReLU",
           lambda setting: (runs.histograms(setting, "leaky-relu"),)),
    Figure("sweep-beta", "A fine sweep of the penalty's strength", _sweep),
)  # fmt: skip
FIGURES: dict[str, Figure] = {figure.key: figure for figure in _ALL}
