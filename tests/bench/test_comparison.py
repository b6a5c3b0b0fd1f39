import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optoscope import bench, optimizers
from optoscope._core.errors import (
    FileFormatError,
    InvalidValueError,
    RunDirectoryError,
    UnknownNameError,
)
from optoscope.bench import compare
from optoscope.report import read_run
from optoscope.tasks import LeastSquares, Task, TaskDistribution
from optoscope.training import Norms


class Bowls(TaskDistribution):
    """Least squares in two unknowns."""

    def sample(self, key):
        matrix, target, start = (
            jax.random.normal(jax.random.fold_in(key, index), shape)
            for index, shape in enumerate([(3, 2), (3,), (2,)])
        )
        return LeastSquares(matrix / 2, target, start, jnp.zeros(()))


@pytest.fixture(scope="module")
def comparison():
    return compare(
        Bowls(),
        {"mine": optimizers.adam(0.05)},
        ["sgd", "momentum"],
        num_steps=12,
        seed=3,
        num_runs=3,
        metric_steps=8,
        num_points=4,
        tuning_runs=2,
        probes={"norms": Norms(every=5)},
        tune_learned=False,
    )


def test_results_have_the_documented_keys(comparison):
    results = json.loads(json.dumps(comparison.results(), allow_nan=False))
    assert results["format"] == "optoscope/results"
    assert results["version"] == 2
    assert (results["num_steps"], results["num_runs"], results["seed"]) == (12, 3, 3)
    assert results["seeds"] == [0, 1, 2]
    assert results["learned"] == ["mine"]
    assert results["task"] == {"class": "Bowls"}
    assert results["seconds"] > 0
    assert list(results["optimizers"]) == ["mine", "sgd", "momentum"]
    for name, entry in results["optimizers"].items():
        assert set(entry) >= {
            "hyperparameters",
            "warnings",
            "mean_loss",
            "final_loss",
            "test_accuracy",
            "seconds_per_step",
            "diverged",
        }
        assert set(entry["hyperparameters"]) == (set() if name == "mine" else {"learning_rate"})
        for summary in (entry["mean_loss"]["12"], entry["final_loss"]):
            assert set(summary) >= {"value", "low", "high", "count", "method"}
            assert summary["low"] <= summary["value"] <= summary["high"]
            assert summary["count"] == 3


def test_the_headline_is_the_best_learned_against_the_best_baseline(comparison):
    headline = comparison.results()["comparison"]
    losses = {
        name: one.losses[:, :8].mean() for name, one in comparison.evaluation.optimizers.items()
    }
    best = min(("sgd", "momentum"), key=losses.__getitem__)
    assert (headline["learned"], headline["baseline"]) == ("mine", best)
    assert headline["relative_improvement"]["value"] == pytest.approx(
        1 - losses["mine"] / losses[best], rel=1e-4
    )
    assert "first 8 steps" in headline["metric"]


def test_the_report_reads_what_was_written(comparison, tmp_path):
    comparison.write(tmp_path, draw=False)
    run = read_run(tmp_path)
    assert run.results is not None
    assert set(run.results.optimizers) == set(run.losses) == {"mine", "sgd", "momentum"}
    for name, one in comparison.evaluation.optimizers.items():
        np.testing.assert_array_equal(run.losses[name], one.losses)
        mean = run.results.optimizers[name].mean_loss[12].value
        assert mean == pytest.approx(one.losses.mean(), rel=1e-5)
    for name, search in comparison.searches.items():
        np.testing.assert_allclose(run.search[name].score, search.score)
        np.testing.assert_array_equal(
            run.search[name].hyperparameters["learning_rate"],
            search.hyperparameters["learning_rate"],
        )
    with np.load(tmp_path / "records" / "probes.npz") as probes:
        assert probes["sgd/norms/steps"].tolist() == [0, 5, 10]
        assert probes["sgd/norms['grads']"].shape == (3, 3)


def test_it_writes_a_whole_run_directory_and_reads_it_again(comparison, tmp_path):
    place = tmp_path / "new" / "run"
    page = comparison.write(place)
    assert page == place / "index.html"
    assert "mine" in page.read_text()
    assert list((place / "figures").glob("*.png"))
    config = json.loads((place / "config.json").read_text())
    assert config["command"] == "Python: optoscope.bench.compare"
    assert config["arguments"]["baselines"] == ["sgd", "momentum"]
    assert config["arguments"]["metric"] == str(comparison.metric)
    assert config["arguments"]["num_points"] == comparison.settings["num_points"]
    assert set(config["versions"]) >= {"optoscope", "jax"}

    again = bench.Comparison.read(place)
    assert json.dumps(again.results()) == json.dumps(comparison.results())
    for name, one in comparison.evaluation.optimizers.items():
        found = again.evaluation.optimizers[name]
        assert found.measured_steps == one.measured_steps
        np.testing.assert_array_equal(
            found.records["norms"]["['grads']"], one.records["norms"]["grads"]
        )
    for name, search in comparison.searches.items():
        np.testing.assert_array_equal(again.searches[name].scores, search.scores)
    again.write(tmp_path / "again", draw=False)
    for name in ("evaluation", "search", "runs", "probes"):
        with (
            np.load(place / "records" / f"{name}.npz") as first,
            np.load(tmp_path / "again" / "records" / f"{name}.npz") as second,
        ):
            assert set(first) == set(second)
            for key in first:
                np.testing.assert_array_equal(first[key], second[key])


