"""The meta-trainer: closed forms on a scripted estimator, kills and damage on a real one."""

import dataclasses
import itertools
import json
import random
import shutil
import signal
import subprocess
import sys
import textwrap

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jaxtyping import Array, Float

from optoscope import optimizers
from optoscope._core.errors import (
    InvalidValueError,
    MetaTrainingDivergedError,
    RunDirectoryError,
)
from optoscope._core.non_finite import CAUSES
from optoscope.bench import grid_search
from optoscope.meta import (
    PES,
    Checkpoints,
    FullBackprop,
    HeldOutLoss,
    Trainer,
    TruncatedBackprop,
)
from optoscope.optimizers import OptimizerModule
from support.scripted import Bowls, Number, Scripted, number, scripted

KEY = jax.random.key(0)


def test_plain_descent_is_the_closed_form():
    result = Trainer(scripted(), optax.sgd(0.1), steps_per_call=7).run(number(), 20, key=KEY)
    assert float(result.optimizer.value) == pytest.approx(0.9**20, rel=1e-5)
    assert (result.step, result.skipped, result.interrupted) == (20, 0, False)
    assert result.best_loss is None
    assert result.best.value == result.optimizer.value


def test_schedules_and_clipping_are_the_meta_optimizers():
    schedule = optax.linear_schedule(0.4, 0.0, 4)
    result = Trainer(scripted(), optax.sgd(schedule), steps_per_call=3).run(number(), 6, key=KEY)
    expected = (1 - 0.4) * (1 - 0.3) * (1 - 0.2) * (1 - 0.1)
    assert float(result.optimizer.value) == pytest.approx(expected, rel=1e-5)

    clipped = optax.chain(optax.clip_by_global_norm(0.5), optax.sgd(1.0))
    reports = []
    result = Trainer(scripted(), clipped, steps_per_call=1).run(
        number(10.0), 4, key=KEY, on_report=reports.append
    )
    assert float(result.optimizer.value) == pytest.approx(8.0)
    # The norm that is shown is the one before clipping.
    assert [r.gradient_norm for r in reports] == pytest.approx([10.0, 9.5, 9.0, 8.5])


def test_reports_are_means_since_the_last_report():
    reports = []
    Trainer(
        scripted(), optax.sgd(0.5), steps_per_call=2, evaluation=lambda o: 7.0, evaluate_every=4
    ).run(number(8.0), 9, key=KEY, on_report=reports.append)
    assert [r.step for r in reports] == [2, 4, 6, 8, 9]
    assert [r.inner_loss for r in reports] == pytest.approx([6.0, 1.5, 0.375, 0.09375, 0.03125])
    assert reports[0].meta_loss == pytest.approx((32 + 8) / 2)
    assert [r.evaluation_loss for r in reports] == [None, 7.0, None, 7.0, 7.0]
    seconds = [r.seconds for r in reports]
    assert seconds == sorted(seconds)
    assert seconds[0] > 0


def test_the_best_evaluated_is_kept():
    # x = 0.8^n·… passes 0.2 on its way down; of the evaluated 8, 4, 2, 1, … 0.25 is nearest.
    result = Trainer(
        scripted(),
        optax.sgd(0.5),
        steps_per_call=1,
        evaluation=lambda o: abs(float(o.value) - 0.2),
        evaluate_every=1,
    ).run(number(8.0), 8, key=KEY)
    assert float(result.best.value) == 0.25
    assert result.best_loss == pytest.approx(0.05)
    assert float(result.optimizer.value) == 8 / 2**8


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_an_evaluation_that_is_not_finite_is_never_best(loss):
    result = Trainer(scripted(), optax.sgd(0.5), evaluation=lambda o: loss).run(
        number(), 3, key=KEY
    )
    assert result.best_loss is None
    assert result.best.value == result.optimizer.value


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_broken_gradients_are_skipped_and_counted(bad):
    reports = []
    # Adam's own count and the schedule must stand still as well.
    rates = optax.linear_schedule(0.6, 0.0, 6)
    result = Trainer(scripted(0.0, bad, bad), optax.sgd(rates), steps_per_call=3).run(
        number(), 9, key=KEY, on_report=reports.append
    )
    assert float(result.optimizer.value) == pytest.approx(0.4 * 0.5 * 0.6, rel=1e-5)
    assert result.skipped == 6
    assert [r.skipped for r in reports] == [2, 4, 6]
    assert [r.non_finite_tasks for r in reports] == [2, 4, 6]
    # Only what was finite is averaged.
    assert [r.inner_loss for r in reports] == pytest.approx([1.0, 0.4, 0.2])


