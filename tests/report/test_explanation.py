"""The record of `optoscope explain`: read back, in words, as tables and on the page."""

import dataclasses
import io

import pytest
from rich.console import Console

from optoscope import report
from optoscope._core.errors import FileFormatError, RunDirectoryError
from optoscope._core.estimates import Estimate
from optoscope._core.files import write_json
from optoscope.report import Explanation
from support.run_files import EXPLANATION


def test_it_is_read_back_as_it_was_written():
    assert Explanation.from_json(EXPLANATION.as_json()) == EXPLANATION


def test_a_file_of_version_1_has_standard_errors():
    value = EXPLANATION.as_json() | {"version": 1}
    for worth in value["gains"].values():
        worth |= {"gain": 0.4, "standard_error": 0.05}
    found = Explanation.from_json(value).gains["learned"].gain
    assert (found.low, found.value, found.high) == pytest.approx((0.3, 0.4, 0.5))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "else"}, "'format'"),
        ({"version": 99}, "upgrade"),
        ({"gains": {"learned": {}}}, "lacks baseline, distilled"),
        ({"modes": [{"timescale": [1.0], "learning_rate": [1.0, 0.0]}]}, "1 parts"),
        ({"num_runs": "many"}, "num_runs"),
    ],
)
def test_damage_is_named(change, message):
    with pytest.raises(FileFormatError, match=message):
        Explanation.from_json(EXPLANATION.as_json() | change)


def test_the_sentence_says_what_is_kept_and_by_what():
    words = report.in_words(EXPLANATION)
    assert words.startswith("Momentum with one mode and clipping keep 95% of what gru")
    poor = dataclasses.replace(EXPLANATION, sufficient=False, mechanisms=(), num_modes=2)
    assert "Momentum with 2 modes keeps 95%" in report.in_words(poor)
    assert "which is less than was asked for." in report.in_words(poor)


def test_only_what_was_measured_to_matter_is_named():
    def cost(value, half):
        return Estimate(value, value - half, value + half, 64, "mean")

    costs = {"clipping": cost(0.01, 0.02), "momentum": cost(0.5, 0.1)}
    told = dataclasses.replace(EXPLANATION, costs=costs)
    words = report.in_words(told)
    assert told.established == ("momentum",)
    assert words.startswith("Momentum with one mode keeps 95% of what")
    untold = "the cost of switching off {} alone is not told from nothing."
    assert f"With 64 problems {untold.format('clipping')}" in words
    # Nothing that is told apart: the program is not therefore a rate of a fixed size.
    none = dataclasses.replace(EXPLANATION, costs={**costs, "momentum": cost(0.5, 0.6)})
    words = report.in_words(none)
    assert words.startswith("The distilled program keeps 95% of what")
    assert f"With 64 problems {untold.format('momentum or clipping')}" in words
    bare = dataclasses.replace(EXPLANATION, num_modes=0, mechanisms=(), costs=costs)
    assert report.in_words(bare).startswith("A rate of a fixed size keeps 95% of what")
    assert "switching off" not in report.in_words(bare)
    assert Explanation.from_json(told.as_json()) == told
    kept = dataclasses.replace(EXPLANATION.gains["distilled"], kept=cost(0.95, 0.05))
    gains = {**EXPLANATION.gains, "distilled": kept}
    words = report.in_words(dataclasses.replace(told, gains=gains))
    assert "95% (95% interval 90% to 100%) of" in words
    assert "Over 100%" not in words
    more = dataclasses.replace(kept, share=1.03, kept=cost(1.03, 0.05))
    words = report.in_words(dataclasses.replace(told, gains={**gains, "distilled": more}))
    assert "103% (95% interval 98% to 108%) of" in words
    assert "Over 100% means that the program is better than the optimizer." in words
    sure = dataclasses.replace(EXPLANATION.gains["distilled"], share=0.998, kept=cost(0.998, 0.001))
    words = report.in_words(dataclasses.replace(told, gains={**gains, "distilled": sure}))
    assert "99.8% (95% interval 99.7% to 99.9%) of" in words


def test_what_remains_and_the_formula_are_said():
    remaining = {"all": 0.4, "early": 0.1, "middle": 0.2, "late": 0.9, "small gradients": 0.3,
                 "large gradients": 0.5}  # fmt: skip
    poor = dataclasses.replace(
        EXPLANATION, sufficient=False, remaining=remaining, formula="Δ = − 0.1·g", explained=0.7
    )
    words = report.in_words(poor)
    assert "40% of its squared updates (10% in the first third" in words
    assert "explains 70% of its squared updates" in words
    assert "Over 100%" not in words
    still = dataclasses.replace(poor, remaining={**remaining, "late": 4.7e6})
    assert "over 100% in the last" in report.in_words(still)
    assert "Over 100% is where the program moves" in report.in_words(still)
    assert Explanation.from_json(poor.as_json()) == poor


def test_the_tables_hold_every_part_and_a_pair_once():
    console = Console(width=120, record=True, file=io.StringIO())
    for table in report.explanation_tables(EXPLANATION):
        console.print(table)
    text = console.export_text()
    assert "95 [85, 105]" in text
    assert "-500 [-750, -250]" in text
    assert "distilled without clipping" in text
    assert text.count("0.500 ± 0.100i") == 1
    assert "20%" in text


def test_the_page_shows_it_and_escapes_it(tmp_path):
    write_json(tmp_path / "config.json", {"command": "explain", "arguments": {}})
    write_json(tmp_path / "explanation.json", EXPLANATION.as_json())
    page = report.render(tmp_path).read_text()
    assert "x &lt; 1 and x &gt; 0" in page
    assert "<b>" not in page
    assert (tmp_path / "figures" / "mechanisms.png").exists()


def test_a_damaged_file_is_named(tmp_path):
    write_json(tmp_path / "config.json", {"command": "explain"})
    write_json(tmp_path / "explanation.json", {"format": "else"})
    with pytest.raises(RunDirectoryError, match=r"explanation\.json"):
        report.render(tmp_path)
