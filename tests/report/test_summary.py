import math
import re

import pytest
from rich.console import Console

from optoscope import report
from optoscope._core.errors import FileFormatError
from optoscope.report import Estimate
from optoscope.report._summary import format_interval, format_number, summarize
from support.run_files import interval, make_results


def printed(results, width=140, **options):
    console = Console(width=width, **options)
    with console.capture() as capture:
        console.print(report.table(results))
    return capture.get()


def compared(mean, low, high, runs=10):
    comparison = make_results()["comparison"] | {
        "relative_improvement": interval(mean, low, high, runs)
    }
    return report.sentence(make_results(comparison=comparison))


def test_cells():
    summary = summarize(make_results())
    assert [heading.replace("\n", " ") for heading in summary.headings] == [
        "optimizer", "tuned values", "mean loss over 100 steps", "mean loss over 200 steps",
        "final loss", "test accuracy, %",
    ]  # fmt: skip
    assert [str(cell) for cell in summary.rows[0].cells] == [
        "0.322 [0.310, 0.335]", "0.201 [0.193, 0.210]", "0.061 [0.051, 0.072]",
        "95.1 [94.4, 95.7]",
    ]  # fmt: skip
    assert [row.hyperparameters for row in summary.rows] == [
        ("learned",), ("rate 3", "momentum 0.9"), ("rate 0.1",), ("rate 0.01",),
    ]  # fmt: skip


def test_the_best_of_each_column_is_marked():
    marked = [[cell.best for cell in row.cells] for row in summarize(make_results()).rows]
    assert marked == [
        [True, True, True, False], [False] * 4, [False, False, False, True], [False] * 4,
    ]  # fmt: skip


@pytest.mark.parametrize("maximize", [True, False])
def test_the_best_of_a_metric_is_the_largest_where_larger_is_better(maximize):
    results = make_results()
    for place, one in enumerate(results["optimizers"].values()):
        one["validation"] = {"score": interval(float(place))}
    results["metric"] = {"name": "score", "maximize": maximize, "target": None}
    summary = summarize(results)
    column = list(summary.headings).index("validation\nscore") - 2
    marked = [row.cells[column].best for row in summary.rows]
    assert marked == ([False] * 3 + [True] if maximize else [True] + [False] * 3)


def test_missing_numbers_are_words():
    results = make_results()
    results["optimizers"]["adam"] |= {
        "test_accuracy": None,
        "diverged": 3,
        "final_loss": interval(None),
    }
    results["optimizers"]["lion"]["final_loss"] = interval(0.12)
    results["optimizers"]["lion"]["mean_loss"].pop("200")
    summary = summarize(results)
    assert [str(c) for c in summary.rows[2].cells][2:] == ["diverged", "–"]
    assert [str(c) for c in summary.rows[3].cells][1:3] == ["–", "0.120"]
    assert summary.notes == (
        "adam: 3 of 10 runs diverged.",
        "lion: best learning_rate 0.01 is at the edge of its grid",
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.3216, "0.322"), (0.0, "0.000"), (0.00123, "0.00123"), (99.0, "99.000"),
     (1234.5, "1.23e+03"), (-0.25, "-0.250")],
)  # fmt: skip
def test_format_number(value, text):
    assert format_number(value) == text


def test_a_wide_terminal_gets_one_line_for_each_optimizer():
    lines = printed(make_results()).splitlines()
    row = next(line for line in lines if line.startswith("momentum"))
    assert row.split("  ")[0] == "momentum"
    for text in ("rate 3, momentum 0.9", "0.449 [0.437, 0.462]", "95.3 [94.6, 95.9]"):
        assert text in row


def test_eighty_columns_are_enough():
    text = printed(make_results(), width=80)
    assert max(map(len, text.splitlines())) <= 80
    # Intervals and words are whole.
    for part in ("[0.310, 0.335]", "[94.4, 95.7]", "momentum 0.9", "…"):
        assert (part in text) == (part != "…")


def with_more_columns():
    results = make_results()
    optimizers = results["optimizers"]
    optimizers["adam (tuned)"] = optimizers["adam"] | {
        "hyperparameters": {"multiplier": 1.27}, "schedule": "cosine",
    }  # fmt: skip
    for entry in optimizers.values():
        entry["test_accuracy"] = None
        entry["validation"] = {
            "accuracy": interval(0.932, 0.926, 0.937), "loss": interval(0.18, 0.171, 0.189),
        }  # fmt: skip
    return results


