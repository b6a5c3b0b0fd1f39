"""The page in a real browser: drawn at every size, without an error, and alive."""

import matplotlib.image
import numpy as np
import pytest

from optoscope import report
from support.browser import NAMES, Browser, installed
from support.run_files import (
    CLAIMS,
    EXPLANATION,
    make_findings,
    make_losses,
    make_metrics,
    make_probes,
    make_results,
    make_search,
    write_panels,
    write_run,
)

pytestmark = pytest.mark.skipif(
    installed() is None,
    reason=f"there is no browser ({', '.join(NAMES)}); apt-get install chromium brings one",
)

EVIL = "</script><script>window.hacked = 1</script><img src=x onerror='window.hacked = 2'>"
FIRST = "document.querySelectorAll('[data-findings=\"inspect/panel\"]')"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    started = Browser(tmp_path_factory.mktemp("profile"))
    yield started
    started.close()


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    run = write_run(
        tmp_path_factory.mktemp("page") / "run", results=make_results(), losses=make_losses(),
        search=make_search(), metrics=make_metrics(), probes=make_probes(), claims=CLAIMS,
        explanation=EXPLANATION,
    )  # fmt: skip
    return report.render(write_panels(run, panel=make_findings()))


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
def test_the_page_is_drawn_at_every_size(browser, page, width, dark, tmp_path):
    browser.open(page, width=width, dark=dark)
    assert browser.errors == []
    charts = browser.run("document.querySelectorAll('.chart').length")
    assert charts == 7
    assert browser.run("document.querySelectorAll('.plot canvas').length") == charts - 1
    assert browser.run("document.querySelectorAll('.bar').length") == 2
    # Nothing sticks out to the side: only tables scroll within themselves.
    assert browser.run("document.documentElement.scrollWidth") <= width
    assert browser.run("Math.min(...[...document.querySelectorAll('p, li, td, button, label')]"
                       ".map(e => parseFloat(getComputedStyle(e).fontSize)))") >= 10  # fmt: skip
    browser.screenshot(tmp_path / "page.png")
    picture = matplotlib.image.imread(tmp_path / "page.png")[..., :3]
    assert picture.shape[1] == width
    assert picture.shape[0] > 3000
    darkness = np.median(picture)
    assert darkness < 0.2 if dark else darkness > 0.9


def test_numbers_without_neighbors_are_drawn_as_dots(browser, tmp_path):
    """Evaluations are made at every tenth report; the third curve is theirs."""
    browser.open(report.render(write_run(tmp_path / "run", metrics=make_metrics())))
    assert browser.errors == []
    drawn = """(() => {
        const swatch = document.querySelectorAll('.legend .swatch')[2];
        const wanted = getComputedStyle(swatch).backgroundColor.match(/[0-9]+/g).map(Number);
        const canvas = document.querySelector('.plot canvas');
        const all = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
        let count = 0;
        for (let i = 0; i < all.length; i += 4)
            if (wanted.every((one, k) => Math.abs(all[i + k] - one) < 8)) count++;
        return count;
    })()"""
    # Ten dots of some twenty pixels each.
    assert browser.run(drawn) > 100


def test_what_is_seen_is_said(browser, page):
    browser.open(page)
    label = browser.run(f"{FIRST}[0].querySelector('.plot').getAttribute('aria-label')")
    assert label.startswith("Line chart. title: label against gradient, at layer all parameters")
    assert "adam goes from 8 to −8" in label
    unlabeled = "[...document.querySelectorAll('button, select, input, img, .plot, a')].filter(e =>"
    unlabeled += " !(e.textContent.trim() || e.alt || e.getAttribute('aria-label') ||"
    unlabeled += " (e.closest('label') || {}).textContent)).length"
    assert browser.run(unlabeled) == 0


def test_hovering_shows_the_numbers(browser, page):
    browser.open(page)
    chart = f"{FIRST}[1].querySelector('.u-over')"
    browser.run(f"{chart}.scrollIntoView({{block: 'center'}})")
    box = browser.run(f"(r => [r.left, r.top, r.width, r.height])({chart}.getBoundingClientRect())")
    browser.move(box[0] + 3, box[1] + box[3] / 2)
    browser.wait_for(f"!!{FIRST}[1].querySelector('.tip.visible')")
    text = browser.run(f"{FIRST}[1].querySelector('.tip').textContent")
    assert text.startswith("step 0")
    assert "adam 1 (dotted 3)" in text
    assert "muon 2 (dotted 6)" in text
    browser.move(2, 2)
    browser.wait_for(f"!{FIRST}[1].querySelector('.tip.visible')")


