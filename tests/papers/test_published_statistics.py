"""Every quantity of the claims on published optimizers, on records with a known answer."""

import math

import numpy as np
import pytest

from optoscope.papers.published import CLAIMS, CONTESTANTS
from optoscope.papers.published import _statistics as statistics
from support.known_answers import Answer, without_answer

SIZES = np.geomspace(1e-4, 1e2, 13)
STEPS = np.arange(1, 101)


def driven(power, decay=0.0):
    """Updates of size s^power that fall by `decay` decades over the run's ten tenths."""
    fall = 10.0 ** (-decay * STEPS / 100)
    return {"sizes": SIZES, "updates": SIZES[:, None, None] ** power * fall[None, None, :]}


def long(least, last):
    return {"least": np.asarray(least), "last": np.asarray(last)}


def inside(drift, response, timescales, shares):
    return {"drift": drift, "response": response, "timescales": np.asarray(timescales),
            "shares": np.asarray(shares)}  # fmt: skip


LONG = {
    "long-home-dm": long([0.1, 0.1], [1.0, 0.2]),
    "long-home-dm_cl": long([0.1, 0.2], [0.1, 0.2]),
    "long-home-gone": long([0.1], [np.inf]),
}
# The quickest mode has a share too small to count.
INSIDE = {
    "inside-dm": inside(0.1, 1.0, [0.9, 0.999], [0.9, 0.01]),
    "inside-dm_cl": inside(-0.001, 1.0, [0.99, 0.5], [0.5, 0.5]),
    "inside-dm_il": inside(0.01, 0.1, [0.9], [1.0]),
    "inside-dm_cl_il": inside(0.0, 1.0, [0.5, 0.5], [0.01, 0.01]),
}
# Rises of 1, 0.5, 0 and −0.1 decades, in the order of their drifts.
ORDERED = {
    "inside-a": inside(0.4, 1.0, [0.5], [1.0]), "long-home-a": long([0.1], [1.0]),
    "inside-b": inside(0.3, 1.0, [0.9], [1.0]), "long-home-b": long([1.0], [10**0.5]),
    "inside-c": inside(0.2, 1.0, [0.99], [1.0]), "long-home-c": long([1.0], [1.0]),
    "inside-d": inside(0.1, 1.0, [0.999], [1.0]), "long-home-d": long([1.0], [10**-0.1]),
}  # fmt: skip
PROBED = {
    "probed-dm": {
        "cosine": [[0.02, 0.04]], "isotropic": [[0.1, 0.1]], "alpha": [[1.9, 1.7]],
        "surrogate": [[1.8, 1.8]], "gradient_alpha": [[1.5, 1.5]],
    }
}  # fmt: skip
ANSWERS = [
    Answer("rises", "", ("home", "dm"), LONG, [1.0, math.log10(2)]),
    Answer("rises", "", ("home", "gone"), LONG, [math.inf]),
    Answer("rises_less", "", ("home", "dm_cl", "dm"), LONG, [1.0, math.log10(2)]),
    Answer("ends_lower", "", ("home", "dm_cl", "dm"), LONG, [1.0, 0.0]),
    Answer(
        "adapts", "", (("adam", "half", "absent"),),
        {"driven-adam": driven(0.0), "driven-half": driven(0.5)}, [0.0, 0.5],
    ),
    # The mean over the last tenth of the steps over that of the second.
    Answer("shrinks", "", ("celo",), {"driven-celo": driven(1.0, 2.0)}, [-1.6]),
    Answer(
        "remembers_longer", "", ((("dm_cl", "dm"), ("dm_il", "dm"), ("dm_cl_il", "dm")),),
        INSIDE, [1.0, 0.0, math.nan],
    ),
    Answer("drifts_less", "", ((("dm_cl", "dm"), ("dm_il", "dm")),), INSIDE, [2.0, 0.0]),
    Answer("foretells", "drift", (("a", "b", "c", "d"), ("home", "absent")), ORDERED, [1.0]),
    Answer("foretells", "memory", (("a", "b", "c", "d"), ("home",)), ORDERED, [1.0]),
    Answer("breaks_symmetry", "", ("dm",), PROBED, [0.3]),
    Answer("lighter_tails", "paper", ("dm",), PROBED, [0.3]),
    Answer("lighter_tails", "corrected", ("dm",), PROBED, [0.5]),
    Answer(
        "bounded", "", (("dm", "adam"),),
        {"curvature-dm": {"outcomes": ["converges", "limit cycle", "stalls", "diverges"]},
         "curvature-adam": {"outcomes": ["converges"] * 4}},
        [0.75, 1.0],
    ),
]  # fmt: skip


@pytest.mark.parametrize("answer", ANSWERS, ids=str)
def test_known_answers(answer):
    answer.check(statistics)


def test_every_statistic_has_a_known_answer():
    # The first argument of most is empty: there is one protocol.
    assert not without_answer(CLAIMS, ANSWERS)


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
def test_weights_that_are_missing_give_no_repetition(claim):
    for reading in claim.readings.values():
        assert np.asarray(reading.statistic({})).size == 0


def test_claims_are_about_those_who_take_part():
    for claim in CLAIMS:
        for reading in claim.readings.values():
            for argument in reading.statistic.args:
                for name in argument if isinstance(argument, tuple) else (argument,):
                    if isinstance(name, str) and name.startswith(("dm", "rnnprop", "celo")):
                        assert name in CONTESTANTS