def test_a_run_that_cannot_recover_stops_with_a_diagnosis(tmp_path):
    trainer = Trainer(scripted(np.nan), optax.sgd(0.1), steps_per_call=2, patience=6)
    with pytest.raises(MetaTrainingDivergedError) as caught:
        trainer.run(number(3.0), 100, key=KEY, directory=tmp_path)
    for part in (
        "the last 6 meta-steps",
        "meta-step 6",
        "6 skipped",
        "parameters 3",
        "backward_clip",
    ):
        assert part in str(caught.value)
    for line in (tmp_path / "metrics.jsonl").read_text().splitlines():
        assert json.loads(line)["meta_loss"] is None


class Steep(OptimizerModule):
    """Every task is left out; `kind` says what is not finite."""

    value: Float[Array, ""]
    kind: str = eqx.field(static=True)

    def init(self, params):
        return ()

    def update(self, grads, state, params=None, **extra):
        grows = {
            "loss": jnp.inf * jnp.abs(self.value),
            # Zero, with a derivative that is infinite times zero.
            "gradient": jnp.sqrt(0.0 * self.value),
        }[self.kind]
        return jax.tree.map(lambda g: grows - 0.0 * g, grads), state


DIAGNOSES = {"loss": "every inner run diverge", "gradient": "do not diverge"}


@pytest.mark.parametrize("estimator", [TruncatedBackprop, FullBackprop])
@pytest.mark.parametrize("kind", DIAGNOSES)
def test_what_is_not_finite_is_called_by_its_name(kind, estimator):
    reports = []
    trainer = Trainer(
        estimator(Bowls(), num_tasks=2, horizon=20, second_order=True),
        optax.adam(0.1),
        steps_per_call=2,
        patience=4,
    )
    with pytest.raises(MetaTrainingDivergedError, match=DIAGNOSES[kind]) as caught:
        trainer.run(Steep(jnp.asarray(1.0), kind), 10, key=KEY, on_report=reports.append)
    other = next(text for name, text in DIAGNOSES.items() if name != kind)
    assert other not in str(caught.value)
    assert reports[0].skips.startswith("2 because")
    counts = {name: getattr(reports[0], f"skipped_for_{name}") for name in CAUSES}
    assert counts == dict.fromkeys(CAUSES, 0) | {kind: 2}


def test_a_large_finite_gradient_does_not_stop_meta_training_silently(tmp_path):
    meta_optimizer = optax.adam(0.1)
    trainer = Trainer(scripted(0.0, 1e22, 0.0, 0.0), meta_optimizer, steps_per_call=1)
    reports = []
    result = trainer.run(number(), 8, key=KEY, directory=tmp_path, on_report=reports.append)
    without = Trainer(scripted(), meta_optimizer).run(number(), 6, key=KEY)
    assert float(result.optimizer.value) == pytest.approx(float(without.optimizer.value), rel=1e-6)
    assert float(result.optimizer.value) < 0.9
    assert result.skipped == 2
    assert [r.skipped_for_state for r in reports] == [0, 1, 0, 0, 0, 1, 0, 0]
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["skipped_for_state"] for line in lines] == [0, 1, 0, 0, 0, 1, 0, 0]


def test_a_state_that_starts_with_infinity_is_no_reason_to_skip():
    plateau = optax.chain(optax.sgd(0.1), optax.contrib.reduce_on_plateau())
    assert Trainer(scripted(), plateau).run(number(), 20, key=KEY).skipped == 0


def test_patience_counts_only_what_comes_in_a_row():
    trainer = Trainer(scripted(np.nan, np.nan, 0.0), optax.sgd(0.1), patience=3)
    assert trainer.run(number(), 30, key=KEY).skipped == 20


@pytest.mark.parametrize(
    "name", ["steps_per_call", "evaluate_every", "checkpoint_every", "patience", "keep"]
)
def test_counts_below_one_are_refused(name):
    with pytest.raises(InvalidValueError, match=f"{name} is 0"):
        Trainer(scripted(), optax.sgd(0.1), **{name: 0})
    with pytest.raises(InvalidValueError, match="num_steps is 0"):
        Trainer(scripted(), optax.sgd(0.1)).run(number(), 0, key=KEY)


