"""Every quantity of the claims on published optimizers, on records with a known answer."""

import math

import numpy as np
import pytest

from optoscope.papers.published import CLAIMS, CONTESTANTS, TASKS
from optoscope.papers.published import _statistics as statistics
from optoscope.report.papers.published import _quantities as quantities
from support.known_answers import Answer, without_answer

SIZES = np.geomspace(1e-8, 1e2, 11)
STEPS = np.arange(1, 101)


def driven(power, decay=0.0):
    """Updates of size s^power that fall by `decay` decades over the run's ten tenths."""
    fall = 10.0 ** (-decay * STEPS / 100)
    return {"sizes": SIZES, "updates": SIZES[:, None, None] ** power * fall[None, None, :]}


def long(given_back, early=(1.0, 1.0), final=(1.0, 1.0)):
    return {"given_back": np.asarray(given_back), "early": np.asarray(early),
            "final": np.asarray(final)}  # fmt: skip


def inside(drift=0.0, response=1.0, timescales=(0.5,), shares=(1.0,), unrest=0.0):
    found = {"drift": drift, "response": response, "timescales": timescales, "shares": shares}
    return {name: np.asarray(value) for name, value in (found | {"unrest": unrest}).items()}


LONG = {
    "long-home-dm": long([0.5, 0.25], [1.0, 2.0], [0.1, 0.01]),
    "long-home-dm_cl": long([0.0, 0.25], [10.0, 2.0], [0.01, 0.1]),
}
# The slowest mode of the first has a share too small to count.
INSIDE = {
    "inside-dm": inside(0.1, 1.0, [0.9, 0.999], [0.9, 0.01], 1.0),
    "inside-dm_cl": inside(-0.001, 1.0, [0.99, 0.5], [0.5, 0.5], 1e-3),
    "inside-dm_il": inside(0.01, 0.1, [0.9], [1.0], 1.0),
    "inside-dm_cl_il": inside(0.0, 1.0, [0.5, 0.5], [0.01, 0.01], 0.0),
}
PAIRS = (("dm_cl", "dm"), ("dm_il", "dm"), ("dm_cl_il", "dm"), ("absent", "dm"))
# Who drifts more, changes more, forgets sooner, steps more at tiny gradients and ends farther
# from minima gives back more; on the second task the other way round.
ORDERED = {}
for _index, _name in enumerate("abcd"):
    ORDERED |= {
        f"inside-{_name}": inside(
            10.0**_index, 1e4, [1 - 10.0 ** (_index - 4)], unrest=10.0**_index
        ),
        f"driven-{_name}": driven(1 - 0.1 * _index),
        f"curvature-{_name}": {"final_sizes": np.full(3, 10.0 ** (_index - 4))},
        f"long-home-{_name}": long([0.1 * _index]),
        f"long-moons-{_name}": long([0.9 - 0.1 * _index]),
    }
PROBED = {
    "probed-dm": {
        "cosine": [[0.02, -0.04]], "isotropic": [[0.1, 0.1]], "alpha": [[1.9, math.nan]],
        "surrogate": [[1.8, 1.8]], "gradient_alpha": [[1.5, 1.5]],
    }
}  # fmt: skip
FORETOLD = (tuple("abcd"), ("home", "moons", "absent"))
ANSWERS = [
    Answer("gives_back", "", ("home", "dm"), LONG, [0.5, 0.25]),
    Answer("gives_back_less", "", ("home", "dm_cl", "dm"), LONG, [0.5, 0.0]),
    Answer("is_lower", "early", ("home", "dm", "dm_cl"), LONG, [1.0, 0.0]),
    Answer("is_lower", "final", ("home", "dm_cl", "dm"), LONG, [1.0, -1.0]),
    Answer(
        "adapts", "", (("adam", "half", "absent"),),
        {"driven-adam": driven(0.0), "driven-half": driven(0.5)}, [0.0, 0.5],
    ),
    Answer(
        "adapts_more", "", ((("a", "b"),),),
        {"driven-a": driven(0.25), "driven-b": driven(0.75)}, [0.5],
    ),
    # Five decades of gradients: 2.5 of updates to the power of a half.
    Answer(
        "leaves_less", "", ((("a", "b"),),),
        {"driven-a": driven(0.5), "driven-b": driven(0.1)}, [2.0],
    ),
    # The mean over the last tenth of the steps over that of the second.
    Answer("grows", "", ("celo",), {"driven-celo": driven(1.0, 2.0)}, [-1.6]),
    Answer("remembers_longer", "", (PAIRS,), INSIDE, [1.0, 0.0, math.nan]),
    Answer("drifts_less", "", (PAIRS[:2],), INSIDE, [2.0, 0.0]),
    Answer("settles_more", "", (PAIRS,), INSIDE, [3.0, 0.0, 9.0]),
    *(Answer("foretells", measure, FORETOLD, ORDERED, [1.0, -1.0])
      for measure in quantities.MEASURES),
    Answer("breaks_symmetry", "", ("dm",), PROBED, [0.3]),
    Answer("lighter_tails", "paper", ("dm",), PROBED, [0.4]),
    Answer("lighter_tails", "corrected", ("dm",), PROBED, [0.6]),
    Answer(
        "bounded", "", (("dm", "adam"),),
        {"curvature-dm": {"outcomes": ["converges", "limit cycle", "stalls", "diverges"]},
         "curvature-adam": {"outcomes": ["converges"] * 4}},
        [0.75, 1.0],
    ),
    # The median over curvatures; what is nearer than 1e-6 counts as that.
    Answer(
        "ends_nearer", "", ((("a", "b"),),),
        {"curvature-a": {"final_sizes": [1e-9, 1e-9, 1.0]},
         "curvature-b": {"final_sizes": [0.01, 0.1, np.inf]}},
        [5.0],
    ),
]  # fmt: skip


@pytest.mark.parametrize("answer", ANSWERS, ids=str)
def test_known_answers(answer):
    answer.check(statistics)


def test_every_statistic_has_a_known_answer():
    # The first argument of most is empty: there is one protocol.
    assert not without_answer(CLAIMS, ANSWERS)


def test_a_relation_needs_four_optimizers_that_differ():
    names = tuple("abc")
    assert statistics.foretells("drift", names, ("home",), ORDERED).size == 0
    alike = ORDERED | {f"long-home-{name}": long([0.0]) for name in "abcd"}
    assert statistics.foretells("drift", tuple("abcd"), ("home",), alike).size == 0


def test_weights_that_are_missing_give_no_repetition():
    for claim in CLAIMS:
        for reading in claim.readings.values():
            assert np.asarray(reading.statistic({})).size == 0, claim.id


def test_claims_are_about_those_who_take_part():
    known = {*CONTESTANTS, *TASKS, *quantities.MEASURES, "", "paper", "corrected", "early", "final"}

    def names(value):
        return [value] if isinstance(value, str) else [name for one in value for name in names(one)]

    for claim in CLAIMS:
        for reading in claim.readings.values():
            assert set(names(reading.statistic.args)) <= known, claim.id
