"""What the page of published optimizers says, made from the records: sentences and tables."""

from collections.abc import Callable, Iterable

import numpy as np

from optoscope.report._summary import format_number
from optoscope.report.papers._figure import PageWords, Records, Table
from optoscope.report.papers._statements import percent
from optoscope.report.papers.published import _quantities as quantities
from optoscope.report.papers.published._looks import (
    BASELINES,
    LOOKS,
    by_coordinate,
    names_of,
    tasks_of,
)

_DM = ("dm", "dm_cl", "dm_il", "dm_cl_il")
_RNNPROP = ("rnnprop", "rnnprop_cl_il")
_RECURRENT = (*_DM, *_RNNPROP)
_HOME = "home"
# From this mean rank correlation on, and from this one on every task, a measure foretells.
_STRONG, _EVERYWHERE = 0.7, 0.5
_SHORT = {"dm": "L2O-DM", "dm_cl": "curriculum", "dm_il": "imitation", "dm_cl_il": "both"}


def words(records: Records) -> PageWords:
    """The sentences and tables of a run; none for what it does not hold."""
    written = (
        _answer, _lasting, _rest, _schedule, _drift, _biased, _start, _lower, _celo, _adaptation,
        _quadratics, _symmetry_and_tails,
    )  # fmt: skip
    sentences = [sentence for write in written if (sentence := write(records))]
    tables = {"inside": _inside_table(records), "long": _long_table(records),
              "foretold": _foretold_table(records)}  # fmt: skip
    return PageWords(tuple(sentences), {name: one for name, one in tables.items() if one[1]})


def _known(values: np.ndarray) -> float:
    """The mean over runs and measurements, of those that there are."""
    return float(quantities.known_mean(values.reshape(1, -1))[0])


def _name(records: Records, name: str) -> str:
    return records.labels.get(name, name)


def _each(
    records: Records,
    kind: str,
    value: Callable[[quantities.Arrays], float],
    text: Callable[[float], str],
    names: Iterable[str] = _RECURRENT,
) -> str:
    """A number of each optimizer that has it: "0.78 (L2O-DM), 0.01 (curriculum)"."""
    found = []
    for name in names:
        part = records.get(f"{kind}-{name}")
        if part is not None and np.isfinite(number := value(part)):
            found.append(f"{text(number)} ({_SHORT.get(name, _name(records, name))})")
    return ", ".join(found)


def _correlations(records: Records, names: tuple[str, ...]) -> dict[str, list[float]]:
    """The rank correlations of each measure, one a task, of those tasks that have one."""
    found = {}
    for measure in quantities.MEASURES:
        values = [
            quantities.correlation(records, measure, task, names) for task in tasks_of(records)
        ]
        found[measure] = [value for value in values if np.isfinite(value)]
    return {measure: values for measure, values in found.items() if values}


def _learned(records: Records) -> tuple[str, ...]:
    return tuple(name for name in LOOKS if name not in BASELINES)


def _answer(records: Records) -> str:
    """Whether the weights show that an optimizer will last, and which measure does best.

    Measures are compared over the same optimizers, those of which all of them are known.
    """
    looked = by_coordinate(records)
    found = _correlations(records, looked)
    if not found:
        return ""
    means = {measure: float(np.mean(values)) for measure, values in found.items()}
    best, *others = sorted(means, key=means.__getitem__, reverse=True)
    # What holds for those with a state of one coordinate may not hold for the others.
    everyone = float(np.mean(_correlations(records, _learned(records))[best]))
    verdict = "Only in part" if means[best] > _EVERYWHERE else "No"
    if min(found[best]) > _EVERYWHERE and min(means[best], everyone) > _STRONG:
        verdict = "Yes, among these few"
    listed = ", ".join(f"{value:+.2f}" for value in found[best])
    words = (
        f"**Can one see in the weights that an optimizer will last? {verdict}.** Over the "
        f"{len(looked)} learned optimizers with a state for each coordinate, “"
        f"{quantities.MEASURES[best].words}” foretells best what long runs give back: rank "
        f"correlations of {listed} on the tasks, {means[best]:+.2f} in the mean."
    )
    if quantities.MEASURES[best].kind != "inside":
        words += f" Over all learned optimizers it has {everyone:+.2f}."
    rest = ", ".join(
        f"{means[other]:+.2f} ({quantities.MEASURES[other].words})" for other in others
    )
    return words + (f" The other measures have {rest}." if others else "")


