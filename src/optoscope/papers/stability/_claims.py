"""What paper C says, as data."""

from dataclasses import dataclass
from typing import Any

from optoscope.papers._claims import Claim, Statistic, measures
from optoscope.papers.stability import _statistics as measured
from optoscope.papers.stability._figures import COMPARED, UNSEEN_FIGURES
from optoscope.papers.stability._setting import (
    ARMS,
    LARGER,
    REFERENCE,
    SMALL,
    SMALLER,
    TASKS,
)
from optoscope.papers.stability._theory import MOMENTA

_WORDS = {"mlp": "the MLP", "cnn": "the CNN"}
_ONCE = {"corrected": ""}
_CURVES = {"paper": "meta_loss", "corrected": "held_out"}
_AREA = (
    "the other's mean loss over meta-training − STAR's, as meta-training saw it (corrected: on "
    "held-out runs)"
)
_SHARES = {"paper": "share", "corrected": "rise"}
_FAR = (
    "the share of runs that diverged (a loss that is not finite, or a smoothed loss above the "
    "first) {} (corrected: log10 of the normalised loss there / at the horizon {})"
)


def _claim(
    name: str,
    figure: str,
    statement: str,
    statistic: Statistic,
    protocols: dict[str, str],
    counts_as: str,
    *arguments: Any,
) -> Claim:
    """A claim that holds above 0; the arguments follow the protocol's quantity."""

    def with_arguments(quantity: str, records: Any) -> Any:
        return statistic(quantity, *arguments, records)

    return Claim(name, figure, statement, measures(with_arguments, protocols), counts_as)


def _quadratic_claims() -> tuple[Claim, ...]:
    margin = "1e-3 − the share of a batch of random P that meet them and leave the circle"
    return (
        _claim(
            "C1-theorem", "1", "Theorem 1's bounds imply ρ(A) ≤ 1.", measured.within_circle,
            {"paper": "theorem-real", "corrected": "theorem-symmetric"},
            f"{margin} (paper: diagonalisable P with real eigenvalues; corrected: symmetric P)",
        ),
        _claim(
            "C1-lemma-2", "1", "Lemma 2's bounds imply ρ(A) ≤ 1.", measured.within_circle,
            {"corrected": "lemma-2"}, f"{margin} (all symmetric)",
        ),
        _claim(
            "C1-lemma-3", "1", "Lemma 3's bounds imply ρ(A) ≤ 1 for every disturbance.",
            measured.within_circle, {"corrected": "lemma-3"}, f"{margin} (all diagonal)",
        ),
        _claim(
            "C1-nominal-left", "1", "A nominal term makes eigenvalues' real parts more negative.",
            measured.moves_left, _ONCE, "the mean move to the left, an example each",
        ),
        _claim(
            "C1-nominal-real", "1", "A nominal term lets eigenvalues decay toward the real line.",
            measured.nearer_real_line, _ONCE,
            "the share of the mean |imaginary part| that goes, an example each",
        ),
        _claim(
            "C1-decay", "1", "Weight decay pulls the eigenvalues of A toward 1.",
            measured.pulled_to_one, _ONCE, "the fall of the mean |λ − 1|, an example each",
        ),
        _claim(
            "C1-all", "1", "All three interventions map all eigenvalues into the unit circle.",
            measured.all_inside, {"paper": "mean", "corrected": "share"},
            "1 − ρ(A), an example each (corrected: the share of examples where it is so − 0.95)",
        ),
        _claim(
            "C2-variance", "2",
            "Inside the stable range a nominal term lowers the meta-gradient's variance for all T.",
            measured.lowers_variance, {"paper": "whole", "corrected": "worst"},
            "log10(variance at α = 0 / at α), the least over T of the mean over 0 < α < 2/λ_max "
            "(corrected: the least over these α)",
        ),
        _claim(
            "C2-variance-half", "2",
            "In the lower half of the stable range it lowers the variance for all T.",
            measured.lowers_variance, {"corrected": "half"},
            "the same up to α = 1/λ_max",
        ),
        _claim(
            "C2-enters", "2", "In meta-training with a nominal term A's eigenvalues enter the "
            "unit circle.", measured.enters_circle, {"paper": "mean", "corrected": "worst"},
            "1 − the larger |λ(A)| at the end, the mean over α > 0 (corrected: the worst α)",
        ),
        _claim(
            "C2-smaller", "2", "With a nominal term the eigenvalues are smaller.",
            measured.smaller_eigenvalues, {"paper": "end", "corrected": "mean"},
            "the larger |λ(A)| without − with the largest α, at the end (corrected: the mean over "
            "meta-training)",
        ),
        _claim(
            "C2-sooner", "2", "A good α reaches near-optimal loss in far fewer meta-steps.",
            measured.sooner, {"paper": "best", "corrected": "worst"},
            "log10(meta-steps at α = 0 / at the best α) until within a tenth of the least loss "
            "(corrected: the worst α > 0)",
        ),
        _claim(
            "C2-thousand", "2", "A good α is near-optimal in under 1000 meta-steps.",
            measured.under_a_thousand, {"paper": ""}, "log10(1000 / those meta-steps)",
        ),
    )  # fmt: skip


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


