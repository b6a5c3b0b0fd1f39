"""Figures 4 and appendix 5 and 6: tasks that were never seen in meta-training."""

from collections.abc import Callable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from optoscope.report._figures import FigureText
from optoscope.report._paper_c._marks import (
    LOOKS,
    SHOWN,
    Runs,
    corner_notes,
    draw_runs,
    guessing,
    inner_steps,
    key_below,
    loss_axis,
)
from optoscope.report._paper_figure import Arrays, PaperFigure, Records, paper_figure
from optoscope.report._style import MUTED, style, title

# In the order of `tasks.UNSEEN`, which the report may not import.
UNSEEN = {
    "layer-norm-mlp": "MLP, layer norm",
    "layer-norm-tanh-mlp": "Deep MLP, tanh",
    "wide-mlp": "Wide MLP",
    "deep-mlp": "Deep MLP, ReLU",
    "deep-cnn": "Deep CNN",
    "wide-cnn": "Wide CNN",
    "tanh-cnn": "CNN, tanh",
    "residual-network": "Residual network",
    "autoencoder": "Autoencoder",
    "cross-entropy-autoencoder": "Deep autoencoder, tanh",
    "rnn-language-model": "RNN language model",
    "gru-language-model": "GRU language model",
    "lstm-language-model": "LSTM language model",
    "transformer-language-model": "Transformer",
    "es-gradient-layer-norm-mlp": "MLP, ES gradients",
    "es-gradient-autoencoder": "Autoencoder, ES gradients",
}
FIGURE_4 = (
    "layer-norm-mlp", "residual-network", "lstm-language-model", "transformer-language-model",
)  # fmt: skip
# The baselines first: what is learned lies on top.
_CONTESTANTS = {
    "adam": "Adam, tuned",
    "nadamw": "NAdamW, tuned",
    "hyperparam": SHOWN["hyperparam"],
    "blackbox": SHOWN["blackbox"],
    "star-0.5": "STAR",
    "star-small": SHOWN["star-small"],
}
_COLUMNS = 4
_PANEL = (3.2, 2.9)


def unseen_figure(key: str, names: tuple[str, ...], text: FigureText) -> PaperFigure:
    """A panel for each of the tasks that is there; which are measured depends on the scale."""
    parts = tuple(f"unseen-{name}" for name in names)
    return paper_figure(key, (), unseen(names), text, optional=parts)


def unseen(names: tuple[str, ...]) -> Callable[[Records], Figure]:
    """Draws the tasks that are there of those that are named."""

    def draw(records: Records) -> Figure:
        found = {name: records[f"unseen-{name}"] for name in names if f"unseen-{name}" in records}
        columns = min(_COLUMNS, len(found))
        rows = -(-len(found) // columns)
        width, height = _PANEL
        with style():
            # The key below has the width of more than one panel.
            size = (max(width * columns, 8.2), 0.5 + height * rows)
            figure = Figure(figsize=size, layout="constrained")
            grid = figure.subplots(rows, columns, squeeze=False)
            for axes in grid.flat[len(found) :]:
                axes.set_visible(False)
            for axes, (name, part) in zip(grid.flat, found.items(), strict=False):
                _panel(axes, part)
                title(axes, UNSEEN[name], f"{int(part['num_params']):,} parameters")
            for axes in grid[:, 0]:
                axes.set_ylabel("loss, smoothed")
            key_below(figure, _key())
        return figure

    return draw


def _panel(axes: Axes, part: Arrays) -> None:
    there = [name for name in _CONTESTANTS if f"{name}/smoothed" in part]
    runs = {name: Runs.of(part, f"{name}/") for name in there}
    starts = [float(start) for start in np.ravel(part["initial"])]
    loss_axis(axes, [found.losses for found in runs.values()], starts)
    inner_steps(axes, float(part["steps"][-1]) + 1)
    guessing(axes, float(part["guess"]))
    for name, found in runs.items():
        draw_runs(axes, part["steps"], found, LOOKS[name])
    words = {name: label.removesuffix(", tuned") for name, label in _CONTESTANTS.items()}
    lost = {f"{words[n]}: {found.note}": LOOKS[n].ink for n, found in runs.items() if found.note}
    corner_notes(axes, lost, float(np.median(starts)))


def _key() -> list[Line2D]:
    marks = [
        Line2D([], [], color=LOOKS[name].color, linewidth=LOOKS[name].width, label=words)
        for name, words in _CONTESTANTS.items()
    ]
    marks.append(Line2D([], [], color=MUTED, linestyle=":", label="guessing"))
    marks.append(
        Line2D([], [], color=MUTED, marker="x", linestyle="", markersize=7, label="a run diverges")
    )
    return marks
