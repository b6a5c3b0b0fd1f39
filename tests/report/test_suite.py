"""The page of a suite."""

import dataclasses
import html
import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from optoscope import bench, optimizers, report, tasks
from optoscope._core.errors import RunDirectoryError
from optoscope._core.estimates import with_interval
from optoscope.report._records import read_run
from optoscope.report._suite import MOST_SHOWN
from optoscope.report.results import write_results
from optoscope.report.results._suite_page import SuitePage


def bowl():
    """A mean of numbers, with numbers that are held out."""
    return tasks.from_functions(
        lambda key: jax.random.normal(key),
        lambda params, batch: jnp.mean((params - batch) ** 2),
        np.linspace(-1, 1, 8).astype(np.float32),
        batch_size=4,
        validation=np.float32([1.0, 3.0]),
    )


def suite_page_of(run):
    one = read_run(run)
    assert one.suite is not None
    return SuitePage(one, one.suite)


def all_tables(record):
    return (
        report.score_table(record),
        report.loss_table(record),
        report.validation_table(record),
        report.ratio_table(record),
        report.against_table(record),
        report.trial_table(record),
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    directory = tmp_path_factory.mktemp("suite")
    found = bench.suite(
        {"plain": optimizers.sgd(0.05), "<wild>": optimizers.sgd(1e9)},
        {"bowl": bowl(), "valley": tasks.get("rosenbrock")},
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
    for headings, rows in all_tables(record):
        assert len(rows) >= len(record.optimizers) - 1  # the reference has no ratio to itself
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
        ranks = [record.rank(label, score.key) for label in record.ranked(score.key)]
        assert ranks == [finite.index(v) + 1 if v in finite else len(finite) + 1 for v in values]


def test_equals_share_a_rank_and_are_first_together(run):
    record = read_run(run).suite
    assert record is not None
    best = record.ranked("profile")[0]
    twins = {"twin": record.optimizers[best]} | dict(record.optimizers)
    record = dataclasses.replace(record, optimizers=twins)
    assert [record.rank(name, "profile") for name in (best, "twin")] == [1, 1]
    assert record.rank(record.ranked("profile")[2], "profile") == 3
    assert f"{best} and twin by AlgoPerf score" in report.suite_sentence(record)


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
    for headings, rows in all_tables(record):
        for row in (headings, *rows):
            assert f"| {' | '.join(row)} |" in page
    assert "Loss on the task's validation data" in page


def test_the_page_says_how_it_was_made(run, tmp_path):
    report.render(run)
    page = suite_page_of(run)
    assert page.command == "optoscope suite small --steps 12 --runs 3 --rates 4 --out runs/suite"
    arguments = {"against": "sgd", "untuned": "plain", "tuned": False, "set": ["plain.a=1"]}
    config = page.run.config | {"arguments": arguments}
    page = dataclasses.replace(page, run=dataclasses.replace(page.run, config=config))
    assert "--against sgd --untuned plain --no-tuned --set plain.a=1 --steps" in page.command


def test_large_ratios_have_no_decimals(run):
    record = read_run(run).suite
    assert record is not None
    ratios = record.optimizers["sgd"].ratios
    wild = ratios | {"bowl": ratios["bowl"] | {"final": with_interval(5e21, 1.0, 1e22, 3, "")}}
    one = dataclasses.replace(record.optimizers["sgd"], ratios=wild)
    record = dataclasses.replace(record, optimizers=record.optimizers | {"sgd": one})
    row = next(row for row in report.ratio_table(record)[1] if row[0] == "sgd")
    assert row[1].startswith("5e+21, ")


def test_validation_and_ratios_stand_in_their_tables(run):
    record = read_run(run).suite
    assert record is not None
    assert record.validated == ("bowl",)
    headings, rows = report.validation_table(record)
    assert headings == ["validation loss at the end", "bowl", "valley"]
    assert {row[2] for row in rows} == {"no data"}
    sgd = record.optimizers["sgd"]
    assert next(row for row in rows if row[0] == "sgd")[1].startswith(
        f"{sgd.validation_loss['bowl'].value:.3f}"
    )
    headings, rows = report.ratio_table(record)
    assert headings[-3:] == ["all, final", "all, mean", "1 tasks, validation"]
    row = next(row for row in rows if row[0] == "sgd")
    assert [len(cell.split(", ")) for cell in row[1:3]] == [3, 2]
    assert row[-1].startswith(f"{sgd.relative['adamw-cosine']['validation'].value:.3f}")
    assert next(row for row in rows if row[0] == "<wild>")[-2] == "–"
    pairs = [row[:2] for row in report.against_table(record)[1]]
    assert ["sgd", "plain"] in pairs
    assert not any("adamw-cosine" in pair for pair in pairs)


def test_a_record_of_an_earlier_version_has_fewer_tables(run):
    content = json.loads((run / "suite.json").read_text())
    for one in content["optimizers"].values():
        for later in ("validation_loss", "relative", "ratios"):
            del one[later]
    record = report.SuiteRecord.from_json(content)
    assert [len(rows) for _, rows in all_tables(record)] == [6, 6, 0, 0, 0, 6]


def test_of_many_optimizers_the_best_are_drawn_and_compared(run):
    one = read_run(run)
    assert one.suite is not None
    sgd, curves = one.suite.optimizers["sgd"], one.suite.curves
    scores = sgd.scores | {report.SCORES[0].key: with_interval(2.0, 2.0, 2.0, 3, "made up")}
    better = dataclasses.replace(sgd, baseline=False, scores=scores)
    names = [f"twin {i}" for i in range(MOST_SHOWN - 1)]
    record = dataclasses.replace(
        one.suite,
        optimizers=one.suite.optimizers | dict.fromkeys(names, better),
        curves=curves | dict.fromkeys(names, curves["sgd"]),
    )
    assert len(record.best) == MOST_SHOWN
    left_out = set(record.optimizers) - set(record.best)
    assert len(left_out) == 5
    assert not left_out & set(names)
    for kind in report.SUITE_FIGURES[1:]:
        figure = kind.draw(dataclasses.replace(one, suite=record))
        drawn = {text.get_text() for text in figure.findobj(Text)}
        assert set(names) <= drawn
        assert not left_out & drawn
    rows = report.against_table(record)[1]
    assert {label for row in rows for label in row[:2]} <= set(record.best)


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content.pop("tasks"),
        lambda content: content.update(version=99),
        lambda content: content.update(optimizers={}),
        lambda content: content["optimizers"]["sgd"]["scores"].pop("profile"),
        lambda content: content["optimizers"]["sgd"].update(final_loss=3),
        lambda content: content["optimizers"]["sgd"].update(validation_loss=3),
        lambda content: content["optimizers"]["sgd"]["ratios"].update(bowl={"final": "1"}),
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
