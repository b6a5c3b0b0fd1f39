"""What is seen in a static picture, in words for those who do not see it."""

from collections.abc import Callable

import numpy as np

from optoscope.report._figures import FigureText
from optoscope.report._probe_figures import panels
from optoscope.report._records import Run
from optoscope.report._statistics import spread
from optoscope.report._summary import format_number

_EARLY = 100


def seen(name: str, text: FigureText, run: Run) -> str:
    """The alternative text of a picture: what it shows, with its main numbers.

    Args:
        name: of the figure.
        text: the words beside it.
        run: its records.
    """
    describe = _DESCRIPTIONS.get(name)
    # Of a paper's figure its records are not known here; what its marks mean is.
    said = describe(run) if describe else text.how_to_read.split(". ")[0].rstrip(".") + "."
    return f"{text.title}: {said}"


def _losses(run: Run, num_steps: int | None) -> str:
    parts = []
    for name, curve in run.losses.items():
        middle = spread(curve[:, :num_steps]).middle
        known = np.flatnonzero(np.isfinite(middle))
        if not known.size:
            parts.append(f"{name} diverges at once")
            continue
        first, last = (format_number(float(middle[known[end]])) for end in (0, -1))
        ends = "" if known[-1] == len(middle) - 1 else f", where it diverges at step {known[-1]}"
        parts.append(f"{name} goes from {first} to {last}{ends}")
    return f"median training loss over runs; {'; '.join(parts)}."


def _comparison(run: Run) -> str:
    assert run.results is not None
    parts = [
        f"{name} {format_number(o.final_loss.value)}" if o.final_loss.known else f"{name} diverged"
        for name, o in run.results.optimizers.items()
    ]
    return f"means over runs with their intervals; final training loss: {', '.join(parts)}."


def _search(run: Run) -> str:
    parts = []
    for name, record in run.rate_search.items():
        if np.isfinite(record.score).any():
            rate = record.hyperparameters["learning_rate"][int(np.nanargmin(record.score))]
            parts.append(f"{name} is best at {rate:.3g}")
    return f"score against learning rate; {'; '.join(parts) or 'every configuration diverged'}."


def _meta_training(run: Run) -> str:
    assert run.metrics is not None
    known = run.metrics.meta_loss[np.isfinite(run.metrics.meta_loss)]
    if not known.size:
        return "no meta-loss is finite."
    return f"the meta-loss goes from {format_number(known[0])} to {format_number(known[-1])}."


def _probes(run: Run) -> str:
    labels = dict.fromkeys(panel.label for panel in panels(run.probes, run.probe_texts))
    return f"against the inner step for each optimizer: {', '.join(labels)}."


_DESCRIPTIONS: dict[str, Callable[[Run], str]] = {
    "early_losses": lambda run: _losses(run, _EARLY),
    "loss_curves": lambda run: _losses(run, None),
    "comparison": _comparison,
    "search": _search,
    "meta_training": _meta_training,
    "probes": _probes,
}
