import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from optoscope import optimizers, tasks
from optoscope._core.errors import InvalidValueError, UnknownNameError
from optoscope.bench import (
    LogUniform,
    Metric,
    OneMinusLogUniform,
    SearchResult,
    Uniform,
    _search,
    evaluate_configurations,
    grid_search,
    random_search,
    tune,
)
from optoscope.tasks import LeastSquares, TaskDistribution
from optoscope.training import train

KEY = jax.random.key(0)


def bowl(*curvatures, start=1.0):
    """½ Σ l x², started at `start` in every direction."""
    roots = jnp.sqrt(jnp.array(curvatures))
    size = len(curvatures)
    return LeastSquares(jnp.diag(roots), jnp.zeros(size), jnp.full(size, start), jnp.zeros(()))


class Bowls(TaskDistribution):
    """Least squares in two unknowns."""

    def sample(self, key):
        matrix, target, start = (
            jax.random.normal(jax.random.fold_in(key, index), shape)
            for index, shape in enumerate([(3, 2), (3,), (2,)])
        )
        return LeastSquares(matrix / 2, target, start, jnp.zeros(()))


@pytest.mark.parametrize(
    ("space", "undo"),
    [
        (LogUniform(1e-4, 10.0), lambda v: (np.log10(v) + 4) / 5),
        (Uniform(-2.0, 3.0), lambda v: (v + 2) / 5),
        (OneMinusLogUniform(1e-3, 0.1), lambda v: (np.log10(1 - v) + 3) / 2),
    ],
    ids=["log", "uniform", "one-minus-log"],
)
def test_samples_have_their_distribution(space, undo):
    values = space.sample(np.random.default_rng(0), 2000)
    unit = undo(values)
    assert values.shape == (2000,)
    assert unit.min() > -1e-9
    assert unit.max() < 1 + 1e-9
    assert stats.kstest(unit, "uniform").pvalue > 1e-3
    # Power: a range that is 10% wider is told apart.
    assert stats.kstest(unit / 1.1, "uniform").pvalue < 1e-6


def test_log_uniform_is_not_uniform():
    values = LogUniform(1e-4, 10.0).sample(np.random.default_rng(0), 2000)
    assert stats.kstest(values, stats.uniform(1e-4, 10.0).cdf).pvalue < 1e-6


def test_grids_hold_their_ends():
    np.testing.assert_allclose(LogUniform(0.01, 1.0).grid(3), [0.01, 0.1, 1])
    np.testing.assert_allclose(Uniform(-1.0, 1.0).grid(5), [-1, -0.5, 0, 0.5, 1])
    np.testing.assert_allclose(OneMinusLogUniform(0.001, 0.1).grid(3), [0.999, 0.99, 0.9])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LogUniform(0.0, 1.0), "low is 0.0; it must be above 0"),
        (lambda: LogUniform(2.0, 1.0), "high is 1.0; it must be at least 2"),
        (lambda: LogUniform(1.0, float("inf")), "high is inf"),
        (lambda: Uniform(2.0, 1.0), "high is 1.0"),
        (lambda: Uniform(float("nan"), 1.0), "low is nan"),
        (lambda: OneMinusLogUniform(0.1, 1.5), "high is 1.5; .* at most 1"),
    ],
)
def test_ranges_that_cannot_be_are_refused(make, message):
    with pytest.raises(InvalidValueError, match=message):
        make()


def test_grid_search_of_sgd_on_a_quadratic_is_the_closed_form():
    low, high, steps = 0.5, 4.0, 60
    rates = np.linspace(0.02, 0.6, 59)
    found = grid_search(
        bowl(low, high),
        optimizers.sgd,
        {"learning_rate": rates},
        num_steps=steps,
        key=KEY,
        num_runs=2,
    )
    shrink = (1 - np.outer(rates.astype(np.float32), [low, high]).astype(float)) ** 2
    losses = 0.5 * np.array([low, high]) * shrink ** np.arange(steps)[:, None, None]
    expected = losses.sum(-1).mean(0)
    np.testing.assert_allclose(found.scores[:, 0], expected, rtol=2e-4)
    np.testing.assert_array_equal(found.scores[:, 0], found.scores[:, 1])
    np.testing.assert_allclose(found.score, found.scores.mean(1))
    best = rates[np.argmin(expected)]
    assert found.best["learning_rate"] == pytest.approx(best)
    assert found.warnings == ()
    # Where only the end counts, the best rate is 2/(l + L); a mean over the steps wants less.
    final = losses.sum(-1)[-1]
    assert rates[np.argmin(final)] == pytest.approx(2 / (low + high), abs=0.01)
    assert 1 / high < best < 2 / (low + high)