def _training_claims(task: str, star: _Star) -> tuple[Claim, ...]:
    others = {arm: ARMS[arm].words for arm in ("blackbox", "hyperparam")}
    if star is not _STAR:
        others[_STAR.arm] = "with the paper's β₃"
        others |= {arm: ARMS[arm].words.removeprefix("STAR ") for arm in (LARGER, SMALLER)}
    claims = []
    for other, name in others.items():
        claims += [
            _claim(
                f"{star.prefix}3-faster-{task}-{other}", star.figure,
                f"{star.words} meta-trains faster than {name} ({_WORDS[task]}).",
                measured.trains_faster, _CURVES, _AREA, task, star.arm, other,
            ),
            _claim(
                f"{star.prefix}3-better-{task}-{other}", star.figure,
                f"Fully trained, {star.words} is better than {name} ({_WORDS[task]}).",
                measured.trains_better, {"paper": "last", "corrected": "least"},
                "the other's held-out loss over the horizon − STAR's, at the end (corrected: each "
                "at its best)",
                task, star.arm, other,
            ),
        ]  # fmt: skip
    return tuple(claims)


# Where runs past the horizon are judged: the place among the scale's multiples, and its name.
_REACHES = {"near": (0, "10 times"), "far": (-1, "100 (laptop: 20) times")}


def _far_claims(task: str, star: _Star) -> tuple[Claim, ...]:
    claims = []
    for reach, (place, words) in _REACHES.items():
        stay = {star.arm: star.words}
        if star is _STAR:
            stay["hyperparam"] = "Hyperparam"
            claims.append(
                _claim(
                    f"C3-blackbox-diverges-{task}-{reach}", "3",
                    f"Blackbox diverges within {words} its horizon ({_WORDS[task]}).",
                    measured.diverges, _SHARES, _FAR.format("− 0.5", "− log10(1.1)"),
                    place, task, "blackbox",
                )
            )  # fmt: skip
        claims += [
            *(
                _claim(
                    f"{star.prefix}3-{arm}-stays-{task}-{reach}", star.figure,
                    f"{name} remains stable to {words} its horizon ({_WORDS[task]}).",
                    measured.stays, _SHARES,
                    "0.1 − " + _FAR.format("there", "; log10(1.1) − that"),
                    place, task, arm,
                )
                for arm, name in stay.items()
            ),
            _claim(
                f"{star.prefix}3-less-loss-{task}-{reach}", star.figure,
                f"At {words} its horizon {star.words} has less loss than Blackbox "
                f"({_WORDS[task]}).",
                measured.less_loss, {"paper": "run", "corrected": "seed"},
                "Blackbox's normalised loss − STAR's, a run of the first meta-seed each "
                "(corrected: a meta-seed each)",
                place, task, star.arm, "blackbox",
            ),
        ]  # fmt: skip
    return tuple(claims)


