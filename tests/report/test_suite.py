"""The page of a suite."""

import html
import json
import re

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from optoscope import bench, optimizers, report, tasks
from optoscope._core.errors import RunDirectoryError
from optoscope.report._records import read_run
from optoscope.report.results import write_results


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    directory = tmp_path_factory.mktemp("suite")
    found = bench.suite(
        {"plain": optimizers.sgd(0.05), "<wild>": optimizers.sgd(1e9)},
        {"bowl": tasks.get("quadratic"), "valley": tasks.get("rosenbrock")},
        baselines=["adamw-cosine", "sgd"],
        num_steps=12,
        num_runs=3,
        num_rates=4,
    )
    found.write(directory)
    (directory / "config.json").write_text(json.dumps({"command": "suite", "arguments": {}}))
    return directory


def test_what_is_written_is_read(run):
    record = read_run(run).suite
    assert record is not None
    assert record.tasks == ("bowl", "valley")
    assert set(record.given) == {"plain", "plain (tuned)", "<wild>", "<wild> (tuned)"}
    assert record.ranked("final_ratio")[-1] in ("<wild>", "<wild> (tuned)")
    assert record.curves["sgd"]["bowl"].shape == (3, 12)
    assert record.steps.tolist() == list(range(1, 13))


def test_every_figure_is_drawn_and_has_its_words(run):
    for kind in report.SUITE_FIGURES:
        assert len(kind.text.how_to_read) > 80
        assert len(kind.text.what_it_does_not_show) > 80
        figure = kind.draw(read_run(run))
        assert isinstance(figure, Figure)
        figure.draw_without_rendering()
        assert min(t.get_fontsize() for t in figure.findobj(Text) if t.get_text()) >= 8


def test_the_page_says_it_all(run):
    page = report.render(run)
    text = html.unescape(page.read_text())
    record = read_run(run).suite
    assert record is not None
    assert report.suite_sentence(record) in text
    for headings, rows in (
        report.score_table(record), report.loss_table(record), report.trial_table(record)
    ):  # fmt: skip
        assert len(rows) == len(record.optimizers)
        for cell in (*headings, *(cell for row in rows for cell in row)):
            assert cell in text
    for kind in report.SUITE_FIGURES:
        assert kind.text.what_it_does_not_show in text
    assert "<wild>" not in page.read_text()


def test_ranks_are_those_of_the_values(run):
    record = read_run(run).suite
    assert record is not None
    for score in report.SCORES:
        values = [
            record.optimizers[label].scores[score.key].value for label in record.ranked(score.key)
        ]
        finite = [value for value in values if np.isfinite(value)]
        assert finite == sorted(finite, reverse=True)


def test_the_documentation_gets_a_page(run, tmp_path):
    report.render(run)
    page = write_results(run, tmp_path).read_text()
    record = read_run(run).suite
    assert record is not None
    assert report.suite_sentence(record) in page
    assert "Made from runs of 12 steps" in page
    for kind in report.SUITE_FIGURES:
        assert kind.text.how_to_read in page
        (image,) = re.findall(rf"!\[{kind.text.title}\]\((.*)\)", page)
        assert (tmp_path / "results" / image).stat().st_size > 1000
    for headings, rows in (
        report.score_table(record), report.loss_table(record), report.trial_table(record)
    ):  # fmt: skip
        for row in (headings, *rows):
            assert f"| {' | '.join(row)} |" in page


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content.pop("tasks"),
        lambda content: content.update(version=99),
        lambda content: content.update(optimizers={}),
        lambda content: content["optimizers"]["sgd"]["scores"].pop("profile"),
        lambda content: content["optimizers"]["sgd"].update(final_loss=3),
        lambda content: content["tasks"].append("unheard-of"),
    ],
)
def test_a_damaged_file_is_one_message(run, tmp_path, damage):
    content = json.loads((run / "suite.json").read_text())
    damage(content)
    (tmp_path / "records").mkdir()
    (tmp_path / "config.json").write_text((run / "config.json").read_text())
    (tmp_path / "records" / "suite.npz").write_bytes((run / "records" / "suite.npz").read_bytes())
    (tmp_path / "suite.json").write_text(json.dumps(content))
    with pytest.raises(RunDirectoryError, match="suite"):
        read_run(tmp_path)
