"""How measured arrays are drawn: said by what measures them, saved beside them, read by the report.

A `Drawing` is data, so that a picture can be made from a run directory by a program that knows
nothing of the probe.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

DRAWINGS_FORMAT = "optoscope/probes"
DRAWINGS_VERSION = 1

Kind = Literal["curve", "spread", "histogram"]
KINDS: tuple[Kind, ...] = ("curve", "spread", "histogram")


@dataclass(frozen=True)
class Drawing:
    """How one array of a record is drawn, against the inner step.

    Args:
        kind: "curve": one number per measurement; the line is the median over runs, the band the
            middle half. "spread": several numbers per measurement; the line is their median over
            runs and everything else, the band their middle half, thin lines 5% and 95%.
            "histogram": counts on shared bins along the last axis; a picture for each optimizer,
            whose shade is the share of everything counted.
        array: the end of the array's place in the record, as `jax.tree_util.keystr` writes it
            (".cosine", "['updates']"); empty for every array. What stands before it says which of
            several it is, and is added to the label.
        label: what the upright axis shows.
        unit: its unit, where it has one.
        logarithmic: whether the upright axis is.
        reference: the end of the place of an array to compare it with, drawn dotted.
        edges: of a histogram, the end of the place of the bins' edges.
    """

    kind: Kind
    array: str
    label: str
    unit: str = ""
    logarithmic: bool = False
    reference: str | None = None
    edges: str | None = None

    @property
    def axis_label(self) -> str:
        """The label with its unit."""
        return f"{self.label} ({self.unit})" if self.unit else self.label

    def as_json(self) -> dict[str, Any]:
        """The JSON form that `records/probes.json` holds."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class ProbeText:
    """The words beside the figures of one probe, and how these are drawn.

    Args:
        how_to_read: what the marks mean and where to look.
        what_it_does_not_show: what a reader could wrongly conclude from them.
        drawings: the pictures.
    """

    how_to_read: str
    what_it_does_not_show: str
    drawings: tuple[Drawing, ...]

    def as_json(self) -> dict[str, Any]:
        """The JSON form that `records/probes.json` holds."""
        return {
            "how_to_read": self.how_to_read,
            "what_it_does_not_show": self.what_it_does_not_show,
            "drawings": [drawing.as_json() for drawing in self.drawings],
        }
