"""One look for every figure: colors by optimizer, fonts, axes, labels, and saving."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from optoscope._core.files import replacing

DOTS_PER_INCH = 150
# Around a saved picture, in inches.
_MARGIN = 0.12
INK = "#222222"
MUTED = "#666666"

# Colors that stay apart for red-green and blue-yellow blind readers and in gray. Warm ones are
# for learned optimizers, cool ones for baselines, so the two kinds differ before a label is read.
_LEARNED_COLORS = ("#D55E00", "#CC79A7", "#E69F00")
_KNOWN_COLORS = {
    "adam": "#0072B2",
    "momentum": "#009E73",
    "lion": "#56B4E9",
    "sgd": "#5A5A5A",
    "rmsprop": "#332288",
    "nadamw": "#999933",
    "aggmo": "#882255",
}
_OTHER_COLORS = tuple(_KNOWN_COLORS.values())
_DASHES = ("-", "--", "-.", ":")

_SETTINGS: dict[Any, Any] = {
    "figure.dpi": DOTS_PER_INCH,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 11,
    "axes.titlesize": 13,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 11,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#888888",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.xmargin": 0.01,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.8,
    "text.color": INK,
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
    "lines.solid_capstyle": "round",
    "svg.fonttype": "none",
    "svg.hashsalt": "optoscope",
}


@dataclass(frozen=True)
class Look:
    """How one optimizer is drawn, the same in every figure."""

    color: str
    dashes: str
    learned: bool

    @property
    def ink(self) -> str:
        """The color for words: pale colors are darkened, for a line may be paler than text."""
        red, green, blue = to_rgb(self.color)
        lightness = 0.2126 * red + 0.7152 * green + 0.0722 * blue
        shade = min(1.0, 0.52 / lightness) if lightness else 1.0
        return to_hex((red * shade, green * shade, blue * shade))

    @property
    def light(self) -> str:
        """The color on a dark page: dark colors are mixed with white."""
        red, green, blue = to_rgb(self.color)
        lightness = 0.2126 * red + 0.7152 * green + 0.0722 * blue
        share = min(0.75, max(0.0, 0.6 - lightness))
        return to_hex(
            (red + share * (1 - red), green + share * (1 - green), blue + share * (1 - blue))
        )

    @property
    def width(self) -> float:
        """Line width in points: learned optimizers are emphasized."""
        return 2.8 if self.learned else 1.7

    @property
    def weight(self) -> str:
        """Font weight of the optimizer's name."""
        return "bold" if self.learned else "normal"

    @property
    def order(self) -> float:
        """Drawing order: learned optimizers are on top."""
        return 4.0 if self.learned else 3.0


Looks = Mapping[str, Look]


def looks(names: Iterable[str], learned: Iterable[str] = ()) -> dict[str, Look]:
    """Gives every optimizer its color.

    Well-known baselines have the same one in every run; the others take what is free, in the
    order of their names, so that the order of the records does not matter.
    """
    names = sorted(set(names))
    learned = set(learned)
    chosen: dict[str, Look] = {}
    taken: list[str] = []
    for name in names:
        if name in _KNOWN_COLORS and name not in learned:
            chosen[name] = Look(_KNOWN_COLORS[name], "-", False)
            taken.append(_KNOWN_COLORS[name])
    for name in names:
        if name in chosen:
            continue
        palette = _LEARNED_COLORS if name in learned else _OTHER_COLORS
        # The least used color, and with each new round another dash pattern.
        color = min(palette, key=taken.count)
        dashes = _DASHES[taken.count(color) % len(_DASHES)]
        chosen[name] = Look(color, dashes, name in learned)
        taken.append(color)
    return chosen


@contextmanager
def style() -> Iterator[None]:
    """Matplotlib with the library's settings, whatever the user's own are, and back afterwards."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS)
        yield


def plain(text: str, limit: int = 32) -> str:
    r"""Makes any text safe to draw: no mathematics, no control characters, not too long.

    >>> plain("a$b$ c")
    'a\\$b\\$ c'
    """
    text = "".join(character if character.isprintable() else " " for character in str(text))
    if len(text) > limit:
        text = text[: limit - 1] + "…"
    return text.replace("$", r"\$")


def title(axes: Axes, text: str, detail: str = "") -> None:
    """A bold title with a quieter line under it."""
    axes.set_title(text, pad=24 if detail else 8)
    if detail:
        axes.text(
            0, 1.025, detail, transform=axes.transAxes, va="bottom", color=MUTED, fontsize=9.5
        )


def logarithmic(axes: Axes, which: str, low: float, high: float) -> None:
    """Makes an axis logarithmic with plain numbers on it, as many as are legible."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    ratio = high / low
    if ratio < 100:
        digits: tuple[float, ...] = (1.0, 2.0, 3.0, 5.0) if which == "y" else (1.0, 2.0, 5.0)
    else:
        digits = (1.0, 3.0) if ratio < 3e3 else (1.0,)
    axis.set_major_locator(LogLocator(subs=digits, numticks=30 if ratio < 1e8 else 8))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
    if len(digits) > 1:
        axis.set_minor_locator(NullLocator())


