"""`optoscope train` with several starts, stages, teachers and tasks: the whole way, killed too."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest

from optoscope import optimizers, tasks
from optoscope._core.errors import MetaTrainingDivergedError
from optoscope.cli._judging import best_in_words, time_in_words
from optoscope.cli._main import main
from optoscope.cli._meta_training import MetaTraining
from optoscope.cli._scheme import Scheme, _OverStarts, make_trainer
from optoscope.cli._train import Train
from optoscope.meta import MetaTrainingResult, Report
from optoscope.training import train

LINE = ["train", "rnnprop", "--task", "quadratic,rosenbrock"]
LINE += ["--set", "rnnprop.hidden_size=4", "quadratic.columns=6"]
SMALL = ["--meta-steps", "40", "--horizon", "4", "--truncation", "2", "--evaluate-every", "10"]
# Several starts, stages, teachers and judges in one run: three commands, not three for each.
SCHEMES = ["--starts", "2", "--curriculum", "6", "--imitate", "adam=0.01"]
SCHEMES += ["--validate-on", "quadratic-log-uniform", "--rescale", "10", "--averaging", "0.9"]
SCHEMES += ["--judge-by", "final-ratio", "--judge-against", "sgd", "--judge-rates", "2"]


def weights(directory):
    return [np.asarray(x) for x in jax.tree.leaves(optimizers.load(directory / "optimizer"))]


def stopped(monkeypatch, line):
    """Runs a command that is asked to stop after its first evaluation."""
    from optoscope.cli import _meta_training

    asked = iter(range(100))

    class Stop:
        def __enter__(self):
            return lambda: next(asked) >= 1

        def __exit__(self, *problem):
            return None

    with monkeypatch.context() as patch:
        patch.setattr(_meta_training, "stop_on_signals", Stop)
        assert main(line) == 130


def test_a_run_goes_on_in_the_precision_it_was_begun_with(tmp_path, monkeypatch, capsys):
    line = ["train", "lstm", "--task", "quadratic", *SMALL, "--devices", "1"]
    try:
        jax.config.update("jax_enable_x64", True)
        assert main([*line, "--out", str(tmp_path / "whole")]) == 0
        stopped(monkeypatch, [*line, "--out", str(tmp_path / "cut")])
        jax.config.update("jax_enable_x64", False)
        capsys.readouterr()
        assert main(["train", "--resume", str(tmp_path / "cut")]) == 0
        assert "begun with JAX_ENABLE_X64=1" in capsys.readouterr().out
    finally:
        jax.config.update("jax_enable_x64", False)
    for whole, cut in zip(weights(tmp_path / "whole"), weights(tmp_path / "cut"), strict=True):
        np.testing.assert_array_equal(whole, cut)


def test_schemes_train_log_and_resume_exactly(tmp_path, monkeypatch, capsys):
    line = [*LINE, *SMALL, *SCHEMES, "--devices", "1"]
    assert main([*line, "--out", str(tmp_path / "whole")]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "Best final ratio against sgd, tuned by 2 learning rates, on 1 task over 6 steps" in said
    assert "Evaluations took" in said
    # The reference on its one length, once for all starts and stages.
    kept = (tmp_path / "whole" / "judge").rglob("*.npz")
    assert sorted(path.name for path in kept) == ["0.npz", "1.npz"]
    stopped(monkeypatch, [*line, "--out", str(tmp_path / "cut")])
    assert main(["train", "--resume", str(tmp_path / "cut")]) == 0
    for whole, cut in zip(weights(tmp_path / "whole"), weights(tmp_path / "cut"), strict=True):
        np.testing.assert_array_equal(whole, cut)
    logs = [
        [json.loads(line)["step"] for line in (tmp_path / run / "metrics.jsonl").open()]
        for run in ("whole", "cut")
    ]
    assert logs[0] == logs[1] == sorted(logs[0])
    provenance = optimizers.read_description(tmp_path / "whole" / "optimizer")["metadata"]
    assert [task["name"] for task in provenance["tasks"]] == ["quadratic", "rosenbrock"]
    assert [task["options"] for task in provenance["tasks"]] == [{"columns": 6}, {}]


def test_imitation_ends_once_over_all_stages():
    settings = MetaTraining(
        meta_steps=40, horizon=4, curriculum=(6, 8, 10), truncation=2, imitate=("adam=0.01",),
        imitation_steps=25, devices=1,
    )  # fmt: skip
    made = [
        make_trainer(settings, [tasks.get("quadratic")], 0, horizon=horizon).estimator
        for horizon in settings.horizons
    ]
    # Ten meta-steps each.
    assert [getattr(one, "first", None) for one in made] == [0, 10, 20, None]
    workers = made[1].init(optimizers.get("rnnprop", key=jax.random.key(0)), jax.random.key(1))
    assert int(workers.count) == 10


def test_the_end_of_each_tasks_own_horizon_counts():
    settings = MetaTraining(
        estimator="full-es", meta_steps=2, task_horizons=(20, 40), end_share=1.0, devices=1
    )
    problems = [tasks.get("quadratic"), tasks.get("rosenbrock")]
    groups = make_trainer(settings, problems, 0).estimator.groups
    weights = [np.asarray(group.objective.weights) for group in groups]
    assert [len(one) for one in weights] == [20, 40]
    assert [np.flatnonzero(one).tolist() for one in weights] == [[18, 19], [36, 37, 38, 39]]
    plain = make_trainer(MetaTraining(devices=1), [tasks.get("quadratic")], 0).estimator
    assert plain.objective.weights is None


@pytest.mark.parametrize(("judge_by", "over"), [("loss", 20), ("final-loss", 2)])
def test_it_is_judged_by_whole_runs_or_by_their_ends(judge_by, over):
    settings = MetaTraining(judge_by=judge_by, horizon=20, meta_steps=2, devices=1)
    judge = make_trainer(settings, [tasks.get("quadratic")], 0).evaluation
    sgd = optimizers.sgd(0.01)
    losses = train(judge.task, sgd, 20, key=judge.key, num_runs=judge.num_runs).losses
    np.testing.assert_allclose(judge(sgd), losses[:, -over:].mean(), rtol=1e-5)
    assert ("over the last tenth of 20 steps: 1.0000." in best_in_words(settings, 1.0, 1, 20)) == (
        judge_by == "final-loss"
    )


def test_progress_counts_the_meta_steps_of_all_starts():
    starts = [optimizers.get("rnnprop", key=jax.random.key(n)) for n in range(4)]
    settings = MetaTraining(meta_steps=40, horizon=4, truncation=2, devices=1)
    assert Scheme(settings, [tasks.get("quadratic")], (), starts, 0).planned_steps == 80
    told = []
    counted = _OverStarts(told.append)
    for start, step in ((0, 5), (0, 10), (1, 10), (0, 20), (-1, 10)):
        counted(start, Report(step, 0.0, 0.0, 0.0, 0, 0, 0.0))
    assert [report.step for report in told] == [5, 10, 20, 30, 40]


def test_the_best_optimizer_of_a_meta_training_that_diverged_is_kept(tmp_path, capsys, monkeypatch):
    out = tmp_path / "out"
    line = ["train", "rnnprop", "--task", "quadratic", "--set", "rnnprop.hidden_size=4", *SMALL]
    reached = MetaTrainingResult(
        None, optimizers.get("rnnprop", key=jax.random.key(0), hidden_size=4), 0.5, 20, 10, 0,
        False, 1.0,
    )  # fmt: skip

    def run(*given, **named):
        raise MetaTrainingDivergedError("it diverged.", reached)

    monkeypatch.setattr(Scheme, "run", run)
    assert main([*line, "--out", str(out)]) == 2
    said = capsys.readouterr().err
    assert f"loss of 0.5, is kept in {out / 'optimizer'}" in said
    assert jax.tree.leaves(optimizers.load(out / "optimizer"))


def test_each_task_of_a_mixture_has_its_own_horizon():
    settings = MetaTraining(task_horizons=(4, 6), truncation=2, devices=1)
    found = make_trainer(settings, [tasks.get("quadratic"), tasks.get("rosenbrock")], 0)
    assert [group.horizon for group in found.estimator.groups] == [4, 6]
    assert [part.num_steps for part in found.evaluation.parts] == [4, 6]


@pytest.mark.parametrize(
    ("evaluating", "words", "advice"),
    [
        (5.0, "Evaluations took 5% of the time.", False),
        (10.0, "Evaluations took 10% of the time.", False),
        # A quarter as much as all else: 2.25 times as seldom it is a ninth, a tenth of all.
        (20.0, "took 20% of the time, more than a tenth. With --evaluate-every 450 ", True),
        (90.0, "With --evaluate-every 10000 ", True),  # all meta-steps: it cannot be more
    ],
)
def test_the_share_of_evaluations_is_said_with_what_lowers_it(evaluating, words, advice):
    said = time_in_words(MetaTraining(evaluate_every=200, meta_steps=10_000), 100.0, evaluating)
    assert words in said
    assert ("--validation-steps" in said) == advice


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--imitate", "adam"], "adam=0.01"),
        (["--imitate", "nosuch=0.1"], "nosuch"),
        (["--curriculum", "3"], "longer"),
        (["--task-horizons", "3"], "1 numbers for 2 tasks"),
        (["--task-horizons", "3", "0"], "task_horizons"),
        (["--task-horizons", "3", "4", "--curriculum", "9"], "give one of them"),
        (["--validate-on", "nosuch"], "nosuch"),
        (["--judge-by", "speed-up", "--judge-against", "adm"], "adam"),
        (["--set", "lstm.hidden_size=3"], "lstm"),
        (["--rescale", "0.5"], "rescale"),
        (["--averaging", "1"], "averaging"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_written(more, words, tmp_path, capsys):
    line = [*LINE, *more] if "--set" not in more else [*LINE[:-3], *more]
    assert main([*line, *SMALL, "--out", str(tmp_path / "run")]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("task", "options", "words"),
    [
        # The run itself says what it was trained on, and with which options.
        ("digits-mlp-relu", ("hidden=(8,)",), ""),
        ("digits-mlp-relu,quadratic", ("size=3",), " --task digits-mlp-relu --set size=3"),
        ("quadratic,digits-cnn", ("digits-cnn.size=3",), " --task quadratic"),
        ("mine.py:task", ("name=wide",), """ --task mine.py:task --set 'name='"'"'wide'"'"''"""),
    ],
)
def test_the_last_words_compare_it_on_the_task_as_it_was_set(task, options, words):
    command = Train(task=task, optimizer="rnn", set=options).comparison(Path("runs/mine"))
    assert command == "optoscope evaluate runs/mine" + words
