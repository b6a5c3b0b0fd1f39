"""The claims of paper C, as data."""

from dataclasses import dataclass
from typing import Any

from optoscope._core.criteria import above, below
from optoscope.papers._claims import RUN, Claim, Reading, readings
from optoscope.papers.stability import _statistics as measured
from optoscope.papers.stability._figures import COMPARED, UNSEEN_FIGURES
from optoscope.papers.stability._quadratic_claims import QUADRATIC_CLAIMS
from optoscope.papers.stability._setting import (
    ARMS,
    BRIEF,
    LARGER,
    REFERENCE,
    SMALL,
    SMALLER,
    TASKS,
)
from optoscope.papers.stability._theory import MOMENTA

_WORDS = {"mlp": "the MLP", "cnn": "the CNN", BRIEF: "the MLP, fewer meta-steps"}
_ONCE = {"corrected": ""}
_MORE = above(0.0)
# Ends a tenth above where it was.
_A_TENTH_MORE = 1.1
# A loss that is not finite, or a smoothed loss above the first.
_DIVERGED = "the share of runs that diverged (not finite, or smoothed above the first loss)"
_SIZES_REVISED = "The comparison of sizes of β₃ was added after the first results of paper C."


@dataclass(frozen=True)
class _Star:
    """STAR as the paper has it, or with a smaller black box: what they say of one is asked of both.

    Args:
        prefix: of the claims' names.
        arm: which optimizer.
        words: what to call it.
        figure: of what is said about meta-training and runs past the horizon.
    """

    prefix: str
    arm: str
    words: str
    figure: str


_STAR = _Star("C", REFERENCE, "STAR", "3")
_SMALL = _Star("CS", SMALL, ARMS[SMALL].words, "blackbox-scale")


def _faster(task: str, arm: str, other: str, revised: str = "") -> dict[str, Reading]:
    """The other arm's mean loss over meta-training less this one's."""
    common: dict[str, Any] = {"criterion": _MORE, "revised": revised}
    words = "the other's mean loss over meta-training less its own"
    return readings(
        measured.trains_faster, {"paper": "meta_loss"}, task, arm, other, **common,
        quantity=f"{words}, as meta-training saw it",
    ) | readings(
        measured.trains_faster, {"corrected": "held_out"}, task, arm, other, **common,
        quantity=f"{words}, on held-out runs",
    )  # fmt: skip


def _better(task: str, arm: str, other: str, revised: str = "") -> dict[str, Reading]:
    """The other arm's held-out loss less this one's."""
    common: dict[str, Any] = {"criterion": _MORE, "revised": revised}
    words = "the other's held-out loss over the horizon less its own"
    return readings(
        measured.trains_better, {"paper": "last"}, task, arm, other, **common,
        quantity=f"{words}, at the end of meta-training",
    ) | readings(
        measured.trains_better, {"corrected": "least"}, task, arm, other, **common,
        quantity=f"{words}, each at its best",
    )  # fmt: skip


def _less_loss(place: int | None, task: str, arm: str, other: str) -> dict[str, Reading]:
    """The other arm's normalized loss less this one's, at the horizon or a multiple of it."""
    words = "the other's normalized loss there less its own"
    return readings(
        measured.less_loss, {"paper": "run"}, place, task, arm, other, over=RUN,
        quantity=f"{words}, in the runs of the first meta-seed", criterion=_MORE,
    ) | readings(
        measured.less_loss, {"corrected": "seed"}, place, task, arm, other,
        quantity=f"{words}, the mean over runs", criterion=_MORE,
    )  # fmt: skip


def _training_claims(task: str, star: _Star) -> tuple[Claim, ...]:
    others = {arm: ARMS[arm].words for arm in ("blackbox", "hyperparam")}
    if star is not _STAR:
        others[_STAR.arm] = "with the paper's β₃"
        others |= {arm: ARMS[arm].words.removeprefix("STAR ") for arm in (LARGER, SMALLER)}
    claims = []
    for other, name in others.items():
        revised = _SIZES_REVISED if other in (LARGER, SMALLER) else ""
        claims += [
            Claim(
                f"{star.prefix}3-faster-{task}-{other}", star.figure,
                f"{star.words} meta-trains faster than {name} ({_WORDS[task]}).",
                _faster(task, star.arm, other, revised),
            ),
            Claim(
                f"{star.prefix}3-better-{task}-{other}", star.figure,
                f"Fully trained, {star.words} is better than {name} ({_WORDS[task]}).",
                _better(task, star.arm, other, revised),
            ),
        ]  # fmt: skip
    return tuple(claims)


