"""Every quantity of paper A's claims on records with a known answer."""

import math

import numpy as np
import pytest

from optoscope.papers.symmetry_and_noise import CLAIMS
from optoscope.papers.symmetry_and_noise import _statistics as statistics
from support.known_answers import Answer, without_answer

DEVIATIONS = ("sum_abs", "signed", "cosine")
TAILS = ("paper", "released", "corrected")
BASELINES = ("momentum", "adam", "lion")


def runs(*means):
    """(meta-seeds, runs, steps) with these means over runs and steps."""
    return np.asarray(means, float)[:, None, None] * np.array([[0.5, 1.5], [1.0, 1.0]])


def over_values(*rows):
    """(values, meta-seeds, runs, steps) with these means, a row a value."""
    return np.asarray(rows, float)[:, :, None, None] * np.array([[0.5, 1.5], [1.0, 1.0]])


def course(first, last):
    """Twenty steps: the first tenth, something in between, the second half."""
    return [first] * 2 + [7.0] * 8 + [last] * 10


def alphas(*means):
    """(repetitions, measurements); one that could not be measured counts for nothing."""
    return np.asarray(means, float)[:, None] + np.array([-0.1, 0.1, np.nan])


BINS = [[0.01, 0.1, 1.0]]

ANSWERS = [
    Answer(
        "faster", "losses", ("x",),
        {"deviations-x": {"momentum/losses": runs(1.0), "adam/losses": runs(10.0),
                          "lion/losses": runs(100.0), "lstm/losses": runs(0.1, 0.2)}},
        [1.0, math.log10(5)],
    ),
    *(
        answer
        for read in DEVIATIONS
        for answer in (
            Answer(
                "above_baselines", read, ("x",),
                {"deviations-x": {f"momentum/{read}": runs(0.1), f"adam/{read}": runs(0.01),
                                  f"lstm/{read}": runs(1.0, 10.0)}},
                [1.0, 2.0],
            ),
            Answer(
                "largest_early", read, ("x",),
                {"deviations-x": {f"lstm/{read}": [[course(100, 10)] * 2, [course(1, 100)] * 2]}},
                [1.0, -2.0],
            ),
            Answer(
                "lion_grows", read, ("x",),
                {"deviations-x": {f"lion/{read}": [[course(1, 100), course(5, 5)]]}},
                [2.0, 0.0],
            ),
            Answer(
                "deviates_less_in_order", read, ("p",),
                {"p": {read: over_values([100, 100], [10, 1000], [1, 1])}},
                [1.0, -1.0],
            ),
            Answer(
                "rises_with_lion", read, (),
                {"lion-sgd": {read: np.array([[100.0, 100], [10, 1000], [1, 1]])[..., None]}},
                [1.0, -1.0],
            ),
            Answer(
                "above_baselines_throughout", read, ("p",),
                {"p": {f"lstm/{read}": over_values([100], [10]),
                       f"momentum/{read}": over_values([1], [1]),
                       f"adam/{read}": over_values([0.1], [10**0.5])}},
                [0.5],
            ),
            Answer(
                "another_above_baselines", read, ("rnn",),
                {"deviations-leaky-relu": {f"momentum/{read}": runs(0.1),
                                           f"adam/{read}": runs(0.01)},
                 "deviations-leaky-relu-rnn": {f"rnn/{read}": runs(1.0, 0.1)}},
                [1.0, 0.0],
            ),
        )
    ),
    Answer(
        "slower_at_most", "losses", ("p",),
        {"p": {"losses": over_values([1, 1], [10, 100], [100, 10])}}, [2.0, 1.0],
    ),
    Answer(
        "slower_in_order", "losses", ("p",),
        {"p": {"losses": over_values([1, 1], [10, 100], [100, 10])}}, [1.0, -1.0],
    ),
    Answer(
        "improves_with_lion", "losses", (),
        {"lion-sgd": {"losses": np.array([[1.0, 1], [10, 0.1], [100, 100]])[..., None]}},
        [1.0, -1.0],
    ),
    # On the other meta-seed another β is best; each seed's own best would give 2.
    Answer(
        "sweet_spot", "losses", (),
        {"sweep-beta": {"losses": over_values([1, 1], [0.1, 0.01], [0.01, 0.1])}}, [1.0, 1.0],
    ),
    *(
        Answer(
            "heavy_gradients", read, ("x",),
            {"noise-x": {f"lstm/gradient/{read}/alpha": alphas(1.3, 1.5)}}, [1.3, 1.5],
        )
        for read in ("paper", "released")
    ),
    Answer(
        "heavy_gradients", "corrected", ("x",),
        {"noise-x": {"lstm/gradient/corrected/alpha": alphas(1.3, 1.5),
                     "lstm/gradient/corrected/surrogate_alpha": alphas(2.0, 1.4)}},
        [0.7, -0.1],
    ),
    *(
        answer
        for read in TAILS
        for answer in (
            Answer(
                "lighter_than_gradients", read, ("x",),
                {"noise-x": {f"lstm/update/{read}/alpha": alphas(1.8),
                             f"lstm/gradient/{read}/alpha": alphas(1.3)}},
                [0.5],
            ),
            Answer(
                "lighter_than_baselines", read, ("x",),
                {"noise-x": {f"lstm/update/{read}/alpha": alphas(1.8, 1.5),
                             f"momentum/update/{read}/alpha": alphas(1.2),
                             f"adam/update/{read}/alpha": alphas(1.6)}},
                [0.2, -0.1],
            ),
            Answer(
                "alpha_falls_late", read, ("x",),
                {"noise-x": {f"lstm/update/{read}/alpha": [[1.8, 1.8, 1.5, 1.2]],
                             "lstm/steps": [[0, 5, 10, 15]], "lstm/losses": np.ones((1, 20))}},
                [0.5],
            ),
            Answer(
                "standardized_is_heavier", read, (),
                {"noise-sigmoid": {f"lstm/gradient/{read}/alpha": alphas(1.5)},
                 "noise-sigmoid-standardized": {f"lstm/gradient/{read}/alpha": alphas(1.2)}},
                [0.3],
            ),
            Answer(
                "another_lighter_than_gradients", read, ("rnn",),
                {"noise-leaky-relu-rnn": {f"rnn/update/{read}/alpha": alphas(1.7),
                                          f"rnn/gradient/{read}/alpha": alphas(1.2)}},
                [0.5],
            ),
        )
    ),
    *(
        Answer(
            "spectrum_in_order", read, ("x",),
            {"noise-x": {f"momentum/covariance/{read}": [[1.0, 1.0]],
                         f"adam/covariance/{read}": [[1.0, 100.0]],
                         f"lion/covariance/{read}": [[1e3, np.nan]],
                         f"lstm/covariance/{read}": [[1e4, 1e4], [1e2, 1e2]]}},
            [1.0, -1.0],
        )
        for read in ("top", "relative_top")
    ),
    # Another optimizer in the place of the learned one, run by run beside the baselines.
    Answer(
        "of_another", "losses", (statistics.faster, "x", "deviations", "dm"),
        {"deviations-x": {f"{name}/losses": runs(1.0) for name in (*BASELINES, "lstm")},
         "deviations-x-dm": {"dm/losses": [[[0.1, 0.1], [0.01, 0.01]]]}},
        [1.0, 2.0],
    ),
    *(
        Answer(
            "of_another", read, (statistics.above_baselines, "x", "deviations", "dm"),
            {"deviations-x": {f"{name}/{read}": [[[1.0, 3.0], [10.0, 30.0]]]
                              for name in (*BASELINES, "lstm")},
             "deviations-x-dm": {f"dm/{read}": [[[20.0, 20.0], [2.0, 2.0]]]}},
            [1.0, -1.0],
        )
        for read in DEVIATIONS
    ),
    *(
        Answer(
            "of_another", read, (statistics.lighter_than_gradients, "x", "noise", "dm"),
            {"noise-x": {}, "noise-x-dm": {f"dm/update/{read}/alpha": alphas(1.7),
                                           f"dm/gradient/{read}/alpha": alphas(1.2)}},
            [0.5],
        )
        for read in TAILS
    ),
    *(
        Answer(
            "of_another", read, (statistics.spectrum_in_order, "x", "noise", "dm"),
            {"noise-x": {f"{name}/covariance/{read}": [[10.0**place, 10.0**place]]
                         for place, name in enumerate((*BASELINES, "lstm"))},
             "noise-x-dm": {f"dm/covariance/{read}": [[1.0, 1.0]]}},
            [-2.0],
        )
        for read in ("top", "relative_top")
    ),
    # Of twenty steps the middle two and the last two.
    Answer(
        "loss_rises_late", "losses", ("x",),
        {"noise-x": {"lstm/losses": [[9.0] * 9 + [1.0] * 2 + [9.0] * 7 + [10.0] * 2]}}, [1.0],
    ),
    Answer(
        "first_updates_largest", "counts", ("x",),
        {"histograms-x": {"lstm/edges": BINS, "lstm/counts": [[[0, 4], [2, 2], [4, 0]]]}}, [0.5],
    ),
    Answer(
        "later_near_adam", "counts", ("x",),
        {"histograms-x": {"lstm/edges": BINS, "lstm/counts": [[[0, 4], [4, 0]], [[4, 0], [0, 4]]],
                          "adam/edges": BINS, "adam/counts": [[[9, 9], [0, 9]]]}},
        [0.1, 1.0],
    ),
]  # fmt: skip


@pytest.mark.parametrize("answer", ANSWERS, ids=str)
def test_known_answers(answer):
    answer.check(statistics)


def test_every_statistic_has_a_known_answer():
    assert not without_answer(CLAIMS, ANSWERS)


def test_a_sweet_spot_is_chosen_on_other_meta_seeds_alone():
    records = {"sweep-beta": {"losses": over_values([1], [0.1])}}
    np.testing.assert_array_equal(statistics.sweet_spot("losses", records), [np.nan])


def test_what_is_negative_has_no_decades():
    found = statistics._log(np.array([-1.0, 0.0, 10.0]))
    np.testing.assert_array_equal(found, [np.nan, -9.0, 1.0])
