"""Every quantity of paper C's claims on records with a known answer."""

import math

import numpy as np
import pytest

from optoscope.papers.stability import CLAIMS
from optoscope.papers.stability import _statistics as statistics
from optoscope.papers.stability._unseen import FIGURE_4
from support.known_answers import Answer, without_answer

EXAMPLES = {
    "examples/before": [[3.0 + 2j, 3.0 - 2j], [2.0, 1.5]],
    "examples/nominal": [[2.0 + 1j, 2.0 - 1j], [1.0, 0.5]],
    "examples/weight decay": [[2.0, 2.0], [1.5, 1.25]],
    "examples/all": [[0.5, 0.9j], [1.2, 0.1]],
}
# At the second length every α helps by three decades; the end of the range is outside.
VARIANCE = {
    "nominals": [0.0, 0.25, 0.5, 0.75, 1.0],
    "limit": 1.0,
    "repeats/trace_variance": [[[1.0, 1.0], [0.1, 1e-3], [0.01, 1e-3], [10.0, 1e-3], [1e9, 1.0]]],
}
TRAINING = {
    "expected_loss": [[[9.0, 8.0, 7.0]], [[9.0, 1.05, 1.0]], [[9.0, 9.0, 1.0]]],
    "steps": [0, 100, 1000],
    # (α, seeds, steps, eigenvalues)
    "magnitudes": [[[[1.0, 0.5], [1.0, 0.5]]], [[[0.9, 0.5], [0.7, 0.5]]],
                   [[[0.5, 0.1], [0.9, 0.1]]]],
}  # fmt: skip
META = {
    "training-mlp-a": {
        "steps": [0, 1, 2], "held_out": [[2.0, 1.0, 1.0], [2.0, 1.0, 0.0]], "maximum": 3.0,
        "report_steps": [0, 2], "meta_loss": [[1.0, 1.0], [1.0, np.nan]],
    },
    "training-mlp-b": {
        "steps": [0, 1, 2], "held_out": [[2.0, 2.0, 1.0], [2.0, 1.5, 2.0]], "maximum": 3.0,
        "report_steps": [0, 2], "meta_loss": [[2.0, 4.0], [2.0, 2.0]],
    },
}  # fmt: skip
# Two meta-seeds, two runs, two multiples of the horizon.
FAR = {
    "far-mlp-a": {
        "at_horizon": [[0.1, 0.3], [0.2, 0.2]],
        "at_multiples": [[[0.2, 1.0], [0.2, 3.0]], [[0.4, 0.1], [0.4, 0.3]]],
        "diverged": [[[False, True], [True, True]], [[False, False], [False, True]]],
    },
    # An arm of fewer meta-seeds is paired as far as it goes.
    "far-mlp-b": {
        "at_horizon": [[0.4, 0.2]],
        "at_multiples": [[[0.5, 2.0], [0.1, 4.0]]],
        "diverged": [[[False, False], [False, False]]],
    },
}
UNSEEN = {
    f"unseen-{FIGURE_4[0]}": {
        "guess": 2.0, "initial": [2.0, 2.0],
        "star/final": [[0.1, 0.3], [0.6, 0.6]], "star/diverged": np.zeros((2, 2), bool),
        # What is lost counts as one and a half times what guessing costs.
        "blackbox/final": [[np.inf, 1.0], [8.0, 2.0]],
        "blackbox/diverged": [[True, False], [True, False]],
        "adam/final": [[0.4, 0.4]], "adam/diverged": np.zeros((1, 2), bool),
    },
    f"unseen-{FIGURE_4[1]}": {
        "guess": 1.0, "initial": [4.0, 4.0],
        "star/final": [[0.4, 0.4], [0.3, 0.3]], "star/diverged": np.zeros((2, 2), bool),
        "blackbox/final": [[0.5, 0.5], [0.5, 0.5]], "blackbox/diverged": np.zeros((2, 2), bool),
        "adam/final": [[0.1, 0.1]], "adam/diverged": np.zeros((1, 2), bool),
    },
}  # fmt: skip

