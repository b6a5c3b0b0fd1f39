import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optoscope import optimizers, tasks
from optoscope._core.errors import InvalidValueError
from optoscope.bench import Evaluation, OptimizerEvaluation, _evaluate, evaluate
from optoscope.tasks import LeastSquares, Task, TaskDistribution
from optoscope.training import Norms, train

KEY = jax.random.key(4)


class Bowls(TaskDistribution):
    """Least squares in two unknowns."""

    def sample(self, key):
        matrix, target, start = (
            jax.random.normal(jax.random.fold_in(key, index), shape)
            for index, shape in enumerate([(3, 2), (3,), (2,)])
        )
        return LeastSquares(matrix / 2, target, start, jnp.zeros(()))


CANDIDATES = {
    "slow": optimizers.sgd(0.01),
    "fast": optimizers.sgd(0.3),
    "wild": optimizers.sgd(1e6),
}


@pytest.fixture(scope="module")
def found():
    return evaluate(Bowls(), CANDIDATES, 20, key=KEY, num_runs=5, probes={"norms": Norms(every=6)})


def test_runs_are_those_of_train(found):
    for name, optimizer in CANDIDATES.items():
        expected = train(
            Bowls(), optimizer, 20, key=KEY, num_runs=5, probes={"norms": Norms(every=6)}
        )
        one = found.optimizers[name]
        np.testing.assert_allclose(one.losses, expected.losses, rtol=1e-5)
        assert one.measured_steps == expected.measured_steps == {"norms": (0, 6, 12, 18)}
        for got, wanted in zip(
            jax.tree.leaves(one.records), jax.tree.leaves(expected.records), strict=True
        ):
            assert got.shape == (5, 4)
            np.testing.assert_allclose(got, wanted, rtol=1e-5)


def test_runs_are_paired_and_differ_from_each_other(found):
    first = [one.losses[:, 0] for one in found.optimizers.values()]
    np.testing.assert_array_equal(first[0], first[1])
    np.testing.assert_array_equal(first[0], first[2])
    assert len(set(first[0].tolist())) == 5


def test_a_run_does_not_depend_on_how_many_there_are(found):
    fewer = evaluate(Bowls(), {"fast": CANDIDATES["fast"]}, 20, key=KEY, num_runs=2)
    np.testing.assert_allclose(
        fewer.optimizers["fast"].losses, found.optimizers["fast"].losses[:2], rtol=1e-5
    )


def test_calls_of_a_few_runs_change_nothing(found, monkeypatch):
    monkeypatch.setattr(_evaluate, "side_by_side", lambda *_: 1)
    seen = []
    pieces = evaluate(
        Bowls(),
        {"fast": CANDIDATES["fast"]},
        20,
        key=KEY,
        num_runs=13,
        on_progress=lambda *progress: seen.append(progress),
    )
    assert pieces.optimizers["fast"].losses.shape == (13, 20)
    np.testing.assert_allclose(
        pieces.optimizers["fast"].losses[:5], found.optimizers["fast"].losses, rtol=1e-5
    )
    # Two runs a call: the last call is filled up, which must not show.
    assert seen == [("fast", min(2 * call, 13), 13) for call in range(1, 8)]
    assert len(np.unique(pieces.optimizers["fast"].losses[:, 0])) == 13


def test_divergence_is_counted_and_never_best(found):
    wild = found.optimizers["wild"]
    assert wild.diverged == 5
    assert [found.optimizers[name].diverged for name in ("slow", "fast")] == [0, 0]
    assert np.isnan(wild.mean_loss(20).value)
    assert found.best(("wild", "slow", "fast"), 20) == "fast"
    assert found.best(("wild", "slow"), 20) == "slow"
    entry = found.as_json()["wild"]
    assert entry["diverged"] == 5
    assert entry["final_loss"]["value"] is None


def test_summaries_are_of_the_runs_losses(found):
    fast, slow = found.optimizers["fast"], found.optimizers["slow"]
    assert fast.mean_loss(10).value == pytest.approx(fast.losses[:, :10].mean(), rel=1e-5)
    assert fast.final_loss().value == pytest.approx(fast.losses[:, -2:].mean(), rel=1e-5)
    share = 1 - fast.losses[:, :10].mean() / slow.losses[:, :10].mean()
    assert found.improvement("fast", "slow", 10).value == pytest.approx(share, rel=1e-4)
    assert share > 0
    assert set(found.as_json()["fast"]["mean_loss"]) == {"20"}


@pytest.mark.parametrize(
    ("tenths", "share"),
    [
        ([9, 8, 7, 6, 5, 4, 3, 2, 1, 0], 0.0),
        ([9, 6, 4, 2, 0, 1, 2, 3, 4, 5], 0.5),
        ([9, 6, 4, 2, 0, 2, 6, 9, 10, 12], 1.0),
        ([11, 12, 13, 14, 15, 16, 17, 18, 19, 20], 1.0),
        ([9, 8, 7, 6, 5, np.inf, 5, 5, 5, 5], 1.0),
        ([9, 8, 7, 6, 5, 4, np.nan, 4, 4, 4], 1.0),
    ],
)
def test_what_a_run_gives_back(tenths, share):
    losses = np.repeat(np.asarray(tenths, np.float32), 3)
    losses[0] = 10
    one = OptimizerEvaluation(np.stack([losses, losses]), None, 0.1)
    np.testing.assert_allclose(one.tenths[:, 1:], np.array([tenths[1:]] * 2), rtol=1e-6)
    # The first tenth holds the first loss, which is 10.
    assert one.given_back().value == pytest.approx(share, abs=0.02)


