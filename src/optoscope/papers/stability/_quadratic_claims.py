"""The claims of paper C about the noisy quadratic model (figures 1 and 2), as data."""

from typing import Any

from optoscope._core.criteria import above, below
from optoscope.papers._claims import Claim, Reading, readings
from optoscope.papers.stability import _statistics as measured

_ONCE = {"corrected": ""}
_MORE = above(0.0)
_EXAMPLE, _SEED, _MATRIX = "random example", "seed", "random preconditioner"
_BOUNDS_REVISED = (
    "It was the largest spectral radius of a batch, until rare preconditioners that rounding puts "
    "outside were seen to decide it."
)


def _bounds_claims() -> tuple[Claim, ...]:
    def leaves(kind: str, protocol: str, which: str) -> dict[str, Reading]:
        return readings(
            measured.within_circle, {protocol: kind}, over=_MATRIX, unit="share",
            quantity=f"the share of random {which} that meet the bounds and leave the circle",
            criterion=below(1e-3), revised=_BOUNDS_REVISED,
        )  # fmt: skip

    return (
        Claim(
            "C1-theorem", "1", "Theorem 1's bounds imply ρ(A) ≤ 1.",
            leaves("theorem-real", "paper", "diagonalizable P with real eigenvalues")
            | leaves("theorem-symmetric", "corrected", "symmetric P"),
        ),
        Claim(
            "C1-lemma-2", "1", "Lemma 2's bounds imply ρ(A) ≤ 1.",
            leaves("lemma-2", "corrected", "symmetric P"),
        ),
        Claim(
            "C1-lemma-3", "1", "Lemma 3's bounds imply ρ(A) ≤ 1 for every disturbance.",
            leaves("lemma-3", "corrected", "diagonal P"),
        ),
    )  # fmt: skip


def _eigenvalue_claims() -> tuple[Claim, ...]:
    return (
        Claim(
            "C1-nominal-left", "1", "A nominal term makes eigenvalues' real parts more negative.",
            readings(
                measured.moves_left, _ONCE, over=_EXAMPLE, unit="share", criterion=above(0.9),
                quantity="the share of examples whose eigenvalues move to the left on average",
                revised="It was the mean move, until that was seen to be equal in all examples.",
            ),
        ),
        Claim(
            "C1-nominal-real", "1", "A nominal term lets eigenvalues decay toward the real line.",
            readings(
                measured.nearer_real_line, _ONCE, over=_EXAMPLE, unit="share", criterion=_MORE,
                quantity="the share of the mean |imaginary part| that goes",
            ),
        ),
        Claim(
            "C1-decay", "1", "Weight decay pulls the eigenvalues of A toward 1.",
            readings(
                measured.pulled_to_one, _ONCE, over=_EXAMPLE, criterion=_MORE,
                quantity="the fall of the mean |λ − 1|",
            ),
        ),
        Claim(
            "C1-all", "1", "All three interventions map all eigenvalues into the unit circle.",
            readings(
                measured.all_inside, {"paper": "mean"}, over=_EXAMPLE,
                quantity="ρ(A) with all three", criterion=below(1.0),
            )
            | readings(
                measured.all_inside, {"corrected": "share"}, over=_EXAMPLE, unit="share",
                quantity="the share of examples with ρ(A) ≤ 1", criterion=above(0.95),
            ),
        ),
    )  # fmt: skip


def _variance_claims() -> tuple[Claim, ...]:
    lower = "the meta-gradient's variance at α = 0 above that at α, the least over T of"
    common: dict[str, Any] = {"over": _SEED, "unit": "decades", "criterion": _MORE}
    return (
        Claim(
            "C2-variance", "2",
            "Inside the stable range a nominal term lowers the meta-gradient's variance for all T.",
            readings(
                measured.lowers_variance, {"paper": "whole"}, **common,
                quantity=f"{lower} the mean over 0 < α < 2/λ_max",
            )
            | readings(
                measured.lowers_variance, {"corrected": "worst"}, **common,
                quantity=f"{lower} the least over 0 < α < 2/λ_max",
            ),
        ),
        Claim(
            "C2-variance-half", "2",
            "In the lower half of the stable range it lowers the variance for all T.",
            readings(
                measured.lowers_variance, {"corrected": "half"}, **common,
                quantity=f"{lower} the mean over 0 < α ≤ 1/λ_max",
            ),
        ),
    )  # fmt: skip


def _quadratic_training_claims() -> tuple[Claim, ...]:
    end = "the larger |λ(A)| at the end"
    apart = "the larger |λ(A)| without a nominal term less that with the largest α"
    seeds: dict[str, Any] = {"over": _SEED}
    saved = "meta-steps at α = 0 until within a tenth of the least loss above those at the"
    return (
        Claim(
            "C2-enters", "2",
            "In meta-training with a nominal term A's eigenvalues enter the unit circle.",
            readings(
                measured.enters_circle, {"paper": "mean"}, **seeds, criterion=below(1.0),
                quantity=f"{end}, the mean over α > 0",
            )
            | readings(
                measured.enters_circle, {"corrected": "worst"}, **seeds, criterion=below(1.0),
                quantity=f"{end}, the worst α > 0",
            ),
        ),
        Claim(
            "C2-smaller", "2", "With a nominal term the eigenvalues are smaller.",
            readings(
                measured.smaller_eigenvalues, {"paper": "end"}, **seeds, criterion=_MORE,
                quantity=f"{apart}, at the end",
            )
            | readings(
                measured.smaller_eigenvalues, {"corrected": "mean"}, **seeds, criterion=_MORE,
                quantity=f"{apart}, the mean over meta-training",
            ),
        ),
        Claim(
            "C2-sooner", "2", "A good α reaches near-optimal loss in far fewer meta-steps.",
            readings(
                measured.sooner, {"paper": "best"}, **seeds, unit="decades", criterion=_MORE,
                quantity=f"{saved} best α",
            )
            | readings(
                measured.sooner, {"corrected": "worst"}, **seeds, unit="decades", criterion=_MORE,
                quantity=f"{saved} worst α > 0",
            ),
        ),
        Claim(
            "C2-thousand", "2", "A good α is near-optimal in under 1000 meta-steps.",
            readings(
                measured.under_a_thousand, {"paper": ""}, **seeds, logarithmic=True,
                quantity="meta-steps at the best α until within a tenth of the least loss",
                unit="meta-steps", criterion=below(1000.0),
            ),
        ),
    )  # fmt: skip


QUADRATIC_CLAIMS: tuple[Claim, ...] = (
    *_bounds_claims(),
    *_eigenvalue_claims(),
    *_variance_claims(),
    *_quadratic_training_claims(),
)
