"""The setting that all parts of one reproduction share, and the optimizers that are compared."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from optoscope import meta
from optoscope.papers import _recipe
from optoscope.papers.stability._scales import Scale

TASKS = ("mlp", "cnn")
# The MLP with fewer meta-steps, for the weight decays where all of them would take too long.
BRIEF = "brief"
# The meta-loss: the mean of losses inside [0, 1.5 ln C]. All tasks of meta-training have ten
# classes.
OBJECTIVE = meta.Objective(maximum=meta.classification_maximum(10))


@dataclass(frozen=True)
class Arm:
    """A learned optimizer of the comparison.

    This is all there is to say of one: figures, labels, claims and the report read it here.

    Args:
        words: what to call it.
        options: arguments of `StarOptimizer.create`.
        weight_decay: of the network's weights in meta-training, as a multiple of the rate.
        main: whether it takes part in the main comparison, with all meta-seeds.
        figures: keys of the figures that compare it.
    """

    words: str
    options: dict[str, Any] = field(default_factory=dict)
    weight_decay: float = 0.0
    main: bool = False
    figures: tuple[str, ...] = ()


REFERENCE = "star-0.5"
# Divided by the root of v, the paper's β₃ = 1e-3 makes the untrained black box take steps that
# are orders of magnitude above the nominal ones; the paper says that β₃ must account for it.
SMALL, LARGER, SMALLER = "star-small", "star-1e-4", "star-1e-6"
_PAPER, _DECAYS, _SCALES = ("3", "app-1"), ("app-2",), ("blackbox-scale",)
_REFERENCED = (*_PAPER, *_DECAYS, "app-3", "app-4", *_SCALES)
_BETA = "STAR with β₃ = 1e-{}"
ARMS = {
    "hyperparam": Arm("Hyperparam", {"arm": "hyperparam"}, main=True, figures=(*_PAPER, *_SCALES)),
    "blackbox": Arm(
        "Blackbox", {"arm": "blackbox"}, main=True, figures=(*_PAPER, *_DECAYS, *_SCALES)
    ),
    "star-0": Arm("STAR, weight decay 0", figures=_DECAYS),
    "star-0.1": Arm("STAR, weight decay 0.1", weight_decay=0.1, figures=(*_PAPER, *_DECAYS)),
    REFERENCE: Arm("STAR, weight decay 0.5", weight_decay=0.5, main=True, figures=_REFERENCED),
    "star-1": Arm("STAR, weight decay 1", weight_decay=1.0, figures=_DECAYS),
    "blackbox-0.5": Arm("Blackbox, weight decay 0.5", {"arm": "blackbox"}, 0.5, figures=_DECAYS),
    "no-preconditioning": Arm(
        "STAR without preconditioning", {"preconditioning": False}, 0.5, figures=("app-3",)
    ),
    "no-nominal": Arm(
        "STAR without the nominal term", {"nominal": "none"}, 0.5, figures=("app-4",)
    ),
    LARGER: Arm(_BETA.format(4), {"blackbox_scale": 1e-4}, 0.5, figures=_SCALES),
    SMALL: Arm(_BETA.format(5), {"blackbox_scale": 1e-5}, 0.5, main=True, figures=_SCALES),
    SMALLER: Arm(_BETA.format(6), {"blackbox_scale": 1e-6}, 0.5, figures=_SCALES),
}
MAIN = tuple(name for name, arm in ARMS.items() if arm.main)


def arms_of(figure: str) -> tuple[str, ...]:
    """The arms that a figure compares, as they say themselves."""
    return tuple(name for name, arm in ARMS.items() if figure in arm.figures)


@dataclass(frozen=True)
class Setting(_recipe.Setting[Scale]):
    """The setting of paper C: which tasks and optimizers are measured."""

    @property
    def trained_on(self) -> tuple[str, ...]:
        """The tasks of meta-training that are measured at this scale."""
        return tuple(name for name in (*TASKS, BRIEF) if name in self.scale.recipes)

    def compared(self, figure: str) -> dict[str, tuple[str, ...]]:
        """The arms that a figure compares at this scale, by the task of meta-training."""
        return {
            name: self.measured(name, arms_of(figure))
            for name in self.trained_on
            if name != BRIEF or figure in _DECAYS
        }

    def measured(self, name: str, arms: Sequence[str]) -> tuple[str, ...]:
        """Those of the arms that are measured on a task at this scale."""
        return tuple(arm for arm in arms if arm in self.scale.arms.get(name, arms))

    def seeds(self, name: str, arm: str) -> int:
        """How many optimizers of an arm are meta-trained on a task."""
        return self.recipe(name).meta_seeds if ARMS[arm].main else self.scale.other_seeds
