"""Findings in a run directory: read as they were written, damage named, nothing a script."""

import html
import json

import numpy as np
import pytest

from optoscope import report
from optoscope._core.errors import InvalidValueError, RunDirectoryError
from optoscope._core.findings import Axis, Chart, Findings, Measured
from optoscope.report._findings import drawable, read_panels, thinned
from support.run_files import make_findings, make_losses, write_panels, write_run

EVIL = "</script><script>window.hacked = 1</script><img src=x onerror='window.hacked = 2'>"


@pytest.fixture
def run(tmp_path):
    return write_panels(write_run(tmp_path / "run"), first=make_findings(), second=make_findings())


def test_panels_are_read_as_they_were_written(run):
    panels = read_panels(run)
    wanted = make_findings()
    assert [panel.name for panel in panels] == ["first", "second"]
    assert panels[0].title == "Title of first"
    assert panels[0].findings.charts == wanted.charts
    assert panels[0].findings.sentences == wanted.sentences
    for name, array in wanted.arrays.items():
        np.testing.assert_array_equal(panels[0].findings.arrays[name].values, array.values)


def test_a_run_without_panels_has_none(tmp_path):
    assert read_panels(write_run(tmp_path)) == ()


def test_the_page_shows_every_panel(run):
    text = html.unescape(report.render(run).read_text())
    for name in ("first", "second"):
        assert f"<h2>Title of {name}</h2>" in text
        assert f'<a href="#{name}">' in text
        assert text.count(f'data-findings="inspect/{name}"') == 4
    numbers = json.loads(text.split('id="optoscope-data">')[1].split("</script>")[0])
    found = numbers["findings"]["inspect/first"]
    assert found["arrays"]["cost"]["values"] == [8.0, 4.1]
    assert {"light", "dark", "dash", "learned"} == set(numbers["looks"]["adam"])


def test_names_of_a_user_are_texts_and_nothing_else(tmp_path):
    findings = make_findings(
        names=("adam", EVIL), layers=("all", EVIL), title=EVIL, label=EVIL, sentence=EVIL, axis=EVIL
    )
    losses = make_losses(("adam",)) | {EVIL.replace("/", ""): make_losses(("lion",))["lion"]}
    run = write_panels(write_run(tmp_path, losses=losses), panel=findings)
    text = report.render(run).read_text()
    assert text.count("<script") == 2
    assert text.count("<img") == text.count('<img src="data:image/png')
    numbers = text.split('id="optoscope-data">')[1].split("</script>")[0]
    assert EVIL in json.loads(numbers)["looks"]
    assert "<" not in numbers


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(version=9), "version 9"),
        (lambda c: c.update(panels=[]), "'panels'"),
        (lambda c: c["panels"].update({"../x": {}}), "no name of a panel"),
        (lambda c: c["panels"]["first"].update(title=3), "'title'"),
        (lambda c: c["panels"]["first"]["axes"].update(more="label"), "'axis/more'"),
        (lambda c: c["panels"]["first"]["arrays"].update(size=["step"]), "has shape"),
        (lambda c: c["panels"]["first"]["charts"][0].update(along="nowhere"), "'nowhere'"),
        (lambda c: c["panels"]["first"]["charts"][0].update(kind="pie"), "'pie'"),
    ],
)
def test_damage_is_one_message_that_names_the_file(run, change, message):
    place = run / "records" / "inspect.json"
    content = json.loads(place.read_text())
    change(content)
    place.write_text(json.dumps(content))
    with pytest.raises(RunDirectoryError, match=message) as caught:
        report.render(run)
    assert "inspect" in str(caught.value)


def test_a_missing_array_file_is_named(run):
    (run / "records" / "inspect-second.npz").unlink()
    with pytest.raises(RunDirectoryError, match=r"inspect-second\.npz"):
        report.render(run)


def test_a_chart_of_nothing_is_left_out(run):
    place = run / "records" / "inspect-first.npz"
    with np.load(place) as arrays:
        content = dict(arrays)
    content["array/cost"] = np.full(2, np.nan)
    np.savez(place, **content)
    text = report.render(run).read_text()
    assert text.count('data-findings="inspect/first"') == 3
    assert 'data-findings="inspect/first" data-chart="3"' not in text


def test_numbers_are_short_and_what_is_not_finite_is_null():
    values = np.array([1 / 3, np.nan, np.inf, 123456.0])
    found = Findings(
        {"x": Axis("x", np.arange(4))},
        {"y": Measured(("x",), values), "unused": Measured(("x",), values)},
        (Chart("Y", "y", "y", "x", None),),
    )
    content = drawable({"one": found})["one"]
    assert content["arrays"] == {"y": {"axes": ["x"], "values": [0.3333, None, None, 123500.0]}}
    assert content["axes"]["x"]["values"] == [0, 1, 2, 3]


def test_a_page_that_would_be_too_large_is_refused():
    many = np.zeros(300_000)
    found = Findings(
        {"x": Axis("x", np.arange(len(many)))},
        {"y": Measured(("x",), many)},
        (Chart("Y", "y", "y", "x", None),),
    )
    with pytest.raises(InvalidValueError, match="300,000 numbers"):
        drawable({"one": found})


@pytest.mark.parametrize(("length", "most"), [(1, 320), (319, 320), (2000, 320), (100_000, 320)])
def test_thinned_places_keep_both_ends(length, most):
    places = thinned(length, most)
    assert len(places) <= most
    assert places[0] == 0
    assert places[-1] == length - 1
    assert (np.diff(places) > 0).all()
