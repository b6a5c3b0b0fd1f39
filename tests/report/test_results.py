"""The page of results says what its run measured, and nothing else."""

import json
import re
import shutil
from pathlib import Path

import pytest

from optoscope import report
from optoscope._core.errors import RunDirectoryError
from optoscope.papers import PAPERS
from optoscope.report import read_claims
from optoscope.report.papers import (
    published,
    reverse_engineering,
    stability,
    symmetry_and_noise,
)
from optoscope.report.results import EarlierRun, EarlierVerdict, read_earlier, write_results
from optoscope.report.results.__main__ import main
from optoscope.report.results._earlier import changes
from optoscope.report.results._over_papers import write_over_papers
from support.paper_figures import manifest_of, save_run
from support.run_files import interval, make_claim, make_claims

DOCS = Path(__file__).parents[2] / "docs"
SHARE = {
    "quantity": "the share of runs that diverged",
    "unit": "share",
    "criterion": {"relation": "below", "bound": 0.1},
    "repeated_over": {"unit": "run", "chosen": False},
}
NONE_OF_TEN = interval(0.0, 0.0, 0.308, 10) | {"method": "0 of 10, exact binomial"}
EQUAL = interval(0.5, None, None, 3) | {"method": "mean of equal values: no interval"}


def claims_of(manifest):
    """Those that are judged at the run's scale."""
    return [claim for figure in manifest.figures for claim in figure.claims]


def run_of(directory, letter, scale="smoke", claims=None, drawn=True):
    """A finished run that has a picture of every figure and a verdict of every claim."""
    manifest = manifest_of(PAPERS[letter], scale)
    directory.mkdir(parents=True, exist_ok=True)
    save_run(directory, manifest, {})
    if claims is None:
        claims = [make_claim(name, "holds") for name in claims_of(manifest)]
    (directory / "claims.json").write_text(json.dumps(make_claims(*claims)))
    (directory / "figures").mkdir(exist_ok=True)
    for figure in manifest.figures if drawn else ():
        (directory / "figures" / f"{figure.name}.png").write_bytes(b"a picture")
    return directory


def page_of(tmp_path, letter="C", earlier=None, **options):
    run = run_of(tmp_path / "run", letter, **options)
    return write_results(run, tmp_path / "docs", earlier=earlier).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("letter", "scale"),
    [
        (letter, scale)
        for letter, paper in PAPERS.items()
        for scale in ("smoke", "laptop", "long")
        if scale in paper.scales
    ],
)
def test_every_paper_has_a_page_with_all_its_figures_and_claims(letter, scale, tmp_path):
    page = page_of(tmp_path, letter, scale=scale)
    manifest = manifest_of(PAPERS[letter], scale)
    for figure in manifest.figures:
        assert f"## {figure.title}" in page
        image = f"../images/{letter}-{scale}-{figure.name}.png"
        assert f"]({image})" in page
        assert (tmp_path / "docs" / "results" / image).read_bytes() == b"a picture"
    for claim in claims_of(manifest):
        assert page.count(f"`{claim}`") == 1
    assert f"optoscope reproduce {letter} --figure everything --scale {scale}" in page
    # A run that did nothing cannot have come to anything: no outcome stands in the words.
    assert "meta-trained 0" not in page


@pytest.mark.parametrize(("figures", "words"), [("all", "all"), ("4,2", "2,4")])
def test_the_command_names_the_figures_of_the_run(figures, words, tmp_path):
    run = run_of(tmp_path / "run", "A")
    manifest = manifest_of(PAPERS["A"], "smoke", figures)
    (run / "manifest.json").write_text(json.dumps(manifest.as_json()))
    page = write_results(run, tmp_path / "docs").read_text(encoding="utf-8")
    assert f"$ optoscope reproduce A --figure {words} --scale smoke --out runs/A\n" in page


def test_meta_trained_optimizers_are_kept_in_the_place_of_earlier_ones(tmp_path):
    kept, run = tmp_path / "docs" / "results" / "C", run_of(tmp_path / "run", "C")
    name = "learned-mlp-star-0.5-seed-0"
    save_run(run, manifest_of(PAPERS["C"], "smoke"), {"quadratic": {}, name: {"seconds": 60.0}})
    (run / "parts" / name / "optimizer").mkdir(parents=True)
    (run / "parts" / name / "optimizer" / "optimizer.json").write_text("{}")
    (run / "parts" / name / "checkpoints").mkdir()
    kept.mkdir(parents=True)
    (kept / "of an earlier run").touch()
    page = write_results(run, tmp_path / "docs").read_text(encoding="utf-8")
    files = {path.relative_to(kept).as_posix() for path in kept.rglob("*") if path.is_file()}
    records = {f"records/{name}.json", f"records/{name}.npz"}
    assert files == records | {f"parts/{name}/optimizer/optimizer.json"}
    assert f"`optoscope explain docs/results/C/parts/{name}/optimizer`" in page