def test_grid_search_agrees_with_a_loop_over_configurations():
    grid = {"learning_rate": [0.05, 0.2], "momentum": [0.0, 0.5, 0.9]}
    found = grid_search(Bowls(), optimizers.momentum, grid, num_steps=12, key=KEY, num_runs=3)
    tried = list(
        zip(found.hyperparameters["learning_rate"], found.hyperparameters["momentum"], strict=True)
    )
    np.testing.assert_allclose(
        tried, [(rate, decay) for rate in grid["learning_rate"] for decay in grid["momentum"]]
    )
    naive = np.array(
        [
            train(
                Bowls(), optimizers.momentum(float(a), float(b)), 12, key=KEY, num_runs=3
            ).losses.mean(axis=1)
            for a, b in tried
        ]
    )
    np.testing.assert_allclose(found.scores, naive, rtol=1e-5)
    best = int(np.argmin(naive.mean(1)))
    assert found.best == {
        "learning_rate": pytest.approx(tried[best][0]),
        "momentum": pytest.approx(tried[best][1]),
    }


@pytest.mark.parametrize("chunk", [1, 3])
def test_chunks_and_calls_change_nothing(monkeypatch, chunk):
    rates = {"learning_rate": np.geomspace(0.01, 1, 23)}

    def search(seen):
        return evaluate_configurations(
            Bowls(),
            optimizers.sgd,
            rates,
            num_steps=8,
            key=KEY,
            num_runs=2,
            on_progress=lambda done, total: seen.append((done, total)),
        )

    whole, pieces = [], []
    expected = search(whole)
    monkeypatch.setattr(_search, "side_by_side", lambda *_: chunk)
    got = search(pieces)
    np.testing.assert_allclose(got.scores, expected.scores, rtol=1e-5)
    assert got.scores.shape == (23, 2)
    assert whole == [(23, 23)]
    assert len(pieces) > 5
    assert pieces[-1] == (23, 23)
    assert [done for done, _ in pieces] == sorted({done for done, _ in pieces})


@pytest.mark.parametrize(
    ("rates", "message"),
    [
        ([0.01, 0.02, 0.05], r"best learning_rate \(0\.05\) is the highest.*above"),
        ([0.25, 0.4, 0.49], r"best learning_rate \(0\.25\) is the lowest.*below"),
    ],
)
def test_a_best_value_on_the_edge_is_told(rates, message):
    found = grid_search(
        bowl(4.0), optimizers.sgd, {"learning_rate": rates}, num_steps=10, key=KEY, num_runs=1
    )
    assert len(found.warnings) == 1
    assert re.search(message, found.warnings[0])


def test_no_warning_inside_or_for_a_single_value():
    for rates in ([0.1, 0.25, 0.4], [0.01]):
        found = grid_search(
            bowl(4.0), optimizers.sgd, {"learning_rate": rates}, num_steps=10, key=KEY, num_runs=1
        )
        assert found.warnings == ()


def test_what_diverges_scores_infinity_and_is_never_best():
    found = grid_search(
        bowl(4.0), optimizers.sgd, {"learning_rate": [1e3, 0.1, 1e4, 0.2]}, num_steps=60, key=KEY
    )
    np.testing.assert_array_equal(np.isinf(found.score), [True, False, True, False])
    assert not np.any(np.isnan(found.scores))
    assert found.best["learning_rate"] == pytest.approx(0.2)


def test_when_everything_diverges_it_says_so():
    found = grid_search(
        bowl(4.0), optimizers.sgd, {"learning_rate": [1e4, 1e5]}, num_steps=60, key=KEY
    )
    assert found.warnings == ("every configuration diverged; search smaller learning rates",)


def test_a_target_that_no_run_reaches_is_no_divergence():
    rates, metric = {"learning_rate": [1e-4, 0.01, 0.02]}, Metric("target", target=-1.0)
    found = grid_search(bowl(4.0), optimizers.sgd, rates, num_steps=20, key=KEY, metric=metric)
    (warning,) = found.warnings
    assert warning.startswith("no configuration brings the loss to -1 in every run; take more")


