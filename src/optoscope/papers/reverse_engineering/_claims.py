"""The claims of paper B, as data."""

from typing import Any

from optoscope._core.criteria import above, below, within_factor
from optoscope.papers._claims import Claim, Reading, Statistic, readings
from optoscope.papers.published import CONTESTANTS
from optoscope.papers.reverse_engineering import _statistics as measured
from optoscope.papers.reverse_engineering._scales import LASTING
from optoscope.papers.reverse_engineering._setting import BASELINES, RECOVERED, TASKS

_WORDS = {
    "regression": "linear regression",
    "rosenbrock": "Rosenbrock",
    "two-moons": "two moons",
    "cnn": "the CNN",
    RECOVERED: "quadratics with known heavy ball",
}
_FIRST_THREE = TASKS[:3]
_STATES = {"paper": "initial", "corrected": "convergence"}
# Where both protocols would read the same, only one is judged.
_PAPER = {"paper": ""}
_CORRECTED = {"corrected": ""}
_PROBLEM = "problem"
_NEAR = within_factor(2.0)
# A majority of the meta-seeds, for what is so or is not.
_MOST: dict[str, Any] = {"unit": "share", "criterion": above(0.5)}
_RATIO: dict[str, Any] = {"unit": "factor", "logarithmic": True}


def _performance_claims(name: str) -> tuple[Claim, ...]:
    return tuple(
        Claim(
            f"B1-{name}-{baseline}",
            "1",
            f"On {_WORDS[name]} the learned optimizer beats tuned {baseline}.",
            readings(
                measured.beats, {"paper": "difference"}, name, baseline, over=_PROBLEM,
                quantity="the baseline's meta-objective less the best meta-seed's, over the "
                "baseline's mean",
                unit="share", criterion=above(0.0),
            )
            | readings(
                measured.beats, {"corrected": "ratio"}, name, baseline, over=_PROBLEM,
                quantity="the baseline's meta-objective above the learned one's, the mean over "
                "meta-seeds",
                unit="decades", criterion=above(0.0),
                revised="It was a difference of means, until one problem on which tuned momentum "
                "diverges was seen to decide it alone.",
            ),
        )
        for baseline in BASELINES
    )  # fmt: skip


def _shares(statistic: Statistic, name: str, what: str, bound: float) -> dict[str, Reading]:
    """A share of the modes: in Σ|α| as in the paper, in the impulse response where corrected."""
    common: dict[str, Any] = {"unit": "share", "criterion": above(bound)}
    return readings(
        statistic, {"paper": "rate"}, name, quantity=f"the share of {what} in Σ|α|", **common
    ) | readings(
        statistic, {"corrected": "response"}, name, **common,
        quantity=f"the share of {what} in the impulse response",
    )  # fmt: skip


def _timescale(name: str) -> dict[str, Reading]:
    return readings(
        measured.timescale_near_tuned, {"paper": "difference"}, name,
        quantity="the difference of |β| of the dominant mode and of tuned momentum",
        criterion=below(0.1),
    ) | readings(
        measured.timescale_near_tuned, {"corrected": "memory"}, name, **_RATIO,
        quantity="1 − |β| of the dominant mode over that of tuned momentum", criterion=_NEAR,
    )  # fmt: skip


def _momentum_claims(name: str) -> tuple[Claim, ...]:
    words = _WORDS[name]
    return (
        Claim(
            f"B3-converges-{name}",
            "3",
            f"The states of all runs converge ({words}).",
            readings(
                measured.variance_vanishes, _PAPER, name,
                quantity="the largest total variance of states above that at the last step",
                unit="decades", criterion=above(1.0),
            ),
        ),
        Claim(
            f"B3-one-point-{name}",
            "3",
            f"There is a single fixed point to converge to ({words}).",
            readings(
                measured.one_attractor, _CORRECTED, name, **_MOST,
                quantity="the share of meta-seeds with exactly one fixed point that is no saddle",
            ),
        ),
        Claim(
            f"B3-modes-{name}",
            "3",
            f"One or two modes are responsible for the dynamics ({words}).",
            _shares(measured.two_modes_dominate, name, "the two largest modes", 0.75),
        ),
        Claim(
            f"B3-timescale-{name}",
            "3",
            f"The dominant mode's timescale is near tuned momentum's ({words}).",
            _timescale(name),
        ),
        Claim(
            f"B3-shift-{name}",
            "3",
            f"Along the slow mode the update function shifts vertically ({words}).",
            readings(
                measured.shifts_vertically, {"paper": "rate", "corrected": "response"}, name,
                quantity="the share of the mean square change that is an offset",
                unit="share", criterion=above(0.5),
            ),
        ),
    )  # fmt: skip


