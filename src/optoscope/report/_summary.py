"""The results in words: one sentence, and the content of a table."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from optoscope._core.estimates import Estimate, turned
from optoscope.report._records import Comparison, OptimizerResult, Results

# The share of their gain that runs may lose at the end before it counts as a rise: batches differ.
_NOISE = 0.01


@dataclass(frozen=True)
class Cell:
    """A number with its interval, as text.

    Args:
        mean: the number, or a word where there is none.
        ends: "[low, high]", or empty.
        best: whether it is the best of its column.

    """

    mean: str
    ends: str = ""
    best: bool = False

    def __str__(self) -> str:
        return f"{self.mean} {self.ends}".strip()


@dataclass(frozen=True)
class Row:
    """One optimizer of the table."""

    name: str
    learned: bool
    hyperparameters: tuple[str, ...]
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Summary:
    """The table of results as data: headings, rows and what stands under it.

    A heading has a line break where it may be broken.
    """

    headings: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...]


def format_number(value: float) -> str:
    """Three decimals for ordinary numbers, three digits for very small or large ones.

    >>> format_number(0.3216), format_number(0.00012345), format_number(12345.6)
    ('0.322', '0.000123', '1.23e+04')
    """
    size = abs(value)
    if size == 0 or 0.01 <= size < 100:
        return f"{value:.3f}"
    return f"{value:.3g}"


def format_interval(low: float, high: float, form: Callable[[float], str] = format_number) -> str:
    """Both ends in brackets, with as many digits as it takes to tell them apart.

    >>> format_interval(0.25, 1.5), format_interval(0.999998, 1.000001)
    ('[0.250, 1.500]', '[0.999998, 1]')
    """
    ends = form(low), form(high)
    digits = 4
    # Trailing zeros do not tell two numbers apart.
    while float(ends[0]) == float(ends[1]) and low != high and digits < 17:
        ends = f"{low:.{digits}g}", f"{high:.{digits}g}"
        digits += 1
    return f"[{ends[0]}, {ends[1]}]"


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def summarize(results: Results | Mapping[str, Any]) -> Summary:
    """Puts results into rows and cells, the best of each column marked.

    A column in which nobody has a number is left out.

    Args:
        results: what `read_run` found, or the content of `results.json`.

    Returns:
        The table as data.

    """
    results = _as_results(results)
    optimizers = results.optimizers
    columns: list[tuple[str, bool, Callable[[float], str], dict[str, Estimate | None]]] = [
        (
            f"mean loss over\n{steps} steps",
            False,
            format_number,
            {name: o.mean_loss.get(steps) for name, o in optimizers.items()},
        )
        for steps in results.horizons
    ]
    final = {name: o.final_loss for name, o in optimizers.items()}
    columns.append(("final loss", False, format_number, dict(final)))
    for measured in sorted({key for o in optimizers.values() for key in o.validation}):
        heading = f"validation\n{measured}"
        judged = measured == ("loss" if results.metric == "validation" else results.metric)
        higher = results.maximized if judged else measured == "accuracy"
        found = {name: o.validation.get(measured) for name, o in optimizers.items()}
        columns.append((heading, higher, format_number, found))
    accuracy = {name: o.test_accuracy for name, o in optimizers.items()}
    columns.append(("test\naccuracy, %", True, _percent, accuracy))
    columns = [column for column in columns if any(column[3].values())]
    bests = [_best(values, higher) for _, higher, _, values in columns]
    rows = tuple(
        Row(
            name=name,
            learned=name in results.learned,
            hyperparameters=_hyperparameters(o, name in results.learned),
            cells=tuple(
                _cell(values[name], form, best)
                for (_, _, form, values), best in zip(columns, bests, strict=True)
            ),
        )
        for name, o in optimizers.items()
    )
    headings = ("optimizer", "tuned values", *(heading for heading, *_ in columns))
    return Summary(headings, rows, _notes(results))


def _as_results(results: Results | Mapping[str, Any]) -> Results:
    return results if isinstance(results, Results) else Results.from_json(results)


def _best(values: Mapping[str, Estimate | None], higher: bool) -> float:
    means = [value.value for value in values.values() if value and value.known]
    if not means:
        return math.nan
    return max(means) if higher else min(means)


def _cell(value: Estimate | None, form: Callable[[float], str], best: float) -> Cell:
    if value is None:
        return Cell("–")
    if not value.known:
        return Cell("diverged")
    ends = format_interval(value.low, value.high, form) if value.has_ends else ""
    return Cell(form(value.value), ends, value.value == best)


def _hyperparameters(optimizer: OptimizerResult, learned: bool) -> tuple[str, ...]:
    values = optimizer.hyperparameters
    if not values:
        return ("learned",) if learned else ("–",)
    # The rate comes first, whatever order the search kept.
    ordered = sorted(values.items(), key=lambda item: item[0] != "learning_rate")
    shown = [
        f"{'rate' if key == 'learning_rate' else key.replace('_', ' ')} {value:.3g}"
        for key, value in ordered
    ]
    return (*shown, *([optimizer.schedule] if optimizer.schedule else []))


def _notes(results: Results) -> tuple[str, ...]:
    notes = []
    for name, optimizer in results.optimizers.items():
        if optimizer.diverged:
            notes.append(f"{name}: {optimizer.diverged} of {results.num_runs} runs diverged.")
        notes += [f"{name}: {warning}" for warning in optimizer.warnings]
    tuned = {name: o for name, o in results.optimizers.items() if o.trials}
    if tuned:
        costs = ", ".join(
            f"{name} {o.trials} in {o.tuning_seconds:.1f} s" for name, o in tuned.items()
        )
        notes.append(f"Trials to tune: {costs}.")
    return tuple(notes)


def sentence(results: Results | Mapping[str, Any]) -> str:
    """The result of the comparison in one plain sentence, also where the learned one is worse.

    Args:
        results: what `read_run` found, or the content of `results.json`.

    Returns:
        The sentence, in words that a newcomer can repeat.

    Raises:
        FileFormatError: a mapping is given that is not the content of a results file.

    """
    results = _as_results(results)
    compared = results.comparison
    if compared is None:
        return "No learned optimizer was compared with a tuned baseline in this run."
    gain = _gain(compared)
    metric = _metric(compared)
    if not gain.found.known:
        why = "diverged" if results.metric != "target" else "never got there"
        return (
            f"{compared.learned} could not be compared with {compared.baseline} by its {metric}: "
            f"a run of one of them {why}."
        )
    runs = _count(gain.found.count, "paired run")
    if gain.found.has_ends and compared.comparisons > 1:
        runs += ", which also chose the best: the interval is widened for that"
    if not gain.found.has_ends:
        why = "are too few" if gain.found.count > 1 else "is too few"
        if "equal values" in gain.found.method:
            why = "that agree to the last digit are no ground"
        return (
            f"{compared.learned} is not distinguishable from the best tuned baseline "
            f"({compared.baseline}): its {metric} is {gain.side(gain.found.value)}, "
            f"but {runs} {why} for an interval."
        )
    if gain.found.low > 0:
        return (
            f"{compared.learned}'s {metric} is {gain.side(gain.found.value)} the best tuned "
            f"baseline's ({compared.baseline}), 95% interval {gain.size(gain.found.low)} to "
            f"{gain.size(gain.found.high)}, {runs}."
        )
    if gain.found.high < 0:
        return (
            f"{compared.learned} did not beat the best tuned baseline ({compared.baseline}): its "
            f"{metric} is {gain.side(gain.found.value)} the baseline's, 95% interval "
            f"{gain.size(gain.found.high)} to {gain.size(gain.found.low)}, {runs}."
        )
    return (
        f"{compared.learned} is not distinguishable from the best tuned baseline "
        f"({compared.baseline}): its {metric} is {gain.side(gain.found.value)} the baseline's, 95% "
        f"interval {gain.side(gain.found.low)} to {gain.side(gain.found.high)}, {runs}."
    )


@dataclass(frozen=True)
class _Gain:
    """The gain of the learned optimizer, and how its numbers are written.

    Args:
        found: positive is better.
        size: a number of that kind without its sign, as text.
        larger_is_better: of what is compared.
    """

    found: Estimate
    size: Callable[[float], str]
    larger_is_better: bool = False

    def side(self, value: float) -> str:
        below, above = ("above", "below") if self.larger_is_better else ("below", "above")
        return f"{self.size(value)} {below if value >= 0 else above}"


def _gain(compared: Comparison) -> _Gain:
    """The gain as a share of the baseline's loss where that is defined, else as a difference."""
    share, difference = compared.relative_improvement, compared.difference
    if difference is not None and not share.has_ends and (difference.has_ends or not share.known):
        better = difference if compared.larger_is_better else turned(difference)
        return _Gain(better, lambda value: f"{abs(value):.3g}", compared.larger_is_better)
    fine = abs(share.value) < 0.095
    return _Gain(share, lambda value: _share(value, fine), compared.larger_is_better)


