"""What paper B says, as data."""

from optoscope.papers._claims import Claim, measures
from optoscope.papers.reverse_engineering import _statistics as measured
from optoscope.papers.reverse_engineering._setting import BASELINES, RECOVERED, TASKS

_WORDS = {
    "regression": "linear regression",
    "rosenbrock": "Rosenbrock",
    "two-moons": "two moons",
    "cnn": "the CNN",
    RECOVERED: "quadratics with known heavy ball",
}
_FIRST_THREE = TASKS[:3]
_REPETITIONS = {"paper": "problem", "corrected": "meta-seed"}
_SHARES = {"paper": "rate", "corrected": "response"}
_STATES = {"paper": "initial", "corrected": "convergence"}
# Where both protocols would read the same, only one is judged.
_PAPER = {"paper": ""}
_CORRECTED = {"corrected": ""}


def _performance_claims(name: str) -> tuple[Claim, ...]:
    return tuple(
        Claim(
            f"B1-{name}-{baseline}",
            "1",
            f"On {_WORDS[name]} the learned optimizer beats tuned {baseline}.",
            measures(measured.beats, {"paper": "difference", "corrected": "ratio"}, name, baseline),
            "(baseline's meta-objective − the best meta-seed's) / the baseline's mean (corrected: "
            "log10 of their ratio, the mean over meta-seeds), a number a problem",
        )
        for baseline in BASELINES
    )


def _momentum_claims(name: str) -> tuple[Claim, ...]:
    words = _WORDS[name]
    return (
        Claim(
            f"B3-converges-{name}",
            "3",
            f"The states of all runs converge ({words}).",
            measures(measured.variance_vanishes, _PAPER, name),
            "log10(largest total variance of states / that at the last step)",
            threshold=1.0,
        ),
        Claim(
            f"B3-one-point-{name}",
            "3",
            f"There is a single fixed point to converge to ({words}).",
            measures(measured.one_attractor, _CORRECTED, name),
            "1.5 − the number of fixed points that are no saddles",
        ),
        Claim(
            f"B3-modes-{name}",
            "3",
            f"One or two modes are responsible for the dynamics ({words}).",
            measures(measured.two_modes_dominate, _SHARES, name),
            "the share of the two largest modes in Σ|α| (corrected: in the impulse response)",
            threshold=0.75,
        ),
        Claim(
            f"B3-timescale-{name}",
            "3",
            f"The dominant mode's timescale is near tuned momentum's ({words}).",
            measures(
                measured.timescale_near_tuned,
                {"paper": "difference", "corrected": "memory"},
                name,
            ),
            "0.1 − |difference of β| (corrected: a factor of 2 − the factor between 1 − β, log10)",
        ),
        Claim(
            f"B3-shift-{name}",
            "3",
            f"Along the slow mode the update function shifts vertically ({words}).",
            measures(measured.shifts_vertically, _SHARES, name),
            "the share of the mean square change that is an offset",
            threshold=0.5,
        ),
    )


def _clipping_claims() -> tuple[Claim, ...]:
    return (
        *(
            Claim(
                f"B4-saturates-{name}",
                "4",
                f"The update function saturates for large gradients ({_WORDS[name]}).",
                measures(measured.bends, _STATES, name),
                "1 − the update at the largest gradients / the linear one",
                threshold=0.1,
            )
            for name in TASKS
        ),
        Claim(
            "B4-stronger",
            "4",
            "Clipping is stronger for Rosenbrock than for linear regression.",
            measures(measured.clips_more, _STATES, "rosenbrock", "regression"),
            "the difference of the shares of met gradients where the update is below half of the "
            "linear one",
        ),
    )


def _schedule_claims(name: str) -> tuple[Claim, ...]:
    words, has = _WORDS[name], name in ("regression", "cnn")
    statistic = measured.has_schedule if has else measured.has_no_schedule
    relation = "log10(largest / least rate without gradients) − log10(1.5)"
    return (
        Claim(
            f"B5-schedule-{name}",
            "5",
            f"There is {'an' if has else 'no'} autonomous learning rate schedule ({words}).",
            measures(statistic, {"paper": "whole", "corrected": "met"}, name),
            (relation if has else f"minus ({relation})")
            + " (corrected: in the first half of the steps)",
        ),
        Claim(
            f"B5-orthogonal-{name}",
            "5",
            f"Autonomous motion is orthogonal to the readout ({words}).",
            measures(measured.silent, {"paper": "alignment", "corrected": "drift"}, name),
            "|cos| of a random direction − the motion's (corrected: log10(updates in runs / the "
            "drift) − 1)",
        ),
    )