def test_nothing_is_compiled_again_for_other_values():
    traced = []

    class Counting(Scripted):
        def estimate(self, optimizer, workers, key):
            traced.append(1)
            return super().estimate(optimizer, workers, key)

    trainer = Trainer(Counting(jnp.zeros(1), 0.5), optax.adam(0.1), steps_per_call=5)
    trainer.run(number(), 20, key=KEY)
    once = len(traced)
    trainer.run(number(2.0), 20, key=jax.random.key(1))
    assert len(traced) == once


@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.parametrize("estimator", [TruncatedBackprop, PES])
def test_one_program_serves_a_run_its_evaluations_and_its_resume(
    estimator, devices, tmp_path, caplog
):
    count = "num_tasks" if estimator is TruncatedBackprop else "num_particles"
    evaluated = itertools.count()
    trainer = Trainer(
        estimator(Bowls(), truncation=2, horizon=4, devices=devices, **{count: 4}),
        optax.adam(0.1),
        steps_per_call=2,
        evaluation=lambda _: -float(next(evaluated)),
        evaluate_every=4,
        checkpoint_every=4,
    )
    jax.clear_caches()
    with jax.log_compiles(), caplog.at_level("WARNING"):
        for steps in (8, 16):
            trainer.run(optimizers.sgd(0.01), steps, key=KEY, directory=tmp_path)
    compiled = [line for line in caplog.messages if "XLA compilation of jit(advance)" in line]
    assert len(compiled) == 1


def test_meta_training_finds_the_rate_that_a_grid_finds():
    horizon, tasks = 10, Bowls()
    evaluation = HeldOutLoss(tasks, horizon, 64, jax.random.key(9))
    start = optimizers.sgd(0.003)
    estimator = TruncatedBackprop(
        tasks, num_tasks=32, truncation=horizon, horizon=horizon, second_order=True
    )
    trainer = Trainer(
        estimator, optax.adam(0.03), steps_per_call=30, evaluation=evaluation, evaluate_every=30
    )
    result = trainer.run(start, 60, key=KEY)
    grid = grid_search(
        tasks,
        optimizers.sgd,
        {"learning_rate": np.geomspace(0.003, 3, 40)},
        num_steps=horizon,
        key=jax.random.key(9),
        num_runs=64,
    )
    reachable = evaluation(start) - grid.score.min()
    assert reachable > 0.1
    assert evaluation(start) - evaluation(result.optimizer) > 0.9 * reachable
    assert result.best_loss == pytest.approx(
        min(evaluation(result.best), evaluation(result.optimizer)), rel=1e-6
    )


def test_held_out_loss_is_infinite_when_it_diverges():
    assert HeldOutLoss(Bowls(), 50, 2, KEY)(optimizers.sgd(1e6)) == float("inf")


# --- stopping and going on -------------------------------------------------------------------


def noisy_trainer(**settings):
    meta_optimizer = optax.chain(
        optax.clip_by_global_norm(0.7), optax.adam(optax.cosine_decay_schedule(0.1, 40))
    )
    settings = {"steps_per_call": 2, "checkpoint_every": 4, "evaluate_every": 6} | settings
    return Trainer(
        scripted(0.0, 0.0, 0.0, np.nan, 0.0, noise=1.0),
        meta_optimizer,
        evaluation=lambda o: float(o.value) ** 2,
        **settings,
    )


def outcome(result):
    return (
        np.asarray(result.optimizer.value).tobytes(),
        np.asarray(result.best.value).tobytes(),
        result.best_loss,
        result.step,
        result.skipped,
    )


def metrics(directory):
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    return [{name: x for name, x in line.items() if not name.endswith("seconds")} for line in lines]


