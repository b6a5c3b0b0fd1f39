"""The registry of figures: the records each needs, its drawing function and its text."""

from collections.abc import Callable
from dataclasses import dataclass, field

from matplotlib.figure import Figure

from optoscope.report._comparison import comparison
from optoscope.report._curves import early_losses, loss_curves, meta_training
from optoscope.report._explanation import Explanation
from optoscope.report._mechanisms import mechanisms
from optoscope.report._probe_figures import panels, probe_figures
from optoscope.report._records import MetaTraining, Results, Run
from optoscope.report._search import search
from optoscope.report._style import Looks, looks


@dataclass(frozen=True)
class FigureText:
    """The text beside a figure.

    Args:
        title: a short heading.
        how_to_read: what the marks mean and where to look.
        what_it_does_not_show: what a reader could wrongly conclude from it.

    """

    title: str
    how_to_read: str
    what_it_does_not_show: str


@dataclass(frozen=True)
class FigureKind:
    """One kind of figure, as data.

    Args:
        name: also the file name under `figures/`.
        requires: attributes of `Run` that must not be empty.
        draw: draws it from a run.
        text: the text beside it.
        more: what the records of a run say besides, if they say it themselves.

    """

    name: str
    requires: tuple[str, ...]
    draw: Callable[[Run], Figure]
    text: FigureText
    more: Callable[[Run], FigureText] | None = field(default=None, kw_only=True)

    def text_of(self, run: Run) -> FigureText:
        """The text beside the figure of this run."""
        if self.more is None:
            return self.text
        more = self.more(run)
        return FigureText(
            self.text.title,
            f"{self.text.how_to_read} {more.how_to_read}",
            f"{self.text.what_it_does_not_show} {more.what_it_does_not_show}",
        )

    def can_draw(self, run: Run) -> bool:
        """Whether the run holds the records for this figure."""
        return all(bool(getattr(run, record)) for record in self.requires)


def _look(run: Run) -> Looks:
    return looks(run.names, run.learned)


def _metrics(run: Run) -> MetaTraining:
    assert run.metrics is not None  # the registry asks for it
    return run.metrics


def _results(run: Run) -> Results:
    assert run.results is not None  # the registry asks for it
    return run.results


def _probe_text(run: Run) -> FigureText:
    """The text of each probe, after its name."""
    drawn = dict.fromkeys(panel.probe for panel in panels(run.probes, run.probe_texts))
    said = {name: run.probe_texts[name] for name in drawn}
    return FigureText(
        "",
        " ".join(f"{name}: {text.how_to_read}" for name, text in said.items()),
        " ".join(f"{name}: {text.what_it_does_not_show}" for name, text in said.items()),
    )


def _explanation(run: Run) -> Explanation:
    assert run.explanation is not None  # the registry asks for it
    return run.explanation


FIGURES: tuple[FigureKind, ...] = (
    FigureKind(
        "mechanisms",
        ("explanation",),
        lambda run: mechanisms(_explanation(run)),
        FigureText(
            "What each mechanism is worth",
            "100% is what the learned optimizer gains over tuned momentum: the logarithm of the "
            "ratio of their mean losses, averaged over problems. The "
            "distilled row is the smallest program that was found to keep the wanted share; the "
            "rows below it are the same program with one part switched off, so that the distance "
            "to it is what the part is worth. All rows saw the same fresh problems.",
            "Parts that only matter together: switching one off measures it in the presence of "
            "the others. Without momentum every velocity takes its long-run value at once, so "
            "that the memory is lost and not the rate. What lies left of the axis did far worse "
            "than tuned momentum.",
        ),
    ),
    FigureKind(
        "early_losses",
        ("losses",),
        lambda run: early_losses(run.losses, look=_look(run)),
        FigureText(
            "The first steps",
            "Training loss on each step's minibatch, before that step's update; both axes are "
            "linear. The line is the median over runs, the band holds the middle half of them. "
            "All optimizers start from the same parameters and see the same minibatches, so the "
            "curves begin together and the first gap between them is the optimizers' doing.",
            "What happens later: an optimizer that is fastest here can be overtaken. It is the "
            "loss on training data, not how well the network generalizes.",
        ),
    ),
    FigureKind(
        "loss_curves",
        ("losses",),
        lambda run: loss_curves(run.losses, look=_look(run)),
        FigureText(
            "The whole of training",
            "The same curves over all steps, lower is better. The axis is logarithmic when the "
            "losses span more than a factor of ten: equal distances are then equal ratios. A run "
            "that leaves the finite numbers counts as infinitely bad, and the label beside the "
            "curve says how many did; a line stops at a cross where half of its runs diverged.",
            "Whether a difference is more than chance: bands of single runs overlap even where "
            "the paired difference is clear. Look at the intervals for that. Nor what a step "
            "costs, which can differ between optimizers: where steps were timed, the chart "
            "against time shows that.",
        ),
    ),
    FigureKind(
        "comparison",
        ("results",),
        lambda run: comparison(_results(run), look=_look(run)),
        FigureText(
            "Comparison",
            "One row for each optimizer, the best by the first panel on top. The dot is the mean "
            "over runs, the bar its 95% interval: left is better for a loss, right for the "
            "accuracy.",
            "Paired differences. All optimizers share their initial parameters and minibatches, "
            "so two of them can differ clearly although their intervals overlap. The intervals "
            "are over seeds of this one task, not over tasks.",
        ),
    ),
    FigureKind(
        "search",
        ("rate_search",),
        lambda run: search(run.rate_search, look=_look(run)),
        FigureText(
            "Tuning the baselines",
            "Every faint dot is one configuration tried, the line the best score at each "
            "learning rate over all schedules and further hyper-parameters, the star the "
            "configuration taken; an outline around a star is the star of another optimizer at "
            "the same place. Upright strokes are the ends of the grid: a star on one says that a "
            "wider grid might do better. A cross at the top, a row for each optimizer, stands at a "
            "rate at which a configuration diverged or is far worse than the rest: the rate is "
            "too large or, where the optimizer's line goes on below it, another schedule or "
            "hyper-parameter does better at the same rate.",
            "The score that the chosen configuration gets on fresh seeds: the best of many noisy "
            "scores looks better than it is. That is why the comparison uses other seeds.",
        ),
    ),
    FigureKind(
        "probes",
        ("drawn_probes",),
        lambda run: probe_figures(run.probes, run.probe_texts, look=_look(run)),
        FigureText(
            "Inside the optimizers",
            "What the probes of this run measured, against the inner step. Where there is one line "
            "for each optimizer, it is a median and the band holds the middle half.",
            "That a larger or smaller value is better: these say how an optimizer moves, not how "
            "well. All arrays, further ones included, are in `records/probes.npz`.",
        ),
        more=_probe_text,
    ),
    FigureKind(
        "meta_training",
        ("metrics",),
        lambda run: meta_training(_metrics(run)),
        FigureText(
            "Meta-training",
            "The loss that the learned optimizer is itself trained to lower, against the number "
            "of its updates. The thin line is what each report saw, the thick one its running "
            "mean, the dots the loss of whole evaluation runs where they were made.",
            "How good the optimizer is at tasks, horizons or seeds that it was not trained on. "
            "With truncated training the meta-loss mixes early and late parts of inner runs, so "
            "its level is not the loss of a whole run.",
        ),
    ),
)
