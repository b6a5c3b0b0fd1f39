"""Figures of paper A's open questions: what happens when something about the setting is varied."""

from collections.abc import Callable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from optoscope.report._style import INK, style, title
from optoscope.report.papers._figure import Arrays, Records
from optoscope.report.papers._marks import log_axis
from optoscope.report.papers.symmetry_and_noise._marks import AGGREGATES, GUESTS, NAMES, SHOWN, look


def swept(part: str, heading: str) -> Callable[[Records], Figure]:
    """Mean loss and mean deviations of every optimizer against the varied value."""
    panels = {"losses": "mean training loss", **AGGREGATES}

    def draw(records: Records) -> Figure:
        arrays = records[part]
        with style():
            figure = Figure(figsize=(12.6, 4.4), layout="constrained")
            grid = figure.subplots(1, 3)
            for axes, (key, words) in zip(grid, panels.items(), strict=True):
                _against_values(axes, arrays, key)
                axes.set_ylabel(words)
                axes.set_xlabel(part.removeprefix("sweep-").replace("-", " "))
            level = arrays["lstm/isotropic"].reshape(len(arrays["values"]), -1)[:, 0]
            places = np.arange(len(level))
            grid[2].plot(places, level, color=INK, linestyle=":", label="random direction")
            title(grid[0], heading, "line: median; bar: from least to largest of the repetitions")
            handles, labels = grid[2].get_legend_handles_labels()
            figure.legend(handles, labels, loc="outside lower center", ncols=5, frameon=False)
        return figure

    return draw


def _against_values(axes: Axes, arrays: Arrays, key: str) -> None:
    places, looks = np.arange(len(arrays["values"])), look(NAMES)
    for name in NAMES:
        # A baseline is repeated over runs, a learned optimizer over meta-training seeds.
        values = arrays[f"{name}/{key}"].mean(axis=-1)
        found = values[:, 0] if values.shape[1] == 1 else values.mean(axis=-1)
        middle = np.median(found, axis=1)
        spread = np.abs(np.stack([found.min(axis=1), found.max(axis=1)]) - middle)
        if middle.max() < 1e-6:  # zero up to rounding, as momentum is for a translation
            continue
        axes.errorbar(
            places, middle, spread, color=looks[name].color, linewidth=looks[name].width,
            marker="o", markersize=4, capsize=2, label=SHOWN[name],
        )  # fmt: skip
    axes.set_xticks(places, [str(value) for value in arrays["values"]])
    axes.set_yscale("log")


def another_optimizer(records: Records) -> Figure:
    """A learned GRU beside the LSTM and the baselines: losses, deviations, noise, covariance."""
    runs = {**records["deviations-leaky-relu"], **records["deviations-leaky-relu-rnn"]}
    noise = {**records["noise-leaky-relu"], **records["noise-leaky-relu-rnn"]}
    names = (*NAMES, "rnn")
    looks = look(names)
    with style():
        figure = Figure(figsize=(12.6, 8.0), layout="constrained")
        grid = figure.subplots(2, 3)
        for name in names:
            color, width = looks[name].color, looks[name].width
            for axes, key in zip(grid[0], ("losses", "sum_abs", "cosine"), strict=True):
                curves = runs[f"{name}/{key}"]
                middle = np.median(curves.reshape(-1, curves.shape[-1]), axis=0)
                axes.plot(np.arange(1, len(middle) + 1), middle, color=color, linewidth=width,
                          label=SHOWN[name])  # fmt: skip
            keys = ("update/corrected/alpha", "gradient/corrected/alpha", "covariance/top")
            for axes, key in zip(grid[1], keys, strict=True):
                steps, values = noise[f"{name}/steps"][0], noise[f"{name}/{key}"]
                axes.plot(steps, _median(values), color=color, linewidth=width,
                          marker="o", markersize=3)  # fmt: skip
        words = ("training loss", "Σ|⟨u, ξ⟩|  (paper)", "cosine  (corrected)")
        words += ("α of update noise", "α of gradient noise", "top eigenvalue")
        for axes, word in zip(grid.flat, words, strict=True):
            axes.set_xlabel("inner step")
            axes.set_ylabel(word)
        for axes in (grid[0][1], grid[0][2], grid[1][2]):
            axes.set_yscale("log")
        title(grid[0][0], "Another learned optimizer", "lines: medians; leaky ReLU")
        handles, labels = grid[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=5, frameon=False)
    return figure


def _median(curves: np.ndarray) -> np.ndarray:
    """Over curves, of what is known; updates that are signs alone may have no tail index."""
    return np.ma.median(np.ma.masked_invalid(curves), axis=0).filled(np.nan)


_NETWORKS = {"leaky-relu": "leaky ReLU", "batch-norm": "batch norm", "sigmoid": "sigmoid"}
# What is drawn of each optimizer: the part, the array and the words.
_OF_OTHERS = (
    ("deviations", "losses", "training loss"),
    ("deviations", "cosine", "cosine"),
    ("noise", "losses", "training loss, long run"),
    ("noise", "update/corrected/alpha", "α of update noise"),
)


def others(records: Records) -> Figure:
    """Other LSTM optimizers beside the scale's own: losses, deviations, long runs, tails."""
    with style():
        figure = Figure(figsize=(15.0, 10.6), layout="constrained")
        grid = figure.subplots(3, 4)
        for row, (variant, network) in zip(grid, _NETWORKS.items(), strict=True):
            for axes, (kind, key, words) in zip(row, _OF_OTHERS, strict=True):
                _all_of(axes, records, f"{kind}-{variant}", key)
                axes.set_ylabel(words)
            log_axis(row[1])
            row[2].set_yscale("log")
            title(row[0], network, "")
        for axes in grid[-1]:
            axes.set_xlabel("inner step")
        # Not all stand beside all networks.
        handles = {str(line.get_label()): line for axes in grid[:, 0] for line in axes.get_lines()}
        figure.legend(handles.values(), handles, loc="outside lower center", ncols=5, frameon=False)
    return figure


def _all_of(axes: Axes, records: Records, part: str, key: str) -> None:
    """The median of every optimizer's curves, against the steps where it was measured."""
    looks = look((*NAMES, *GUESTS))
    for name in looks:
        if name in GUESTS and f"{part}-{name}" not in records:
            continue
        arrays = records[part if name in NAMES else f"{part}-{name}"]
        curves = arrays[f"{name}/{key}"]
        middle = _median(curves.reshape(-1, curves.shape[-1]))
        if part.startswith("noise") and key == "losses":
            # One run, whose batches are noise: means over a fiftieth of it.
            width = max(1, len(middle) // 50)
            middle = np.convolve(middle, np.full(width, 1 / width), "valid")
        at = arrays[f"{name}/steps"][0] if "alpha" in key else np.arange(1, len(middle) + 1)
        axes.plot(at, middle, color=looks[name].color, linestyle=looks[name].dashes,
                  linewidth=1.7 if name in GUESTS else looks[name].width,
                  label=SHOWN[name])  # fmt: skip