def test_only_a_smoke_run_is_marked_as_one(tmp_path):
    warning = "Made from a run at smoke scale"
    head = page_of(tmp_path / "smoke").splitlines()[:4]
    assert any(warning in line for line in head)
    assert warning not in page_of(tmp_path / "laptop", scale="laptop")


def test_the_words_quote_no_verdict_and_no_measured_number():
    words = [path.read_text(encoding="utf-8") for path in _templates()]
    assert len(words) == 3 + len(PAPERS)  # those of all papers, over them, and of a suite
    # Numbers with an interval, percentages, and verdicts in brackets come from records only.
    outcome = re.compile(
        r"\[-?\d[\d.e+-]*, -?\d[\d.e+-]*\]|\d%(?! interval)|, (holds|inconclusive)\)"
    )
    found = [match.group() for text in words for match in outcome.finditer(text)]
    assert found == ["[1e-3, 1]"]  # a range of curvatures, which was chosen


def _templates():
    folder = Path(report.__file__).parent
    return [*folder.glob("results/*.jinja"), *folder.glob("papers/*/results.md.jinja")]


def test_verdicts_stand_in_the_table_and_the_tally(tmp_path):
    page = page_of(
        tmp_path,
        claims=[
            make_claim("C1-all", "holds", protocol="paper"),
            make_claim("C1-all", "inconclusive", EQUAL, protocol="corrected"),
            make_claim("C1-theorem", "inconclusive", NONE_OF_TEN, protocol="paper", **SHARE),
            make_claim("C4-descends", "inconclusive", interval(None, runs=0), repetitions=[]),
        ],
    )
    assert "| paper | 1 | 0 | 1 |" in page
    assert "0.500 decades<br><small>3 meta-seeds; mean of equal values: no interval" in page
    assert "[0.000, 0.308] share<br><small>10 runs; 0 of 10, exact binomial" in page
    assert "leaves out 1 claims.</summary>\nC4-descends\n" in page


@pytest.mark.parametrize(
    ("letter", "statements"),
    [
        ("A", symmetry_and_noise.STATEMENTS),
        ("B", reverse_engineering.STATEMENTS),
        ("C", stability.STATEMENTS),
        ("published", published.STATEMENTS),
    ],
)
def test_the_head_of_a_page_speaks_of_claims_that_there_are(letter, statements):
    known = {claim.id for claim in PAPERS[letter].claims}
    named = {name for one in statements for ids in one.claims.values() for name in ids}
    assert named <= known
    assert len(statements) >= 10


def test_the_head_of_a_page_says_where_a_statement_holds(tmp_path):
    claims = [
        make_claim("B1-cnn-adam", "inconclusive", interval(0.05, -0.05, 0.15, 3)),
        # Shown is the strongest baseline; one that is not beaten decides.
        make_claim("B1-cnn-momentum", "does not hold", interval(-0.3, -0.4, -0.2, 3)),
        make_claim("B1-two-moons-adam", "holds", interval(0.3, 0.2, 0.4, 3)),
    ]
    head = page_of(tmp_path, "B", scale="laptop", claims=claims).partition("Made by")[0]
    assert (
        "- **A learned optimizer beats tuned momentum, RMSProp and Adam**: holds on two moons, "
        "does not hold on the CNN. The mean loss of a run lies below that of the best of the three "
        "by: 50% [37%, 60%] (two moons), -100% [-151%, -58%] (the CNN)."
    ) in head
    # Nothing is said of what was not measured, and nothing at all of a smoke run.
    assert "clipped" not in head
    assert "In short" not in page_of(tmp_path / "smoke", "B", scale="smoke", claims=claims)


