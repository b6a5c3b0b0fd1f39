"""The figures of paper C as data: what each is measured from."""

from collections.abc import Callable

from optoscope.papers._paper import Figure
from optoscope.papers._parts import Part
from optoscope.papers.stability._far import far
from optoscope.papers.stability._learn import training_curves
from optoscope.papers.stability._setting import ARMS, BRIEF, Setting, arms_of
from optoscope.papers.stability._theory import (
    MOMENTA,
    bounds,
    eigenvalues,
    meta_gradient_variance,
    quadratic_meta_training,
    stable_curvature,
)
from optoscope.papers.stability._unseen import WORDS, unseen, unseen_names

COMPARED = {
    key: arms_of(key) for key in ("3", "app-1", "app-2", "app-3", "app-4", "blackbox-scale")
}
# What pictures call the optimizers and tasks.
LABELS = {
    **{name: arm.words for name, arm in ARMS.items()},
    "adam": "Adam",
    "nadamw": "NAdamW",
    "sgd": "Gradient descent",
    **{f"momentum-{momentum:g}": f"Momentum {momentum:g}" for momentum in MOMENTA},
    "mlp": "MLP",
    BRIEF: "MLP, fewer meta-steps",
    "cnn": "CNN",
    **WORDS,
}
UNSEEN_FIGURES = ("4", "app-5", "app-6")


def _compared(key: str) -> Callable[[Setting], tuple[Part, ...]]:
    def parts(setting: Setting) -> tuple[Part, ...]:
        return tuple(
            kind(setting, name, arm)
            for name, arms in setting.compared(key).items()
            for arm in arms
            for kind in (training_curves, far)
        )

    return parts


def _without(key: str) -> Callable[[Setting], tuple[str, ...]]:
    """The arms of a figure that are measured on no task."""

    def left_out(setting: Setting) -> tuple[str, ...]:
        measured = {arm for arms in setting.compared(key).values() for arm in arms}
        return tuple(arm for arm in COMPARED[key] if arm not in measured)

    return left_out


def _comparison(key: str, title: str) -> Figure:
    return Figure(key, title, _compared(key), _without(key))


def _generalization(key: str) -> Callable[[Setting], tuple[Part, ...]]:
    def parts(setting: Setting) -> tuple[Part, ...]:
        return tuple(unseen(setting, name) for name in unseen_names(setting, key))

    return parts


_ALL = (
    Figure("1", "Interventions move the eigenvalues",
           lambda setting: (eigenvalues(setting), bounds(setting))),
    Figure("2", "Nominal terms improve stability and trainability",
           lambda setting: (meta_gradient_variance(setting), quadratic_meta_training(setting))),
    _comparison("3", "Meta-training, and training far past its horizon"),
    Figure("4", "Four tasks never seen in meta-training", _generalization("4")),
    _comparison("app-1", "The single seeds of figure 3"),
    _comparison("app-2", "Weight decay in meta-training"),
    _comparison("app-3", "Without preconditioning"),
    _comparison("app-4", "Without the nominal term"),
    Figure("app-5", "Unseen tasks, the first half", _generalization("app-5")),
    Figure("app-6", "Unseen tasks, the other half", _generalization("app-6")),
    Figure("joint-stability", "Which curvature state and parameters stand together",
           lambda setting: (stable_curvature(setting),)),
    _comparison("blackbox-scale", "A smaller black box under the preconditioner"),
)  # fmt: skip
FIGURES: dict[str, Figure] = {figure.key: figure for figure in _ALL}
