"""A suite's ranking in words and tables."""

from optoscope._core.estimates import Estimate
from optoscope.report._suite import SCORES, SuiteRecord
from optoscope.report._summary import format_interval, format_number


def suite_sentence(record: SuiteRecord) -> str:
    """The first by each score, in one sentence."""
    firsts: dict[str, list[str]] = {}
    for score in SCORES:
        firsts.setdefault(record.ranked(score.key)[0], []).append(score.title.lower())
    said = [f"{label} by {' and '.join(titles)}" for label, titles in firsts.items()]
    runs = "1 run" if record.num_runs == 1 else f"{record.num_runs} runs"
    return (
        f"First of {len(record.optimizers)} over {len(record.tasks)} tasks, {record.num_steps:,} "
        f"steps and {runs}: {', '.join(said)}."
    )


def score_table(record: SuiteRecord) -> tuple[list[str], list[list[str]]]:
    """Headings and rows: each optimizer's scores with intervals and ranks, best by the first."""
    headings = ["optimizer", *(score.title for score in SCORES), "target reached", "below all"]
    ranks = {score.key: record.ranked(score.key) for score in SCORES}
    rows = []
    for label in ranks[SCORES[0].key]:
        one = record.optimizers[label]
        cells = [
            f"{estimate_words(one.scores[score.key])} ({ranks[score.key].index(label) + 1})"
            for score in SCORES
        ]
        rows.append([label, *cells, f"{100 * one.reached:.0f}%", f"{100 * one.beyond:.0f}%"])
    return headings, rows


def loss_table(record: SuiteRecord) -> tuple[list[str], list[list[str]]]:
    """Headings and rows: each optimizer's final loss on each task, with its interval."""
    rows = []
    for label in record.ranked(SCORES[0].key):
        losses = record.optimizers[label].final_loss
        rows.append([label, *(estimate_words(losses[task]) for task in record.tasks)])
    return ["final training loss", *record.tasks], rows


def trial_table(record: SuiteRecord) -> tuple[list[str], list[list[str]]]:
    """Headings and rows: the trial of each optimizer on each task, and what a step took."""
    rows = []
    for label in record.ranked(SCORES[0].key):
        one = record.optimizers[label]
        cells = [f"{one.trials[task]}; {one.milliseconds[task]:.2g} ms" for task in record.tasks]
        rows.append([label, *cells])
    return ["trial taken; a step of a run", *record.tasks], rows


def estimate_words(value: Estimate) -> str:
    """A number with its interval, or that there is none."""
    if not value.known:
        return "–"
    ends = f" {format_interval(value.low, value.high)}" if value.has_ends else ""
    return format_number(value.value) + ends