def test_where_the_first_run_diverged():
    losses = np.ones((3, 40))
    assert OptimizerEvaluation(losses, None, 0.1).diverged_at is None
    losses[2, 17:] = np.nan
    losses[0, 31] = np.inf
    assert OptimizerEvaluation(losses, None, 0.1).diverged_at == 17


def test_a_run_shorter_than_ten_steps_has_a_tenth_a_step():
    losses = np.array([[4.0, 2.0, 1.0, 3.0]])
    one = OptimizerEvaluation(losses, None, 0.1)
    assert one.tenths.tolist() == losses.tolist()
    assert one.given_back().value == pytest.approx(2 / 3)


def test_horizons_of_the_summaries():
    losses = np.ones((2, 250), np.float32)
    one = OptimizerEvaluation(losses, None, 0.1)
    entry = Evaluation({"a": one}, 250, 2).as_json()["a"]
    assert list(entry["mean_loss"]) == ["100", "200", "250"]
    assert entry["test_accuracy"] is None


def test_time_is_measured_and_quadratics_have_no_accuracy(found):
    for one in found.optimizers.values():
        assert 0 < one.seconds_per_step < 1
        assert one.test_accuracy is None


def test_the_interval_of_an_accuracy_ends_below_one():
    accuracies = np.array([0.9, 1.0, 1.0])
    one = OptimizerEvaluation(
        np.ones((3, 2), np.float32), accuracies, 0.0, validation={"accuracy": accuracies}
    )
    found = Evaluation({"adam": one}, 2, 3).as_json()["adam"]
    for estimate in (found["test_accuracy"], found["validation"]["accuracy"]):
        assert 0 < estimate["low"] < estimate["value"] < estimate["high"] < 1


def test_accuracy_is_that_of_the_final_parameters():
    task = tasks.get("digits-mlp-relu", batch_size=32, hidden=(4,))
    got = evaluate(task, {"adam": optimizers.adam(0.02)}, 20, key=KEY, num_runs=2)
    params = train(task, optimizers.adam(0.02), 20, key=KEY, num_runs=2).params
    expected = [
        float(task.accuracy(jax.tree.map(lambda leaf, r=run: leaf[r], params))) for run in range(2)
    ]
    # A picture on the border between two classes may fall to either side.
    np.testing.assert_allclose(got.optimizers["adam"].test_accuracy, expected, atol=0.006)
    assert expected[0] != expected[1]
    assert got.as_json()["adam"]["test_accuracy"]["value"] == pytest.approx(
        np.mean(expected), abs=0.006
    )


def test_nothing_to_evaluate_is_refused():
    with pytest.raises(InvalidValueError, match="no optimizer to evaluate"):
        evaluate(Bowls(), {}, 5, key=KEY)
    for name in ("num_steps", "num_runs"):
        counts = {"num_steps": 5, "num_runs": 2} | {name: 0}
        with pytest.raises(InvalidValueError, match=f"{name} is 0"):
            evaluate(Bowls(), CANDIDATES, key=KEY, **counts)


class Sunken(Bowls):
    """The same with three taken off every loss, so that losses have both signs."""

    def sample(self, key):
        return Shifted(super().sample(key))


class Shifted(Task):
    """A task with three taken off its loss."""

    inner: Task

    def init(self, key):
        return self.inner.init(key)

    def sample_batch(self, key):
        return self.inner.sample_batch(key)

    def loss(self, params, batch):
        return self.inner.loss(params, batch) - 3.0


def test_losses_below_zero_have_a_difference_and_no_ratio(found):
    pair = {name: CANDIDATES[name] for name in ("slow", "fast")}
    lower = evaluate(Sunken(), pair, 20, key=KEY, num_runs=5)
    assert not lower.improvement("fast", "slow", 20).known
    assert "no ratio" in lower.improvement("fast", "slow", 20).method
    # Taking a constant off changes no difference.
    for name in ("value", "low", "high"):
        got, wanted = (
            getattr(each.difference("fast", "slow", 20), name) for each in (lower, found)
        )
        assert got == pytest.approx(wanted, abs=1e-4)
    shares = [each.optimizers["slow"].given_back().value for each in (lower, found)]
    assert shares[0] == pytest.approx(shares[1], abs=1e-4)
    assert lower.best(("slow", "fast"), 20) == "fast"


def test_only_a_loss_that_can_be_negative_has_an_interval_around_zero():
    """Losses of 1, 2 and 60 on average have a mean above 0, unless some step's was below it."""
    means = np.array([[1.0], [2.0], [60.0]])
    steps = np.array([-1.5, 1.5] * 10)
    for spread, signed in ((0.5 * steps, False), (steps, True)):
        one = OptimizerEvaluation(means + spread, None, 0.0)
        for estimate in (one.mean_loss(20), one.final_loss()):
            assert estimate.value == pytest.approx(21)
            assert (estimate.low < 0) == signed
