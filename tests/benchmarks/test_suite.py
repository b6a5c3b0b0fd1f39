"""The parts of the benchmarks that do not measure: results, comparisons, worktrees, the rows."""

import dataclasses
import json
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from support.benchmark_modules import BENCHMARKS, loaded

results, workers, curves = loaded("_results"), loaded("_workers"), loaded("_curves")
measuring, suite = loaded("_measuring"), loaded("suite")
compare, growth = loaded("compare"), loaded("growth")


def row(name="star-step", own=(6.0, 5.0, 7.0), base=(1.0, 1.0, 1.0), direction="lower"):
    return results.RowResult(
        name=name,
        unit="time",
        aim=5.0,
        direction=direction,
        measured=results.SideResult("STAR", 2, own),
        reference=results.SideResult("Adam", 1, base),
    )


def some_results(*rows, commit="a" * 40, missing=None, machine=None):
    return results.Results(
        machine=machine or {"cpu": "one", "cores": 2, "load_average": [0.1, 0.1, 0.1]},
        revision=results.Revision(commit, False),
        date="2026-01-02T03:04:05+00:00",
        rows=rows,
        missing=missing or {},
    )


# -- results -----------------------------------------------------------------------------------


def test_ratios_are_of_times_or_of_rates_a_step():
    lower, higher = row(), row(direction="higher")
    assert lower.paired == (3.0, 2.5, 3.5)
    assert (lower.value, lower.spread) == (3.0, (2.5, 3.5))
    np.testing.assert_allclose(higher.paired, [1 / 3, 1 / 2.5, 1 / 3.5])
    assert lower.reached
    assert not higher.reached


def test_results_are_read_as_they_were_written(tmp_path: Path):
    written = some_results(row(), row("other", direction="higher"), missing={"gone": "no such API"})
    path = tmp_path / "new" / "results.json"
    results.write_results(path, written)
    assert results.read_results(path) == written
    assert [p.name for p in path.parent.iterdir()] == ["results.json"]
    document = json.loads(path.read_text())
    assert (document["format"], document["version"]) == ("optoscope/benchmark", 1)
    first = document["rows"][0]
    assert first["paired"] == [3.0, 2.5, 3.5]
    assert (first["value"], first["spread"]) == (3.0, [2.5, 3.5])
    assert first["reference"] == "Adam"
    assert first["absolute"]["measured"]["median_seconds_a_step"] == 3.0


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"format": "optoscope/benchmark", "version": 2}']
)
def test_a_file_of_another_format_is_named(tmp_path: Path, content: str):
    path = tmp_path / "x.json"
    path.write_text(content)
    with pytest.raises(results.BenchmarkError, match=r"x\.json"):
        results.read_results(path)


def test_a_damaged_file_is_named(tmp_path: Path):
    path = tmp_path / "x.json"
    results.write_results(path, some_results(row()))
    document = json.loads(path.read_text())
    del document["rows"][0]["absolute"]
    path.write_text(json.dumps(document))
    with pytest.raises(results.BenchmarkError, match=r"x\.json is damaged"):
        results.read_results(path)


def test_the_machine_is_described_in_json():
    machine = results.describe_machine("cpu")
    assert json.loads(json.dumps(machine)) == machine
    expected = {"cpu", "cores", "memory_gib", "python", "jax", "jaxlib", "platform"}
    assert expected | {"device_kind", "load_average"} <= set(machine)
    assert machine["cpu"]


def test_files_are_named_by_date_and_commit():
    path = results.default_path("2026-01-02T03:04:05+00:00", results.Revision("abc" * 13, True))
    assert path.name == "2026-01-02-030405-abcabcabca-dirty.json"
    assert path.parent == BENCHMARKS.parent / "runs" / "bench"


def test_the_table_says_where_an_aim_is_missed():
    lines = results.results_table(
        some_results(row(), row("slow", own=(12.0,) * 3), missing={"gone": "why"})
    ).splitlines()
    assert "missed" not in lines[1]
    assert "missed" in lines[2]
    assert lines[3].endswith("not measured: why")


# -- comparisons -------------------------------------------------------------------------------


