"""Figures 1 and 17: the tasks, loss curves and the distribution of the meta-objective."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from optoscope.report._style import INK, MUTED, Look, Looks, logarithmic, style
from optoscope.report.papers._figure import Arrays, Records
from optoscope.report.papers._marks import legend, limits
from optoscope.report.papers.reverse_engineering._marks import (
    NAMES,
    SHOWN,
    WIDTH,
    best_of,
    by_task,
    look,
    row_label,
    step_axis,
    task_grid,
)


def performance(records: Records) -> Figure:
    """Figure 1: loss curves above, the tasks below."""
    with style():
        figure = Figure(figsize=(WIDTH, 6.8), layout="constrained")
        above, below = task_grid(figure, 2)
        looks = look()
        for task, part in by_task(records, "performance").items():
            draw_losses(above[task], part, {name: looks[name] for name in NAMES}, SHOWN)
        row_label(above, "loss")
        legend(figure, above["regression"])
        _condition_numbers(below["regression"], records["tasks"])
        _valley(below["rosenbrock"])
        _moons(below["two-moons"], records["tasks"])
        _images(below["cnn"], records["tasks"])
    return figure


def curves_of(part: Arrays, name: str, key: str) -> np.ndarray:
    """One optimizer's values over problems; of the best meta-seed if it is learned."""
    values = part[f"{name}/{key}"]
    return values[best_of(part) if len(values) > 1 else 0]


def draw_losses(
    axes: Axes,
    part: Arrays,
    looks: Looks,
    shown: Mapping[str, str],
    *,
    relative: bool = False,
) -> None:
    """Mean over problems with one standard error; a run that diverges leaves it infinite."""
    means: list[np.ndarray] = []
    lost = []
    for name, mark in looks.items():
        losses = np.asarray(curves_of(part, name, "losses"), float)
        if relative:
            losses = losses / losses[:, :1]
        mean, diverged = _mean_and_error(axes, losses, mark, shown[name])
        means.append(mean)
        if diverged:
            lost.append(f"{shown[name]}: {diverged} of {len(losses)} diverged")
    _loss_axis(axes, means)
    if lost:
        axes.text(0.97, 0.97, "\n".join(lost), transform=axes.transAxes, ha="right", va="top",
                  color=MUTED, fontsize=9.5)  # fmt: skip
    step_axis(axes, "inner step")
    axes.set_xlim(0, max(mean.size for mean in means))


def _mean_and_error(
    axes: Axes, losses: Float[np.ndarray, "problems steps"], mark: Look, label: str
) -> tuple[np.ndarray, int]:
    finite = np.isfinite(losses)
    # Without diverged runs an unstable optimizer would look better, so its mean ends there.
    mean = np.where(finite.all(axis=0), np.where(finite, losses, 0.0).mean(axis=0), np.nan)
    step = np.arange(1, mean.size + 1)
    # Dashes on top: through them what they agree with is seen.
    order = mark.order + 2 * (mark.dashes != "-")
    axes.plot(step, mean, mark.dashes, color=mark.color, linewidth=mark.width, label=label,
              zorder=order)  # fmt: skip
    if len(losses) > 1:
        error = np.where(finite, losses, 0.0).std(axis=0, ddof=1) / len(losses) ** 0.5
        axes.fill_between(step, mean - error, mean + error, color=mark.color, alpha=0.2,
                          linewidth=0, zorder=mark.order - 2)  # fmt: skip
    seen = np.flatnonzero(np.isfinite(mean))
    if seen.size and seen[-1] + 1 < mean.size:
        # A line that merely stops could be read as a shorter run.
        axes.plot(step[seen[-1]], mean[seen[-1]], "x", color=mark.color, markersize=9,
                  markeredgewidth=2.2, zorder=mark.order + 1)  # fmt: skip
    return mean, int(np.sum(~finite.all(axis=1)))


def _loss_axis(axes: Axes, means: list[np.ndarray]) -> None:
    """Limits the axis to ten times the first loss, so that failed runs do not flatten the rest."""
    everything = np.concatenate([mean[np.isfinite(mean)] for mean in means] + [np.zeros(0)])
    if not everything.size:
        return
    starts = [mean[0] for mean in means if np.isfinite(mean[0])]
    low, high = float(everything.min()), float(everything.max())
    if starts and max(starts) > 0:
        high = min(high, 10 * float(max(starts)))
    if low > 0 and high > 10 * low:
        logarithmic(axes, "y", low, high)
        axes.set_ylim(low / 1.3, high * 1.3)
    else:
        axes.set_ylim(*limits(np.array([low, high])))


def _condition_numbers(axes: Axes, part: Arrays) -> None:
    numbers = part["condition_numbers"]
    numbers = numbers[np.isfinite(numbers) & (numbers > 0)]
    if numbers.size:
        low, high = float(numbers.min()), 1.001 * float(numbers.max())
        axes.hist(
            numbers, list(np.geomspace(low, high, 24)), color=look()["momentum"].color, alpha=0.6
        )
        logarithmic(axes, "x", low, high)
    axes.set_xlabel("condition number of AᵀA")
    axes.set_ylabel("problems")


