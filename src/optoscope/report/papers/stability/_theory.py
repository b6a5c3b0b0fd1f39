"""The theory figures of paper C (1, 2 and the joint stability of 4.4), drawn from arrays."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from optoscope.report._style import INK, MUTED, Looks, logarithmic, looks, style, title
from optoscope.report.papers._figure import Arrays, Reading
from optoscope.report.papers._marks import unit_circle

_INTERVENTIONS = {
    "nominal": "(a) Nominal term",
    "weight decay": "(b) Weight decay",
    "preconditioning": "(c) Preconditioning",
    "all": "(d) All three",
}
_BEFORE, _AFTER = "#D55E00", "#0072B2"
_SMOOTHING = 0.95

EIGENVALUES_TEXT = Reading(
    "Each ring is an eigenvalue of A before the intervention, each cross one after it, the line "
    "between them its way while the intervention is turned up. Inside the shaded unit circle a "
    "direction is stable; outside it the parameters run away. Panel (d) turns all three on.",
    "How often it works: this is one random linear optimizer on one quadratic, chosen by us, for "
    "the paper does not give its example. How far into the circle is best: nearer to zero "
    "forgets the start sooner and follows the noise more.",
)
VARIANCE_TEXT = Reading(
    "Left: the spread of the meta-gradient over seeds, one line for each length T of the run, "
    "against the nominal step α; the upright line is 2/λ_max, the edge of stability. Lower is "
    "easier to meta-train. Middle: the sizes of the eigenvalues of A over meta-training, dotted "
    "the larger, solid the smaller one; below 1 is stable. Right: the exact expected loss at the "
    "same points. Lines are means over seeds, bands one standard error, both with an"
    " average of 0.95 over the records (the paper's is over meta-steps).",
    "Whether the same holds for a network. The model has two parameters and one linear "
    "optimizer; and the values on the left share their seeds, so that neighboring points are "
    "not independent. The start of P, the number of particles and the meta-learning rate are "
    "not in the paper.",
)
CURVATURE_TEXT = Reading(
    "The line is the spectral radius of one step of parameter and hidden state together, by "
    "linearization at rest: up to 1 the optimizer is stable. Below it, each mark is what a run "
    "on that curvature did: a dot converges, a ring circles in a limit cycle, a cross diverges, "
    "a dash stalls. Where there is no line, the linearization says nothing.",
    "Noise, and several directions at once: the runs are on one parameter without noise. For an "
    "optimizer that is not linear the radius holds for small gradients only.",
)


def eigenvalue_figure(arrays: Arrays) -> Figure:
    """Figure 1: the eigenvalues of the dynamics under each intervention.

    Args:
        arrays: as paper C's `figure_1_arrays` makes them.
    """
    paths = {name: arrays[f"{name}/eigenvalues"] for name in _INTERVENTIONS}
    everything = np.concatenate([path.ravel() for path in paths.values()])
    reach = 1.15 * max(1.0, float(np.abs(np.imag(everything)).max()))
    along = np.real(everything)
    low, high = min(-1.0, float(along.min())), max(1.0, float(along.max()))
    margin = 0.08 * (high - low)
    with style():
        # As high as the panels are wide, for circles are to be round.
        height = 2 * (0.7 + 4.6 * 2 * reach / (high - low + 2 * margin))
        figure = Figure(figsize=(9.8, height), layout="constrained")
        grid = figure.subplots(2, 2, sharex=True, sharey=True)
        for axes, (name, words) in zip(grid.flat, _INTERVENTIONS.items(), strict=True):
            _paths(axes, paths[name])
            axes.set_title(words, fontsize=12)
            axes.set_aspect("equal")
            axes.set_xlim(low - margin, high + margin)
            axes.set_ylim(-reach, reach)
        for axes in grid[-1]:
            axes.set_xlabel("real part")
        for axes in grid[:, 0]:
            axes.set_ylabel("imaginary part")
        grid[0, 0].legend(frameon=False, fontsize=9, loc="lower left")
    return figure


def _paths(axes: Axes, path: np.ndarray) -> None:
    unit_circle(axes)
    for column in path.T:
        axes.plot(column.real, column.imag, color=MUTED, linewidth=0.9, alpha=0.8)
        # The arrow's head half way: at the end it would hide the cross.
        middle = len(column) // 2
        head = column[middle : middle + 2]
        if len(head) == 2 and np.abs(column[-1] - column[0]) > 0.1:
            axes.annotate(
                "", (head[1].real, head[1].imag), (head[0].real, head[0].imag),
                arrowprops={"arrowstyle": "-|>", "color": MUTED, "linewidth": 0},
            )  # fmt: skip
    before, after = path[0], path[-1]
    axes.plot(
        before.real, before.imag, "o", color=_BEFORE, fillstyle="none", markersize=7,
        markeredgewidth=1.5, label="before",
    )  # fmt: skip
    axes.plot(
        after.real, after.imag, "x", color=_AFTER, markersize=7, markeredgewidth=1.8,
        label="after",
    )  # fmt: skip


def stability_figure(variance: Arrays, training: Arrays) -> Figure:
    """Figure 2: meta-gradient variance and meta-training on the noisy quadratic model.

    Args:
        variance: as paper C's `figure_2a_arrays` makes them.
        training: as paper C's `figure_2bc_arrays` makes them.
    """
    with style():
        figure = Figure(figsize=(14.0, 4.6), layout="constrained")
        left, middle, right = figure.subplots(1, 3)
        _variances(figure, left, variance)
        _eigenvalue_sizes(middle, training)
        _meta_losses(right, training)
        return figure


def _variances(figure: Figure, axes: Axes, arrays: Arrays) -> None:
    horizons = arrays["horizons"]
    colors = _shades("viridis_r", len(horizons))
    for column, color in enumerate(colors):
        values = np.where(arrays["trace_variance"] > 0, arrays["trace_variance"], np.nan)
        axes.plot(arrays["nominals"], values[:, column], color=color, linewidth=1.3)
    axes.axvline(float(arrays["limit"]), color=INK, linestyle=":", linewidth=1.2)
    axes.set_yscale("log")
    axes.set_xlabel("nominal step α")
    axes.set_ylabel("trace of the meta-gradient's variance")
    seeds = int(arrays["num_seeds"])
    title(axes, "(a) Noise of the meta-gradient", f"{seeds} seeds; P = 0; dotted: 2/λ_max")
    # A few of many lines are named, evenly over them.
    shown = np.unique(np.linspace(0, len(horizons) - 1, min(6, len(horizons))).round().astype(int))
    for index in shown:
        axes.plot([], [], color=colors[index], label=f"T = {horizons[index]}")
    axes.legend(frameon=False, fontsize=9)


def _shades(name: str, count: int) -> list[str]:
    return [to_hex(colormaps[name](shade)) for shade in np.linspace(0.1, 0.9, count)]


def _smoothed(values: Float[np.ndarray, "*batch records"]) -> Float[np.ndarray, "*batch records"]:
    """An exponential moving average that starts at the first value."""
    result = np.array(values, float)
    for index in range(1, result.shape[-1]):
        result[..., index] = (
            _SMOOTHING * result[..., index - 1] + (1 - _SMOOTHING) * values[..., index]
        )
    return result


def _mean_band(
    axes: Axes, steps: np.ndarray, values: Float[np.ndarray, "seeds records"], color: str,
    dashes: str = "-", label: str | None = None,
) -> None:  # fmt: skip
    """The mean over seeds with one standard error, both smoothed."""
    mean = _smoothed(values.mean(axis=0))
    axes.plot(steps, mean, dashes, color=color, linewidth=1.6, label=label)
    if len(values) > 1:
        error = _smoothed(values.std(axis=0, ddof=1) / len(values) ** 0.5)
        axes.fill_between(steps, mean - error, mean + error, color=color, alpha=0.2, linewidth=0)


def _labels(nominals: Sequence[float] | np.ndarray) -> list[str]:
    return [f"α = {nominal:.2g}" for nominal in nominals]


def _eigenvalue_sizes(axes: Axes, arrays: Arrays) -> None:
    nominals, steps = arrays["nominals"], arrays["steps"]
    for sizes, color, label in zip(
        arrays["magnitudes"], _shades("plasma", len(nominals)), _labels(nominals), strict=True
    ):
        _mean_band(axes, steps, sizes[..., 0], color, ":")
        _mean_band(axes, steps, sizes[..., -1], color, "-", label)
    axes.axhline(1, color=INK, linewidth=0.8)
    axes.set_xlabel("meta-step")
    axes.set_ylabel("|λ(A)|")
    _meta_steps_axis(axes, steps)
    title(axes, "(b) Eigenvalues of A", "dotted: the larger; solid: the smaller; colors as in (c)")


def _meta_losses(axes: Axes, arrays: Arrays) -> None:
    nominals, steps = arrays["nominals"], arrays["steps"]
    for losses, color, label in zip(
        arrays["expected_loss"], _shades("plasma", len(nominals)), _labels(nominals), strict=True
    ):
        _mean_band(axes, steps, losses, color, "-", label)
    finite = [line.get_ydata() for line in axes.lines]
    values = np.concatenate([np.asarray(one, float) for one in finite])
    values = values[np.isfinite(values)]
    if values.size:
        logarithmic(axes, "y", float(values.min()), float(values.max()))
    axes.set_xlabel("meta-step")
    axes.set_ylabel("expected loss")
    _meta_steps_axis(axes, steps)
    title(axes, "(c) Meta-loss", "mean over seeds; band: one standard error")
    axes.legend(frameon=False, fontsize=9)


def _meta_steps_axis(axes: Axes, steps: np.ndarray) -> None:
    """An axis of meta-steps, logarithmic above the first record to show early and late steps."""
    axes.set_xscale("symlog", linthresh=max(1.0, float(steps[min(1, len(steps) - 1)])))
    axes.set_xlim(0, float(steps[-1]))


# Spectral radii that are shown.
_RADII = (0.25, 1.75)
_MARKS = {
    "converges": ("o", "full"),
    "limit cycle": ("o", "none"),
    "diverges": ("x", "full"),
    "stalls": ("_", "full"),
}


def curvature_figure(
    arrays: Arrays, names: Mapping[str, str], *, look: Looks | None = None
) -> Figure:
    """Joint stability of parameter and state, one panel per optimizer.

    Args:
        arrays: as paper C's `stable_curvature_arrays` makes them.
        names: the optimizers to show, with the words to show for them.
        look: their colors; chosen from the names when not given.
    """
    look = look or looks(names)
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    with style():
        figure = Figure(figsize=(4.4 * columns, 0.4 + 3.2 * rows), layout="constrained")
        grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for index, axes in enumerate(grid.flat):
            axes.set_visible(index < len(names))
        for axes, (name, words) in zip(grid.flat, names.items(), strict=False):
            _radius_panel(axes, arrays, name, look[name].color)
            axes.set_title(words, fontsize=12)
        # The lowest one of each column, below which there may be nothing.
        for axes in grid.flat[max(0, len(names) - columns) : len(names)]:
            axes.set_xlabel("curvature λ")
            axes.tick_params(labelbottom=True)
        for axes in grid[:, 0]:
            axes.set_ylabel("spectral radius")
        for outcome in _MARKS:
            _mark(
                grid[0, 0], [], [], outcome, f"a run {outcome.replace('limit', 'ends in a limit')}"
            )
        handles, labels = grid[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    return figure


def _mark(axes: Axes, x: list[float], y: list[float], outcome: str, label: str = "") -> None:
    marker, fill = _MARKS[outcome]
    axes.plot(
        x, y, marker, color=INK, fillstyle=fill, markersize=6, linestyle="", label=label or None
    )


def _radius_panel(axes: Axes, arrays: Arrays, name: str, color: str) -> None:
    axes.axhline(1, color=INK, linewidth=0.8)
    lowest, highest = _RADII
    curvatures, words = arrays["run_curvatures"], ""
    shown = curvatures[0] / 2, curvatures[-1] * 2
    if bool(arrays[f"{name}/informative"]):
        at, radii = arrays[f"{name}/curvatures"], arrays[f"{name}/spectral_radii"]
        axes.plot(at, radii, color=color)
        for low, high in arrays[f"{name}/intervals"]:
            axes.axvspan(max(low, 1e-300), min(high, 1e300), color=color, alpha=0.12, linewidth=0)
        if np.all(radii[(at >= shown[0]) & (at <= shown[1])] > highest):
            words = f"above {highest:g} everywhere:\nat the minimum it does not stay"
    else:
        words = "linearization says nothing"
    axes.text(0.5, 0.68, words, transform=axes.transAxes, ha="center", color=MUTED, fontsize=10)
    for curvature, outcome in zip(curvatures, arrays[f"{name}/outcomes"], strict=True):
        _mark(axes, [curvature], [0.35], str(outcome))
    axes.set_xscale("log")
    axes.set_ylim(lowest, highest)
    axes.set_xlim(*shown)