ANSWERS = [
    *(
        Answer(
            "within_circle", kind, (),
            {"bounds": {f"{kind}/radius": [[0.9, 1.2], [1.0, 1 + 1e-12]]}},
            [False, True, False, False],
        )
        for kind in ("theorem-real", "theorem-symmetric", "lemma-2", "lemma-3")
    ),
    Answer(
        "moves_left", "", (),
        {"eigenvalues": {"examples/before": [[3.0, 1.0], [1.0, 1.0]],
                         "examples/nominal": [[2.0, 1.5], [0.5, 1.5]]}},
        [True, False],
    ),
    # Only the first example has an imaginary part that could go.
    Answer("nearer_real_line", "", (), {"eigenvalues": EXAMPLES}, [0.5]),
    Answer("pulled_to_one", "", (), {"eigenvalues": EXAMPLES}, [8**0.5 - 1, 0.375]),
    Answer("all_inside", "mean", (), {"eigenvalues": EXAMPLES}, [0.9, 1.2]),
    Answer("all_inside", "share", (), {"eigenvalues": EXAMPLES}, [True, False]),
    Answer("lowers_variance", "half", (), {"meta-gradient-variance": VARIANCE}, [1.5]),
    Answer("lowers_variance", "whole", (), {"meta-gradient-variance": VARIANCE}, [2 / 3]),
    Answer("lowers_variance", "worst", (), {"meta-gradient-variance": VARIANCE}, [-1.0]),
    Answer("enters_circle", "mean", (), {"quadratic-meta-training": TRAINING}, [0.8]),
    Answer("enters_circle", "worst", (), {"quadratic-meta-training": TRAINING}, [0.9]),
    Answer("smaller_eigenvalues", "end", (), {"quadratic-meta-training": TRAINING}, [0.1]),
    Answer("smaller_eigenvalues", "mean", (), {"quadratic-meta-training": TRAINING}, [0.3]),
    # α = 0 never arrives: its meta-steps count as all there were.
    Answer("sooner", "best", (), {"quadratic-meta-training": TRAINING}, [1.0]),
    Answer("sooner", "worst", (), {"quadratic-meta-training": TRAINING}, [0.0]),
    Answer("under_a_thousand", "", (), {"quadratic-meta-training": TRAINING}, [100.0]),
    Answer("trains_faster", "held_out", ("mlp", "a", "b"), META, [0.5, 0.75]),
    # What is not finite counts as the largest loss.
    Answer("trains_faster", "meta_loss", ("mlp", "a", "b"), META, [2.0, 0.0]),
    Answer("trains_better", "last", ("mlp", "a", "b"), META, [0.0, 2.0]),
    Answer("trains_better", "least", ("mlp", "a", "b"), META, [0.0, 1.5]),
    Answer("lost", "run", (0, "mlp", "a"), FAR, [[False, True], [False, False]]),
    Answer("lost", "run", (-1, "mlp", "a"), FAR, [[True, True], [False, True]]),
    Answer("lost", "rise", (0, "mlp", "a"), FAR, [1.0, 2.0]),
    Answer("lost", "rise", (-1, "mlp", "a"), FAR, [10.0, 1.0]),
    Answer("less_loss", "run", (None, "mlp", "a", "b"), FAR, [0.3, -0.1]),
    Answer("less_loss", "run", (-1, "mlp", "a", "b"), FAR, [1.0, 1.0]),
    Answer("less_loss", "seed", (None, "mlp", "a", "b"), FAR, [0.1]),
    Answer("less_loss", "seed", (0, "mlp", "a", "b"), FAR, [0.1]),
    # The range of a goes from 0.2 to 2.9, of b from 0.2 to 2; a third arm was not measured.
    Answer("spread_grows", "", ("mlp", ("a", "b", "c")), FAR, [math.log10(14.5), 1.0]),
    Answer(
        "unseen_lost", "diverged", ("4", "blackbox"), UNSEEN,
        [[True, False, False, False], [True, False, False, False]],
    ),
    # To end where it started is no fall.
    Answer(
        "unseen_lost", "rise", ("4", "blackbox"), UNSEEN,
        [[True, False, False, False], [True, True, False, False]],
    ),
    # Per task 1 / 0.1 and 4 / 0.4, then 1 / 0.3 and 4 / 0.3.
    Answer("unseen_falls", "", ("4", "star"), UNSEEN, [10.0, (4 / 0.09) ** 0.5]),
    Answer("unseen_difference", "best", ("4", "star", "blackbox"), UNSEEN, [0.1 - 1.5, 0.3 - 0.5]),
    Answer(
        "unseen_difference", "mean", ("4", "star", "blackbox"), UNSEEN,
        [(0.1 - 1.0 + 0.4 - 0.5) / 2, (0.3 - 1.25 + 0.3 - 0.5) / 2],
    ),
    # A tuned baseline is one optimizer.
    Answer(
        "unseen_difference", "mean", ("4", "star", "adam"), UNSEEN,
        [(0.1 - 0.2 + 0.4 - 0.1) / 2, (0.3 - 0.2 + 0.3 - 0.1) / 2],
    ),
    Answer(
        "more_curvature", "", ((0.5, 0.9),),
        {"stable-curvature": {"sgd/intervals": [[0.0, 20.0]],
                              "momentum-0.5/intervals": [[0.0, 30.0], [40.0, 41.0]],
                              "momentum-0.9/intervals": [[0.0, 10.0]]}},
        [1.5, 0.5],
    ),
]  # fmt: skip


@pytest.mark.parametrize("answer", ANSWERS, ids=str)
def test_known_answers(answer):
    answer.check(statistics)


def test_every_statistic_has_a_known_answer():
    assert not without_answer(CLAIMS, ANSWERS)


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
def test_what_a_scale_leaves_out_gives_no_repetition(claim):
    if claim.figure in ("1", "2", "joint-stability"):
        return
    for reading in claim.readings.values():
        assert np.asarray(reading.statistic({})).size == 0
