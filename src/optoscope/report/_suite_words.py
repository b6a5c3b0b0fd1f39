"""A suite's ranking in words and tables."""

from optoscope._core.estimates import Estimate
from optoscope.report._suite import MEASURES, SCORES, SuiteRecord
from optoscope.report._summary import format_interval, format_number

# From here on decimals say nothing.
_MOST_RATIO = 100


def suite_sentence(record: SuiteRecord) -> str:
    """The first by each score, in one sentence."""
    firsts: dict[str, list[str]] = {}
    for score in SCORES:
        first = [label for label in record.ranked(score.key) if record.rank(label, score.key) == 1]
        title = score.title.lower() if score.title[1:].islower() else score.title
        firsts.setdefault(" and ".join(first), []).append(title)
    said = [f"{label} by {' and '.join(titles)}" for label, titles in firsts.items()]
    over = f"{_counted(len(record.tasks), 'task')}, {record.num_steps:,} steps"
    runs = _counted(record.num_runs, "run")
    return f"First of {len(record.optimizers)} over {over} and {runs}: {', '.join(said)}."


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def score_table(record: SuiteRecord, *, stacked: bool = False) -> tuple[list[str], list[list[str]]]:
    """Headings and rows: each optimizer's scores with intervals and ranks, best by the first.

    Stacked, an interval stands in a line below its score.
    """
    headings = ["optimizer", *(score.title for score in SCORES), "target reached", "below all"]
    rows = []
    for label in record.ranked(SCORES[0].key):
        one = record.optimizers[label]
        cells = [
            _ranked(one.scores[score.key], record.rank(label, score.key), stacked)
            for score in SCORES
        ]
        rows.append([label, *cells, f"{100 * one.reached:.0f}%", f"{100 * one.beyond:.0f}%"])
    return headings, rows


def _ranked(score: Estimate, rank: int, stacked: bool) -> str:
    if stacked and score.known and score.has_ends:
        return f"{format_number(score.value)} ({rank})\n{format_interval(score.low, score.high)}"
    return f"{estimate_words(score)} ({rank})"


def loss_table(record: SuiteRecord) -> tuple[list[str], list[list[str]]]:
    """Headings and rows: each optimizer's final loss on each task, with its interval."""
    rows = []
    for label in record.ranked(SCORES[0].key):
        losses = record.optimizers[label].final_loss
        rows.append([label, *(estimate_words(losses[task]) for task in record.tasks)])
    return ["final training loss", *record.tasks], rows


def validation_table(record: SuiteRecord) -> tuple[list[str], list[list[str]]]:
    """Headings and rows: each optimizer's validation loss on each task; no row without any."""
    rows = []
    for label in record.ranked(SCORES[0].key) if record.validated else ():
        losses = record.optimizers[label].validation_loss
        cells = [estimate_words(losses[t]) if t in losses else "no data" for t in record.tasks]
        rows.append([label, *cells])
    return ["validation loss at the end", *record.tasks], rows


def ratio_table(record: SuiteRecord) -> tuple[list[str], list[list[str]]]:
    """Headings and rows: each optimizer's losses relative to the reference's.

    A task's cell has the final, the mean and the validation loss one after the other; the last
    columns have their geometric means over the tasks, with intervals. No row for records of
    earlier versions.
    """
    headings = [f"relative to {record.reference}", *record.tasks, *_over_all(record)]
    rows = []
    for label in record.ranked(SCORES[0].key) if record.has_ratios else ():
        if label == record.reference:
            continue
        one = record.optimizers[label]
        cells = [
            ", ".join(_ratio(found[name]) for name in MEASURES if name in found)
            for found in (one.ratios.get(task, {}) for task in record.tasks)
        ]
        rows.append([label, *cells, *_geometric_means(record, label, record.reference)])
    return headings, rows


def against_table(record: SuiteRecord) -> tuple[list[str], list[list[str]]]:
    """Headings and rows: who was given, over all tasks, relative to others than the reference.

    Of many optimizers there are those that pictures show.
    """
    best, rows = record.best, []
    given = [label for label in record.given if label in best]
    for other in best:
        for label in given:
            known = record.optimizers[label].relative
            if other not in (label, record.reference) and other in known:
                rows.append([other, label, *_geometric_means(record, label, other)])
    return ["relative to", "optimizer", *_over_all(record)], rows


def _over_all(record: SuiteRecord) -> list[str]:
    """The headings of geometric means: over how many tasks each of them is."""
    count, held_out = len(record.tasks), len(record.validated)
    of_validation = "all" if held_out == count else f"{held_out} tasks"
    return ["all, final", "all, mean", f"{of_validation}, validation"]


def _geometric_means(record: SuiteRecord, label: str, other: str) -> list[str]:
    found = record.optimizers[label].relative.get(other, {})
    return [estimate_words(found[name]) if name in found else "–" for name in MEASURES]


def _ratio(value: Estimate) -> str:
    if not value.known:
        return "–"
    return f"{value.value:.2f}" if abs(value.value) < _MOST_RATIO else format_number(value.value)


def trial_table(record: SuiteRecord) -> tuple[list[str], list[list[str]]]:
    """Headings and rows: the trial of each optimizer on each task, and what a step took."""
    rows = []
    for label in record.ranked(SCORES[0].key):
        one = record.optimizers[label]
        cells = [f"{one.trials[task]}; {one.milliseconds[task]:.2g} ms" for task in record.tasks]
        rows.append([label, *cells])
    return ["trial taken; a step of a run, compilation included", *record.tasks], rows


def suite_tables(record: SuiteRecord) -> list[tuple[list[str], list[list[str]]]]:
    """The tables of a page below the scores, without those that have no row."""
    made = (loss_table, validation_table, ratio_table, against_table, trial_table)
    return [found for found in (make(record) for make in made) if found[1]]


def estimate_words(value: Estimate) -> str:
    """A number with its interval, or that there is none."""
    if not value.known:
        return "–"
    ends = f" {format_interval(value.low, value.high)}" if value.has_ends else ""
    return format_number(value.value) + ends