def _ablation_claims(task: str) -> tuple[Claim, ...]:
    words = _WORDS[task]
    units = {"paper": "run", "corrected": "seed"}
    per = "a run of the first meta-seed each (corrected: a meta-seed each)"
    return (
        _claim(
            f"A1-outliers-{task}", "app-1",
            f"Small instabilities grow over long runs: seeds come apart ({words}).",
            measured.spread_grows, _ONCE,
            "log10(range of losses at the end / at the horizon), an arm each",
            task, COMPARED["app-1"],
        ),
        _claim(
            f"A2-stabilizes-{task}", "app-2",
            f"Weight decay stabilises STAR past its horizon ({words}).",
            measured.less_loss, units, f"loss at the end with decay 0 − with 0.5, {per}",
            -1, task, REFERENCE, "star-0",
        ),
        _claim(
            f"A2-damps-{task}", "app-2",
            f"A weight decay of 1 over-damps: it is worse at the horizon than 0.5 ({words}).",
            measured.less_loss, units, f"loss at the horizon with decay 1 − with 0.5, {per}",
            None, task, REFERENCE, "star-1",
        ),
        _claim(
            f"A3-meta-loss-{task}", "app-3",
            f"With preconditioning STAR reaches better meta-losses ({words}).",
            measured.trains_better, {"paper": "last", "corrected": "least"},
            "held-out loss without − with it, at the end (corrected: at its best)",
            task, REFERENCE, "no-preconditioning",
        ),
        _claim(
            f"A3-at-horizon-{task}", "app-3",
            f"With preconditioning the loss at the horizon is less ({words}).",
            measured.less_loss, units, f"loss without − with it, {per}",
            None, task, REFERENCE, "no-preconditioning",
        ),
        _claim(
            f"A4-slower-{task}", "app-4",
            f"Without the nominal term meta-training is slower ({words}).",
            measured.trains_faster, _CURVES, _AREA, task, REFERENCE, "no-nominal",
        ),
        _claim(
            f"A4-worse-{task}", "app-4",
            f"Without the nominal term meta-training ends worse ({words}).",
            measured.trains_better, {"paper": "last", "corrected": "least"},
            "held-out loss without − with it, at the end (corrected: at its best)",
            task, REFERENCE, "no-nominal",
        ),
        _claim(
            f"A4-at-horizon-{task}", "app-4",
            f"With the nominal term the loss at the horizon is less ({words}).",
            measured.less_loss, units, f"loss without − with it, {per}",
            None, task, REFERENCE, "no-nominal",
        ),
    )  # fmt: skip


def _unseen_claims(figure: str) -> tuple[Claim, ...]:
    which = "In figure 4" if figure == "4" else f"In figure App. {figure[-1]}"
    blackbox = _claim(
        f"C{figure}-blackbox-diverges", figure, f"{which} Blackbox diverges.",
        measured.unseen_diverges, _SHARES,
        "the share of runs that diverged − 0.5, a task each (corrected: that end above their "
        "start)",
        figure, "blackbox",
    )  # fmt: skip
    return blackbox, *(
        claim for star in (_STAR, _SMALL) for claim in _star_on_unseen(figure, which, star)
    )


def _star_on_unseen(figure: str, which: str, star: _Star) -> tuple[Claim, ...]:
    seeds = {"paper": "best", "corrected": "mean"}
    units = (
        "in units of what guessing costs, a task each (paper: the best meta-seed; corrected: the "
        "mean over meta-seeds)"
    )
    name = f"{star.prefix}{figure}"
    return (
        _claim(
            f"{name}-star-descends", figure, f"{which} {star.words} continues to descend.",
            measured.unseen_descends, _SHARES,
            "0.1 − the share of runs that diverged, a task each (corrected: log10(loss at the "
            "start / at the end / 1.1))",
            figure, star.arm,
        ),
        *(
            _claim(
                f"{name}-star-{other}", figure,
                f"{which} {star.words} outperforms {ARMS[other].words}.",
                measured.unseen_better, seeds,
                f"{ARMS[other].words}'s final loss − STAR's {units}",
                figure, star.arm, other,
            )
            for other in ("blackbox", "hyperparam")
        ),
        *(
            _claim(
                f"{name}-near-{baseline}", figure,
                f"{which} {star.words} comes near tuned {words}.",
                measured.unseen_near, seeds, f"0.1 + {words}'s final loss − STAR's {units}",
                figure, star.arm, baseline,
            )
            for baseline, words in (("adam", "Adam"), ("nadamw", "NAdamW"))
        ),
    )  # fmt: skip


CLAIMS: tuple[Claim, ...] = (
    *_quadratic_claims(),
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
    *(claim for figure in UNSEEN_FIGURES for claim in _unseen_claims(figure)),
    _claim(
        "C-joint-momentum",
        "joint-stability",
        "Momentum gives less restrictive upper stability margins than SGD.",
        measured.more_curvature,
        _ONCE,
        "momentum's largest stable curvature / SGD's − 1 at the same rate, a β each",
        MOMENTA,
    ),
)