def test_what_is_no_comparison_is_not_read_as_one(comparison, tmp_path):
    with pytest.raises(RunDirectoryError, match="not a directory"):
        bench.Comparison.read(tmp_path / "nowhere")
    comparison.write(tmp_path, draw=False)
    content = json.loads((tmp_path / "results.json").read_text())
    del content["metric"]
    (tmp_path / "results.json").write_text(json.dumps(content))
    with pytest.raises(FileFormatError, match="earlier version"):
        bench.Comparison.read(tmp_path)
    (tmp_path / "records" / "runs.npz").unlink()
    with pytest.raises(RunDirectoryError, match=r"runs.npz does not exist"):
        bench.Comparison.read(tmp_path)


class Fingerprint(Task):
    """The first loss is a uniform number that tells which run it is."""

    def init(self, key):
        return jax.random.uniform(key)

    def sample_batch(self, key):
        return None

    def loss(self, params, batch):
        return params * 1.0


def test_baselines_are_not_tuned_on_the_runs_they_are_judged_by():
    seen = []
    found = compare(
        Fingerprint(),
        {},
        ["sgd"],
        num_steps=1,
        seed=0,
        num_runs=20,
        num_points=2,
        tuning_runs=20,
        on_progress=lambda *progress: seen.append(progress),
    )
    tuned = set(found.searches["sgd"].scores.ravel().tolist())
    judged = set(found.evaluation.optimizers["sgd"].losses.ravel().tolist())
    assert len(tuned) == len(judged) == 20
    assert not tuned & judged
    assert found.headline() is None
    assert found.results()["comparison"] is None
    assert {what for what, _, _ in seen} == {"tuning sgd", "running sgd"}


def test_a_comparison_in_which_everything_diverged_is_still_written(tmp_path):
    class Cliff(Fingerprint):
        def loss(self, params, batch):
            return params * jnp.inf

    found = compare(
        Cliff(),
        {"mine": optimizers.sgd(0.1)},
        ["sgd"],
        num_steps=2,
        seed=0,
        num_runs=2,
        num_points=2,
        tuning_runs=1,
    )
    assert "every configuration diverged" in found.results()["optimizers"]["sgd"]["warnings"][0]
    found.write(tmp_path, draw=False)
    run = read_run(tmp_path)
    assert run.results is not None
    assert run.results.optimizers["sgd"].diverged == 2


def test_a_name_given_twice_or_unknown_is_refused_before_anything_runs():
    def never(*progress):
        raise AssertionError(progress)

    def run(baselines):
        compare(
            Fingerprint(),
            {"adam": optimizers.adam(0.1)},
            baselines,
            num_steps=1,
            seed=0,
            on_progress=never,
        )

    with pytest.raises(InvalidValueError, match="'adam' is both evaluated and a baseline"):
        run(["sgd", "adam"])
    with pytest.raises(UnknownNameError, match="Did you mean 'lion'"):
        run(["sgd", "lionn"])


@pytest.mark.parametrize(("num_learned", "num_baselines", "comparisons"), [(10, 1, 10), (2, 3, 1)])
def test_neither_side_wins_by_having_more_to_choose_from(num_learned, num_baselines, comparisons):
    """All optimizers are as good: each side wins in at most 2.5% of cases."""
    generator = np.random.default_rng(0)
    learned = tuple(f"learned {place}" for place in range(num_learned))
    baselines = tuple(f"baseline {place}" for place in range(num_baselines))
    searches = dict.fromkeys(baselines, bench.SearchResult({}, np.zeros((1, 1)), ()))
    signs = []
    for _ in range(600):
        difficulty = np.exp(0.3 * generator.normal(size=(10, 1)))
        runs = {
            name: bench.OptimizerEvaluation(
                difficulty * np.exp(0.05 * generator.normal(size=(10, 1))), None, 1.0
            )
            for name in (*learned, *baselines)
        }
        evaluation = bench.Evaluation(runs, 1, 10)
        found = bench.Comparison(evaluation, searches, learned, 1, {}, 0, 0.0).headline()
        gain = found["relative_improvement"]
        signs.append(int(gain["low"] > 0) - int(gain["high"] < 0))
    assert found["comparisons"] == comparisons
    most = 0.025 + 3 * np.sqrt(0.025 / 600)  # three standard errors above
    assert max(signs.count(1), signs.count(-1)) / 600 < most
