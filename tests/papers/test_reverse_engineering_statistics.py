"""Every quantity of paper B's claims on records with a known answer."""

import math

import numpy as np
import pytest

from optoscope.papers.reverse_engineering import CLAIMS
from optoscope.papers.reverse_engineering import _statistics as statistics
from support.known_answers import Answer, without_answer

GRADIENTS = np.array([-1.0, -0.5, -0.1, 0.0, 0.1, 0.5, 1.0])
FALLING = 1 / (1 + np.abs(GRADIENTS))
# Rising on one of the arms only.
TORN = np.where(GRADIENTS > 0, -FALLING, FALLING)
MODES = {
    "timescales": [[0.5 + 0.5j, 0.5 - 0.5j, 0.9, 0.1]],
    "learning_rates": [[1 + 1j, 1 - 1j, 0.5, 0.5]],
    "shares": [[0.3, 0.3, 0.35, 0.05]],
}
TUNED = {"momentum/best/momentum": 0.5, "momentum/best/learning_rate": 0.1}
OBJECTIVES = {
    "best": 1,
    "learned/objective": [[4.0, 4.0], [1.0, 3.0]],
    "momentum/objective": [[2.0, 6.0]],
    "momentum/losses": np.ones((1, 2, 3)),
}
# Two modes: along the first the function shifts, along the second it only turns.
SHIFT = [[1.0, 0.0, -1.0], [3.0, 2.0, 1.0], [5.0, 4.0, 3.0]]
TURN = [[2.0, 0.0, -2.0], [1.0, 0.0, -1.0], [3.0, 0.0, -3.0]]
SLOW = {"mode_updates": [[SHIFT, TURN]], "learning_rates": [[0.1, 2.0]], "mode_index": [[0, 1]]}
GROUPS = {
    "types": ["weights", "bias", "weights", "bias", "weights", "bias"],
    "layers": [0, 0, 1, 1, 2, 2],
    # The first step does not count.
    "rates": np.array([1.0, 0.1, 10.0, 0.01, 100.0, 1.0])[None, :, None] * [9e9, 0.5, 1.5],
}
# Two checkpoints: the first mode's rate goes from 1 to 0.1.
LEARNING = {
    "optimum": [0.1, 0.9],
    "learning_rates": [[[1.0, 7.0], [0.1, 7.0]], [[np.nan, 7.0], [0.1, 7.0]]],
    "timescales": [[[0.9, 0.1], [0.9, 0.1]], [[np.nan, 0.1], [0.9, 0.1]]],
}

