"""An evaluation by scores: that of `bench.score` on paired runs, and a reference tuned once."""

import math

import numpy as np
import pytest

from optoscope import bench, optimizers, tasks
from optoscope._core.errors import InvalidValueError, UnknownNameError
from optoscope._core.keys import stream
from optoscope.bench import _suite
from optoscope.training import train

TASKS = {"bowl": tasks.get("quadratic"), "valley": tasks.get("rosenbrock")}
STEPS = {"bowl": 8, "valley": 12}


def judge(directory=None, **options):
    settings = {"reference": "adam", "num_rates": 3, "num_runs": 2, "directory": directory}
    return bench.HeldOutScore(TASKS, STEPS, **(settings | options))


def final(losses):
    return bench.smoothed(np.asarray(losses))[:, -1]


def test_it_is_the_inverse_of_the_score_on_the_references_own_runs():
    ratios, optimizer = [], optimizers.adam(0.2)
    for name, task in TASKS.items():
        # The reference's trials, and for each run the best one on the other.
        key, steps, curves = stream(0, "suite"), STEPS[name], []
        for rate in np.geomspace(1e-4, 1e-1, 3):
            run = train(task, optimizers.adam(float(rate)), steps, key=key, num_runs=2)
            curves.append(np.asarray(run.losses))
        ends = np.array([one[:, -1:].mean(axis=1) for one in curves])  # a tenth: one step
        reference = [final(curves[int(np.argmin(ends[:, 1 - run]))])[run] for run in (0, 1)]
        own = final(train(task, optimizer, steps, key=key, num_runs=2).losses)
        ratios.append(np.array(reference) / own)
    # Four ratios, of which the least and the greatest are left out.
    expected = np.sort(np.concatenate(ratios))[1:3].mean()
    assert judge()(optimizer) == pytest.approx(1 / expected, rel=1e-4)


def test_the_reference_is_tuned_once_and_found_again(tmp_path, monkeypatch):
    first = judge(tmp_path)
    first.prepare()
    told = []
    monkeypatch.setattr(_suite, "_trained", None)  # nothing more is computed for the reference
    again = judge(tmp_path, score="equivalent_steps")
    again.prepare(lambda *progress: told.append(progress))
    assert told == [(3, 3, "done")] * 2
    optimizer = optimizers.adam(0.2)
    assert again(optimizer) == 1 / first.scores(optimizer).equivalent_steps.value
    assert judge(tmp_path)(optimizer) == first(optimizer)
    assert judge(tmp_path)(optimizers.sgd(1e9)) == math.inf


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: judge(score="final-ratio"), UnknownNameError, "final_ratio"),
        (lambda: judge(score="profile"), UnknownNameError, "speed_up"),
        (lambda: bench.HeldOutScore({}, 3), InvalidValueError, "no task"),
        (lambda: bench.HeldOutScore(TASKS, {"bowl": 3}), InvalidValueError, "no 'valley'"),
        (lambda: bench.HeldOutScore(TASKS, 0), InvalidValueError, "num_steps"),
        (lambda: judge(num_rates=0), InvalidValueError, "num_rates"),
        (lambda: judge(reference="adm").prepare(), UnknownNameError, "adam"),
        (lambda: judge(reference="sgd").prepare(), InvalidValueError, "diverges on valley"),
    ],
)
def test_what_cannot_be_is_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()