def _valley(axes: Axes) -> None:
    x, y = np.meshgrid(np.linspace(-2, 2, 200), np.linspace(-1, 3, 200))
    loss = (1 - x) ** 2 + 100 * (y - x**2) ** 2
    axes.contourf(x, y, np.log10(loss + 0.3), levels=14, cmap="Blues_r", alpha=0.85)
    axes.plot(1, 1, "*", color="#D55E00", markersize=14, markeredgecolor="white")
    axes.grid(False)
    axes.set_xlabel("x")
    axes.set_ylabel("y")


def _moons(axes: Axes, part: Arrays) -> None:
    for label, color in ((0, "#0072B2"), (1, "#D55E00")):
        points = part["points"][part["labels"] == label]
        axes.plot(*points.T, "o", color=color, markersize=3, alpha=0.5, markeredgewidth=0)
    axes.set_aspect("equal", adjustable="datalim")
    axes.set_xlabel("first input")
    axes.set_ylabel("second input")


def _images(axes: Axes, part: Arrays) -> None:
    images = part["images"]
    columns = min(4, len(images))
    rows = min(3, len(images) // columns)
    shown = images[: rows * columns].reshape(rows, columns, *images.shape[1:])
    # A dark line between pictures, for their edges are dark as well.
    shown = np.pad(shown, ((0, 0), (0, 0), (0, 1), (0, 1)), constant_values=np.nan)
    tiled = shown.transpose(0, 2, 1, 3).reshape(rows * shown.shape[2], -1)[:-1, :-1]
    axes.imshow(tiled, cmap="gray_r", interpolation="nearest")
    axes.set_axis_off()


def violins(records: Records) -> Figure:
    """Figure 17: the meta-objective of every problem."""
    with style():
        figure = Figure(figsize=(WIDTH, 4.2), layout="constrained")
        (row,) = task_grid(figure, 1)
        for task, part in by_task(records, "performance").items():
            _violins(row[task], part)
        row_label(row, "meta-objective (mean loss of a run)")
    return figure


def _violins(axes: Axes, part: Arrays) -> None:
    looks = look()
    values = {name: np.asarray(curves_of(part, name, "objective"), float) for name in NAMES}
    finite = {name: v[np.isfinite(v)] for name, v in values.items()}
    everything = np.concatenate(list(finite.values()))
    is_log = bool(everything.size and everything.min() > 0
                  and everything.max() > 10 * everything.min())  # fmt: skip

    def place(v: np.ndarray) -> np.ndarray:
        return np.log10(v) if is_log else v

    ticks = []
    for index, name in enumerate(NAMES):
        mark = looks[name]
        shown = place(finite[name])
        diverged = len(values[name]) - len(shown)
        ticks.append(SHOWN[name] + (f"\n({diverged} of\n{len(values[name])} lost)" if diverged
                                    else ""))  # fmt: skip
        if shown.size > 2 and np.ptp(shown) > 0:
            bodies = axes.violinplot(shown, [index], widths=0.85, showextrema=False)["bodies"]
            for body in bodies:  # type: ignore[union-attr]
                body.set(facecolor=mark.color, alpha=0.45, linewidth=0)
        else:
            axes.plot(np.full(shown.size, index), shown, "o", color=mark.color, markersize=5)
        if finite[name].size:
            _mean_bar(axes, index, finite[name], is_log)
    axes.set_xticks(range(len(ticks)), ticks, rotation=30, ha="right", rotation_mode="anchor")
    axes.set_xlim(-0.6, len(ticks) - 0.4)
    axes.grid(False, axis="x")
    if is_log:
        _log_places(axes)


def _log_places(axes: Axes) -> None:
    """Round numbers on an axis of logarithms, as many as are legible."""
    low, high = axes.get_ylim()
    digits = (1, 2, 5) if high - low < 2.2 else (1, 3) if high - low < 4 else (1,)
    decades = range(int(np.floor(low)), int(np.ceil(high)) + 1, 1 if high - low < 9 else 3)
    values = [digit * 10.0**decade for decade in decades for digit in digits]
    axes.set_yticks([float(np.log10(v)) for v in values], [f"{v:.6g}" for v in values])
    axes.set_ylim(low, high)


def _mean_bar(axes: Axes, index: int, values: np.ndarray, is_log: bool) -> None:
    mean = values.mean()
    error = values.std(ddof=1) / len(values) ** 0.5 if len(values) > 1 else 0.0
    ends = np.array([max(mean - error, 1e-3 * mean) if is_log else mean - error, mean + error])
    place = np.log10 if is_log else np.asarray
    axes.plot([index, index], place(ends), color=INK, linewidth=3.2, solid_capstyle="butt")
    axes.plot([index - 0.13, index + 0.13], [place(mean)] * 2, color=INK, linewidth=1.6)
