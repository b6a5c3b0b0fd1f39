"""The content of `manifest.json`: which paper a run is of, its figures, and what to call things."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from optoscope._core.errors import FileFormatError
from optoscope.report._checks import as_format, as_mapping, as_sequence, as_text

MANIFEST_FORMAT = "optoscope/manifest"
MANIFEST_VERSION = 1


@dataclass(frozen=True)
class ManifestFigure:
    """A figure of a paper, as a run measures it.

    Args:
        key: as the command line takes it ("4", "sweep-beta").
        name: of its files, and of its place on the page.
        title: the heading.
        parts: the names of the records that it is drawn from, at the run's scale, in order.
        claims: the ids of the claims that are measured from them.
        left_out: what it compares in the paper and this scale leaves out, by short names.
    """

    key: str
    name: str
    title: str
    parts: tuple[str, ...]
    claims: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class Manifest:
    """What a run of `reproduce` holds.

    Args:
        letter: of the paper.
        paper: its name.
        scale: the name of the run's scale.
        figures: in the paper's order.
        labels: what to call optimizers and tasks, by their short names, in the order in which
            they are listed.
    """

    letter: str
    paper: str
    scale: str
    figures: tuple[ManifestFigure, ...]
    labels: Mapping[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The content of `manifest.json`, which `from_json` reads."""
        figures = [
            {
                "key": one.key,
                "name": one.name,
                "title": one.title,
                "parts": list(one.parts),
                "claims": list(one.claims),
                "left_out": list(one.left_out),
            }
            for one in self.figures
        ]
        return {
            "format": MANIFEST_FORMAT,
            "version": MANIFEST_VERSION,
            "paper": {"letter": self.letter, "name": self.paper},
            "scale": self.scale,
            "figures": figures,
            "labels": dict(self.labels),
        }

    @classmethod
    def from_json(cls, value: Any) -> "Manifest":
        """Checks and converts the content of `manifest.json`.

        Raises:
            FileFormatError: it is not a manifest, is from a newer version, or is damaged.
        """
        fields = as_format(value, MANIFEST_FORMAT, MANIFEST_VERSION)
        paper = as_mapping(fields.get("paper"), "'paper'")
        labels = as_mapping(fields.get("labels", {}), "'labels'")
        return cls(
            letter=as_text(paper.get("letter"), "'letter'"),
            paper=as_text(paper.get("name"), "'name'"),
            scale=as_text(fields.get("scale"), "'scale'"),
            figures=tuple(
                _figure(entry) for entry in as_sequence(fields.get("figures"), "'figures'")
            ),
            labels={name: as_text(words, repr(name)) for name, words in labels.items()},
        )


def _figure(value: Any) -> ManifestFigure:
    fields = as_mapping(value, "a figure")
    return ManifestFigure(
        key=as_text(fields.get("key"), "'key'"),
        name=_file_name(as_text(fields.get("name"), "'name'")),
        title=as_text(fields.get("title"), "'title'"),
        parts=tuple(_file_name(name) for name in _texts(fields, "parts")),
        claims=tuple(_texts(fields, "claims")),
        left_out=tuple(_texts(fields, "left_out")),
    )


def _texts(fields: Mapping[str, Any], name: str) -> list[str]:
    values = as_sequence(fields.get(name, []), repr(name))
    return [as_text(value, repr(name)) for value in values]


def _file_name(name: str) -> str:
    # A run directory may come from somebody else: no name may lead out of it.
    if not name or name.startswith(".") or "/" in name or "\\" in name:
        raise FileFormatError(f"{name!r} is no file name")
    return name