def _rest(records: Records) -> str:
    """Whether the state comes to rest in silence."""
    listed = _each(records, "inside", lambda part: float(part["unrest"]), _small)
    return listed and (
        "After 2,000 steps without a gradient, a coordinate's state still changes at every step "
        f"by {listed}. A state that goes on changing counts the steps; one at rest forgets them."
    )


def _small(number: float) -> str:
    return "less than 1e-9" if number < 1e-9 else f"{number:.2g}"


def _lasting(records: Records) -> str:
    listed = _each(records, f"long-{_HOME}", quantities.loss_of_gain, percent)
    return listed and f"Of how far the loss had come, long runs at home give back {listed}."


def _start(records: Records) -> str:
    listed = _each(
        records, f"long-{_HOME}", lambda part: float(part["early"].mean()), format_number
    )
    return listed and f"The start is the other side: mean losses over the first steps are {listed}."


def _lower(records: Records) -> str:
    """Where L2O-DM with both ends below tuned Adam, and who ends lowest."""
    tasks, below, lowest = tasks_of(records), [], []
    for task in tasks:
        runs = {name: records.get(f"long-{task}-{name}") for name in LOOKS}
        ends = {name: float(run["final"].mean()) for name, run in runs.items() if run is not None}
        if "dm_cl_il" in ends and "adam" in ends and ends["dm_cl_il"] < ends["adam"]:
            below.append(task)
        if ends:
            first = min(ends, key=ends.__getitem__)
            words = f"{_name(records, first)} ({_name(records, task)}: {ends[first]:.2g})"
            lowest.append(words)
    if not lowest:
        return ""
    where = f" ({', '.join(_name(records, task) for task in below)})" if below else ""
    return (
        f"L2O-DM with both ends below Adam, whose rate is tuned for it, on {len(below)} of "
        f"{len(tasks)} tasks{where}; the lowest of all ends are those of {', '.join(lowest)}."
    )


def _drift(records: Records) -> str:
    listed = _each(records, "inside", lambda part: 10 ** quantities.drift(part), percent)
    return listed and (
        "The update that is left in that silence, as a share of the response to a gradient of "
        f"0.001, is {listed}."
    )


def _biased(records: Records) -> str:
    """The learned optimizer that moves most without a gradient, which is another way to fail."""
    drifts = {
        name: quantities.drift(part)
        for name in _learned(records)
        if (part := records.get(f"inside-{name}")) is not None
    }
    most = max(drifts, key=drifts.__getitem__, default="")
    run = records.get(f"long-{_HOME}-{most}")
    if run is None:
        return ""
    return (
        f"The one with the largest drift is {_name(records, most)}: {percent(10 ** drifts[most])} "
        f"of the response. It gives back {percent(quantities.loss_of_gain(run))} at home, and its "
        f"state changes by {_small(float(records[f'inside-{most}']['unrest']))}."
    )


def _celo(records: Records) -> str:
    """What becomes of the one that was meta-trained for a known length."""
    runs = [records.get(f"long-{task}-celo") for task in tasks_of(records)]
    shares = [percent(quantities.loss_of_gain(run)) for run in runs if run is not None]
    return ", ".join(shares) and (
        "Celo is told the length of its runs and was meta-trained on lengths of up to 2,000; on "
        f"the tasks it gives back {', '.join(shares)}."
    )


def _adaptation(records: Records) -> str:
    listed = _each(
        records, "driven", quantities.exponent, lambda power: f"{power:.2f}",
        (*_RECURRENT, "celo", "adam"),
    )  # fmt: skip
    return listed and (
        "Updates grow with the size of gradients to a power, which is 1 for gradient descent, of "
        f"{listed}."
    )


def _schedule(records: Records) -> str:
    listed = _each(
        records, "driven", lambda part: float(np.mean(quantities.course(part))),
        lambda decades: f"{10**decades:.2g}", ("celo", *_RECURRENT, "ours_general"),
    )  # fmt: skip
    return listed and (
        "From the second to the last tenth of a run under gradients of one size, updates are "
        f"multiplied by {listed}."
    )


def _quadratics(records: Records) -> str:
    names = (*_RECURRENT, "celo", "adam")
    listed = _each(
        records, "curvature", quantities.distance, lambda decades: f"{10**decades:.1g}", names
    )
    return listed and (
        "One-dimensional runs on curvatures from 0.01 to 1,000, from a distance of 1, end at a "
        f"distance of {listed}, in the median."
    )


