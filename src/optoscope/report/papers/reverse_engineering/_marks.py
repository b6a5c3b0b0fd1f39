"""What the figures of paper B share: tasks, colors, projections, update functions, modes."""

from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Complex, Float
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LinearSegmentedColormap, Normalize, to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from optoscope.report._style import INK, MUTED, Looks, logarithmic, looks
from optoscope.report.papers._figure import Arrays, Records
from optoscope.report.papers._marks import limits, unit_circle

TASKS = {
    "regression": "Linear regression",
    "rosenbrock": "Rosenbrock",
    "two-moons": "Two moons",
    "cnn": "CNN",
}
BASELINES = ("momentum", "rmsprop", "adam")
NAMES = (*BASELINES, "learned")
SHOWN = {"momentum": "momentum", "rmsprop": "RMSProp", "adam": "Adam", "learned": "learned"}
WIDTH = 12.8

# Both ends are dark enough for a line on white, and stay apart for color-blind readers.
SIGNED: Colormap = LinearSegmentedColormap.from_list(
    "signed", ["#5E2A84", "#A77BC4", "#9A9A9A", "#5FA968", "#12602F"]
)
TIME: Colormap = LinearSegmentedColormap.from_list(
    "time", colormaps["plasma"](np.linspace(0.0, 0.88, 64))
)
LEVEL: Colormap = LinearSegmentedColormap.from_list(
    "level", colormaps["viridis_r"](np.linspace(0.08, 1.0, 64))
)
SINGLE = "#D55E00"
MODE_ENDS = {-1.0: "− far", 0.0: "0", 1.0: "+ far"}

_LEAST_DECAY = 1e-4
_TIMESCALES = (0.0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999)


def look(names: Iterable[str] = NAMES) -> Looks:
    """Learned optimizers stand out from the baselines."""
    return looks(names, ("learned",))


def best_of(part: Arrays) -> int:
    """The index of the meta-seed that is drawn, the best one."""
    return int(part["best"])


def others(part: Arrays, key: str) -> Sequence[np.ndarray]:
    """The array for every other meta-seed than the best."""
    return [values for seed, values in enumerate(part[key]) if seed != best_of(part)]


def by_task(records: Records, kind: str) -> dict[str, Arrays]:
    """The parts of one kind, by task."""
    return {task: records[f"{kind}-{task}"] for task in TASKS}


def task_grid(
    figure: Figure, rows: int, *, heights: Sequence[float] | None = None
) -> list[dict[str, Axes]]:
    """For each row the axes of every task; the columns carry the tasks' names."""
    grid = figure.subplots(rows, len(TASKS), squeeze=False, height_ratios=heights)
    for axes, words in zip(grid[0], TASKS.values(), strict=True):
        axes.set_title(words, fontsize=12)
    return [dict(zip(TASKS, row, strict=True)) for row in grid]


def row_label(row: dict[str, Axes], words: str) -> None:
    """The label of the vertical axis, once for the row."""
    next(iter(row.values())).set_ylabel(words)


def project(
    fixed: Arrays, states: Float[np.ndarray, "*batch size"]
) -> Float[np.ndarray, "*batch components"]:
    """States along the principal components of those that were visited."""
    seed = best_of(fixed)
    return (np.asarray(states) - fixed["pca_mean"][seed]) @ fixed["pca_components"][seed].T


def state_axes(axes: Axes, fixed: Arrays) -> None:
    """Names the components, with how much of the variance they hold."""
    explained = 100 * fixed["pca_explained"][best_of(fixed)]
    axes.set_xlabel(f"PC 1 ({explained[0]:.0f}%)")
    axes.set_ylabel(f"PC 2 ({explained[1]:.0f}%)")
    axes.tick_params(labelsize=9)
    axes.locator_params(nbins=5)


def landmarks(axes: Axes, fixed: Arrays, *, points: bool = True) -> None:
    """The initial state, the convergence point, and all fixed points that were found."""
    seed = best_of(fixed)
    if points:
        places = project(fixed, fixed["points"][seed])
        stable = np.array([str(kind) != "saddle" for kind in fixed["kinds"][seed]])
        for shown, marker in ((stable, "o"), (~stable, "X")):
            axes.plot(
                *places[shown, :2].T, marker, color="#A8A8A8", markersize=7, linestyle="",
                markeredgecolor="white", markeredgewidth=0.7, zorder=5,
            )  # fmt: skip
    place = project(fixed, fixed["initial"][seed])
    axes.plot(*place[:2], "o", color=INK, markersize=8, markeredgecolor="white", zorder=7)
    place = project(fixed, fixed["convergence"][seed])
    face = INK if bool(fixed["is_fixed"][seed]) else "white"
    axes.plot(*place[:2], "s", color=face, markersize=8, markeredgecolor=INK, zorder=7)


_LANDMARKS = (
    ("o", INK, INK, "initial state"),
    ("s", INK, INK, "convergence point"),
    ("s", "white", INK, "… not fixed"),
    ("o", "#A8A8A8", "white", "fixed points"),
    ("X", "#A8A8A8", "white", "saddles"),
)


def landmark_legend(figure: Figure, *more: Line2D) -> None:
    """A legend of the marks of `landmarks`, below the figure."""
    handles = [
        Line2D([], [], marker=marker, color=face, markeredgecolor=edge, linestyle="", markersize=8,
               label=words)
        for marker, face, edge, words in _LANDMARKS
    ]  # fmt: skip
    handles += more
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False,
                  columnspacing=1.3, handletextpad=0.4)  # fmt: skip


