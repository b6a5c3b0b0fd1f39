import json
import pickle

import numpy as np
import pytest

from optoscope import report
from optoscope._core.errors import FileFormatError, RunDirectoryError
from support.run_files import (
    CLAIMS,
    interval,
    make_claim,
    make_claims,
    make_losses,
    make_metrics,
    make_results,
    make_search,
    write_run,
)


def test_everything_is_read(full_run):
    run = report.read_run(full_run)
    assert run.results.optimizers["momentum"].hyperparameters["learning_rate"] == 3.0
    assert run.results.horizons == (100, 200)
    assert run.results.comparison.relative_improvement == report.Estimate(
        0.283, 0.251, 0.302, 10, "mean"
    )
    np.testing.assert_array_equal(run.losses["adam"], make_losses()["adam"])
    assert set(run.search["momentum"].hyperparameters) == {"learning_rate", "momentum"}
    assert run.metrics.step[-1] == 2500
    assert np.isnan(run.metrics.meta_loss[30])
    assert [c.verdict for c in run.claims] == [
        "holds", "does not hold", "inconclusive", "inconclusive",
    ]  # fmt: skip
    assert run.names[:2] == ("lstm", "momentum")


def test_only_the_configuration_is_needed(tmp_path):
    run = report.read_run(write_run(tmp_path))
    assert (run.metrics, run.results, run.losses, run.search, run.claims) == (
        None, None, {}, {}, (),
    )  # fmt: skip


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(RunDirectoryError, match=r"has no config\.json"):
        report.read_run(tmp_path)
    with pytest.raises(RunDirectoryError, match="not a directory"):
        report.read_run(tmp_path / "missing")


def claims_with(**fields):
    return json.dumps(make_claims(make_claim("A1", "holds") | fields))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", "[1]"),
        ("config.json", "{"),
        ("results.json", "{"),
        ("results.json", "[]"),
        ("results.json", '{"format": "other"}'),
        ("results.json", json.dumps(make_results(version=3))),
        ("results.json", json.dumps(make_results(optimizers={}))),
        ("results.json", json.dumps(make_results(optimizers={"adam": 3}))),
        ("results.json", json.dumps(make_results(num_runs="ten"))),
        ("results.json", json.dumps(make_results(seconds=10**400))),
        ("claims.json", "{}"),
        ("claims.json", "[]"),
        ("claims.json", json.dumps(make_claims() | {"version": 2})),
        ("claims.json", json.dumps(make_claims(make_claim("A1", "perhaps")))),
        (
            "claims.json",
            json.dumps(make_claims(make_claim("A1", "holds", interval(0.1, 0.1, 0.1)))),
        ),
        ("claims.json", json.dumps(make_claims(make_claim("A1", "holds", interval(0.1))))),
        ("claims.json", json.dumps(make_claims(make_claim("A1", "holds", repeated_over="run")))),
        ("claims.json", json.dumps(make_claims(make_claim("A1", "holds", criterion={})))),
        ("claims.json", json.dumps(make_claims(make_claim("A1", "holds", quantity=3)))),
        ("claims.json", json.dumps(make_claims(make_claim("A1", "holds", repetitions=["one"])))),
        ("metrics.jsonl", "{\n{}\n"),
        ("metrics.jsonl", '{"step": "one"}\n'),
        ("metrics.jsonl", '{"step": 1, "meta_loss": "low"}\n'),
        ("metrics.jsonl", "3\n"),
        ("records/evaluation.npz", "no archive"),
        ("records/search.npz", ""),
    ],
)
def test_a_damaged_file_is_named(tmp_path, name, content):
    write_run(tmp_path)
    (tmp_path / name).write_text(content)
    with pytest.raises(RunDirectoryError) as error:
        report.read_run(tmp_path)
    assert str(tmp_path / name) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_newer_format_says_to_upgrade(tmp_path):
    with pytest.raises(FileFormatError, match="upgrade optoscope"):
        report.Results.from_json(make_results(version=3))