def test_a_column_in_which_nobody_has_a_number_is_left_out():
    results = with_more_columns()
    headings = " ".join(summarize(results).headings)
    assert "validation\naccuracy" in headings
    assert "test" not in headings
    results["optimizers"]["lion"]["test_accuracy"] = interval(None)
    assert summarize(results).headings[-1] == "test\naccuracy, %"
    assert [str(row.cells[-1]) for row in summarize(results).rows[2:4]] == ["–", "diverged"]


def words(text):
    return set(re.sub("[,─]", " ", text).split())


@pytest.mark.parametrize("width", [70, 80, 100, 120])
def test_more_columns_than_fit_follow_below_and_no_word_is_broken(width):
    results = with_more_columns()
    text = printed(results, width=width)
    lines = text.splitlines()
    assert max(map(len, lines)) <= width
    assert words(printed(results, width=200)) <= words(text)
    # Of a name and the next one in its table, at most two lines apart.
    for first, second in (("lstm", "momentum"), ("momentum", "adam"), ("adam", "lion")):
        at = next(i for i, line in enumerate(lines) if line.startswith(first))
        assert any(line.startswith(second) for line in lines[at + 1 : at + 3])


def test_a_long_name_is_broken_and_not_cut():
    results = make_results()
    results["optimizers"]["star-small-mnist-mlp"] = results["optimizers"].pop("lion")
    text = printed(results, width=80)
    assert "…" not in text
    assert "star-small-\n" in re.sub(r" .*", "", text)
    assert re.search(r"^mnist-mlp ", text, re.MULTILINE)
    assert "star-small-mnist-mlp" in printed(results, width=200)


def test_the_best_is_bold():
    text = printed(make_results(), force_terminal=True, color_system="standard")
    assert re.search(r"\x1b\[1m *0\.322 \[0\.310, 0\.335\]", text)
    assert not re.search(r"\x1b\[1m *0\.449", text)


def test_names_are_no_markup():
    results = make_results()
    results["optimizers"]["[red]odd[/red]"] = results["optimizers"].pop("lion")
    assert "[red]odd[/red]" in printed(results)


def test_the_sentence_of_a_win():
    assert report.sentence(make_results()) == (
        "lstm's mean training loss over the first 100 steps is 28% below the best tuned "
        "baseline's (momentum), 95% interval 25% to 30%, 10 paired runs."
    )


def test_the_sentence_of_a_loss():
    assert compared(-0.12, -0.15, -0.1) == (
        "lstm did not beat the best tuned baseline (momentum): its mean training loss over the "
        "first 100 steps is 12% above the baseline's, 95% interval 10% to 15%, 10 paired runs."
    )


def test_the_sentence_of_a_draw():
    assert compared(0.02, -0.031, 0.07) == (
        "lstm is not distinguishable from the best tuned baseline (momentum): its mean training "
        "loss over the first 100 steps is 2.0% below the baseline's, 95% interval 3.1% above to "
        "7.0% below, 10 paired runs."
    )


def test_an_interval_that_touches_zero_is_no_win():
    assert "not distinguishable" in compared(0.2, 0.0, 0.4)
    assert "not distinguishable" in compared(-0.2, -0.4, 0.0)


def lasted(**entry):
    results = make_results(num_steps=20_000)
    results["optimizers"]["lstm"] |= {"given_back": interval(0.0, 0.0, 0.004)} | entry
    return report.endurance(results)