def test_rounds_that_took_turns_are_compared_in_pairs():
    # Both became slower and faster together: paired, every round says a tenth less.
    times = np.array([1.0, 2.0, 4.0, 2.0, 1.0])
    change = results.change(times, 0.9 * times, alternate=True)
    np.testing.assert_allclose([change.factor, change.low, change.high], 0.9)
    assert change.verdict("lower") == "better"
    assert change.verdict("higher") == "worse"
    assert results.change(times, times[::-1], alternate=True).verdict("lower") == "same"
    # Four rounds agree by luck once in eight times.
    assert results.change(times[:4], 0.9 * times[:4], True).verdict("lower") == "unsure"


def test_measurements_of_different_times_keep_their_whole_spread():
    times = np.array([1.0, 2.0, 4.0, 2.0, 1.0])
    change = results.change(times, 0.9 * times, alternate=False)
    np.testing.assert_allclose([change.factor, change.low, change.high], [0.9, 0.225, 3.6])
    assert change.verdict("lower") == "same"


def test_the_comparison_shows_both_ratios_and_what_only_one_revision_has():
    before = some_results(row(own=(6.0,) * 5, base=(1.0,) * 5), row("old"), commit="b" * 40)
    after = some_results(row(own=(3.0,) * 5, base=(1.0,) * 5), missing={"old": "AttributeError"})
    lines = results.comparison_table(before, after, alternate=True).splitlines()
    assert "bbbbbbbbbb" in lines[0]
    assert "aaaaaaaaaa" in lines[0]
    assert lines[1].split()[:4] == ["star-step", "3.000", "1.500", "-50.0%"]
    assert "better" in lines[1]
    assert "not measured" in lines[2]
    assert lines[-1] == "old at aaaaaaaaaa: AttributeError"


def test_two_files_are_compared_and_other_machines_named(tmp_path: Path, capsys):
    paths = [tmp_path / "1.json", tmp_path / "2.json"]
    for path, cpu in zip(paths, ("one", "two"), strict=True):
        results.write_results(path, some_results(row(), machine={"cpu": cpu, "cores": 2}))
    compare.compare_files(*paths)
    printed = capsys.readouterr().out
    assert "unsure" in printed
    assert "The machines differ in: cpu." in printed


# -- worktrees ---------------------------------------------------------------------------------


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "repository"
    (root / "src" / "optoscope").mkdir(parents=True)
    (root / "src" / "optoscope" / "__init__.py").write_text("first = True\n")

    def git(*words: str) -> None:
        who = ["-c", "user.name=t", "-c", "user.email=t@t", "-c", "core.hooksPath=/dev/null"]
        subprocess.run(["git", *who, *words], cwd=root, check=True, capture_output=True)

    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "first")
    (root / "src" / "optoscope" / "__init__.py").write_text("second = True\n")
    return root


def worktrees(root: Path) -> int:
    return len(results.git("worktree", "list", root=root).splitlines())


@pytest.mark.parametrize("error", [None, RuntimeError, KeyboardInterrupt])
def test_a_worktree_holds_the_revision_and_is_gone_afterwards(repository: Path, error):
    before = results.git("status", "--porcelain", root=repository)
    folders = []

    def use() -> None:
        with compare.worktree("HEAD", repository) as source:
            folders.append(source.folder)
            assert (source.folder / "optoscope" / "__init__.py").read_text() == "first = True\n"
            assert not source.revision.dirty
            assert worktrees(repository) == 2
            if error is not None:
                raise error

    if error is None:
        use()
    else:
        with pytest.raises(error):
            use()
    assert not folders[0].parent.parent.exists()
    assert worktrees(repository) == 1
    assert results.git("status", "--porcelain", root=repository) == before


def test_changes_of_what_is_measured_make_a_revision_dirty(repository: Path):
    assert results.revision_of(repository).label.endswith("-dirty")
    results.git("checkout", "-q", "src", root=repository)
    (repository / "note.txt").write_text("not measured")
    assert not results.revision_of(repository).dirty


