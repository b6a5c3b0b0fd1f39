import base64
import hashlib
import html
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from optoscope import report
from optoscope._core.errors import RunDirectoryError
from support.run_files import (
    CLAIMS,
    make_claim,
    make_claims,
    make_losses,
    make_metrics,
    make_probes,
    make_results,
    make_search,
    write_run,
)

NAMES = (
    "loss_curves", "early_losses", "comparison", "search", "probes", "meta_training", "mechanisms",
)  # fmt: skip
VOID = {"meta", "link", "img", "br", "hr"}


@pytest.fixture(scope="module")
def rendered(make_full_run, tmp_path_factory):
    """A run with its page, drawn once for all who only look at it."""
    run = make_full_run(tmp_path_factory.mktemp("rendered"))
    report.render(run, notes=["Made for the tests."])
    return run


@pytest.fixture
def rendered_copy(rendered, tmp_path):
    return shutil.copytree(rendered, tmp_path / "copy")


@pytest.fixture(scope="module")
def reader(rendered):
    return Reader((rendered / "index.html").read_text())


class Reader(HTMLParser):
    """Collects tags and attributes, and checks that every tag is closed."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.open = [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_every_figure_is_written_twice_and_shown(rendered, reader):
    found = {path.name for path in (rendered / "figures").iterdir()}
    assert found == {f"{name}.{kind}" for name in NAMES for kind in ("png", "svg")}
    images = [v for tag, name, v in reader.attributes if (tag, name) == ("img", "src")]
    assert len(images) == len(NAMES)
    assert all(image.startswith("data:image/png;base64,") for image in images)


def test_the_page_needs_nothing_from_outside(rendered, reader):
    # The numbers, and the program that draws them.
    assert reader.tags.count("script") == 2
    assert "iframe" not in reader.tags
    for _tag, name, value in reader.attributes:
        if name in ("src", "href", "srcset", "action", "data"):
            assert value.startswith("data:")
        assert not name.startswith("on")
    style = (rendered / "index.html").read_text().split("<style>")[1].split("</style>")[0]
    assert "url(" not in style
    assert "<" not in style
    assert "@import" not in style


def test_the_page_says_it_all(rendered):
    text = html.unescape((rendered / "index.html").read_text())
    assert report.sentence(make_results()) in text
    assert "Made for the tests." in text
    assert "demo: digits-mlp-sigmoid" in text
    assert "✓ holds" in text
    assert "✗ does not hold" in text
    assert "? inconclusive" in text
    assert "0.283 [0.250, 0.300]" in text
    assert "lion: best learning_rate 0.01 is at the edge of its grid" in text
    assert "10 runs of 200 steps each · seeds 0 to 9 · 4 min 5 s in all" in text
    assert f"optoscope demo --config {rendered / 'config.json'}" in text
    assert "optoscope 0.1.0 · jax 0.10" in text
    assert {kind.name for kind in report.FIGURES} == set(NAMES)
    for kind in report.FIGURES:
        assert kind.text.title in text
        assert kind.text.how_to_read in text
        assert kind.text.what_it_does_not_show in text


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        ("optoscope train lstm --out a", "optoscope train lstm --out a"),
        (["optoscope", "train", "--out", "a b"], "optoscope train --out 'a b'"),
        ("train", "optoscope train --config '"),
    ],
)
def test_the_command_that_repeats_the_run(tmp_path, command, shown):
    page = report.render(write_run(tmp_path / "a run", config={"command": command}))
    assert f"<pre><code>{shown}" in html.unescape(page.read_text())


def own_run(place, **arguments):
    named = [piece for value in arguments.values() for piece in value.split(",") if ":" in piece]
    sources = [{"named": one, "path": "/", "sha256": ""} for one in named]
    config = {"command": "evaluate", "arguments": {"seed": 0, "set": [], **arguments}}
    return write_run(place, config=config | {"sources": sources}, results=make_results())


def test_a_run_on_code_of_ones_own_is_named_and_repeated_by_it(tmp_path):
    own = {"task": "my work/eqx.py:task", "against": "adam,mine.py:rate", "optimizer": "a.b:c"}
    page = html.unescape(
        report.render(own_run(tmp_path / "run", metric="train", **own)).read_text()
    )
    assert "<title>evaluate: eqx.py:task" in page
    assert (
        f"optoscope evaluate --config {tmp_path / 'run' / 'config.json'} "
        "--task 'my work/eqx.py:task' --against adam,mine.py:rate a.b:c</code>"
    ) in page


def test_several_tasks_of_ones_own_to_judge_on_are_repeated_too(tmp_path):
    arguments = {"task": "quadratic", "validate_on": ["mine.py:hard", "rosenbrock"]}
    sources = [{"named": "mine.py:hard", "path": "/", "sha256": ""}]
    config = {"command": "train", "arguments": arguments, "sources": sources}
    page = html.unescape(report.render(write_run(tmp_path / "run", config=config)).read_text())
    assert "config.json --validate-on mine.py:hard rosenbrock</code>" in page


@pytest.mark.parametrize("sources", [None, [3, {"path": "x"}], "x", {}])
def test_sources_that_are_none_change_nothing(tmp_path, sources):
    config = {"command": "evaluate", "arguments": {"task": "quadratic"}, "sources": sources}
    run = write_run(tmp_path / "run", config=config, results=make_results())
    page = html.unescape(report.render(run).read_text())
    assert "<title>evaluate: digits-mlp-sigmoid" in page
    assert f"optoscope evaluate --config {run / 'config.json'}</code>" in page


EVIL = "<script>alert('x')</script>"


def test_nothing_from_the_records_becomes_markup(tmp_path):
    results = make_results(task={"name": EVIL})
    results["optimizers"][EVIL] = results["optimizers"].pop("lion") | {"warnings": [EVIL]}
    results["comparison"]["learned"] = EVIL
    losses = make_losses()
    losses[EVIL.replace("/", "")] = losses.pop("lion")
    words = ("id", "paper", "figure", "statement", "protocol", "scale", "quantity", "unit")
    claims = make_claims(
        make_claim("x", "holds")
        | dict.fromkeys((*words, "revised"), EVIL)
        | {"repeated_over": {"unit": EVIL, "chosen": True}}
    )
    config = {"command": EVIL, EVIL: EVIL, "versions": {EVIL: EVIL}}
    run = write_run(tmp_path, results=results, losses=losses, claims=claims, config=config)
    text = report.render(run, notes=[EVIL]).read_text()
    assert Reader(text).tags.count("script") == 2
    assert EVIL in html.unescape(text)
    numbers = text.split('id="optoscope-data">')[1].split("</script>")[0]
    assert json.loads(numbers)["findings"]["loss_curves"]["axes"]["optimizer"]["values"]
    assert "<" not in numbers
    for drawing in (run / "figures").glob("*.svg"):
        tags = {element.tag.split("}")[-1] for element in ElementTree.parse(drawing).iter()}
        assert "script" not in tags


def test_the_policy_lets_the_page_s_own_program_run_and_no_other(rendered, reader):
    text = (rendered / "index.html").read_text()
    policy = next(v for _, name, v in reader.attributes if v and "default-src" in v)
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for kind, start in (("script", "<script>"), ("style", "<style>")):
        content = text.split(start)[1].split(f"</{kind}>")[0]
        found = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{found}'" in policy
        assert text.count(f"<{kind}>") == 1
    names = {name for _, name, _ in reader.attributes}
    assert "style" not in names


def test_static_pictures_say_what_is_seen(reader):
    texts = [v for tag, name, v in reader.attributes if (tag, name) == ("img", "alt")]
    assert len(texts) == len(NAMES)
    curves = next(t for t in texts if t.startswith("The whole of training"))
    assert re.search(r"adam goes from 2\.\d+ to 0\.\d+", curves)
    assert any("momentum is best at" in text for text in texts)
    assert any("the meta-loss goes from" in text for text in texts)


RECORDS = {
    "results": (make_results, {"comparison"}),
    "losses": (make_losses, {"loss_curves", "early_losses"}),
    "search": (make_search, {"search"}),
    "probes": (make_probes, {"probes"}),
    "metrics": (make_metrics, {"meta_training"}),
    "claims": (lambda: CLAIMS, set()),
}


@pytest.mark.parametrize("record", RECORDS)
def test_each_record_alone_gives_its_figures(tmp_path, record):
    make, names = RECORDS[record]
    run = write_run(tmp_path, **{record: make()})
    text = report.render(run).read_text()
    assert {path.stem for path in run.glob("figures/*")} == names
    assert Reader(text).tags.count("img") == len(names)


def test_a_configuration_alone_gives_a_page(tmp_path):
    text = report.render(write_run(tmp_path)).read_text()
    assert Reader(text).tags.count("img") == 0
    assert "digits-mlp-sigmoid" in text


def test_drawing_again_gives_the_same_bytes(rendered):
    def contents():
        return {path.name: path.read_bytes() for path in rendered.rglob("*") if path.is_file()}

    first = contents()
    page = report.render(rendered, notes=["Made for the tests."])
    assert page == rendered / "index.html"
    assert contents() == first


def test_drawings_keep_their_words_and_hold_no_date(rendered):
    drawing = (rendered / "figures" / "loss_curves.svg").read_text()
    assert re.search(r"<text[^>]*>momentum</text>", drawing)
    assert "<dc:date>" not in drawing


def test_a_damaged_record_leaves_the_old_page(rendered_copy):
    page = rendered_copy / "index.html"
    before = page.read_bytes()
    (rendered_copy / "results.json").write_text("{")
    with pytest.raises(RunDirectoryError, match=r"results\.json"):
        report.render(rendered_copy)
    assert page.read_bytes() == before


def test_a_folder_that_cannot_be_written_is_named(full_run):
    (full_run / "figures").write_text("in the way")
    with pytest.raises(RunDirectoryError, match="figures"):
        report.render(full_run)


def test_the_report_never_imports_jax(full_run):
    code = (
        "import sys; from optoscope import report; run = sys.argv[1]; report.render(run); "
        "report.table(report.read_run(run).results); "
        "bad = {'jax', 'equinox', 'optax', 'matplotlib.pyplot'} & set(sys.modules); "
        "sys.exit(f'imported {bad}' if bad else 0)"
    )
    command = [sys.executable, "-c", code, str(full_run)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
