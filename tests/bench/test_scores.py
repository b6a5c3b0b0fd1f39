"""The scores against cases that were computed by hand."""

import dataclasses

import numpy as np
import pytest

from optoscope import bench
from optoscope._core.errors import InvalidValueError

# One task, three runs of four steps, to be read without smoothing.
ADAM = np.array([[8.0, 6.0, 4.0, 2.0]] * 3)
FAST = np.array([[8.0, 4.0, 2.0, 1.0], [8.0, 2.0, 1.0, 1.0], [2.0, 1.0, 1.0, 0.5]])
NEVER = np.array([[8.0, 8.0, 8.0, 8.0]] * 3)
BROKEN = np.array([[8.0, 1.0, np.nan, 1.0]] * 3)


def scores(targets=None, **optimizers):
    losses = {"adam": {"bowl": ADAM}} | {name: {"bowl": one} for name, one in optimizers.items()}
    return bench.score(losses, "adam", targets=targets or {"bowl": 4.0}, decay=0.0)


def test_performance_profile_by_hand():
    # Steps to the target 4: Adam 3, fast 2, 2 and 1.
    found = scores(fast=FAST, never=NEVER)
    assert found["fast"].profile.value == 1.0
    assert found["fast"].reached == 1.0
    # Adam's ratios are 1.5, 1.5 and 3, and a ratio r is worth (4 − r)/3.
    assert found["adam"].profile.value == pytest.approx((2.5 + 2.5 + 1.0) / 9)
    places = np.linspace(1, 4, 61)
    expected = np.where(places >= 3 - 1e-9, 1.0, np.where(places >= 1.5 - 1e-9, 2 / 3, 0.0))
    np.testing.assert_allclose(found["adam"].shares, expected)
    assert found["never"].profile.value == 0.0
    assert found["never"].reached == 0.0
    assert not found["never"].profile.has_ends
    assert not found["never"].shares.any()


def test_the_score_is_the_mean_of_the_profile():
    ratios = bench.step_ratios(np.random.default_rng(0).integers(1, 50, (3, 5, 8)).astype(float))
    places = np.linspace(1, 4, 30_001)
    for one in ratios:
        integral = np.trapezoid(bench.profile(one, places), places) / 3
        assert bench.profile_score(one).value == pytest.approx(integral, abs=1e-4)


def test_a_ratio_above_four_and_a_target_that_nobody_reaches_count_as_never():
    steps = np.array([[10.0, 10.0, np.inf], [40.0, 41.0, np.inf]])
    np.testing.assert_array_equal(
        bench.step_ratios(steps), [[1.0, 1.0, np.inf], [4.0, np.inf, np.inf]]
    )


def test_final_ratio_and_speed_up_by_hand():
    found = scores(fast=FAST, never=NEVER)
    # Last losses 1, 1 and 0.5 against 2: of 2, 2 and 4 the middle is all three (3 // 4 = 0).
    assert found["fast"].final_ratio.value == pytest.approx(8 / 3)
    # At most 2 after 3, 2 and 1 steps of 4.
    assert found["fast"].speed_up.value == pytest.approx((4 / 3 + 2 + 4) / 3)
    assert found["never"].final_ratio.value == 0.25
    assert found["never"].speed_up.value == 0.0
    assert (found["adam"].final_ratio.value, found["adam"].speed_up.value) == (1.0, 1.0)
    # Steps to the loss 4: 3 against 2, 2 and 1.
    assert found["fast"].geometric_speed_up == pytest.approx((1.5 * 1.5 * 3) ** (1 / 3))
    assert np.isnan(found["never"].geometric_speed_up)


def test_a_run_that_diverged_ends_as_the_worst_there_is():
    found = scores(broken=BROKEN)["broken"]
    assert found.diverged == 3
    assert found.final_ratio.value == found.equivalent_steps.value == 0.0
    # It had reached both targets after two of the four steps.
    assert found.reached == 1.0
    assert found.speed_up.value == 2.0
    at_once = scores(broken=np.full((3, 4), np.nan))["broken"]
    assert at_once.speed_up.value == at_once.profile.value == at_once.reached == 0.0


def test_a_reference_that_diverged_does_not_hide_anything():
    losses = {"adam": {"bowl": BROKEN}, "fast": {"bowl": FAST}}
    found = bench.score(losses, "adam", targets={"bowl": 4.0}, decay=0.0)
    assert found["adam"].final_ratio.value == 0.0
    assert not found["fast"].final_ratio.known
    assert found["fast"].final_ratio.method == "3 of 3 repetitions are not finite"
    # Every finite loss is less than that of a run that diverged.
    assert found["fast"].speed_up.value == 4.0


