"""The manifest comes back as it was written, and damage is one clear message."""

import copy
import json

import pytest

from optoscope import papers, report
from optoscope._core.errors import FileFormatError, RunDirectoryError
from optoscope.papers import PAPERS
from optoscope.report import Manifest, ManifestFigure
from optoscope.report.papers import PAPERS as PICTURES
from support.paper_figures import assert_described, manifest_of

MANIFEST = Manifest(
    "C",
    "stability",
    "smoke",
    (
        ManifestFigure(
            "1", "figure-1", "Figure 1: x", ("eigenvalues", "bounds"), ("C1",), ("star-1",)
        ),
    ),
    {"star-0": "STAR"},
)


def test_it_comes_back():
    assert Manifest.from_json(json.loads(json.dumps(MANIFEST.as_json()))) == MANIFEST


@pytest.mark.parametrize("letter", PAPERS)
def test_every_paper_has_one_whose_figures_have_pictures(letter):
    paper = PAPERS[letter]
    manifest = manifest_of(paper)
    assert Manifest.from_json(manifest.as_json()) == manifest
    assert_described(PICTURES[manifest.paper], manifest)
    claims = [claim for figure in manifest.figures for claim in figure.claims]
    # What is said of somebody's optimizer is judged where its weights are.
    always = {claim.id for claim in paper.claims if not claim.only_with}
    assert len(set(claims)) == len(claims)
    assert always <= set(claims) <= {claim.id for claim in paper.claims}
    assert getattr(papers, paper.name).PAPER is paper


def changed(**changes):
    content = copy.deepcopy(MANIFEST.as_json())
    for path, value in changes.items():
        *way, last = path.split("__")
        place = content
        for step in way:
            place = place[int(step) if step.isdigit() else step]
        place[last] = value
    return content


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (changed(format="else"), "format"),
        (changed(version=99), "version"),
        (changed(paper=None), "'paper'"),
        (changed(figures=3), "'figures'"),
        (changed(figures__0__title=3), "'title' is 3, not text"),
        (changed(figures__0__name="../x"), "no file name"),
        (changed(figures__0__parts=["a/b"]), "no file name"),
        (changed(labels={"a": 1}), "'a' is 1"),
    ],
)
def test_damage_is_one_message(content, message):
    with pytest.raises(FileFormatError, match=message):
        Manifest.from_json(content)


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(RunDirectoryError, match=r"manifest\.json"):
        report.read_run(tmp_path)
