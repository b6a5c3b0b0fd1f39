"""Arrays with named axes and their charts: said by what measures them, drawn by the report.

`Findings` are data, so that a page can be made from a run directory by a program that knows nothing
of what was measured.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Shaped

from optoscope._core.errors import InvalidValueError
from optoscope._core.showing import shown

FINDINGS_FORMAT = "optoscope/findings"
FINDINGS_VERSION = 1

CHART_KINDS = ("line", "points", "bars")


@shown
@dataclass(frozen=True, eq=False)
class Axis:
    """The places along one axis of an array.

    Args:
        label: what the axis is, with its unit ("step", "gradient, in units of its size").
        values: numbers, or texts for places that have names (optimizers, layers).
    """

    label: str
    values: Shaped[np.ndarray, " places"]

    @property
    def named(self) -> bool:
        """Whether the places have names rather than numbers."""
        return self.values.dtype.kind == "U"


@shown
@dataclass(frozen=True, eq=False)
class Measured:
    """One array with the names of its axes, such as ("optimizer", "layer", "step")."""

    axes: tuple[str, ...]
    values: Shaped[np.ndarray, "..."]


@dataclass(frozen=True)
class Chart:
    """How one array becomes a chart.

    One axis is drawn along, one gives a line for each of its places, one may have a slider; for
    every other axis of the array the page offers a choice.

    Args:
        title: a short heading.
        array: the name of the array that is drawn upright.
        label: of the upright axis, with its unit.
        along: the axis that is drawn along.
        lines: the axis with a line for each place; None for a single line.
        slider: the axis that a slider moves through.
        kind: "line", "points" (not joined), or "bars" for an axis whose places have names.
        band: the names of the arrays with the lower and the upper end of a band.
        reference: the name of an array that is drawn dotted, to be compared with.
        horizontal: the name of an array with the places along, where they differ from line to
            line; those of the axis `along` if not given.
        logarithmic: whether the upright axis is.
        along_logarithmic: whether the axis along is.
    """

    title: str
    array: str
    label: str
    along: str
    lines: str | None = "optimizer"
    slider: str | None = None
    kind: str = "line"
    band: tuple[str, str] | None = None
    reference: str | None = None
    horizontal: str | None = None
    logarithmic: bool = False
    along_logarithmic: bool = False

    @property
    def arrays(self) -> tuple[str, ...]:
        """The names of all arrays that it is drawn from."""
        more = (self.reference, self.horizontal, *(self.band or ()))
        return (self.array, *(name for name in more if name is not None))


@dataclass(frozen=True, eq=False)
class Findings:
    """What one panel found: arrays with named axes, their charts, and what they say in words.

    Args:
        axes: by name.
        arrays: by name.
        charts: in the order in which they are shown.
        sentences: what the numbers say, each one whole sentence; also why there are none.

    Raises:
        InvalidValueError: an array that does not fit its axes, or a chart of what is not there.

    Example:
        >>> loss = np.array([[2.0, 1.0], [2.0, 0.5]])
        >>> found = Findings(
        ...     {"optimizer": Axis("optimizer", np.array(["sgd", "adam"])),
        ...      "step": Axis("step", np.array([0, 10]))},
        ...     {"loss": Measured(("optimizer", "step"), loss)},
        ...     (Chart("Training loss", "loss", "loss", "step"),))
        >>> found.at("loss", optimizer="adam").tolist()
        [2.0, 0.5]
    """

    axes: Mapping[str, Axis] = field(default_factory=dict)
    arrays: Mapping[str, Measured] = field(default_factory=dict)
    charts: tuple[Chart, ...] = ()
    sentences: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, axis in self.axes.items():
            if axis.values.ndim != 1 or axis.values.dtype.kind not in "iufU":
                raise InvalidValueError(
                    f"axis {name!r} has places of shape {axis.values.shape} and type "
                    f"{axis.values.dtype}; give a vector of numbers or of texts."
                )
        for name, array in self.arrays.items():
            self._check_array(name, array)
        for chart in self.charts:
            self._check_chart(chart)

    def _check_array(self, name: str, array: Measured) -> None:
        unknown = [axis for axis in array.axes if axis not in self.axes]
        if unknown:
            raise InvalidValueError(
                f"array {name!r} has the axis {unknown[0]!r}, which is not among the axes "
                f"{', '.join(self.axes)}; add Axis(label, values) for it."
            )
        expected = tuple(len(self.axes[axis].values) for axis in array.axes)
        if array.values.shape != expected:
            raise InvalidValueError(
                f"array {name!r} has shape {array.values.shape}; its axes "
                f"({', '.join(array.axes)}) have {expected} places."
            )

    def _check_chart(self, chart: Chart) -> None:
        if chart.kind not in CHART_KINDS:
            raise InvalidValueError(
                f"chart {chart.title!r} is of kind {chart.kind!r}; it can be "
                f"{', '.join(CHART_KINDS)}."
            )
        for name in chart.arrays:
            if name not in self.arrays:
                raise InvalidValueError(
                    f"chart {chart.title!r} draws {name!r}, which is not among the arrays "
                    f"{', '.join(self.arrays)}."
                )
        own = self.arrays[chart.array].axes
        for axis in (chart.along, chart.lines, chart.slider):
            if axis is not None and axis not in own:
                raise InvalidValueError(
                    f"chart {chart.title!r} uses the axis {axis!r}, which its array "
                    f"{chart.array!r} does not have; it has {', '.join(own)}."
                )
        for name in chart.arrays[1:]:
            other = self.arrays[name].axes
            if not set(other) <= set(own):
                raise InvalidValueError(
                    f"chart {chart.title!r} draws {name!r} beside {chart.array!r}; its axes "
                    f"({', '.join(other)}) must be among {', '.join(own)}."
                )

    def at(self, array: str, **places: str | float) -> Shaped[np.ndarray, "..."]:
        """The part of an array at some places of its axes, the other axes in their order.

        Args:
            array: its name.
            **places: by axis a place: a name, or a number that is there.

        Raises:
            InvalidValueError: the axis has no such place.
        """
        measured = self.arrays[array]
        index: list[Any] = [slice(None)] * len(measured.axes)
        for axis, place in places.items():
            values = self.axes[axis].values.tolist()
            if place not in values:
                raise InvalidValueError(
                    f"the axis {axis!r} has no place {place!r}; it has "
                    f"{', '.join(map(str, values[:20]))}."
                )
            index[measured.axes.index(axis)] = values.index(place)
        return np.asarray(measured.values[tuple(index)])

    def records(self) -> dict[str, np.ndarray]:
        """The arrays as a run directory holds them."""
        axes = {f"axis/{name}": axis.values for name, axis in self.axes.items()}
        return axes | {f"array/{name}": array.values for name, array in self.arrays.items()}

    def as_json(self) -> dict[str, Any]:
        """All but the arrays, as a run directory holds it."""
        return {
            "axes": {name: axis.label for name, axis in self.axes.items()},
            "arrays": {name: list(array.axes) for name, array in self.arrays.items()},
            "charts": [dataclasses.asdict(chart) for chart in self.charts],
            "sentences": list(self.sentences),
        }
