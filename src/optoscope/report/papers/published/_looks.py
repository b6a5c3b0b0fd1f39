"""The looks of the published optimizers: a color for each family, dashes within it."""

from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from optoscope.report._style import MUTED, Look
from optoscope.report.papers._figure import Records

_ORANGE, _PURPLE, _GREEN, _YELLOW = "#D55E00", "#CC79A7", "#009E73", "#E69F00"
LOOKS: Mapping[str, Look] = {
    "dm": Look(_ORANGE, "-", True),
    "dm_cl": Look(_ORANGE, "--", True),
    "dm_il": Look(_ORANGE, ":", True),
    "dm_cl_il": Look("#7F2704", "-", True),
    "rnnprop": Look(_PURPLE, "-", True),
    "rnnprop_cl_il": Look("#882255", "-", True),
    "celo": Look(_GREEN, "-", True),
    "celo2": Look(_GREEN, "--", True),
    "ours_lstm": Look(_YELLOW, "-", True),
    "ours_general": Look("#999933", "-", True),
    "ours_star": Look("#661100", "--", True),
    "adam": Look("#0072B2", "-", False),
    "lion": Look("#56B4E9", "-", False),
    "muon": Look("#332288", "-", False),
}
BASELINES = ("adam", "lion", "muon")
# What is drawn side by side: more lines in one panel cannot be told apart.
FAMILIES: Mapping[str, tuple[str, ...]] = {
    "L2O-DM": ("dm", "dm_cl", "dm_il", "dm_cl_il"),
    "RNNProp and Celo": ("rnnprop", "rnnprop_cl_il", "celo", "celo2"),
    "ours": ("ours_lstm", "ours_general", "ours_star"),
    "hand-designed": BASELINES,
}


def names_of(records: Records, kind: str) -> tuple[str, ...]:
    """The optimizers that have a part of a kind ("driven-"), in the order of their looks."""
    return tuple(name for name in LOOKS if f"{kind}{name}" in records)


def by_coordinate(records: Records) -> tuple[str, ...]:
    """The learned optimizers of which the state of one coordinate is known."""
    return tuple(name for name in names_of(records, "inside-") if name not in BASELINES)


def families_of(names: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """The families of those that are there."""
    found = {family: tuple(n for n in of if n in names) for family, of in FAMILIES.items()}
    return {family: of for family, of in found.items() if of}


def tasks_of(records: Records) -> tuple[str, ...]:
    """The tasks of long runs, in the order of the parts."""
    kinds = [name.split("-") for name in records]
    return tuple(dict.fromkeys(task for kind, task, *_ in kinds if kind == "long"))


def key(figure: Figure, names: tuple[str, ...], records: Records, *, dots: bool = False) -> None:
    """A legend of optimizers below the figure, as lines or as dots."""
    marks = []
    for name in names:
        mark = Line2D([], [], color=LOOKS[name].color, label=records.labels.get(name, name))
        mark.set(linewidth=2, markersize=8)
        mark.set(linestyle="" if dots else LOOKS[name].dashes)
        mark.set(marker=marker_of(name) if dots else "")
        marks.append(mark)
    figure.legend(
        handles=marks, loc="outside lower center", ncols=min(len(marks), 5), fontsize=10,
        frameon=False,
    )  # fmt: skip


def marker_of(name: str) -> str:
    """A mark of its own for those of one family, which share a color."""
    family = next(of for of in FAMILIES.values() if name in of)
    return "osD^"[family.index(name)]


def listed(axes: Axes, names: tuple[str, ...], records: Records) -> None:
    """A row for each optimizer, the first at the top."""
    axes.set_yticks(
        range(len(names)), [records.labels.get(name, name) for name in names], fontsize=10
    )
    axes.set_ylim(len(names) - 0.5, -0.5)
    for line in range(1, len(names)):
        if _family(names[line]) != _family(names[line - 1]):
            axes.axhline(line - 0.5, color=MUTED, linewidth=0.6, alpha=0.5)


def _family(name: str) -> str:
    return next(family for family, of in FAMILIES.items() if name in of)