def update_functions(
    axes: Axes, grid: Float[np.ndarray, " grid"], curves: Float[np.ndarray, "curves grid"],
    colors: Sequence[str], labels: Sequence[str] | None = None,
) -> None:  # fmt: skip
    """Update against gradient, with both zeros marked."""
    axes.axhline(0, color=MUTED, linewidth=0.8, zorder=1)
    axes.axvline(0, color=MUTED, linewidth=0.8, zorder=1)
    for index, (curve, color) in enumerate(zip(curves, colors, strict=True)):
        label = labels[index] if labels else None
        axes.plot(grid, curve, color=color, linewidth=1.8, label=label, zorder=3)
    low, high = limits(grid, margin=0.0)
    axes.set_xlim(low, high)
    axes.set_ylim(*limits(curves))
    axes.set_xlabel("gradient g")
    axes.locator_params("y", nbins=5)
    # Four panels in a row leave no room for more of the long numbers of small gradients.
    axes.locator_params("x", nbins=3)
    plain_numbers(axes, "x")
    plain_numbers(axes, "y")


def plain_numbers(axes: Axes, which: str) -> None:
    """Whole numbers on the ticks: a power of ten above an axis would push its title up."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.6g}"))


def colored(values: np.ndarray, norm: Normalize, colors: Colormap) -> list[str]:
    """A color for each value; gray where there is none."""
    return [
        to_hex(colors(norm(value))) if np.isfinite(value) else "#C8C8C8"
        for value in np.asarray(values, float)
    ]


def rate_axis(axes: Axes, rates: np.ndarray, tuned: float) -> None:
    """Learning rates and the one to compare with, from 0 where that leaves both legible."""
    shown = np.append(np.ravel(rates), tuned)
    shown = shown[np.isfinite(shown)]
    if shown.size and shown.min() > 0 and shown.max() > 8 * shown.min():
        logarithmic(axes, "y", float(shown.min()), float(shown.max()))
        axes.set_ylim(shown.min() / 1.4, shown.max() * 1.4)
        return
    low, high = limits(shown, np.zeros(1))
    axes.set_ylim(low if shown.min(initial=0.0) < 0 else 0.0, high)
    plain_numbers(axes, "y")


def signed_norm(values: np.ndarray) -> Normalize:
    """A norm for colors with zero in the middle of the color map."""
    finite = np.abs(values[np.isfinite(values)])
    reach = float(finite.max(initial=0.0)) or 1.0
    return Normalize(-reach, reach)


def eigenvalues(
    axes: Axes,
    values: Complex[np.ndarray, " modes"],
    sizes: Float[np.ndarray, " modes"],
    norm: Normalize,
) -> None:
    """Eigenvalues in the complex plane, colored and sized by what their modes contribute."""
    unit_circle(axes)
    share = np.clip(np.nan_to_num(norm(np.nan_to_num(sizes))), 0, 1)
    order = np.argsort(share)  # the dominant ones on top
    along, across = np.real(values), np.imag(values)
    axes.scatter(
        along[order], across[order], s=28 + 90 * share[order],
        c=colored(np.asarray(sizes)[order], norm, LEVEL), edgecolors=INK, linewidths=0.6, zorder=4,
    )  # fmt: skip
    seen = np.isfinite(values)
    left = along[seen].min(initial=0.0) - 0.15
    right = along[seen].max(initial=1.0) + 0.15
    top = max(0.55 * (right - left), np.abs(across[seen]).max(initial=0.0) + 0.15)
    axes.set_xlim(left, right)
    axes.set_ylim(-top, top)
    axes.set_aspect("equal", adjustable="box")
    axes.set_xlabel("Re λ")


def memory(timescales: np.ndarray) -> np.ndarray:
    """The place of |β| on a timescale axis: −log₁₀(1 − |β|), up to |β| = 0.9999.

    >>> memory(np.array([0.9, 0.99])).round(6).tolist()
    [1.0, 2.0]
    """
    decay = 1 - np.abs(np.asarray(timescales))
    clipped = np.where(np.isnan(decay), np.nan, np.clip(decay, _LEAST_DECAY, 1.0))
    # NumPy makes a number of what has no axes; an array it stays.
    return np.asarray(-np.log10(clipped))


def timescale_axis(axes: Axes, which: str, *shown: np.ndarray) -> None:
    """Writes timescales on an axis that `memory` places on, wide enough for all of these."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    low, high = limits(*(memory(values) for values in shown), margin=0.1, least=0.1)
    (axes.set_xlim if which == "x" else axes.set_ylim)(low, high)
    axis.set_major_locator(FixedLocator([float(p) for p in memory(np.array(_TIMESCALES))]))
    axis.set_major_formatter(FuncFormatter(lambda place, _: f"{1 - 10**-place:.4g}"))
    axis.set_minor_locator(NullLocator())


def step_axis(axes: Axes, words: str) -> None:
    """Labels the axis as inner steps, with whole numbers on it."""
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5, steps=[1, 2, 5, 10]))
    axes.set_xlabel(words)


def star(axes: Axes, x: float, y: float, color: str, label: str) -> None:
    """A star at a setting to compare with."""
    axes.plot(
        [x], [y], "*", color=color, markersize=17, markeredgecolor="white", zorder=6, label=label
    )