def test_of_infinite_scores_the_one_with_the_most_finite_runs_is_the_best():
    inf = np.inf
    scores = np.array([[inf, inf], [inf, 9.0], [7.0, inf], [inf, inf]])
    found = SearchResult({"learning_rate": np.arange(4.0)}, scores, ())
    assert found.best == {"learning_rate": 2.0}
    assert SearchResult(found.hyperparameters, np.full((4, 2), inf), ()).best["learning_rate"] == 0
    better = np.vstack([scores, [[8.0, 30.0]]])
    assert SearchResult({"learning_rate": np.arange(5.0)}, better, ()).best["learning_rate"] == 4


@pytest.mark.parametrize("array", [np.asarray, jnp.asarray])
def test_the_steps_to_a_target_do_not_suffer_from_large_first_losses(array):
    """Losses that fall from 10⁶ to 10⁻² never have a mean of half of that over a tenth."""
    losses = (1e6 * np.exp(-np.arange(1000) / 5) + 0.01).astype(np.float32)[None]
    metrics = [Metric("target", target=target) for target in (0.005, 1.0)]
    steps = [float(metric.of_losses(array(losses), 1000)[0]) for metric in metrics]
    exact = np.convolve(losses[0].astype(np.float64), np.ones(100) / 100, "valid")
    assert steps == [np.inf, np.argmax(exact <= 1)]


def test_random_search_draws_from_the_space_and_repeats():
    space = {"learning_rate": LogUniform(1e-3, 1.0), "momentum": OneMinusLogUniform(0.05, 1.0)}

    def search(seed):
        return random_search(
            Bowls(),
            optimizers.momentum,
            space,
            40,
            num_steps=5,
            key=jax.random.key(seed),
            num_runs=2,
        )

    first, second, other = search(0), search(0), search(1)
    assert first.scores.shape == (40, 2)
    rates, decays = (first.hyperparameters[name] for name in ("learning_rate", "momentum"))
    assert len(set(rates.tolist())) == 40
    assert rates.min() >= 0.999e-3
    assert rates.max() <= 1.001
    assert decays.min() >= 0
    assert decays.max() <= 0.951
    assert abs(stats.spearmanr(rates, decays).statistic) < 0.5
    np.testing.assert_array_equal(first.scores, second.scores)
    assert not np.array_equal(rates, other.hyperparameters["learning_rate"])


@pytest.mark.parametrize(
    "hyperparameters",
    [{}, {"learning_rate": []}, {"learning_rate": [0.1, 0.2], "momentum": [0.5]}],
)
def test_configurations_of_unequal_number_are_refused(hyperparameters):
    with pytest.raises(InvalidValueError, match="same number, at least 1"):
        evaluate_configurations(
            bowl(1.0), optimizers.momentum, hyperparameters, num_steps=3, key=KEY
        )


@pytest.mark.parametrize("name", ["num_steps", "num_runs"])
def test_counts_below_one_are_refused(name):
    counts = {"num_steps": 3, "num_runs": 1} | {name: 0}
    with pytest.raises(InvalidValueError, match=f"{name} is 0"):
        grid_search(bowl(1.0), optimizers.sgd, {"learning_rate": [0.1]}, key=KEY, **counts)


@pytest.mark.parametrize(("curvature", "best"), [(0.04, 25.0), (4e4, 2.5e-5)])
def test_tuning_moves_past_the_edge_of_its_grid(curvature, best):
    found = tune("sgd", bowl(curvature), num_steps=4, key=KEY, num_points=31, num_runs=4)
    assert found.best["learning_rate"] == pytest.approx(best, rel=0.2)
    assert found.warnings == ()
    tried = found.hyperparameters["learning_rate"]
    assert tried.min() <= 1.01e-4
    assert tried.max() >= 2.99
    assert len(tried) == len(found.scores) == 62


def test_tuning_gives_up_after_three_moves_and_says_so():
    found = tune("sgd", bowl(1e-6), num_steps=3, key=KEY, num_points=4, num_runs=1)
    assert len(found.score) == 16
    assert found.best["learning_rate"] == pytest.approx(3000.0)
    assert "highest" in found.warnings[0]


def test_tuning_needs_something_to_tune():
    with pytest.raises(UnknownNameError, match="adam"):
        tune("adamm", bowl(1.0), num_steps=3, key=KEY)
    with pytest.raises(InvalidValueError, match="'lstm' has no hyper-parameters to search"):
        tune("lstm", tasks.get("quadratic"), num_steps=3, key=KEY)
