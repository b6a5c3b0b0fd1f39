"""The figures of paper C as data: what each is measured from."""

from collections.abc import Callable

from optoscope.papers._paper import Figure
from optoscope.papers._parts import Part
from optoscope.papers.stability._far import far
from optoscope.papers.stability._learn import training_curves
from optoscope.papers.stability._setting import (
    LARGER,
    REFERENCE,
    SMALL,
    SMALLER,
    Setting,
)
from optoscope.papers.stability._theory import (
    bounds,
    eigenvalues,
    meta_gradient_variance,
    quadratic_meta_training,
    stable_curvature,
)
from optoscope.papers.stability._unseen import unseen, unseen_names

# The arms that each figure compares.
COMPARED = {
    "3": ("hyperparam", "blackbox", "star-0.1", REFERENCE),
    "app-2": ("star-0", "star-0.1", REFERENCE, "star-1", "blackbox", "blackbox-0.5"),
    "app-3": (REFERENCE, "no-preconditioning"),
    "app-4": (REFERENCE, "no-nominal"),
    "blackbox-scale": (REFERENCE, LARGER, SMALL, SMALLER, "blackbox", "hyperparam"),
}
COMPARED["app-1"] = COMPARED["3"]
UNSEEN_FIGURES = ("4", "app-5", "app-6")


def _compared(key: str) -> Callable[[Setting], tuple[Part, ...]]:
    def parts(setting: Setting) -> tuple[Part, ...]:
        return tuple(
            kind(setting, name, arm)
            for name in setting.trained_on
            for arm in setting.measured(COMPARED[key])
            for kind in (training_curves, far)
        )

    return parts


def _generalization(key: str) -> Callable[[Setting], tuple[Part, ...]]:
    def parts(setting: Setting) -> tuple[Part, ...]:
        return tuple(unseen(setting, name) for name in unseen_names(setting, key))

    return parts


_ALL = (
    Figure("1", "Interventions move the eigenvalues",
           lambda setting: (eigenvalues(setting), bounds(setting))),
    Figure("2", "Nominal terms improve stability and trainability",
           lambda setting: (meta_gradient_variance(setting), quadratic_meta_training(setting))),
    Figure("3", "Meta-training, and training far past its horizon", _compared("3")),
    Figure("4", "Four tasks never seen in meta-training", _generalization("4")),
    Figure("app-1", "The single seeds of figure 3", _compared("app-1")),
    Figure("app-2", "Weight decay in meta-training", _compared("app-2")),
    Figure("app-3", "Without preconditioning", _compared("app-3")),
    Figure("app-4", "Without the nominal term", _compared("app-4")),
    Figure("app-5", "Unseen tasks, the first half", _generalization("app-5")),
    Figure("app-6", "Unseen tasks, the other half", _generalization("app-6")),
    Figure("joint-stability", "Which curvature state and parameters stand together",
           lambda setting: (stable_curvature(setting),)),
    Figure("blackbox-scale", "A smaller black box under the preconditioner",
           _compared("blackbox-scale")),
)  # fmt: skip
FIGURES: dict[str, Figure] = {figure.key: figure for figure in _ALL}