def test_an_unknown_revision_or_one_without_the_library_is_an_error(repository: Path):
    with (
        pytest.raises(results.BenchmarkError, match='"nowhere" names no commit'),
        compare.worktree("nowhere", repository),
    ):
        pass
    results.git("rm", "-rqf", "src", root=repository)
    who = ("-c", "user.name=t", "-c", "user.email=t@t", "-c", "core.hooksPath=/dev/null")
    results.git(*who, "commit", "-q", "--allow-empty", "-m", "empty", root=repository)
    with (
        pytest.raises(results.BenchmarkError, match="has no src/optoscope"),
        compare.worktree("HEAD", repository),
    ):
        pass
    assert worktrees(repository) == 1


# -- the suite and its workers -----------------------------------------------------------------


def test_the_rows_are_what_is_promised():
    aims = {name: (row.aim, row.direction) for name, row in suite.ROWS.items()}
    assert aims == {
        "pes-mnist": (0.6, "higher"),
        "pes-mnist-2": (0.6, "higher"),
        "pes-digits": (0.65, "higher"),
        "pes-small": (0.65, "higher"),
        "pes-mixture": (0.55, "higher"),
        "star-step": (5.0, "lower"),
        "star-changing": (5.0, "lower"),
        "meta-training": (0.55, "lower"),
        "meta-training-4": (3.2, "lower"),
        "meta-training-cnn": (4.0, "lower"),
        "train-sgd": (1.05, "lower"),
        "train-adam": (1.05, "lower"),
    }
    assert {row.devices for row in suite.ROWS.values()} == {1, 2}
    assert all(row.rounds(1) == 1 for row in suite.ROWS.values())


def test_rows_are_chosen_by_name_and_a_wrong_name_gets_a_suggestion():
    assert suite.chosen_rows([]) == list(suite.ROWS.values())
    assert [r.name for r in suite.chosen_rows(["train-sgd", "pes-mnist"])] == [
        "pes-mnist",
        "train-sgd",
    ]
    with pytest.raises(results.BenchmarkError, match="star-step"):
        suite.chosen_rows(["star-stepp"])


class FakeWorker:
    """Answers times at once; of a source named "broken" it fails, of "dying" in round two."""

    log: list[str] = []  # noqa: RUF012 - one for all of them

    def __init__(self, script: Path, name: str, source: Path):
        self.source, self.rounds = source.name, 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.log.append(f"end {self.source}")

    def ready(self):
        if self.source == "broken":
            raise workers.WorkerError("ImportError: no such thing")
        labels = {"measured": "a", "reference": "b"}
        return workers.Ready("cpu", 1.0, labels, {"measured": 10, "reference": 5})

    def round(self):
        self.rounds += 1
        if self.source == "dying" and self.rounds == 2:
            raise workers.WorkerError("killed")
        self.log.append(self.source)
        return {"measured": 4.0 * self.rounds, "reference": 1.0}


def outcomes(*names: str, rounds: int = 3):
    FakeWorker.log.clear()
    sources = [measuring.Source(Path(name), results.Revision(name, False)) for name in names]
    made = measuring.measure_row(
        suite.ROWS["star-step"], sources, rounds, lambda _: None, start=FakeWorker
    )
    return made, list(FakeWorker.log)


def test_revisions_take_turns_and_their_workers_end():
    (old, new), log = outcomes("old", "new")
    assert log[:-2] == ["old", "new", "new", "old", "old", "new"]
    assert set(log[-2:]) == {"end old", "end new"}
    np.testing.assert_allclose(old.result.paired, [2.0, 4.0, 6.0])
    assert new.result == old.result


@pytest.mark.parametrize("name", ["broken", "dying"])
def test_a_revision_that_fails_leaves_the_other_alone(name: str):
    (bad, good), log = outcomes(name, "new")
    assert bad.result is None
    assert bad.reason
    assert len(good.result.paired) == 3
    assert f"end {name}" in log


def test_an_expected_error_is_one_message(capsys):
    def fails():
        raise results.BenchmarkError("it is so.")

    def interrupted():
        raise KeyboardInterrupt

    assert workers.in_one_message(fails) == 2
    assert workers.in_one_message(interrupted) == 130
    assert capsys.readouterr().err == "benchmark: it is so.\nbenchmark: interrupted.\n"