def test_the_page_over_papers_tells_what_was_measured_at_length(tmp_path):
    docs = tmp_path / "docs"
    claims = [
        make_claim("B13-line", "holds", interval(1.0, 0.7, 1.0, 9), protocol="paper"),
        make_claim("B13-line", "does not hold", interval(0.1, 0.05, 0.2, 9), protocol="corrected"),
        make_claim("B14-alone", "inconclusive", interval(0.1, -0.1, 0.3, 9), protocol="paper"),
        make_claim("B14-alone", "holds", interval(0.1, 0.05, 0.2, 9), protocol="corrected"),
        make_claim("B7-layers", "holds", interval(0.9, 0.8, 1.0, 9), protocol="paper"),
        make_claim("B7-layers", "holds", interval(0.9, 0.8, 1.0, 9), protocol="corrected"),
        # No null takes away what was measured on one meta-seed.
        make_claim("B14-one-mode", "holds", interval(0.9, 0.8, 1.0, 9), protocol="paper"),
        make_claim("B14-one-mode", "inconclusive", interval(0.7, runs=1), protocol="corrected"),
    ]
    for name, scale in (("smoke", "smoke"), ("laptop", "laptop")):
        letter = {"smoke": "A", "laptop": "B"}[name]
        those = [claim | {"scale": scale} for claim in claims]
        write_results(run_of(tmp_path / name, letter, scale, those), docs)
    page = (docs / "results" / "index.md").read_text(encoding="utf-8")
    assert (
        "Paper B was run at the scale [`laptop`](../guide/scaling.md#sizes-of-the-papers)." in page
    )
    assert "Of A there is only a run that shows that everything is measured" in page
    assert "- [B](B.md). **Later layers have larger rates**: holds." in page
    taken, added = page.split("## What nobody")[1].split("## What the papers' own measures miss")
    assert ("`B13-line`" in taken, "`B14-alone`" in taken) == (True, False)
    assert ("`B13-line`" in added, "`B14-alone`" in added) == (False, True)
    assert "B7-layers" not in taken + added
    assert "B14-one-mode" not in taken + added
    # Made from what the documentation keeps, and from nothing else.
    assert read_claims(docs / "results" / "verdicts" / "B.json")[0].id == "B13-line"
    assert write_over_papers(docs).read_text(encoding="utf-8") == page


def test_the_page_over_papers_is_made_from_the_verdicts_beside_it(tmp_path):
    shutil.copytree(DOCS / "results" / "verdicts", tmp_path / "results" / "verdicts")
    made = write_over_papers(tmp_path).read_text(encoding="utf-8")
    assert made == (DOCS / "results" / "index.md").read_text(encoding="utf-8")


def test_what_was_not_drawn_has_no_picture(tmp_path):
    assert "![" not in page_of(tmp_path, drawn=False)


def test_pictures_of_the_earlier_run_are_named_as_such(tmp_path):
    images = tmp_path / "docs" / "images"
    images.mkdir(parents=True)
    (images / "C-laptop-figure-1.png").write_bytes(b"another")
    page = page_of(tmp_path, earlier=EarlierRun("laptop", "2026-11-22", {"C": ()}))
    assert page.count("From another run, at laptop scale, made on 2026-11-22") == 1
    assert "[the same figure](../images/C-laptop-figure-1.png)" in page
    assert (images / "C-laptop-figure-1.png").read_bytes() == b"another"


def earlier(verdict="holds", low=0.1, high=0.3, name="A3", protocol="corrected"):
    return EarlierVerdict(name, protocol, verdict, 0.2, low, high)


def claim(verdict, estimate=None, **changed):
    return report.Claim.from_json(make_claim("A3", verdict, estimate, **changed))


@pytest.mark.parametrize(
    ("before", "after", "reasons"),
    [
        (earlier(), claim("holds"), None),
        (earlier(low=0.2, high=0.2), claim("holds"), None),
        (earlier("does not hold"), claim("holds"), ["other numbers"]),
        (
            earlier(),
            claim("inconclusive", interval(0.2, -0.1, 0.5, 3)),
            ["wider interval for 3 repetitions"],
        ),
        (
            earlier(low=0.2, high=0.2),
            claim("inconclusive", EQUAL),
            ["equal values give no interval"],
        ),
        (
            earlier(low=0.2, high=0.2),
            claim("inconclusive", NONE_OF_TEN, **SHARE),
            ["equal values give no interval", "a share is judged as a proportion of runs"],
        ),
        (
            earlier(),
            claim(
                "inconclusive",
                interval(0.2, None, None, 2),
                repeated_over={"unit": "task", "chosen": True},
            ),
            ["units that were chosen get no interval: every one must meet the criterion"],
        ),
        (
            earlier("inconclusive"),
            claim("holds", revised="It was a mean."),
            ["other numbers", "how it is measured was revised"],
        ),
        (earlier(), None, ["not measured at this scale"]),
    ],
)
def test_a_change_has_its_reasons(before, after, reasons):
    found = changes([before], [] if after is None else [after], other_scale=False)
    assert [list(one.reasons) for one in found] == ([] if reasons is None else [reasons])
    elsewhere = changes([before], [] if after is None else [after], other_scale=True)
    assert all("other scale" in one.reasons for one in elsewhere if one.after is not None)


def test_only_equal_values_change_a_verdict_by_the_rule_alone():
    befores = [earlier(low=0.2, high=0.2), earlier(), earlier("inconclusive", 0.2, 0.2)]
    now = [claim("inconclusive", EQUAL), claim("holds")]
    found = [changes([one], [after], other_scale=True) for one in befores for after in now]
    assert [one.by_rule_alone for each in found for one in each] == [True, False, False]