def test_a_run_that_is_asked_to_stop_does_and_the_rest_is_bit_identical(tmp_path):
    whole = noisy_trainer().run(number(), 40, key=KEY, directory=tmp_path / "whole")
    done = []
    part = noisy_trainer().run(
        number(),
        40,
        key=KEY,
        directory=tmp_path / "part",
        on_report=lambda report: done.append(report.step),
        stop=lambda: len(done) == 6,
    )
    assert part.interrupted
    assert part.step == done[-1] == 14
    rest = noisy_trainer().run(number(), 40, key=KEY, directory=tmp_path / "part")
    assert not rest.interrupted
    assert outcome(rest) == outcome(whole)
    assert metrics(tmp_path / "part") == metrics(tmp_path / "whole")
    assert rest.seconds > part.seconds > part.evaluation_seconds > 0
    assert rest.seconds > rest.evaluation_seconds > part.evaluation_seconds
    last = json.loads((tmp_path / "part" / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["evaluation_seconds"] == rest.evaluation_seconds
    # Once more there is nothing left to do, and nothing changes.
    again = noisy_trainer().run(number(), 40, key=KEY, directory=tmp_path / "part")
    assert outcome(again) == outcome(whole)
    assert metrics(tmp_path / "part") == metrics(tmp_path / "whole")


def test_an_interrupt_is_passed_on_and_loses_nothing(tmp_path):
    whole = noisy_trainer().run(number(), 40, key=KEY, directory=tmp_path / "whole")

    def interrupt(report):
        if report.step == 14:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        noisy_trainer().run(number(), 40, key=KEY, directory=tmp_path / "part", on_report=interrupt)
    assert Checkpoints(tmp_path / "part" / "checkpoints").steps()[0] == 14
    rest = noisy_trainer().run(number(), 40, key=KEY, directory=tmp_path / "part")
    assert outcome(rest) == outcome(whole)
    assert metrics(tmp_path / "part") == metrics(tmp_path / "whole")


def test_no_signal_handler_is_installed(monkeypatch):
    monkeypatch.setattr(signal, "signal", lambda *_: pytest.fail("a handler is installed"))
    assert noisy_trainer().run(number(), 4, key=KEY).step == 4


def test_without_a_directory_the_outcome_is_the_same(tmp_path):
    first = noisy_trainer().run(number(), 20, key=KEY)
    second = noisy_trainer().run(number(), 20, key=KEY, directory=tmp_path)
    assert outcome(first) == outcome(second)
    other = noisy_trainer().run(number(), 20, key=jax.random.key(1))
    assert outcome(first) != outcome(other)


def truncate(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flip(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(bytes(content))


def files(directory):
    return [f for f in sorted(directory.rglob("*")) if f.is_file() and f.stat().st_size]


@pytest.mark.parametrize("damage", [truncate, lambda file: file.unlink()], ids=["cut", "gone"])
def test_a_damaged_newest_checkpoint_falls_back_and_ends_bit_identical(tmp_path, damage):
    whole = noisy_trainer().run(number(), 32, key=KEY, directory=tmp_path / "whole")
    noisy_trainer().run(number(), 16, key=KEY, directory=tmp_path / "part")
    shutil.copytree(tmp_path / "part", tmp_path / "some")
    for file in files(tmp_path / "part" / "checkpoints" / "16" / "state"):
        damage(file)
    with pytest.warns(UserWarning, match="checkpoint 16"):
        result = noisy_trainer().run(number(), 32, key=KEY, directory=tmp_path / "part")
    assert outcome(result) == outcome(whole)
    assert metrics(tmp_path / "part")[-8:] == metrics(tmp_path / "whole")[-8:]
    steps = [line["step"] for line in metrics(tmp_path / "part")]
    assert steps == [line["step"] for line in metrics(tmp_path / "whole")]


def test_when_all_checkpoints_are_damaged_the_run_refuses_to_start_over(tmp_path):
    noisy_trainer().run(number(), 16, key=KEY, directory=tmp_path)
    for file in files(tmp_path / "checkpoints"):
        flip(file)
        truncate(file)
    with (
        pytest.warns(UserWarning, match="passed over"),
        pytest.raises(RunDirectoryError, match="none of the checkpoints"),
    ):
        noisy_trainer().run(number(), 32, key=KEY, directory=tmp_path)


def test_a_resume_with_another_optimizer_says_so(tmp_path):
    noisy_trainer().run(number(), 4, key=KEY, directory=tmp_path)
    other = dataclasses.replace(noisy_trainer(), meta_optimizer=optax.sgd(0.1, momentum=0.9))
    with pytest.raises(RunDirectoryError, match="another optimizer, task"):
        other.run(number(), 8, key=KEY, directory=tmp_path)


PROGRAM = """
    import os, signal, sys, threading
    import jax, optax
    import jax.numpy as jnp
    from optoscope import optimizers
    from optoscope._core.compilation_cache import enable_compilation_cache
    from optoscope.meta import HeldOutLoss, Trainer, TruncatedBackprop
    from optoscope.tasks import LeastSquares, TaskDistribution

    enable_compilation_cache()  # the next process need not compile the same programs
    directory, kill_step, delay = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])

    class Bowls(TaskDistribution):
        def sample(self, key):
            matrix, target, start = (
                jax.random.normal(jax.random.fold_in(key, index), shape)
                for index, shape in enumerate([(3, 2), (3,), (2,)]))
            return LeastSquares(matrix, target, start, jnp.zeros(()))

    def kill():
        os.kill(os.getpid(), signal.SIGKILL)

    def on_report(report):
        if report.step >= kill_step and not threading.active_timers:
            threading.active_timers = True
            timer = threading.Timer(delay, kill)
            timer.daemon = True
            timer.start()

    threading.active_timers = False
    trainer = Trainer(
        TruncatedBackprop(Bowls(), num_tasks=2, truncation=3, horizon=7, stagger=True),
        optax.chain(
            optax.clip_by_global_norm(1.0), optax.adam(optax.cosine_decay_schedule(0.01, 60))),
        steps_per_call=2,
        evaluation=HeldOutLoss(Bowls(), 5, 2, jax.random.key(5)),
        evaluate_every=6,
        checkpoint_every=4,
    )
    result = trainer.run(
        optimizers.LSTMOptimizer.create(jax.random.key(1), hidden_size=4),
        60, key=jax.random.key(0), directory=directory, on_report=on_report)
    optimizers.save(directory + "/final", result.optimizer, {})
    optimizers.save(directory + "/best", result.best, {})
    print(result.step, result.best_loss)
"""


def run_program(directory, kill_step=10**9, delay=0.0):
    return subprocess.run(
        [
            sys.executable,
            "-c",
            textwrap.dedent(PROGRAM),
            str(directory),
            str(kill_step),
            str(delay),
        ],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


@pytest.mark.parametrize("kills", [1, pytest.param(10, marks=pytest.mark.slow)])
def test_a_run_killed_at_random_moments_ends_bit_identical(tmp_path, kills):
    whole = run_program(tmp_path / "whole")
    assert whole.returncode == 0, whole.stderr
    # Seeded, and yet the operating system sees to it that no two runs are hit at one place.
    moments = random.Random(kills)
    killed = 0
    for index in range(kills):
        kill_step = 2 + 56 * index // kills
        part = run_program(tmp_path / "part", kill_step, moments.uniform(0, 0.1))
        assert part.returncode in (0, -signal.SIGKILL), part.stderr
        killed += part.returncode == -signal.SIGKILL
    assert killed >= min(kills, 2)
    last = run_program(tmp_path / "part")
    assert last.returncode == 0, last.stderr
    assert last.stdout == whole.stdout
    for name in ("final", "best"):
        parts = [
            jax.tree.leaves(optimizers.load(tmp_path / run / name)) for run in ("whole", "part")
        ]
        for a, b in zip(*parts, strict=True):
            assert np.asarray(a).tobytes() == np.asarray(b).tobytes()
    assert metrics(tmp_path / "part") == metrics(tmp_path / "whole")
    assert [line["step"] for line in metrics(tmp_path / "part")] == list(range(2, 61, 2))


def test_a_meta_optimizer_of_ours_trains_like_optaxs_and_compiles_once_for_all_its_rates(caplog):
    def trained(meta_optimizer):
        trainer = dataclasses.replace(noisy_trainer(), meta_optimizer=meta_optimizer)
        return float(trainer.run(Number(jnp.asarray(3.0, jnp.float32)), 4, key=KEY).optimizer.value)

    def ours(rate):
        return optimizers.OptaxOptimizer(
            optax.sgd, {"learning_rate": jnp.asarray(rate, jnp.float32)}, "sgd"
        )

    with jax.log_compiles(), caplog.at_level("WARNING"):
        found = [trained(ours(rate)) for rate in (0.01, 0.02)]
    compiled = [line for line in caplog.messages if "XLA compilation of jit(advance)" in line]
    assert len(compiled) == 1
    expected = [trained(optax.sgd(rate)) for rate in (0.01, 0.02)]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert found[0] != found[1]