def _clipping_claims() -> tuple[Claim, ...]:
    return (
        *(
            Claim(
                f"B4-saturates-{name}",
                "4",
                f"The update function saturates for large gradients ({_WORDS[name]}).",
                readings(
                    measured.bends, _STATES, name,
                    quantity="by what share the update at the largest gradients is below the "
                    "linear one",
                    unit="share", criterion=above(0.1), signed=True,
                ),
            )
            for name in TASKS
        ),
        Claim(
            "B4-stronger",
            "4",
            "Clipping is stronger for Rosenbrock than for linear regression.",
            readings(
                measured.clips_more, _STATES, "rosenbrock", "regression",
                quantity="the difference of the shares of met gradients where the update is below "
                "half of the linear one",
                unit="share", criterion=above(0.0),
            ),
        ),
    )  # fmt: skip


def _schedule_claims(name: str) -> tuple[Claim, ...]:
    words, has = _WORDS[name], name in ("regression", "cnn")
    criterion = above(1.5) if has else below(1.5)
    largest = "the largest rate over the least without gradients"
    return (
        Claim(
            f"B5-schedule-{name}",
            "5",
            f"There is {'an' if has else 'no'} autonomous learning rate schedule ({words}).",
            readings(
                measured.schedule_range, {"paper": "whole"}, name, **_RATIO,
                quantity=largest, criterion=criterion,
            )
            | readings(
                measured.schedule_range, {"corrected": "met"}, name, **_RATIO,
                quantity=f"{largest}, in the first half of the steps", criterion=criterion,
            ),
        ),
        Claim(
            f"B5-orthogonal-{name}",
            "5",
            f"Autonomous motion is orthogonal to the readout ({words}).",
            readings(
                measured.silent, {"paper": "alignment"}, name, **_RATIO,
                quantity="|cos| of the motion with the readout over that of a random direction",
                criterion=below(1.0),
            )
            | readings(
                measured.silent, {"corrected": "drift"}, name, **_RATIO,
                quantity="the drift of the update over the updates in runs", criterion=below(0.1),
            ),
        ),
    )  # fmt: skip


def _adaptation_claims(name: str) -> tuple[Claim, ...]:
    words = _WORDS[name]
    return (
        Claim(
            f"B6-falls-{name}",
            "6",
            f"The effective rate falls along both arms of the S-curve ({words}).",
            readings(
                measured.falls_along_arms, {"paper": "rates", "corrected": "gains"}, name,
                quantity="the rank correlation of the rate and |g|, the larger of both arms",
                criterion=below(-0.5), correlation=True,
            ),
        ),
        Claim(
            f"B6-lowest-{name}",
            "6",
            f"The lowest rate on the S-curve is near tuned momentum's ({words}).",
            readings(
                measured.lowest_rate_near_tuned, {"paper": "slope"}, name, **_RATIO,
                quantity="the lowest rate over momentum's", criterion=_NEAR,
            )
            | readings(
                measured.lowest_rate_near_tuned, {"corrected": "lasting"}, name, **_RATIO,
                quantity="the lowest −Δ(g)/g over momentum's α/(1 − β)", criterion=_NEAR,
            ),
        ),
    )  # fmt: skip


def _as_good(name: str, first: str, second: str, words: str) -> dict[str, Reading]:
    common: dict[str, Any] = {"unit": "share", "criterion": below(0.1)}
    return readings(
        measured.as_good_as, {"paper": "problem"}, name, first, second, over=_PROBLEM, **common,
        quantity=f"the difference of {words}, of the best meta-seed",
    ) | readings(
        measured.as_good_as, {"corrected": "meta-seed"}, name, first, second, **common,
        quantity=f"the difference of {words}, means over problems",
    )  # fmt: skip


