"""The figures of paper A, drawn from the records of its parts."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from optoscope.report._figures import FigureKind, FigureText
from optoscope.report._paper_a_text import (
    ILLUSTRATION_TEXT,
    LION_SGD_TEXT,
    PENALTY_TEXT,
    SWEEP_TEXT,
    TRANSFER_TEXT,
    deviation_text,
    histogram_text,
    noise_text,
)
from optoscope.report._records import Run
from optoscope.report._records import _read_npz as read_arrays
from optoscope.report._style import INK, MUTED, Looks, looks, style, title

Arrays = Mapping[str, np.ndarray]
Records = Mapping[str, Arrays]

_NAMES = ("momentum", "adam", "lion", "lstm")
_SHOWN = {"momentum": "SGD, momentum", "adam": "Adam", "lion": "Lion", "lstm": "learned (LSTM)"}
_SHOWN |= {"sgd": "gradient descent"}
_AGGREGATES = {"sum_abs": "Σ|⟨u, ξ⟩|  (paper)", "cosine": "cosine  (corrected)"}
_DECADES = 4.5


@dataclass(frozen=True)
class PaperFigure(FigureKind):
    """A figure that is drawn from parts: `records/<part>.npz`.

    Args:
        parts: their names.
        picture: draws it from their arrays.

    """

    parts: tuple[str, ...] = ()
    picture: Callable[[Records], Figure] | None = None

    def can_draw(self, run: Run) -> bool:
        """Whether all parts are there."""
        folder = run.directory / "records"
        # The description is written last: without it the arrays belong to something unfinished.
        return all((folder / f"{part}.json").is_file() for part in self.parts)


def _paper_figure(
    key: str, parts: tuple[str, ...], picture: Callable[[Records], Figure], text: FigureText
) -> PaperFigure:
    def draw(run: Run) -> Figure:
        folder = run.directory / "records"
        return picture({part: read_arrays(folder / f"{part}.npz") for part in parts})

    name = f"figure-{key}" if key.isdigit() else key
    return PaperFigure(name, (), draw, text, parts, picture)


def _look(names: Iterable[str]) -> Looks:
    return looks(names, ("lstm",))


def _legend(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=min(len(labels), 6), frameon=False
    )


def _band(
    axes: Axes,
    values: Float[np.ndarray, "curves steps"],
    *,
    colour: str,
    label: str,
    width: float = 1.7,
    order: float = 3.0,
) -> None:
    """The median over curves, with the middle half of them as a band."""
    step = np.arange(1, values.shape[1] + 1)
    low, middle, high = np.nanquantile(values, (0.25, 0.5, 0.75), axis=0)
    axes.plot(step, middle, color=colour, linewidth=width, label=label, zorder=order)
    if len(values) > 1:
        axes.fill_between(step, low, high, color=colour, alpha=0.15, linewidth=0, zorder=order - 2)


def _log_axis(axes: Axes) -> None:
    """Logarithmic; what is zero up to rounding is named below the axis instead of stretching it."""
    axes.set_yscale("log")
    _, high = axes.get_ylim()
    lines = {line: np.asarray(line.get_ydata(), float) for line in axes.lines}
    values = np.concatenate(list(lines.values()))
    values = values[np.isfinite(values) & (values > high * 10.0**-_DECADES)]
    low = float(np.quantile(values, 0.03)) / 2 if values.size else high / 10
    axes.set_ylim(low, high)
    below = [
        str(line.get_label())
        for line, y in lines.items()
        if np.nanmax(y, initial=0) < low and not str(line.get_label()).startswith("_")
    ]
    if below:
        note = f"below the axis: {', '.join(below)}"
        axes.text(0.03, 0.03, note, transform=axes.transAxes, color=MUTED, fontsize=9.5)


def _flat(values: np.ndarray) -> np.ndarray:
    """(repetitions, runs, steps) as curves."""
    return values.reshape(-1, values.shape[-1])


def _deviation_panel(axes: Axes, part: Arrays, aggregate: str) -> None:
    look = _look(_NAMES)
    for name in _NAMES:
        mark = look[name]
        values = _flat(part[f"{name}/{aggregate}"])
        _band(
            axes, values, colour=mark.colour, label=_SHOWN[name], width=mark.width, order=mark.order
        )
    if aggregate == "cosine":
        level = float(part["lstm/isotropic"].flat[0])
        axes.axhline(level, color=INK, linestyle=":", linewidth=1.2, label="random direction")
    _log_axis(axes)
    axes.set_xlabel("inner step")
    axes.set_ylabel(_AGGREGATES[aggregate])


def _deviations(variants: Mapping[str, str]) -> Callable[[Records], Figure]:
    def draw(records: Records) -> Figure:
        rows = len(variants)
        with style():
            figure = Figure(figsize=(9.6, 3.9 * rows), layout="constrained")
            grid = figure.subplots(rows, 2, squeeze=False)
            for row, (variant, words) in zip(grid, variants.items(), strict=True):
                for axes, aggregate in zip(row, _AGGREGATES, strict=True):
                    _deviation_panel(axes, records[f"deviations-{variant}"], aggregate)
                title(row[0], words, "line: median of runs and meta-seeds; band: middle half")
            _legend(figure, grid[0][1])
        return figure

    return draw


def _strengths(values: np.ndarray) -> list[str]:
    """A colour for each, from dark blue to yellow."""
    return [to_hex(colormaps["plasma"](shade)) for shade in np.linspace(0.05, 0.85, len(values))]


def _penalty_losses(axes: Axes, part: Arrays) -> None:
    betas = part["betas"]
    for beta, colour, losses in zip(betas, _strengths(betas), part["losses"], strict=True):
        _band(axes, _flat(losses), colour=colour, label=f"β = {beta:g}")
    axes.set_xlabel("inner step")
    axes.set_ylabel("training loss")
    start = float(np.median(part["losses"][..., 0]))
    axes.set_ylim(0, 1.5 * start)


def _penalty_row(row: Sequence[Axes], part: Arrays, words: str) -> None:
    _penalty_losses(row[0], part)
    title(row[0], words, "line: median of runs and meta-seeds; band: middle half")
    betas = part["betas"]
    for axes, aggregate in zip(row[1:], _AGGREGATES, strict=True):
        for beta, colour, values in zip(betas, _strengths(betas), part[aggregate], strict=True):
            _band(axes, _flat(values), colour=colour, label=f"β = {beta:g}")
        if aggregate == "cosine":
            axes.axhline(float(part["isotropic"].flat[0]), color=INK, linestyle=":", linewidth=1.2)
        _log_axis(axes)
        axes.set_xlabel("inner step")
        axes.set_ylabel(_AGGREGATES[aggregate])


def _penalties(records: Records) -> Figure:
    variants = {"leaky-relu": "Rescale, leaky ReLU", "batch-norm": "Scale, batch norm"}
    with style():
        figure = Figure(figsize=(12.6, 7.8), layout="constrained")
        grid = figure.subplots(2, 3)
        for row, (variant, words) in zip(grid, variants.items(), strict=True):
            _penalty_row(list(row), records[f"penalty-{variant}"], words)
        _legend(figure, grid[0][0])
    return figure


def _translation(records: Records) -> Figure:
    with style():
        figure = Figure(figsize=(12.6, 8.2), layout="constrained")
        above, below = figure.subfigures(2, 1, squeeze=False)[:, 0]
        panels = above.subplots(1, 2)
        for axes, aggregate in zip(panels, _AGGREGATES, strict=True):
            _deviation_panel(axes, records["deviations-sigmoid"], aggregate)
        title(panels[0], "Translation, sigmoid", "line: median; band: middle half")
        panels[1].legend(frameon=False, fontsize=9)
        row = below.subplots(1, 3)
        _penalty_row(list(row), records["penalty-sigmoid"], "Under the penalty")
        row[0].legend(frameon=False, fontsize=9)
    return figure


_TRANSFERS = {
    "transfer-leaky-relu-to-sigmoid": "leaky ReLU → wider, deeper sigmoid",
    "transfer-leaky-relu-to-batch-norm": "leaky ReLU → batch norm",
    "transfer-sigmoid-to-batch-norm": "sigmoid → batch norm",
}


def _transfers(records: Records) -> Figure:
    with style():
        figure = Figure(figsize=(12.6, 4.4), layout="constrained")
        grid = figure.subplots(1, 3)
        for axes, (part, words) in zip(grid, _TRANSFERS.items(), strict=True):
            _penalty_losses(axes, records[part])
            axes.set_title(words, fontsize=11)
            axes.legend(frameon=False, fontsize=9)
    return figure


def _sweep(records: Records) -> Figure:
    part = records["sweep-beta"]
    betas, places = part["betas"], np.arange(len(part["betas"]))
    panels = {"losses": "mean training loss", **_AGGREGATES}
    with style():
        figure = Figure(figsize=(12.6, 4.2), layout="constrained")
        grid = figure.subplots(1, 3)
        for axes, (key, words) in zip(grid, panels.items(), strict=True):
            means = part[key].mean(axis=(2, 3))
            for seed in range(means.shape[1]):
                axes.plot(places, means[:, seed], "o", color=MUTED, markersize=4, alpha=0.8)
            axes.plot(places, np.median(means, axis=1), color="#D55E00", linewidth=2)
            axes.set_xticks(places, [f"{beta:g}" for beta in betas])
            axes.set_xlabel("strength β of the penalty")
            axes.set_ylabel(words)
            if key != "losses":
                _log_axis(axes)
        title(grid[0], "Is there a sweet spot?", "dot: one meta-seed; line: their median")
    return figure


def _lion_sgd(records: Records) -> Figure:
    part = records["lion-sgd"]
    weights = part["weights"]
    panels = {**_AGGREGATES, "losses": "training loss"}
    with style():
        figure = Figure(figsize=(12.6, 4.4), layout="constrained")
        grid = figure.subplots(1, 3)
        for axes, (key, words) in zip(grid, panels.items(), strict=True):
            colours = _strengths(weights)[::-1]
            for weight, colour, values in zip(weights, colours, part[key], strict=True):
                _band(axes, values, colour=colour, label=f"λ = {weight:g}")
            if key != "losses":
                _log_axis(axes)
            axes.set_xlabel("inner step")
            axes.set_ylabel(words)
        level = float(part["isotropic"].flat[0])
        grid[1].axhline(level, color=INK, linestyle=":", linewidth=1.2)
        title(grid[0], "λ·Lion + (1 − λ)·SGD", "line: median of runs; band: middle half")
        _legend(figure, grid[0])
    return figure


def _measured(
    axes: Axes, part: Arrays, key: str, *, dashes: str = "-", labels: bool = True
) -> None:
    look = _look(_NAMES)
    for name in _NAMES:
        mark, steps = look[name], part[f"{name}/steps"][0]
        label = _SHOWN[name] if labels else None
        for index, values in enumerate(part[f"{name}/{key}"]):
            axes.plot(
                steps, values, dashes, color=mark.colour, linewidth=1.6, marker="o", markersize=3,
                label=label if index == 0 else None,
            )  # fmt: skip
    axes.set_xlabel("inner step")


def _noise(variant: str, words: str) -> Callable[[Records], Figure]:
    def draw(records: Records) -> Figure:
        part = records[f"noise-{variant}"]
        standardized = f"noise-{variant}-standardized" in records
        with style():
            figure = Figure(figsize=(12.6, 8.0), layout="constrained")
            grid = figure.subplots(2, 3)
            for row, quantity in zip(grid, ("update", "gradient"), strict=True):
                for axes, protocol in zip(row[:2], ("paper", "corrected"), strict=True):
                    _measured(axes, part, f"{quantity}/{protocol}/alpha")
                    surrogate = f"{quantity}/{protocol}/surrogate_alpha"
                    _measured(axes, part, surrogate, dashes=":", labels=False)
                    if standardized and quantity == "gradient":
                        other = records[f"noise-{variant}-standardized"]
                        _measured(axes, other, f"{quantity}/{protocol}/alpha", dashes="--",
                                  labels=False)  # fmt: skip
                    axes.axhline(2, color=INK, linewidth=0.8)
                    # The paper's estimate has no upper bound; above 4 it says nothing more.
                    axes.set_ylim(top=min(axes.get_ylim()[1], 4.0))
                    axes.set_ylabel(f"α of {quantity} noise")
                    axes.set_title(f"{protocol} protocol", fontsize=11)
            for axes, key, name in (
                (grid[0][2], "top", "top eigenvalue"),
                (grid[1][2], "relative_top", "top eigenvalue / ‖mean update‖²"),
            ):
                _measured(axes, part, f"covariance/{key}")
                axes.set_yscale("log")
                axes.set_ylabel(name)
            words_of_lines = "solid: the run; dotted: Gaussian noise of equal covariance"
            words_of_lines += "; dashed: standardised pixels" if standardized else ""
            figure.suptitle(f"{words} ({words_of_lines})", fontsize=12, x=0.01, ha="left")
            _legend(figure, grid[0][2])
        return figure

    return draw


def _histograms(variant: str, words: str) -> Callable[[Records], Figure]:
    def draw(records: Records) -> Figure:
        part, look = records[f"histograms-{variant}"], _look(_NAMES)
        steps = part["lstm/steps"][0]
        columns = min(3, len(steps))
        rows = -(-len(steps) // columns)
        with style():
            figure = Figure(figsize=(4.2 * columns, 0.9 + 2.9 * rows), layout="constrained")
            grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
            for index, axes in enumerate(grid.flat):
                axes.set_visible(index < len(steps))
                if index < len(steps):
                    _histogram(axes, part, look, index)
                    axes.set_title(f"update {steps[index]}", fontsize=11)
            for axes in grid[-1]:
                axes.set_xlabel("|u|")
            for axes in grid[:, 0]:
                axes.set_ylabel("share of coordinates")
            figure.suptitle(words, fontweight="bold", x=0.01, ha="left")
            _legend(figure, grid[0][0])
        return figure

    return draw


def _histogram(axes: Axes, part: Arrays, look: Looks, index: int) -> None:
    for name in _NAMES:
        counts = part[f"{name}/counts"][:, index].sum(axis=0)
        underflow = part[f"{name}/underflow"][:, index].sum()
        edges, total = part[f"{name}/edges"][0], max(counts.sum() + underflow, 1)
        mark = look[name]
        axes.stairs(
            counts / total, edges, color=mark.colour, linewidth=mark.width, label=_SHOWN[name]
        )
        # What is too small for the bins is a bar of its own, left of them.
        axes.plot([edges[0] / 3], [underflow / total], "<", color=mark.colour, markersize=6)
    axes.set_xscale("log")


def _illustration(records: Records) -> Figure:
    part = records["illustration"]
    names = ("sgd", "adam", "lion")
    look = looks(names)
    with style():
        figure = Figure(figsize=(9.6, 4.6), layout="constrained")
        plane, along = figure.subplots(1, 2)
        x, y = np.meshgrid(np.linspace(-0.3, 1.2, 11), np.linspace(-0.3, 0.8, 8))
        fine = np.meshgrid(np.linspace(-0.35, 1.25, 80), np.linspace(-0.35, 0.85, 80))
        plane.contour(*fine, fine[0] ** 2 + fine[1] ** 2, levels=8, colors="#DDDDDD")
        plane.quiver(x, y, -y, x, color="#BBBBBB", width=0.003)
        for name in names:
            position, mark = part[f"{name}/position"], look[name]
            plane.plot(*position.T, color=mark.colour, marker=".", label=_SHOWN[name])
            along.plot(part[f"{name}/deviation"], color=mark.colour, label=_SHOWN[name])
        plane.set_aspect("equal")
        plane.set_xlabel("x")
        plane.set_ylabel("y")
        along.set_xlabel("step")
        along.set_ylabel("deviation ⟨u, ξ⟩")
        title(plane, "x² + y²", "arrows: the field ξ of rotations")
        _legend(figure, plane)
    return figure


def _noise_parts(variant: str) -> tuple[str, ...]:
    """Standardised pixels are looked at on the sigmoid network alone."""
    both = (f"noise-{variant}", f"noise-{variant}-standardized")
    return both if variant == "sigmoid" else both[:1]


_NOISE = {
    "8": ("leaky-relu", "Noise, leaky ReLU"),
    "11": ("sigmoid", "Noise, sigmoid"),
    "12": ("batch-norm", "Noise, batch norm"),
}
_HISTOGRAMS = {
    "9": ("sigmoid", "Sizes of updates, sigmoid"),
    "13": ("batch-norm", "Sizes of updates, batch norm"),
    "14": ("leaky-relu", "Sizes of updates, leaky ReLU"),
}
_FIGURE_4 = {"leaky-relu": "Rescale, leaky ReLU", "batch-norm": "Scale, batch norm"}

_UNORDERED: dict[str, PaperFigure] = {
    "2": _paper_figure("2", ("illustration",), _illustration, ILLUSTRATION_TEXT),
    "4": _paper_figure(
        "4",
        ("deviations-leaky-relu", "deviations-batch-norm"),
        _deviations(_FIGURE_4),
        deviation_text("4", "rescale (leaky ReLU) and scale (batch norm)"),
    ),
    "5": _paper_figure("5", ("penalty-leaky-relu", "penalty-batch-norm"), _penalties, PENALTY_TEXT),
    "6": _paper_figure("6", tuple(_TRANSFERS), _transfers, TRANSFER_TEXT),
    "7": _paper_figure("7", ("lion-sgd",), _lion_sgd, LION_SGD_TEXT),
    "10": _paper_figure(
        "10",
        ("deviations-sigmoid", "penalty-sigmoid"),
        _translation,
        deviation_text("10", "translation (sigmoid), and training under its penalty"),
    ),
    "sweep-beta": _paper_figure("sweep-beta", ("sweep-beta",), _sweep, SWEEP_TEXT),
    **{
        key: _paper_figure(
            key, _noise_parts(variant), _noise(variant, words), noise_text(key, words)
        )
        for key, (variant, words) in _NOISE.items()
    },
    **{
        key: _paper_figure(
            key, (f"histograms-{variant}",), _histograms(variant, words), histogram_text(key, words)
        )
        for key, (variant, words) in _HISTOGRAMS.items()
    },
}
PAPER_A: tuple[PaperFigure, ...] = tuple(
    _UNORDERED[key]
    for key in (*(str(number) for number in range(2, 15) if number != 3), "sweep-beta")
)