def others_win(results: Results | Mapping[str, Any]) -> str | None:
    """In which columns another optimizer is better than the learned one of the headline.

    Args:
        results: what `read_run` found, or the content of `results.json`.
    """
    compared = _as_results(results).comparison
    if compared is None or not compared.others_win:
        return None
    columns = "; ".join(f"{column}: {name}" for column, name in compared.others_win.items())
    return f"Better than {compared.learned} elsewhere: {columns}."


def endurance(results: Results | Mapping[str, Any]) -> tuple[str, ...]:
    """Whether the runs of each learned optimizer diverged or rose again, one sentence for each.

    Args:
        results: what `read_run` found, or the content of `results.json`.

    Raises:
        FileFormatError: a mapping is given that is not the content of a results file.

    """
    results = _as_results(results)
    found = results.optimizers
    return tuple(
        _lasted(name, found[name], results)
        for name in results.learned
        if name in found and found[name].given_back is not None
    )


def _lasted(name: str, found: OptimizerResult, results: Results) -> str:
    given_back = found.given_back
    assert given_back is not None
    runs = f"{_count(results.num_runs, 'run')} of {results.num_steps:,} steps"
    if found.horizon and results.num_steps > found.horizon:
        times = results.num_steps / found.horizon
        runs += f", {times:.3g} times what it was meta-trained for"
    if found.diverged:
        at = "" if found.diverged_at is None else f", the first at step {found.diverged_at:,}"
        return f"{name} diverged in {found.diverged} of {runs}{at}."
    low, mean, high = given_back.low, given_back.value, given_back.high
    if not given_back.has_ends:
        low = high = mean
    if high <= _NOISE:
        return f"{name} did not diverge in {runs}, and its loss did not rise again."
    if mean > 1 - _NOISE:
        return f"{name}'s loss ended no lower than it began in {runs}."
    fine = mean < 0.095
    ends = f" (95% interval {_share(low, fine)} to {_share(high, fine)})"
    lost = f"{_share(mean, fine)}{ends if given_back.has_ends else ''} of its greatest decrease"
    if low <= _NOISE:
        return (
            f"{name} did not diverge in {runs}; by the last tenth of the steps its loss had lost "
            f"{lost}, which may be chance."
        )
    return f"{name}'s loss rose again in {runs}: by the last tenth of the steps it had lost {lost}."


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _metric(compared: Comparison) -> str:
    return compared.metric.replace("mean_loss", "mean training loss").replace("_", " ") or "loss"


def _share(value: float, fine: bool) -> str:
    return f"{abs(value):.1%}" if fine else f"{abs(value):.0%}"