def _recovery_claims() -> tuple[Claim, ...]:
    name = RECOVERED
    near_rate: dict[str, Any] = {"criterion": _NEAR, **_RATIO}
    return (
        Claim(
            "B14-component",
            "14",
            "A single principal component explains nearly all variance of the states.",
            readings(
                measured.one_component, _PAPER, name, quantity="its share of the variance",
                unit="share", criterion=above(0.9),
            ),
        ),
        Claim(
            "B14-one-mode",
            "14",
            "A single mode stands out.",
            _shares(measured.one_mode, name, "the largest mode", 0.75),
        ),
        Claim(
            "B14-timescale",
            "14",
            "Its timescale matches tuned momentum's.",
            _timescale(name),
        ),
        Claim(
            "B14-rate",
            "14",
            "Its learning rate matches momentum's.",
            readings(
                measured.rate_near_tuned, {"paper": "tuned"}, name, **near_rate,
                quantity="|α| of the dominant mode over tuned momentum's rate",
            )
            | readings(
                measured.rate_near_tuned, {"corrected": "optimum"}, name, **near_rate,
                quantity="|α| of the dominant mode over heavy ball's analytic optimum",
            ),
        ),
        Claim(
            "B14-alone",
            "14",
            "That mode running alone matches the learned optimizer.",
            _as_good(name, "one-mode", "learned", "its meta-objective from the learned one's"),
        ),
        Claim(
            "B14-momentum",
            "14",
            "The learned optimizer performs as well as tuned momentum.",
            _as_good(name, "learned", "momentum", "its meta-objective from momentum's"),
        ),
        Claim(
            "B15-approaches",
            "15",
            "In meta-training the mode approaches heavy ball's optimum.",
            readings(
                measured.approaches, {"paper": "optimum"}, name, unit="decades",
                quantity="how much nearer (α, 1 − β) comes to the optimum", criterion=above(0.0),
            )
            | readings(
                measured.approaches, {"corrected": "tuned"}, name, unit="decades",
                quantity="how much nearer (α, 1 − β) comes to tuned momentum", criterion=above(0.0),
            ),
        ),
    )  # fmt: skip


def _group_claims() -> tuple[Claim, ...]:
    layers = "the rank correlation of a layer's place and its mean rate"
    return (
        Claim(
            "B7-separated",
            "7",
            "State trajectories are separated by layer and type.",
            readings(
                measured.groups_separate, _CORRECTED, unit="decades", criterion=above(0.0),
                quantity="the variance between layers and types above what single runs would make",
            ),
        ),
        Claim(
            "B7-biases",
            "7",
            "Biases have lower rates than weights.",
            readings(
                measured.biases_slower, {"paper": "mean"}, unit="decades", criterion=above(0.0),
                quantity="the weights' mean rate above the biases'",
            )
            | readings(
                measured.biases_slower, {"corrected": "layers"}, unit="decades",
                quantity="the weights' mean rate above the biases', the least over layers",
                criterion=above(0.0),
            ),
        ),
        Claim(
            "B7-layers",
            "7",
            "Later layers have larger rates.",
            readings(
                measured.later_faster, {"paper": "weights"}, quantity=f"{layers} (weights)",
                criterion=above(0.0), correlation=True,
            )
            | readings(
                measured.later_faster, {"corrected": "both"},
                criterion=above(0.0), correlation=True,
                quantity=f"{layers} (the lesser of weights and biases)",
            ),
        ),
    )  # fmt: skip


def _line_claims() -> tuple[Claim, ...]:
    return (
        Claim(
            "B13-line",
            "13",
            "On the CNN there is a line of fixed points.",
            readings(
                measured.line_of_points, {"paper": "approximate"}, "cnn", **_MOST,
                quantity="the share of meta-seeds whose approximate fixed points have 80% of their "
                "variance along one direction and spread over 1% of the states'",
            )
            | readings(
                measured.line_of_points, {"corrected": "exact"}, "cnn", logarithmic=True,
                quantity="the least |1 − λ| where runs converge", criterion=below(1e-3),
            ),
        ),
        Claim(
            "B13-rate",
            "13",
            "The effective rate changes along it.",
            readings(
                measured.rate_changes_along, _PAPER, "cnn", **_RATIO,
                quantity="the largest rate over the least", criterion=above(2.0),
            ),
        ),
    )  # fmt: skip


def _claim_on_published(name: str) -> Claim:
    chosen: dict[str, Any] = {"over": "optimizer", "chosen": True}
    return Claim(
        f"B-lines-{name}",
        "lines",
        f"{CONTESTANTS[name].words} has a line of fixed points.",
        readings(
            measured.line_of_another, {"paper": "approximate"}, name, **_MOST, **chosen,
            quantity="whether approximate fixed points have 80% of their variance along one "
            "direction and spread over 1% of the states'",
        )
        | readings(
            measured.line_of_another, {"corrected": "exact"}, name, **chosen,
            quantity="the least |1 − λ| where runs end", criterion=below(1e-3),
        ),
        only_with=f"line-{name}",
    )  # fmt: skip


CLAIMS: tuple[Claim, ...] = (
    *(claim for name in TASKS for claim in _performance_claims(name)),
    *(claim for name in _FIRST_THREE for claim in _momentum_claims(name)),
    *_clipping_claims(),
    *(claim for name in TASKS for claim in _schedule_claims(name)),
    *(claim for name in _FIRST_THREE for claim in _adaptation_claims(name)),
    *_group_claims(),
    *_line_claims(),
    *_recovery_claims(),
    *map(_claim_on_published, LASTING),
)