@pytest.mark.parametrize("keep", [0.3, 0.6, 0.95])
def test_a_truncated_archive_is_named(tmp_path, keep):
    path = write_run(tmp_path, losses=make_losses()) / "records" / "evaluation.npz"
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])
    with pytest.raises(RunDirectoryError, match=r"evaluation\.npz"):
        report.read_run(tmp_path)


def test_an_archive_with_a_flipped_byte_is_named(tmp_path):
    path = write_run(tmp_path, losses=make_losses()) / "records" / "evaluation.npz"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(bytes(content))
    with pytest.raises(RunDirectoryError, match=r"evaluation\.npz"):
        report.read_run(tmp_path)


class Bomb:
    def __reduce__(self):
        return pytest.fail, ("a pickle was executed",)


def test_pickles_are_never_executed(tmp_path):
    write_run(tmp_path)
    bomb = np.empty((1, 1), dtype=object)
    bomb[0, 0] = Bomb()
    np.savez(tmp_path / "records" / "evaluation.npz", **{"losses/adam": bomb})
    with pytest.raises(RunDirectoryError, match=r"evaluation\.npz"):
        report.read_run(tmp_path)
    (tmp_path / "records" / "evaluation.npz").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(RunDirectoryError, match=r"evaluation\.npz"):
        report.read_run(tmp_path)


@pytest.mark.parametrize(
    "array", [np.zeros(3), np.zeros((0, 4)), np.array([["a"]]), np.zeros((2, 2), complex)]
)
def test_losses_of_the_wrong_kind_are_refused(tmp_path, array):
    write_run(tmp_path, losses={"adam": array})
    with pytest.raises(RunDirectoryError, match="losses/adam"):
        report.read_run(tmp_path)


def test_a_lone_array_is_no_archive(tmp_path):
    write_run(tmp_path)
    with (tmp_path / "records" / "search.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(RunDirectoryError, match=r"search\.npz"):
        report.read_run(tmp_path)


def test_a_search_must_have_scores_and_equal_columns(tmp_path):
    write_run(tmp_path, search={"adam/learning_rate": np.ones(3)})
    with pytest.raises(RunDirectoryError, match="adam/score"):
        report.read_run(tmp_path)
    write_run(tmp_path, search={"adam/learning_rate": np.ones(3), "adam/score": np.ones(2)})
    with pytest.raises(RunDirectoryError, match="different lengths"):
        report.read_run(tmp_path)


def test_an_optimizer_name_may_hold_a_slash(tmp_path):
    search = {"team/adam/learning_rate": np.ones(2), "team/adam/score": np.ones(2)}
    run = report.read_run(write_run(tmp_path, losses={"team/adam": np.ones((1, 2))}, search=search))
    assert list(run.search) == list(run.losses) == ["team/adam"]


def test_a_last_line_cut_by_a_kill_is_left_out(tmp_path):
    path = write_run(tmp_path, metrics=make_metrics(3)) / "metrics.jsonl"
    path.write_text(path.read_text() + '{"step": 100, "meta_lo')
    np.testing.assert_array_equal(report.read_run(tmp_path).metrics.step, [25, 50, 75])


def test_a_step_reported_again_after_a_resume_counts_once(tmp_path):
    lines = [{"step": 1, "meta_loss": 5.0}, {"step": 2, "meta_loss": 4.0},
             {"step": 1, "meta_loss": 3.0}]  # fmt: skip
    metrics = report.read_run(write_run(tmp_path, metrics=lines)).metrics
    np.testing.assert_array_equal(metrics.step, [1, 2])
    np.testing.assert_array_equal(metrics.meta_loss, [3.0, 4.0])


def test_no_metrics_yet_is_no_damage(tmp_path):
    assert report.read_run(write_run(tmp_path, metrics=[])).metrics is None


def test_searches_without_a_rate_are_not_drawn(tmp_path):
    search = {"aggmo/momentum": np.ones(2), "aggmo/score": np.ones(2)}
    run = report.read_run(write_run(tmp_path, search=search, claims=CLAIMS))
    assert run.search
    assert not run.rate_search
    assert make_search()