def _symmetry_and_tails(records: Records) -> str:
    broken = {
        name: float(quantities.deviation(part).mean())
        for name in _learned(records)
        if (part := records.get(f"probed-{name}")) is not None
    }
    if not broken:
        return ""
    least, most = min(broken, key=broken.__getitem__), max(broken, key=broken.__getitem__)
    words = (
        "Learned optimizers leave the rescaling symmetry, which gradients keep: their cosine to it "
        f"is {broken[least]:.2f} ({_name(records, least)}) to {broken[most]:.2f} "
        f"({_name(records, most)}) times that of any direction."
    )
    listed = _each(
        records, "probed", lambda part: _known(part["alpha"]), lambda alpha: f"{alpha:.2f}", _DM
    )
    if listed:
        words += f" The tail index of the noise of updates is {listed}."
    return words


def _cell(part: quantities.Arrays | None, text: Callable[[quantities.Arrays], str]) -> str:
    if part is None:
        return ""
    found = text(part)
    return "–" if "nan" in found else found


def _inside_table(records: Records) -> Table:
    """Everything that was looked at, a row for each optimizer."""
    columns: dict[str, tuple[str, Callable[[quantities.Arrays], str]]] = {
        "power of gradients": ("driven", lambda p: f"{quantities.exponent(p):.2f}"),
        "left at 1e-8, decades": ("driven", lambda p: f"{quantities.left_of_steps(p):.1f}"),
        "schedule, decades": ("driven", lambda p: f"{np.mean(quantities.course(p)):+.2f}"),
        "fixed points": ("inside", _kinds),
        "unrest of state": ("inside", lambda p: _small(float(p["unrest"]))),
        "largest eigenvalue": ("inside", lambda p: f"{float(p['radius']):.4f}"),
        "memory, steps": ("inside", lambda p: f"{10 ** quantities.memory(p):,.0f}"),
        "drift": ("inside", lambda p: percent(10 ** quantities.drift(p))),
        "response after silence": (
            "inside", lambda p: f"{float(p['response'] / max(p['late_response'], 1e-300)):.2g}×"
        ),
        "distance on quadratics": ("curvature", lambda p: f"{10 ** quantities.distance(p):.1g}"),
        "symmetry": (
            "probed", lambda p: f"{quantities.deviation(p).mean():.2g}"
        ),
        "α updates (surrogate)": (
            "probed",
            lambda p: f"{_known(p['alpha']):.2f} ({_known(p['surrogate']):.2f})",
        ),
    }  # fmt: skip
    rows = []
    for name in names_of(records, "driven-"):
        cells = [_cell(records.get(f"{kind}-{name}"), text) for kind, text in columns.values()]
        rows.append([_name(records, name), *cells])
    return ["optimizer", *columns], rows


def _kinds(part: quantities.Arrays) -> str:
    kinds = [str(kind) for kind in part["kinds"]]
    counted = [f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds)]
    return ", ".join(counted) or "none"


def _long_table(records: Records) -> Table:
    """Final losses with the share that was given back, a row for each optimizer."""
    tasks = tasks_of(records)
    rows = []
    for name in names_of(records, f"long-{tasks[0]}-") if tasks else ():
        runs = [records.get(f"long-{task}-{name}") for task in tasks]
        start = _cell(runs[0], lambda p: format_number(float(p["early"].mean())))
        ends = [_cell(run, _end) for run in runs]
        rows.append([_name(records, name), start, *ends])
    head = [f"{_name(records, task)}: end (given back)" for task in tasks]
    return ["optimizer", "home, first steps", *head], rows


def _end(part: quantities.Arrays) -> str:
    final = float(part["final"].mean())
    text = format_number(final) if np.isfinite(final) else "diverges"
    rate = float(part["rate"])
    tuned = "" if np.isnan(rate) else f", rate {rate:.2g}"
    return f"{text} ({percent(quantities.loss_of_gain(part))}{tuned})"


def _foretold_table(records: Records) -> Table:
    """The rank correlations of each measure, over those who have a coordinate's state, and all."""
    tasks, rows = tasks_of(records), []
    for words, names in (
        ("by coordinate", by_coordinate(records)), ("all learned", _learned(records)),
    ):  # fmt: skip
        for measure, known in quantities.MEASURES.items():
            if words == "all learned" and known.kind == "inside":
                continue
            values = [quantities.correlation(records, measure, task, names) for task in tasks]
            if np.isfinite(values).any():
                cells = ["–" if np.isnan(value) else f"{value:+.2f}" for value in values]
                rows.append([known.words, words, *cells])
    return ["measure", "over", *(_name(records, task) for task in tasks)], rows