def test_equivalent_steps_by_hand():
    trials = np.array([ADAM, [[8.0, 3.0, 3.0, 9.0]] * 3])
    np.testing.assert_array_equal(bench.lower_envelope(trials)[0], [8.0, 3.0, 3.0, 2.0])
    middling = np.array([[8.0, 8.0, 5.0, 3.5], [8.0, 8.0, 3.0, 2.5], [8.0, 8.0, 8.0, 1.0]])
    losses = {"adam": {"bowl": ADAM}, "middling": {"bowl": middling}}
    found = bench.score(losses, "adam", targets={"bowl": 4.0}, trials={"bowl": trials}, decay=0.0)
    # 3.5 is reached after 2 of 4 steps, 2.5 after 4, and 1 never, which counts as 4.
    assert found["middling"].equivalent_steps.value == pytest.approx((0.5 + 1.0 + 1.0) / 3)
    assert found["middling"].beyond == pytest.approx(1 / 3)
    assert found["adam"].equivalent_steps.value == 1.0
    assert found["adam"].beyond == 0.0


def test_a_longer_envelope_goes_past_the_run():
    envelope = np.array([[8.0, 6.0, 4.0, 2.0, 1.0, 0.9, 0.8, 0.7]])
    np.testing.assert_array_equal(bench.equivalent_steps(FAST[:1], envelope), [1.25])


def test_interquartile_means_leave_out_tasks_that_are_far_off():
    tasks = {
        f"task {index}": factor * np.ones((2, 4)) for index, factor in enumerate([1, 2, 4, 90])
    }
    ours = {name: np.ones((2, 4)) for name in tasks}
    found = bench.score(
        {"adam": tasks, "ours": ours}, "adam", targets=dict.fromkeys(tasks, 1.0), decay=0.0
    )["ours"]
    # Eight ratios, 1, 1, 2, 2, 4, 4, 90, 90: the middle four.
    assert found.final_ratio.value == 3.0
    assert found.final_ratio.count == 2
    assert not found.final_ratio.has_ends


def test_intervals_are_over_runs():
    found = scores(fast=FAST)
    for one in (found["fast"].final_ratio, found["fast"].speed_up, found["adam"].profile):
        assert one.count == 3
        assert one.low < one.value < one.high
    single = bench.score({"adam": {"bowl": ADAM[:1]}}, "adam", targets={"bowl": 4.0})["adam"]
    assert single.profile.method == "mean share of one repetition: no interval"
    assert not single.final_ratio.has_ends


def test_intervals_hold_nothing_that_cannot_be():
    """One run in three is the fastest, the others never arrive: a mean share of a third."""
    slow = np.array([[9.0, 9.0, 9.0]] * 3)
    fast = np.array([[9.0, 1.0, 1.0], [9.0, 9.0, 9.0], [9.0, 9.0, 9.0]])
    found = bench.score(
        {"slow": {"bowl": slow}, "fast": {"bowl": fast}}, "slow", targets={"bowl": 2.0}, decay=0.0
    )["fast"]
    assert found.profile.value == pytest.approx(1 / 3)
    assert 0 < found.profile.low < found.profile.high < 1
    steps = found.equivalent_steps
    assert 0 < steps.low < steps.value < steps.high <= 1
    assert found.final_ratio.low >= 0.0


def test_smoothing_by_hand():
    np.testing.assert_allclose(
        bench.smoothed(np.array([[10.0, 0.0, 0.0]])), [[10.0, 9.0, 8.1]], rtol=1e-12
    )


def test_scores_are_json():
    content = scores(fast=FAST, never=NEVER)["never"].as_json()
    assert set(content) == {field.name for field in dataclasses.fields(bench.Scores)}
    assert content["geometric_speed_up"] is None


LOSSES = {"adam": {"bowl": ADAM}, "fast": {"bowl": FAST}}


@pytest.mark.parametrize(
    ("losses", "settings", "words"),
    [
        (LOSSES, {"reference": "sgd"}, "the reference 'sgd' is not among"),
        ({"adam": {}}, {}, "there is no task"),
        (LOSSES | {"fast": {"bell": FAST}}, {}, "have not the same tasks"),
        (LOSSES | {"fast": {"bowl": FAST[:2]}}, {}, "as many runs"),
        (LOSSES | {"fast": {"bowl": FAST[:, :2]}}, {}, "not the same for all"),
        (LOSSES | {"fast": {"bowl": FAST[0]}}, {}, "shape"),
        (LOSSES, {"targets": {}}, "targets has no 'bowl'"),
        (LOSSES, {"trials": {}}, "trials has no 'bowl'"),
        (LOSSES, {"trials": {"bowl": ADAM[None, :2]}}, "not the same for all"),
        (LOSSES | {"fast": {"bowl": -FAST}}, {}, "ratios of losses say nothing"),
    ],
)
def test_what_cannot_be_scored_is_refused(losses, settings, words):
    settings = {"reference": "adam", "targets": {"bowl": 4.0}} | settings
    with pytest.raises(InvalidValueError, match=words):
        bench.score(losses, settings.pop("reference"), decay=0.0, **settings)