def test_what_is_said_of_long_runs():
    assert lasted() == (
        "lstm did not diverge in 10 runs of 20,000 steps, and its loss did not rise again.",
    )
    assert lasted(horizon=200) == (
        "lstm did not diverge in 10 runs of 20,000 steps, 100 times what it was meta-trained for, "
        "and its loss did not rise again.",
    )
    assert lasted(horizon=20_000) == lasted()
    assert lasted(given_back=interval(0.25, 0.2, 0.31)) == (
        "lstm's loss rose again in 10 runs of 20,000 steps: by the last tenth of the steps it had "
        "lost 25% (95% interval 20% to 31%) of its greatest decrease.",
    )
    assert lasted(given_back=interval(0.25)) == (
        "lstm's loss rose again in 10 runs of 20,000 steps: by the last tenth of the steps it had "
        "lost 25% of its greatest decrease.",
    )
    # A few runs may be lost where most are not.
    assert lasted(given_back=interval(0.05, 0.0, 0.15)) == (
        "lstm did not diverge in 10 runs of 20,000 steps; by the last tenth of the steps its loss "
        "had lost 5.0% (95% interval 0.0% to 15.0%) of its greatest decrease, which may be chance.",
    )
    assert lasted(given_back=interval(1.0, 1.0, 1.0)) == (
        "lstm's loss ended no lower than it began in 10 runs of 20,000 steps.",
    )
    assert lasted(diverged=2, diverged_at=1203) == (
        "lstm diverged in 2 of 10 runs of 20,000 steps, the first at step 1,203.",
    )


def test_nothing_is_said_of_what_older_results_do_not_hold():
    assert report.endurance(make_results()) == ()


def test_sentences_without_numbers():
    assert compared(None, None, None) == (
        "lstm could not be compared with momentum by its mean training loss over the first 100 "
        "steps: a run of one of them diverged."
    )
    results = make_results(
        comparison=make_results()["comparison"] | {"relative_improvement": interval(None)}
    )
    results["metric"] = {"name": "target", "maximize": False, "target": 1e-9}
    assert report.sentence(results).endswith("a run of one of them never got there.")
    assert compared(0.3, None, None, runs=1).endswith(
        "but 1 paired run is too few for an interval."
    )
    assert report.sentence(make_results(comparison=None)).startswith("No learned optimizer")


def test_records_and_plain_json_say_the_same(full_run):
    results = report.read_run(full_run).results
    assert report.sentence(results) == report.sentence(make_results())
    assert printed(results) == printed(make_results())


def test_what_is_no_result_is_refused():
    with pytest.raises(FileFormatError):
        report.table({"optimizers": {}})


def test_negative_losses_are_told_by_their_difference():
    """A loss of −5.35 against −2.11 was once called 153% above."""
    refused = Estimate(math.nan, math.nan, math.nan, 10, "no ratio: a value is negative")
    lower = Estimate(-3.24, -3.4, -3.1, 10, "mean")

    def told(difference):
        comparison = make_results()["comparison"] | {
            "relative_improvement": refused.as_json(), "difference": difference.as_json(),
        }  # fmt: skip
        return report.sentence(make_results(comparison=comparison))

    assert told(lower) == (
        "lstm's mean training loss over the first 100 steps is 3.24 below the best tuned "
        "baseline's (momentum), 95% interval 3.1 to 3.4, 10 paired runs."
    )
    assert "is 3.24 above the baseline's, 95% interval 3.1 to 3.4" in told(
        Estimate(3.24, 3.1, 3.4, 10, "mean")
    )
    assert "interval 0.1 above to 0.3 below" in told(Estimate(-0.1, -0.3, 0.1, 10, "mean"))
    assert "could not be compared" in told(refused)
    one = Estimate(-3.24, math.nan, math.nan, 1, "mean of one repetition: no interval")
    assert told(one).endswith("is 3.24 below, but 1 paired run is too few for an interval.")
    equal = Estimate(-3.24, math.nan, math.nan, 9, "mean of equal values: no interval")
    assert "agree to the last digit are no ground" in told(equal)


def test_results_of_version_1_are_read():
    old = make_results(version=1)
    old["comparison"]["relative_improvement"] = {"mean": 0.3, "low": 0.2, "high": 0.4, "runs": 9}
    found = report.Results.from_json(old).comparison
    assert found.relative_improvement == Estimate(0.3, 0.2, 0.4, 9, "mean, percentile bootstrap")
    assert found.difference is None
    assert "30% below" in report.sentence(old)


def test_ends_that_look_alike_get_more_digits():
    assert format_interval(0.3, 0.4) == "[0.300, 0.400]"
    assert format_interval(0.99991, 0.99994) == "[0.99991, 0.99994]"
    assert format_interval(-1e-9, 1e-9) == "[-1e-09, 1e-09]"