def test_the_page_says_which_verdicts_changed_and_shows_no_interval_without_a_width(tmp_path):
    before = EarlierRun("laptop", "2026-11-22", {"C": (earlier(low=0.2, high=0.2, name="C1-all"),)})
    page = page_of(tmp_path, claims=[make_claim("C1-all", "inconclusive", EQUAL)], earlier=before)
    line = next(x for x in page.splitlines() if x.startswith("| `C1-all` (corrected)"))
    assert "✓ holds<br>0.200, without spread" in line
    assert "? inconclusive<br>0.500 decades" in line
    assert "**equal values give no interval**" in line
    assert not _WITHOUT_WIDTH.search(page)


def test_the_claims_of_paper_a_stand_side_by_side_for_every_optimizer(tmp_path):
    guest = {"statement": "Of L2O-DM.", "repeated_over": {"unit": "run", "chosen": False}}
    claims = [
        make_claim("A4-faster-leaky-relu", "holds", statement="It is faster."),
        make_claim("A4-faster-leaky-relu-dm", "does not hold", interval(-0.2, -0.3, -0.1), **guest),
        make_claim("A4-lion-grows-leaky-relu", "holds", statement="Lion's grows."),
    ]
    run = run_of(tmp_path / "run", "A", scale="long", claims=claims)
    other = tmp_path / "claims.json"
    weaker = make_claim("A4-faster-leaky-relu", "inconclusive", interval(0.1, -0.1, 0.3))
    other.write_text(json.dumps(make_claims(weaker)))
    docs = tmp_path / "docs"
    (docs / "images").mkdir(parents=True)
    (docs / "images" / "A-laptop-figure-4.png").write_bytes(b"another")
    assert main([str(run), "--docs", str(docs), "--beside", str(other)]) == 0
    page = (docs / "results" / "A.md").read_text(encoding="utf-8")
    assert "| claim | `laptop` | `laptop` | L2O-DM |" in page
    assert "| It is faster. | ? 0.100 | ✓ 0.283 | ✗ -0.200 |" in page
    assert "| Lion's grows. |" not in page
    assert page.count("From another run, at laptop scale:\n[the same figure]") == 1
    assert "runs/A --beside docs/results/verdicts/A-laptop.json\n" in page
    assert read_claims(docs / "results/verdicts/A-laptop.json") == read_claims(other)
    main([str(run), "--docs", str(docs)])
    page = (docs / "results" / "A.md").read_text(encoding="utf-8")
    assert "| It is faster. | ✓ 0.283 | ✗ -0.200 |" in page


_WITHOUT_WIDTH = re.compile(r"\[(-?[\d.e+-]+), \1\]")


@pytest.mark.parametrize("letter", PAPERS)
def test_no_verdict_of_the_documentation_has_an_interval_without_a_width(letter):
    page = (DOCS / "results" / f"{letter}.md").read_text(encoding="utf-8")
    assert "holds |" in page
    assert not _WITHOUT_WIDTH.findall(page)


def test_the_earlier_verdicts_of_the_documentation_are_those_of_claims():
    found = read_earlier(DOCS / "results" / "earlier-verdicts.json")
    for letter, verdicts in found.papers.items():
        assert {one.id for one in verdicts} <= {claim.id for claim in PAPERS[letter].claims}
        assert len({(one.id, one.protocol) for one in verdicts}) == len(verdicts)
    assert sum(one.without_spread for each in found.papers.values() for one in each) == 21


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"format": "else"}, "format"),
        ({"format": "optoscope/earlier-verdicts", "version": 9}, "version"),
        ({"format": "optoscope/earlier-verdicts", "version": 1}, "'papers'"),
    ],
)
def test_damaged_earlier_verdicts_are_one_message(content, message, tmp_path):
    path = tmp_path / "earlier.json"
    path.write_text(json.dumps(content))
    with pytest.raises(RunDirectoryError, match=message):
        read_earlier(path)


def test_a_run_of_something_else_and_one_that_has_not_finished_are_refused(tmp_path, capsys):
    run = run_of(tmp_path / "run", "C")
    (run / "claims.json").unlink()
    assert main([str(run), "--docs", str(tmp_path / "docs")]) == 2
    assert "has not finished" in capsys.readouterr().err
    (run / "manifest.json").unlink()
    with pytest.raises(RunDirectoryError, match="no run of a paper"):
        write_results(run, tmp_path / "docs")
    assert not (tmp_path / "docs").exists()


def test_the_command_writes_the_page(tmp_path, capsys):
    docs = tmp_path / "docs"
    assert main([str(run_of(tmp_path / "run", "B")), "--docs", str(docs)]) == 0
    assert capsys.readouterr().out.strip() == str(docs / "results" / "B.md")