SCRIPT = """
import json, os, sys
name = sys.argv[2]
if name == "fails":
    print("first line", file=sys.stderr)
    sys.exit("ImportError: cannot import it\\n----\\nFor simplicity, frames are left out.")
if name == "silent":
    sys.exit(3)
ready = {"device_kind": os.environ["PYTHONPATH"], "compile_seconds": 0.1}
print(json.dumps(ready | {"labels": {}, "steps": {}}), flush=True)
for _ in sys.stdin:
    print(json.dumps({"measured": 0.0 if name == "wrong" else 1.5}), flush=True)
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    return path


def test_a_worker_sees_its_source_and_answers_rounds(script: Path, tmp_path: Path):
    with workers.Worker(script, "works", tmp_path / "src") as worker:
        assert worker.ready().device_kind == str(tmp_path / "src")
        assert [worker.round(), worker.round()] == [{"measured": 1.5}] * 2


def test_a_worker_that_fails_gives_its_error_and_wrong_times_are_refused(
    script: Path, tmp_path: Path
):
    with (
        workers.Worker(script, "fails", tmp_path) as worker,
        pytest.raises(workers.WorkerError, match=r"^ImportError: cannot import it$"),
    ):
        worker.ready()
    with (
        workers.Worker(script, "silent", tmp_path) as worker,
        pytest.raises(workers.WorkerError, match="its process ended with code 3"),
    ):
        worker.ready()
    with workers.Worker(script, "wrong", tmp_path) as worker:
        worker.ready()
        with pytest.raises(workers.WorkerError, match="times that are none"):
            worker.round()


def test_a_worker_is_ended_while_it_works(tmp_path: Path):
    path = tmp_path / "sleeps.py"
    path.write_text("import time\ntime.sleep(100)\n")
    started = time.monotonic()
    with workers.Worker(path, "sleeps", tmp_path):
        pass
    assert time.monotonic() - started < 2


# -- growth ------------------------------------------------------------------------------------


def test_a_bend_is_found_where_two_lines_meet():
    x = np.array([1e3, 1e4, 1e5, 1e6, 1e7])
    y = np.where(x < 1e5, 1.0, (x / 1e5) ** 1.2)
    fit = curves.fitted(x, y)
    assert fit.bend == 1e5
    np.testing.assert_allclose([fit.before, fit.after], [0.0, 1.2], atol=1e-9)


def test_a_straight_line_has_no_bend():
    x = np.array([1.0, 2.0, 4.0, 8.0])
    fit = curves.fitted(x, 3 * x**0.9 * np.array([1.0, 1.02, 0.99, 1.0]))
    assert fit.bend is None
    assert fit.before == fit.after == pytest.approx(0.9, abs=0.02)


def test_three_points_bend_in_the_middle():
    fit = curves.fitted(np.array([1.0, 2.0, 4.0]), np.array([1.0, 0.5, 0.5]))
    assert (fit.bend, fit.before, fit.after) == (2.0, pytest.approx(-1), pytest.approx(0, abs=1e-9))


def test_growth_is_read_as_it_was_written_and_drawn(tmp_path: Path):
    curve = curves.Curve("STAR", (1.0, 2.0, 4.0), ((0.1, 0.2), (0.2, 0.3), (0.4, 0.5)))
    panel = curves.Panel("particles", "antithetic pairs", (curve,))
    measured = curves.Growth({"cpu": "x"}, results.Revision("c" * 40, False), "now", (panel,))
    path = tmp_path / "growth.json"
    curves.write_growth(path, measured)
    assert curves.read_growth(path) == measured
    table = curves.panel_table(panel)
    assert table.splitlines()[0].startswith("| antithetic pairs |")
    picture = tmp_path / "growth.png"
    curves.draw(measured, picture)
    assert picture.stat().st_size > 5000


def test_networks_have_about_as_many_parameters_as_asked_for():
    for wanted in growth.PARAMETERS:
        width = growth.hidden_width(wanted)
        assert growth.num_parameters(width) == pytest.approx(wanted, rel=0.1)


def test_results_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        row().name = "other"
