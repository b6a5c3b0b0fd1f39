"""What figures of papers share: legends, bands, colors, limits, the unit circle."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize, to_hex
from matplotlib.figure import Figure, FigureBase

from optoscope.report._style import MUTED

_DECADES = 4.5


def legend(figure: Figure, axes: Axes, columns: int = 6) -> None:
    """A legend of the marks of these axes, below the whole figure."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=min(len(labels), columns), frameon=False
    )


def band(
    axes: Axes,
    values: Float[np.ndarray, "curves steps"],
    *,
    color: str,
    label: str,
    width: float = 1.7,
    order: float = 3.0,
) -> None:
    """The median over curves, with the middle half of them as a band."""
    step = np.arange(1, values.shape[1] + 1)
    low, middle, high = np.nanquantile(values, (0.25, 0.5, 0.75), axis=0)
    axes.plot(step, middle, color=color, linewidth=width, label=label, zorder=order)
    if len(values) > 1:
        axes.fill_between(step, low, high, color=color, alpha=0.15, linewidth=0, zorder=order - 2)


def log_axis(axes: Axes) -> None:
    """A logarithmic axis; curves that are zero up to rounding are named below it, not drawn."""
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
        # Legible over the lines that go there too.
        ground = {"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 1}
        axes.text(0.03, 0.03, note, transform=axes.transAxes, color=MUTED, fontsize=9.5,
                  bbox=ground, zorder=10)  # fmt: skip


def flat(values: np.ndarray) -> np.ndarray:
    """(repetitions, runs, steps) as curves."""
    return values.reshape(-1, values.shape[-1])


def strengths(values: np.ndarray | Sequence[float]) -> list[str]:
    """A color for each, from dark blue to yellow."""
    return [to_hex(colormaps["plasma"](shade)) for shade in np.linspace(0.05, 0.85, len(values))]


def limits(
    *arrays: np.ndarray, share: float = 0.0, margin: float = 0.06, least: float = 0.0
) -> tuple[float, float]:
    """The range of what is finite in the arrays, with a margin; (-1, 1) of nothing.

    Args:
        arrays: of any shapes.
        share: how much of them to leave outside on each side.
        margin: of the range, on each side.
        least: the range is at least this wide.
    """
    values = np.concatenate([np.ravel(np.asarray(array, float)) for array in arrays])
    values = values[np.isfinite(values)]
    if not values.size:
        return -1.0, 1.0
    low, high = np.quantile(values, (share, 1 - share))
    # Equal limits would make Matplotlib warn and choose its own.
    width = max(float(high - low), least, 1e-9 * float(max(abs(low), abs(high))), 1e-300)
    extra = (width - float(high - low)) / 2 + margin * width
    return float(low) - extra, float(high) + extra


def unit_circle(axes: Axes) -> None:
    """The inside of the unit circle shaded: what decays."""
    angle = np.linspace(0, 2 * np.pi, 400)
    axes.fill(np.cos(angle), np.sin(angle), color="#EEF3F8", zorder=0)
    axes.plot(np.cos(angle), np.sin(angle), color=MUTED, linewidth=1, zorder=1)


def color_bar(
    figure: FigureBase,
    axes: Axes | Sequence[Axes],
    norm: Normalize,
    colors: Colormap,
    label: str,
    *,
    ends: Mapping[float, str] | None = None,
) -> None:
    """A bar at the right that says what colors mean; `ends` are words instead of numbers."""
    bar = figure.colorbar(ScalarMappable(norm, colors), ax=axes, label=label, aspect=30, pad=0.02)
    if ends:
        bar.set_ticks(list(ends), labels=list(ends.values()))
    bar.outline.set_visible(False)  # type: ignore[operator]
    bar.ax.tick_params(labelsize=9)