def apart(positions: Sequence[float], gap: float) -> list[float]:
    """Moves positions in [0, 1] apart until neighbors are `gap` apart, in their given order.

    >>> apart([0.5, 0.5], 0.25)
    [0.375, 0.625]
    """
    count = len(positions)
    gap = min(gap, 1 / max(count - 1, 1))
    order = sorted(range(count), key=lambda i: positions[i])
    # Blocks of touching labels, each sitting at the mean of what its members ask for.
    blocks: list[tuple[float, list[int]]] = []
    for index in order:
        center, members = min(max(positions[index], 0.0), 1.0), [index]
        while blocks and center - blocks[-1][0] < gap * (len(members) + len(blocks[-1][1])) / 2:
            other_center, other = blocks.pop()
            total = len(other) + len(members)
            center = (other_center * len(other) + center * len(members)) / total
            members = other + members
            half = gap * (total - 1) / 2
            center = min(max(center, half), 1 - half)
        blocks.append((center, members))
    moved = [0.0] * count
    for center, members in blocks:
        for rank, index in enumerate(members):
            moved[index] = center + gap * (rank - (len(members) - 1) / 2)
    return moved


def label_ends(
    axes: Axes,
    ends: Mapping[str, tuple[float, float]],
    look: Mapping[str, Look],
    notes: Mapping[str, str],
) -> None:
    """Writes each curve's name in its color right of the axes, beside where the curve ends.

    Args:
        axes: the axes, with their final limits.
        ends: where each curve ends, in data coordinates.
        look: the colors.
        notes: what to add in brackets to a name, such as how many runs diverged.

    """
    to_axes = axes.transData + axes.transAxes.inverted()
    places = {name: to_axes.transform(end) for name, end in ends.items()}
    lines = 1 + any(notes.get(name) for name in ends)
    heights = apart([float(place[1]) for place in places.values()], 0.065 * lines)
    for (name, end), height in zip(ends.items(), heights, strict=True):
        text = plain(name) + (f"\n({notes[name]})" if notes.get(name) else "")
        arrow = {
            "arrowstyle": "-",
            "color": look[name].color,
            "alpha": 0.5,
            "linewidth": 0.9,
            "shrinkA": 1,
            "shrinkB": 1,
            "relpos": (0.0, 0.5),
        }
        axes.annotate(
            text,
            xy=end,
            xytext=(1.035, height),
            textcoords="axes fraction",
            va="center",
            color=look[name].ink,
            fontweight=look[name].weight,
            fontsize=10.5,
            linespacing=1.05,
            annotation_clip=False,
            # A leader from far away would be taken for a curve; the color has to do there.
            arrowprops=arrow if places[name][0] > 0.85 else None,
        )


def save(figure: Figure, stem: Path) -> tuple[Path, Path]:
    """Writes `stem`.png and `stem`.svg; the same figure always makes the same bytes.

    Raises:
        RunDirectoryError: the folder cannot be written.

    """
    paths = stem.with_name(stem.name + ".png"), stem.with_name(stem.name + ".svg")
    with style():
        # The layout takes longer than the drawing, so there is one for both files.
        layout = figure.get_layout_engine()
        figure.draw_without_rendering()
        bounds = figure.get_tightbbox().padded(_MARGIN)
        figure.set_layout_engine(None)  # "none" would have every drawing drawn twice
        for path, metadata in zip(paths, ({"Software": None}, {"Date": None}), strict=True):
            with replacing(path) as temporary:
                figure.savefig(
                    temporary, dpi=DOTS_PER_INCH, metadata=metadata, bbox_inches=bounds
                )  # fmt: skip
        figure.set_layout_engine(layout)
    return paths