# Where runs past the horizon are judged: the place among the scale's multiples, and its name.
_REACHES = {"near": (0, "10 times"), "far": (-1, "100 (laptop: 20) times")}


def _lost(place: int, task: str, arm: str, *, diverges: bool) -> dict[str, Reading]:
    """Runs past the horizon: most of them diverge, or hardly any and their loss does not rise."""
    return readings(
        measured.lost, {"paper": "run"}, place, task, arm, over=RUN, unit="share",
        quantity=_DIVERGED, criterion=above(0.5) if diverges else below(0.1),
    ) | readings(
        measured.lost, {"corrected": "rise"}, place, task, arm, unit="factor", logarithmic=True,
        quantity="the normalized loss there over that at the horizon",
        criterion=above(_A_TENTH_MORE) if diverges else below(_A_TENTH_MORE),
    )  # fmt: skip


def _far_claims(task: str, star: _Star) -> tuple[Claim, ...]:
    claims = []
    for reach, (place, words) in _REACHES.items():
        stay = {star.arm: star.words}
        if star is _STAR:
            stay["hyperparam"] = "Hyperparam"
            claims.append(
                Claim(
                    f"C3-blackbox-diverges-{task}-{reach}", "3",
                    f"Blackbox diverges within {words} its horizon ({_WORDS[task]}).",
                    _lost(place, task, "blackbox", diverges=True),
                )
            )  # fmt: skip
        claims += [
            *(
                Claim(
                    f"{star.prefix}3-{arm}-stays-{task}-{reach}", star.figure,
                    f"{name} remains stable to {words} its horizon ({_WORDS[task]}).",
                    _lost(place, task, arm, diverges=False),
                )
                for arm, name in stay.items()
            ),
            Claim(
                f"{star.prefix}3-less-loss-{task}-{reach}", star.figure,
                f"At {words} its horizon {star.words} has less loss than Blackbox "
                f"({_WORDS[task]}).",
                _less_loss(place, task, star.arm, "blackbox"),
            ),
        ]  # fmt: skip
    return tuple(claims)


def _decay_claims(task: str) -> tuple[Claim, ...]:
    words = _WORDS[task]
    return (
        Claim(
            f"A2-stabilizes-{task}", "app-2",
            f"Weight decay stabilizes STAR past its horizon ({words}).",
            _less_loss(-1, task, REFERENCE, "star-0"),
        ),
        Claim(
            f"A2-damps-{task}", "app-2",
            f"A weight decay of 1 over-damps: it is worse at the horizon than 0.5 ({words}).",
            _less_loss(None, task, REFERENCE, "star-1"),
        ),
    )  # fmt: skip


def _ablation_claims(task: str) -> tuple[Claim, ...]:
    words = _WORDS[task]
    return (
        Claim(
            f"A1-outliers-{task}", "app-1",
            f"Small instabilities grow over long runs: seeds come apart ({words}).",
            readings(
                measured.spread_grows, _ONCE, task, COMPARED["app-1"], over="arm", chosen=True,
                quantity="the range of losses at the end above that at the horizon",
                unit="decades", criterion=_MORE,
            ),
        ),
        *_decay_claims(task),
        Claim(
            f"A3-meta-loss-{task}", "app-3",
            f"With preconditioning STAR reaches better meta-losses ({words}).",
            _better(task, REFERENCE, "no-preconditioning"),
        ),
        Claim(
            f"A3-at-horizon-{task}", "app-3",
            f"With preconditioning the loss at the horizon is less ({words}).",
            _less_loss(None, task, REFERENCE, "no-preconditioning"),
        ),
        Claim(
            f"A4-slower-{task}", "app-4",
            f"Without the nominal term meta-training is slower ({words}).",
            _faster(task, REFERENCE, "no-nominal"),
        ),
        Claim(
            f"A4-worse-{task}", "app-4",
            f"Without the nominal term meta-training ends worse ({words}).",
            _better(task, REFERENCE, "no-nominal"),
        ),
        Claim(
            f"A4-at-horizon-{task}", "app-4",
            f"With the nominal term the loss at the horizon is less ({words}).",
            _less_loss(None, task, REFERENCE, "no-nominal"),
        ),
    )  # fmt: skip


