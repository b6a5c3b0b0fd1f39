"""Findings in a run directory, and what of them a page draws."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from optoscope._core.arrays import read_arrays
from optoscope._core.errors import FileFormatError, InvalidValueError
from optoscope._core.files import read_json
from optoscope._core.findings import (
    FINDINGS_FORMAT,
    FINDINGS_VERSION,
    Axis,
    Chart,
    Findings,
    Measured,
)
from optoscope.report._checks import as_format, as_mapping, as_sequence, as_text
from optoscope.report._reading import parsed

# A page with more numbers would be too large to send; arrays beyond are in the records alone.
_MOST_NUMBERS = 200_000


@dataclass(frozen=True, eq=False)
class Panel:
    """One panel of a page: a heading, what was found, and the words beside it."""

    name: str
    title: str
    how_to_read: str
    does_not_show: str
    findings: Findings

    @property
    def charts(self) -> tuple[tuple[int, Chart], ...]:
        """The charts of which there is something to see, with their places among all."""
        arrays = self.findings.arrays
        return tuple(
            (place, chart)
            for place, chart in enumerate(self.findings.charts)
            if np.isfinite(arrays[chart.array].values).any()
        )


def read_panels(directory: Path) -> tuple[Panel, ...]:
    """The panels that `optoscope inspect` has saved in a run directory, none if it has not.

    Raises:
        RunDirectoryError: a file is missing or damaged; the message names it.
    """
    place = directory / "records" / "inspect.json"
    if not place.exists():
        return ()
    entries = parsed(place, read_json, _entries)
    return tuple(
        parsed(
            directory / "records" / f"inspect-{name}.npz",
            read_arrays,
            lambda arrays, name=name, entry=entry: _panel(name, entry, arrays),
        )
        for name, entry in entries.items()
    )


def _entries(content: Any) -> dict[str, Mapping[str, Any]]:
    fields = as_format(content, FINDINGS_FORMAT, FINDINGS_VERSION)
    panels = as_mapping(fields.get("panels"), "'panels'")
    for name in panels:
        # A run directory may come from somebody else: no name may lead out of it.
        if not name or name.startswith(".") or "/" in name or "\\" in name:
            raise FileFormatError(f"{name!r} is no name of a panel")
    return {name: as_mapping(entry, f"the entry of {name!r}") for name, entry in panels.items()}


def _panel(name: str, entry: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Panel:
    labels = as_mapping(entry.get("axes"), "'axes'")
    layouts = as_mapping(entry.get("arrays"), "'arrays'")
    missing = [f"axis/{one}" for one in labels] + [f"array/{one}" for one in layouts]
    missing = [one for one in missing if one not in arrays]
    if missing:
        raise FileFormatError(f"it has no {missing[0]!r}")
    try:
        findings = Findings(
            {one: Axis(as_text(label, repr(one)), arrays[f"axis/{one}"])
             for one, label in labels.items()},
            {one: Measured(tuple(map(str, as_sequence(axes, repr(one)))), arrays[f"array/{one}"])
             for one, axes in layouts.items()},
            tuple(_chart(one) for one in as_sequence(entry.get("charts"), "'charts'")),
            tuple(map(str, as_sequence(entry.get("sentences", []), "'sentences'"))),
        )  # fmt: skip
    except InvalidValueError as error:
        raise FileFormatError(str(error)) from None
    return Panel(
        name,
        as_text(entry.get("title"), "'title'"),
        as_text(entry.get("how_to_read"), "'how_to_read'"),
        as_text(entry.get("does_not_show"), "'does_not_show'"),
        findings,
    )


def _chart(value: Any) -> Chart:
    fields = as_mapping(value, "a chart")

    def optional(name: str) -> str | None:
        return None if fields.get(name) is None else as_text(fields[name], repr(name))

    band = fields.get("band")
    if band is not None:
        low, high = (as_text(one, "'band'") for one in as_sequence(band, "'band'"))
        band = (low, high)
    return Chart(
        title=as_text(fields.get("title"), "'title'"),
        array=as_text(fields.get("array"), "'array'"),
        label=as_text(fields.get("label"), "'label'"),
        along=as_text(fields.get("along"), "'along'"),
        lines=optional("lines"),
        slider=optional("slider"),
        kind=as_text(fields.get("kind", "line"), "'kind'"),
        band=band,
        reference=optional("reference"),
        horizontal=optional("horizontal"),
        logarithmic=fields.get("logarithmic") is True,
        along_logarithmic=fields.get("along_logarithmic") is True,
    )


def drawable(findings: Mapping[str, Findings]) -> dict[str, Any]:
    """Findings as the page's script reads them: numbers of four digits, and null for none.

    Args:
        findings: by the name that charts refer to.

    Raises:
        InvalidValueError: more numbers than a page can hold.
    """
    content = {name: _drawable(one) for name, one in findings.items()}
    total = sum(
        len(array["values"]) for one in content.values() for array in one["arrays"].values()
    )
    if total > _MOST_NUMBERS:
        raise InvalidValueError(
            f"the charts hold {total:,} numbers, and a page takes at most {_MOST_NUMBERS:,}; look "
            "at fewer panels, optimizers or layers."
        )
    return content


def _drawable(findings: Findings) -> dict[str, Any]:
    described = findings.as_json()
    used = {name for chart in findings.charts for name in chart.arrays}
    axes = {axis for name in used for axis in findings.arrays[name].axes}
    return {
        "axes": {
            name: {"label": findings.axes[name].label, "values": _plain(findings.axes[name].values)}
            for name in sorted(axes)
        },
        "arrays": {
            name: {
                "axes": list(findings.arrays[name].axes),
                "values": _plain(findings.arrays[name].values.ravel()),
            }
            for name in sorted(used)
        },
        "charts": described["charts"],
    }


def _plain(values: np.ndarray) -> list[Any]:
    if values.dtype.kind == "U":
        return values.tolist()
    if values.dtype.kind in "iu":
        return [int(value) for value in values]
    return [float(f"{value:.4g}") if np.isfinite(value) else None for value in values.tolist()]


def thinned(length: int, most: int) -> np.ndarray:
    """At most so many places from the first to the last, the early ones closer together."""
    if length <= most:
        return np.arange(length)
    early = np.arange(min(length, most // 4))
    rest = np.geomspace(max(len(early), 1), length - 1, most - len(early))
    return np.unique(np.concatenate([early, np.round(rest).astype(int)]))


def names_of(findings: Sequence[Findings]) -> tuple[str, ...]:
    """The optimizers' names in any of them, so that each keeps its color everywhere."""
    found = [
        name
        for one in findings
        for key, axis in one.axes.items()
        if key == "optimizer" and axis.named
        for name in axis.values.tolist()
    ]
    return tuple(dict.fromkeys(found))