def _adaptation_claims(name: str) -> tuple[Claim, ...]:
    words = _WORDS[name]
    return (
        Claim(
            f"B6-falls-{name}",
            "6",
            f"The effective rate falls along both arms of the S-curve ({words}).",
            measures(
                measured.falls_along_arms, {"paper": "rates", "corrected": "gains"}, name
            ),
            "minus the rank correlation of the rate and |g| on the weaker arm",
            threshold=0.5,
        ),
        Claim(
            f"B6-lowest-{name}",
            "6",
            f"The lowest rate on the S-curve is near tuned momentum's ({words}).",
            measures(
                measured.lowest_rate_near_tuned,
                {"paper": "slope", "corrected": "lasting"},
                name,
            ),
            "log10 of (a factor of 2 / the factor between them) (corrected: −Δ(g)/g and α/(1 − β))",
        ),
    )  # fmt: skip


def _recovery_claims() -> tuple[Claim, ...]:
    name = RECOVERED
    return (
        Claim(
            "B14-component",
            "14",
            "A single principal component explains nearly all variance of the states.",
            measures(measured.one_component, _PAPER, name),
            "its share − 0.9",
        ),
        Claim(
            "B14-one-mode",
            "14",
            "A single mode stands out.",
            measures(measured.one_mode, _SHARES, name),
            "its share in Σ|α| (corrected: in the impulse response)",
            threshold=0.75,
        ),
        Claim(
            "B14-timescale",
            "14",
            "Its timescale matches tuned momentum's.",
            measures(
                measured.timescale_near_tuned,
                {"paper": "difference", "corrected": "memory"},
                name,
            ),
            "0.1 − |difference of β| (corrected: a factor of 2 − the factor between 1 − β, log10)",
        ),
        Claim(
            "B14-rate",
            "14",
            "Its learning rate matches momentum's.",
            measures(
                measured.rate_near_tuned, {"paper": "tuned", "corrected": "optimum"}, name
            ),
            "log10 of (a factor of 2 / the factor between them) (corrected: to the analytic "
            "optimum)",
        ),
        Claim(
            "B14-alone",
            "14",
            "That mode running alone matches the learned optimizer.",
            measures(measured.as_good_as, _REPETITIONS, name, "one-mode", "learned"),
            "0.1 − |its meta-objective / the learned one's − 1|",
        ),
        Claim(
            "B14-momentum",
            "14",
            "The learned optimizer performs as well as tuned momentum.",
            measures(measured.as_good_as, _REPETITIONS, name, "learned", "momentum"),
            "0.1 − |its meta-objective / momentum's − 1|",
        ),
        Claim(
            "B15-approaches",
            "15",
            "In meta-training the mode approaches heavy ball's optimum.",
            measures(measured.approaches, {"paper": "optimum", "corrected": "tuned"}, name),
            "by how many decades (α, 1 − β) come nearer (corrected: to tuned momentum)",
        ),
    )  # fmt: skip


CLAIMS: tuple[Claim, ...] = (
    *(claim for name in TASKS for claim in _performance_claims(name)),
    *(claim for name in _FIRST_THREE for claim in _momentum_claims(name)),
    *_clipping_claims(),
    *(claim for name in TASKS for claim in _schedule_claims(name)),
    *(claim for name in _FIRST_THREE for claim in _adaptation_claims(name)),
    Claim(
        "B7-separated",
        "7",
        "State trajectories are separated by layer and type.",
        measures(measured.groups_separate, _CORRECTED),
        "log10(variance between layers and types / what single runs would make)",
    ),
    Claim(
        "B7-biases",
        "7",
        "Biases have lower rates than weights.",
        measures(measured.biases_slower, {"paper": "mean", "corrected": "layers"}),
        "log10(weights' mean rate / biases') (corrected: the least over layers)",
    ),
    Claim(
        "B7-layers",
        "7",
        "Later layers have larger rates.",
        measures(measured.later_faster, {"paper": "weights", "corrected": "both"}),
        "the rank correlation of layer and mean rate, of weights (corrected: and of biases)",
    ),
    Claim(
        "B13-line",
        "13",
        "On the CNN there is a line of fixed points.",
        measures(measured.line_of_points, {"paper": "approximate", "corrected": "exact"}, "cnn"),
        "the lesser of their share along one direction − 0.8 and log10(their spread / 1% of the "
        "states') (corrected: log10(1e-3 / the least |1 − λ|))",
    ),
    Claim(
        "B13-rate",
        "13",
        "The effective rate changes along it.",
        measures(measured.rate_changes_along, _PAPER, "cnn"),
        "log10(the largest rate / the least)",
        threshold=measured.NEAR,
    ),
    *_recovery_claims(),
)