def test_lines_layers_and_steps_are_switched(browser, page):
    browser.open(page)
    label = f"{FIRST}[0].querySelector('.plot').getAttribute('aria-label')"
    assert "muon goes from" in browser.run(label)
    browser.run(f"{FIRST}[0].querySelectorAll('.legend button')[1].click()")
    assert "muon" not in browser.run(label)
    assert browser.run(
        f"{FIRST}[0].querySelectorAll('.legend button')[1].getAttribute('aria-pressed')"
    ) == "false"  # fmt: skip
    browser.run(f"(s => {{ s.value = 1; s.dispatchEvent(new Event('change')) }})"
                f"({FIRST}[0].querySelector('select'))")  # fmt: skip
    assert "layer w (matrix 3×2)" in browser.run(label)
    assert "adam goes from 16 to −16" in browser.run(label)
    browser.run(f"(s => {{ s.value = 0; s.dispatchEvent(new Event('input')) }})"
                f"({FIRST}[0].querySelector('input[type=range]'))")  # fmt: skip
    assert "step 0" in browser.run(label)
    assert "adam goes from 10 to −10" in browser.run(label)
    assert browser.errors == []


def test_the_keyboard_moves_through_the_numbers(browser, page):
    browser.open(page)
    browser.run(f"{FIRST}[1].querySelector('.plot').focus()")
    for _ in range(2):
        browser.press("ArrowRight")
    said = browser.run(f"{FIRST}[1].querySelector('.readout').textContent")
    assert said.startswith("step 3: adam 0.3679 (dotted 1.104), muon")
    browser.press("End")
    assert "step 150" in browser.run(f"{FIRST}[1].querySelector('.readout').textContent")


def test_the_same_numbers_are_in_a_table(browser, page):
    browser.open(page)
    browser.run(f"{FIRST}[1].querySelector('details').open = true")
    browser.wait_for(f"!!{FIRST}[1].querySelector('table')")
    rows = browser.run(f"[...{FIRST}[1].querySelectorAll('tr')].map(r => [...r.cells].map("
                       "c => c.textContent))")  # fmt: skip
    head = ["step", "adam", "adam, low", "adam, high", "adam, dotted"]
    assert rows[0][:5] == head
    assert rows[1][:5] == ["0", "1", "0.5", "2", "3"]
    assert len(rows) == 5


def test_dark_and_light_are_switched(browser, page):
    browser.open(page, dark=True)
    paper = "getComputedStyle(document.body).backgroundColor"
    assert browser.run(paper) == "rgb(22, 24, 28)"
    browser.run("document.getElementById('theme').click()")
    assert browser.run(paper) == "rgb(255, 255, 255)"
    browser.run("document.getElementById('theme').click()")
    assert browser.run(paper) == "rgb(22, 24, 28)"
    assert browser.errors == []


def test_charts_are_saved(browser, page):
    browser.open(page)
    saved = browser.run(
        "(() => { const kept = []; HTMLAnchorElement.prototype.click = function () {"
        " kept.push([this.download, this.href.slice(0, 60), this.href.length]); };"
        f" {FIRST}[0].querySelectorAll('.saving button').forEach(b => b.click());"
        " return kept; })()"
    )
    assert [one[0] for one in saved] == ["title.png", "title.csv"]
    assert saved[0][1].startswith("data:image/png;base64,")
    assert saved[0][2] > 5000
    assert saved[1][1].startswith("data:text/csv")
    assert browser.errors == []


def test_paper_is_light_and_shows_no_buttons(browser, page):
    browser.open(page, dark=True)
    printed = browser.call("Page.printToPDF")["data"]
    assert len(printed) > 20_000
    assert browser.errors == []


def test_hostile_names_stay_names(browser, tmp_path):
    findings = make_findings(
        names=("adam", EVIL), layers=("all", EVIL), title=EVIL, label=EVIL, sentence=EVIL, axis=EVIL
    )
    results = make_results(task={"name": EVIL})
    results["optimizers"][EVIL] = results["optimizers"].pop("lion") | {"warnings": [EVIL]}
    results["comparison"]["learned"] = EVIL
    losses = make_losses(("adam",)) | {EVIL.replace("/", ""): make_losses(("lion",))["lion"]}
    config = {"command": EVIL, EVIL: EVIL, "versions": {EVIL: EVIL}}
    run = write_run(tmp_path, results=results, losses=losses, config=config)
    browser.open(report.render(write_panels(run, panel=findings), notes=[EVIL]))
    for chart in range(4):
        browser.run(f"{FIRST}[{chart}].querySelector('details').open = true")
    browser.run(f"{FIRST}[0].querySelector('.plot').focus()")
    browser.press("ArrowRight")
    assert browser.run("window.hacked") is None
    assert browser.run("document.scripts.length") == 2
    assert browser.run("[...document.images].every(i => i.src.startsWith('data:image/png'))")
    assert browser.run(f"{FIRST}[0].querySelector('h3').textContent") == EVIL
    assert browser.errors == []


def test_no_other_script_would_run(browser, page):
    browser.open(page)
    browser.run(
        "(() => { const s = document.createElement('script'); s.textContent = 'window.other = 1';"
        " document.body.appendChild(s); const i = document.createElement('div');"
        " i.innerHTML = '<img src=x onerror=\"window.other = 2\">'; document.body.append(i); })()"
    )
    browser.wait_for("document.scripts.length === 3")
    assert browser.run("window.other") is None
    assert any("Content Security Policy" in error for error in browser.errors)
