"""What the figures of paper C share: names and looks of optimizers, and runs that may diverge."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from optoscope.report._style import MUTED, Look, Looks, logarithmic, looks
from optoscope.report.papers._figure import Arrays
from optoscope.report.papers._marks import limits

WIDTH = 12.8
# Behind words that a curve may cross.
BEHIND = {"facecolor": "white", "alpha": 0.75, "linewidth": 0, "pad": 1.0}
# Learned ones warm and baselines cool, as everywhere; weight decays of STAR darken one color.
# An arm that is not here gets a look of its own by `looks_of`.
_CHOSEN = {
    "hyperparam": Look("#E69F00", "-", learned=True),
    "blackbox": Look("#CC79A7", "-", learned=True),
    "blackbox-0.5": Look("#8E3B6A", "--", learned=True),
    "star-0": Look("#F2B27E", ":", learned=True),
    "star-0.1": Look("#EC8A45", "--", learned=True),
    "star-0.5": Look("#D55E00", "-", learned=True),
    "star-1": Look("#7A3300", "-.", learned=True),
    "no-preconditioning": Look("#882255", "--", learned=True),
    "no-nominal": Look("#882255", "--", learned=True),
    "star-1e-4": Look("#B2182B", "-.", learned=True),
    "star-small": Look("#882255", "--", learned=True),
    "star-1e-6": Look("#6A3D9A", ":", learned=True),
    "adam": Look("#0072B2", "-", learned=False),
    "nadamw": Look("#999933", "-", learned=False),
}
_PLAIN = ("sgd", "momentum-0.5", "momentum-0.7", "momentum-0.9")
# For further arms of paper C, as many as are likely: warm, and each with dashes of its own.
_SPARE = tuple(
    Look(color, dashes, learned=True)
    for dashes in ("--", "-.", ":")
    for color in ("#A6761D", "#E7298A", "#67000D", "#BF812D")
)

# What is this many times above the start has failed, and must not flatten the rest.
_FAILED, _FAILED_LOG, _FAILED_LOG_LOG = 1.3, 3.0, 10.0
_LEAST_RATIO = 5.0
_DECADES = 6.0


def looks_of(names: Iterable[str], labels: Iterable[str] = ()) -> Looks:
    """The look of each optimizer.

    Args:
        names: of the optimizers of one figure.
        labels: all names of the run; those without a chosen look take spare ones in their order,
            so that they have the same in every figure.
    """
    names = tuple(names)
    plain = looks(name for name in names if name in _PLAIN)
    further = [one for one in dict.fromkeys((*labels, *names)) if one not in (*_CHOSEN, *_PLAIN)]
    spare = dict(zip(further, itertools.cycle(_SPARE), strict=False))
    return {name: (_CHOSEN | spare | plain)[name] for name in names}


@dataclass(frozen=True, eq=False)
class Runs:
    """Smoothed losses of one optimizer's runs, by meta-seed and run.

    Args:
        losses: at the kept steps; not finite once a run is lost.
        start: the first losses.
        diverged: which runs ended above their start, or not finite.
    """

    losses: Float[np.ndarray, "seeds runs steps"]
    start: Float[np.ndarray, "seeds runs"]
    diverged: Bool[np.ndarray, "seeds runs"]

    @classmethod
    def of(cls, part: Arrays, prefix: str = "") -> "Runs":
        """From the arrays of a part."""
        losses = np.asarray(part[f"{prefix}smoothed"], float)
        start = np.broadcast_to(np.asarray(part["initial"], float), losses.shape[:2])
        diverged = np.asarray(part[f"{prefix}diverged"], bool)
        # Past the horizon it is known for several lengths; the last is the whole run.
        return cls(losses, start, diverged if diverged.ndim == 2 else diverged[..., -1])

    def of_seed(self, seed: int) -> "Runs":
        """The runs of one meta-seed."""
        one = slice(seed, seed + 1)
        return Runs(self.losses[one], self.start[one], self.diverged[one])

    @property
    def middle(self) -> Float[np.ndarray, " steps"]:
        """The median over all runs; NaN where half of them are lost."""
        bounded = np.where(np.isfinite(self.losses), self.losses, np.inf)
        middle = np.median(bounded.reshape(-1, bounded.shape[-1]), axis=0)
        return np.where(np.isfinite(middle), middle, np.nan)

    @property
    def note(self) -> str:
        """How many diverged, in words; nothing if none did."""
        count = int(self.diverged.sum())
        return f"{count} of {self.diverged.size} diverged" if count else ""


def draw_runs(
    axes: Axes, steps: np.ndarray, runs: Runs, look: Look, label: str | None = None
) -> None:
    """Each run faintly, their median, and a cross where a diverged run was last below its start.

    The axes need their final limits: crosses are kept inside.
    """
    low, high = axes.get_ylim()
    faint = 0.35 if runs.diverged.size <= 12 else 0.16
    for seed, run in np.ndindex(runs.diverged.shape):
        losses, start = runs.losses[seed, run], runs.start[seed, run]
        axes.plot(
            steps + 1, losses, color=look.color, alpha=faint, linewidth=0.8, zorder=look.order - 1
        )
        if runs.diverged[seed, run]:
            below = np.flatnonzero(np.isfinite(losses) & (losses <= start))
            last = below[-1] if below.size else 0
            height = losses[last] if np.isfinite(losses[last]) else start
            axes.plot(
                steps[last] + 1, np.clip(height, low, high), "x", color=look.color, markersize=6.5,
                markeredgewidth=1.6, zorder=look.order + 2, clip_on=False,
            )  # fmt: skip
    # Dashes on top: through them what they agree with is seen.
    order = look.order + (look.dashes != "-")
    axes.plot(
        steps + 1, runs.middle, look.dashes, color=look.color, linewidth=look.width, label=label,
        zorder=order,
    )  # fmt: skip


def loss_axis(axes: Axes, curves: Iterable[np.ndarray], starts: Sequence[float], *,
              always_log: bool = False) -> None:  # fmt: skip
    """Limits that runs which have failed do not stretch; logarithmic above a factor of ten.

    Args:
        axes: whose vertical axis it is.
        curves: all that is drawn.
        starts: losses before the first step.
        always_log: whatever the factor, and with more room above the start.
    """
    values = np.concatenate([np.ravel(curve) for curve in curves])
    values = values[np.isfinite(values)]
    known = [start for start in starts if np.isfinite(start) and start > 0]
    top = max(known, default=float(values.max(initial=1.0)))
    positive = values[values > 10**-_DECADES * top]
    low, high = float(positive.min(initial=top)), float(values.max(initial=top))
    if always_log or min(high, top * _FAILED) > 10 * low:
        high = min(high, top * (_FAILED_LOG_LOG if always_log else _FAILED_LOG))
        # A shorter axis has no round number on it.
        low = min(low, high / _LEAST_RATIO)
        logarithmic(axes, "y", low, high)
        axes.set_ylim(low / 1.2, high * 1.2)
    else:
        axes.set_ylim(*limits(np.array([low, min(high, top * _FAILED)]), least=0.1 * top))


def inner_steps(axes: Axes, last: float) -> None:
    """A logarithmic axis of inner steps, counted from 1."""
    logarithmic(axes, "x", 1.0, max(float(last), 2.0))
    axes.set_xlim(1.0, max(float(last), 2.0))
    axes.set_xlabel("inner step")


def guessing(axes: Axes, loss: float) -> None:
    """A dotted line at what a uniform guess costs, if it is inside the axes."""
    low, high = axes.get_ylim()
    if low < loss < high:
        axes.axhline(loss, color=MUTED, linestyle=":", linewidth=1.2, zorder=1.5)


def key_below(figure: Figure, marks: Sequence[Line2D]) -> None:
    """A legend of the marks, below the whole figure."""
    figure.legend(handles=list(marks), loc="outside lower center", ncols=len(marks), frameon=False)


def is_free_below(axes: Axes, start: float) -> bool:
    """Whether runs that start at this loss leave more room below it than above."""
    place = (axes.transData + axes.transAxes.inverted()).transform((1.0, start))
    return bool(place[1] > 0.5)


def corner_notes(axes: Axes, notes: Mapping[str, str], start: float) -> None:
    """Words at the left, where runs leave room.

    Args:
        axes: the axes, with their final limits.
        notes: the color of each line of words, from the top.
        start: the loss that runs start at.
    """
    below = is_free_below(axes, start)
    for line, (words, color) in enumerate(list(notes.items())[:: -1 if below else 1]):
        axes.annotate(
            words, (0.03, 0.03 if below else 0.97), xycoords="axes fraction",
            xytext=(0, 13 * line * (1 if below else -1)), textcoords="offset points",
            va="bottom" if below else "top", color=color, fontsize=9.5, zorder=6, bbox=BEHIND,
        )  # fmt: skip