def _unseen_claims(figure: str) -> tuple[Claim, ...]:
    which = "In figure 4" if figure == "4" else f"In figure App. {figure[-1]}"
    blackbox = Claim(
        f"C{figure}-blackbox-diverges", figure, f"{which} Blackbox diverges.",
        readings(
            measured.unseen_lost, {"paper": "diverged"}, figure, "blackbox", over=RUN,
            quantity=_DIVERGED, unit="share", criterion=above(0.5),
        )
        | readings(
            measured.unseen_lost, {"corrected": "rise"}, figure, "blackbox", over=RUN,
            quantity="the share of runs that end above their start", unit="share",
            criterion=above(0.5),
        ),
    )  # fmt: skip
    return blackbox, *(
        claim for star in (_STAR, _SMALL) for claim in _star_on_unseen(figure, which, star)
    )


def _apart(figure: str, arm: str, other: str, words: str, *, bound: float) -> dict[str, Reading]:
    """The final loss less another's: on every task that was chosen, and over meta-seeds."""
    quantity = f"its final loss less {words}'s, in units of what guessing costs"
    return readings(
        measured.unseen_difference, {"paper": "best"}, figure, arm, other, over="task", chosen=True,
        quantity=f"{quantity}, of the best meta-seeds", criterion=below(bound), signed=True,
    ) | readings(
        measured.unseen_difference, {"corrected": "mean"}, figure, arm, other,
        quantity=f"{quantity}, the mean over tasks", criterion=below(bound), signed=True,
    )  # fmt: skip


def _star_on_unseen(figure: str, which: str, star: _Star) -> tuple[Claim, ...]:
    name = f"{star.prefix}{figure}"
    return (
        Claim(
            f"{name}-star-descends", figure, f"{which} {star.words} continues to descend.",
            readings(
                measured.unseen_lost, {"paper": "diverged"}, figure, star.arm, over=RUN,
                quantity=_DIVERGED, unit="share", criterion=below(0.1),
            )
            | readings(
                measured.unseen_falls, {"corrected": ""}, figure, star.arm, unit="factor",
                quantity="the loss at the start over that at the end, the geometric mean over "
                "tasks",
                logarithmic=True, criterion=above(_A_TENTH_MORE),
            ),
        ),
        *(
            Claim(
                f"{name}-star-{other}", figure,
                f"{which} {star.words} outperforms {ARMS[other].words}.",
                _apart(figure, star.arm, other, ARMS[other].words, bound=0.0),
            )
            for other in ("blackbox", "hyperparam")
        ),
        *(
            Claim(
                f"{name}-near-{baseline}", figure,
                f"{which} {star.words} comes near tuned {words}.",
                _apart(figure, star.arm, baseline, words, bound=0.1),
            )
            for baseline, words in (("adam", "Adam"), ("nadamw", "NAdamW"))
        ),
    )  # fmt: skip


CLAIMS: tuple[Claim, ...] = (
    *QUADRATIC_CLAIMS,
    *(
        claim
        for task in TASKS
        for claims in (
            _training_claims(task, _STAR),
            _far_claims(task, _STAR),
            _ablation_claims(task),
            _training_claims(task, _SMALL),
            _far_claims(task, _SMALL),
        )
        for claim in claims
    ),
    *_decay_claims(BRIEF),
    *(claim for figure in UNSEEN_FIGURES for claim in _unseen_claims(figure)),
    Claim(
        "C-joint-momentum",
        "joint-stability",
        "Momentum gives less restrictive upper stability margins than SGD.",
        readings(
            measured.more_curvature, _ONCE, MOMENTA, over="momentum", chosen=True, unit="factor",
            quantity="its largest stable curvature over SGD's at the same rate",
            criterion=above(1.0),
        ),
    ),
)  # fmt: skip