ANSWERS = [
    Answer("beats", "difference", ("x", "momentum"), {"performance-x": OBJECTIVES}, [0.25, 0.75]),
    Answer(
        "beats", "ratio", ("x", "momentum"), {"performance-x": OBJECTIVES},
        [0.0, math.log10(6 / 12**0.5)],
    ),
    # How far a baseline diverges does not count, only that it does.
    Answer(
        "beats", "ratio", ("x", "momentum"),
        {"performance-x": {"learned/objective": [[0.1, 1.0]],
                           "momentum/objective": [[1e20, np.inf]],
                           "momentum/losses": np.ones((1, 2, 3))}},
        [2.0, 1.0],
    ),
    Answer(
        "variance_vanishes", "", ("x",), {"fixed-points-x": {"variance": [[np.nan, 10.0, 0.1]]}},
        [2.0],
    ),
    Answer(
        "one_attractor", "", ("x",), {"fixed-points-x": {"attracting": [1, 2, 0]}},
        [True, False, False],
    ),
    # The pair counts as one mode.
    Answer("two_modes_dominate", "response", ("x",), {"fixed-points-x": MODES}, [0.95]),
    Answer(
        "two_modes_dominate", "rate", ("x",), {"fixed-points-x": MODES},
        [(2 * 2**0.5 + 0.5) / (2 * 2**0.5 + 1)],
    ),
    Answer(
        "timescale_near_tuned", "difference", ("x",), {"fixed-points-x": MODES, "tuned-x": TUNED},
        [0.5**0.5 - 0.5],
    ),
    Answer(
        "timescale_near_tuned", "memory", ("x",), {"fixed-points-x": MODES, "tuned-x": TUNED},
        [2 * (1 - 0.5**0.5)],
    ),
    Answer("shifts_vertically", "rate", ("x",), {"fixed-points-x": SLOW}, [0.0]),
    Answer("shifts_vertically", "response", ("x",), {"fixed-points-x": SLOW}, [1.0]),
    # A slope of the other sign is no clipping.
    Answer(
        "bends", "initial", ("x",),
        {"clipping-x": {"grid": [[-1.0, 0.0, 1.0]] * 2, "linear_rate": [1.0, -1.0],
                        "initial_updates": [[0.6, 0.0, -0.6]] * 2}},
        [0.4, np.nan],
    ),
    Answer(
        "bends", "convergence", ("x",),
        {"clipping-x": {"grid": [[-1.0, 0.0, 1.0]], "convergence_linear_rate": [0.8],
                        "convergence_updates": [[0.2, 0.0, -0.2]]}},
        [0.75],
    ),
    Answer(
        "clips_more", "initial", ("x", "y"),
        {"clipping-x": {"saturated": [0.3, 0.2, 0.5]}, "clipping-y": {"saturated": [0.1, 0.1]}},
        [0.2, 0.1],
    ),
    Answer(
        "clips_more", "convergence", ("x", "y"),
        {"clipping-x": {"convergence_saturated": [0.4]},
         "clipping-y": {"convergence_saturated": [0.5]}},
        [-0.1],
    ),
    # A rate that falls below zero has changed by any factor.
    Answer(
        "schedule_range", "whole", ("x",),
        {"schedule-x": {"rates": [[1.0, 2.0, 4.0, 8.0], [1.0, 1.0, -1.0, 1.0]]}}, [8.0, 1e6],
    ),
    Answer(
        "schedule_range", "met", ("x",),
        {"schedule-x": {"rates": [[1.0, 2.0, 4.0, 8.0], [1.0, 1.0, -1.0, 1.0]]}}, [2.0, 1.0],
    ),
    Answer(
        "silent", "alignment", ("x",),
        {"schedule-x": {"alignment": [[np.nan, 0.1, 0.3]], "chance": 0.4}}, [0.5],
    ),
    Answer(
        "silent", "drift", ("x",),
        {"schedule-x": {"drift": [[0.1, -0.2]], "update_scale": [2.0]}}, [0.1],
    ),
    *(
        Answer(
            "falls_along_arms", read, ("x",),
            {"adaptation-x": {"gradients": GRADIENTS, read: [FALLING, -FALLING, TORN]}},
            [-1.0, 1.0, 1.0],
        )
        for read in ("rates", "gains")
    ),
    Answer(
        "lowest_rate_near_tuned", "slope", ("x",),
        {"adaptation-x": {"rates": [[0.5, 0.2, np.nan]]}, "tuned-x": TUNED}, [2.0],
    ),
    Answer(
        "lowest_rate_near_tuned", "lasting", ("x",),
        {"adaptation-x": {"rates": [[1.0, 1.0]], "gains": [[0.9, 0.4]]}, "tuned-x": TUNED}, [2.0],
    ),
    Answer("groups_separate", "", (), {"groups-cnn": {"separation": [10.0]}}, [1.0]),
    Answer("biases_slower", "mean", (), {"groups-cnn": GROUPS}, [math.log10(111 / 1.11)]),
    Answer("biases_slower", "layers", (), {"groups-cnn": GROUPS}, [1.0]),
    Answer("later_faster", "weights", (), {"groups-cnn": GROUPS}, [1.0]),
    # Ranks 2, 1, 3 against 1, 2, 3.
    Answer("later_faster", "both", (), {"groups-cnn": GROUPS}, [0.5]),
    Answer(
        "line_of_points", "approximate", ("cnn",),
        {"manifold-cnn": {"explained": [0.9, 0.7, 0.9], "spread": [0.1, 0.1, 0.001]}},
        [True, False, False],
    ),
    Answer(
        "line_of_points", "exact", ("cnn",), {"fixed-points-cnn": {"timescales": [[0.5, 0.99]]}},
        [0.01],
    ),
    Answer(
        "line_of_another", "approximate", ("x",),
        {"line-x": {"explained": 0.9, "spread": 0.001}}, [False],
    ),
    Answer(
        "line_of_another", "exact", ("x",), {"line-x": {"eigenvalues": [0.5, 0.99 + 0j]}}, [0.01]
    ),
    Answer("rate_changes_along", "", ("cnn",), {"manifold-cnn": {"rates": [[1.0, 4.0, 2.0]]}}, [4]),
    Answer("one_component", "", ("x",), {"fixed-points-x": {"pca_explained": [[0.9, 0.1]]}}, [0.9]),
    Answer(
        "one_mode", "rate", ("x",), {"fixed-points-x": {"learning_rates": [[0.5, -1.5]]}}, [0.75]
    ),
    Answer("one_mode", "response", ("x",), {"fixed-points-x": MODES}, [0.35]),
    Answer(
        "rate_near_tuned", "tuned", ("x",),
        {"fixed-points-x": {"learning_rates": [[-0.3, 9.0]]}, "tuned-x": TUNED}, [3.0],
    ),
    Answer(
        "rate_near_tuned", "optimum", ("x",),
        {"fixed-points-x": {"learning_rates": [[-0.3, 9.0]]},
         "tuned-x": TUNED | {"optimum": [0.6, 0.9]}},
        [0.5],
    ),
    Answer(
        "as_good_as", "problem", ("x", "learned", "momentum"), {"performance-x": OBJECTIVES},
        [0.5, 0.5],
    ),
    Answer(
        "as_good_as", "meta-seed", ("x", "learned", "momentum"), {"performance-x": OBJECTIVES},
        [0.0, 0.5],
    ),
    Answer(
        "as_good_as", "meta-seed", ("x", "learned", "momentum"),
        {"performance-x": {"learned/objective": [[1.0]], "momentum/objective": [[-1.0]]}},
        [np.nan],
    ),
    Answer("approaches", "optimum", ("x",), {"meta-training-x": LEARNING}, [1.0, np.nan]),
    Answer(
        "approaches", "tuned", ("x",),
        {"meta-training-x": LEARNING,
         "tuned-x": {"momentum/best/momentum": 0.9, "momentum/best/learning_rate": 1.0}},
        [-1.0, np.nan],
    ),
]  # fmt: skip


@pytest.mark.parametrize("answer", ANSWERS, ids=str)
def test_known_answers(answer):
    answer.check(statistics)


def test_every_statistic_has_a_known_answer():
    assert not without_answer(CLAIMS, ANSWERS)
