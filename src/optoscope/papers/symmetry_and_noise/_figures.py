"""The figures of paper A as data: what each is measured from."""

from optoscope.papers._paper import Figure
from optoscope.papers._parts import Part
from optoscope.papers.symmetry_and_noise import _runs as runs
from optoscope.papers.symmetry_and_noise._claims import OTHERS, TRANSFERS, transfer_part
from optoscope.papers.symmetry_and_noise._group_sizes import group_sizes
from optoscope.papers.symmetry_and_noise._illustration import illustration
from optoscope.papers.symmetry_and_noise._setting import GUESTS, SYMMETRIES, Setting


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


def _released(setting: Setting) -> tuple[Part, ...]:
    betas = setting.scale.betas
    return (
        runs.penalized(
            setting, "leaky-relu", betas, protocol="released", name="penalty-released"
        ),
    )  # fmt: skip


def _another_optimizer(setting: Setting) -> tuple[Part, ...]:
    return (
        runs.deviations(setting, "leaky-relu"),
        runs.deviations(setting, "leaky-relu", "rnn"),
        runs.noise(setting, "leaky-relu"),
        runs.noise(setting, "leaky-relu", kind="rnn"),
    )


def _others(setting: Setting) -> tuple[Part, ...]:
    return tuple(
        kind(setting, variant, kind=name)
        for kind in (runs.deviations, runs.noise)
        for variant in SYMMETRIES
        for name in (None, *setting.guests(variant))
    )


def _without(setting: Setting) -> tuple[str, ...]:
    present = {name for variant in SYMMETRIES for name in setting.guests(variant)}
    return tuple(name for name in GUESTS if name not in present)


SWEEPS = (
    runs.Sweep(
        "batch-size",
        "rescale",
        {str(size): ("leaky-relu", {"batch_size": size}) for size in (16, 128, 1024)},
    ),
    runs.Sweep(
        "width",
        "rescale",
        {str(width): ("leaky-relu", {"hidden": (width,)}) for width in (5, 20, 80)},
    ),
    # The translation of the last layer is the one symmetry that all of them have.
    runs.Sweep(
        "activation",
        "translation",
        {name: (name, {}) for name in ("sigmoid", "tanh", "relu", "leaky-relu")},
    ),
)


def _of_sweep(sweep: runs.Sweep) -> Figure:
    title = f"Does it move with the {sweep.name.replace('-', ' ')}?"
    return Figure(
        f"sweep-{sweep.name}", title, lambda setting: (runs.swept(setting, sweep),)
    )  # fmt: skip


_ALL = (
    Figure("2", "Symmetry and gradients of x² + y² (figures 2 and 3)",
           lambda setting: (illustration(),)),
    Figure("4", "Deviations on leaky ReLU and batch norm",
           lambda setting: (
               runs.deviations(setting, "leaky-relu"), runs.deviations(setting, "batch-norm"),
           )),
    Figure("5", "Training under the penalty",
           lambda setting: (_penalty(setting, "leaky-relu"), _penalty(setting, "batch-norm"))),
    Figure("6", "Penalized optimizers on unseen architectures", _transfers),
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
    *(_of_sweep(sweep) for sweep in SWEEPS),
    Figure("sweep-optimizer", "Another learned optimizer: a GRU", _another_optimizer),
    Figure(OTHERS, "Do the claims hold for other LSTM optimizers too?", _others, _without),
    Figure("group-size", "Does α depend on the size of the groups?",
           lambda setting: (group_sizes(setting),)),
    Figure("released-penalty", "The penalty under the released protocol", _released),
)  # fmt: skip
FIGURES: dict[str, Figure] = {figure.key: figure for figure in _ALL}
