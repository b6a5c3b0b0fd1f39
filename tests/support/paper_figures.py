"""What the tests of every paper's figures ask of a picture."""

import copy
import json
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.text import Text

from optoscope.papers import Paper
from optoscope.report import Manifest
from optoscope.report.papers._figure import Arrays, PaperFigure, Records


def manifest_of(paper: Paper, scale: str = "paper", figures: str = "everything") -> Manifest:
    """What a run of the paper would hold."""
    # Thousands of parts, and many tests ask for the same.
    key = (paper.letter, scale, figures)
    if key not in _MANIFESTS:
        _MANIFESTS[key] = _made(paper, scale, figures)
    return copy.deepcopy(_MANIFESTS[key])


_MANIFESTS: dict[tuple[str, str, str], Manifest] = {}


def _made(paper: Paper, scale: str, figures: str) -> Manifest:
    setting = paper.setting(paper.get_scale(scale), 0, None, 1)
    return paper.manifest(paper.figure_keys(figures), setting)


def parts_of(manifest: Manifest) -> dict[str, tuple[str, ...]]:
    """The names of the parts of every figure."""
    return {figure.key: figure.parts for figure in manifest.figures}


def copies(
    names: Iterable[str],
    parts: Mapping[str, Arrays],
    labels: Mapping[str, str] | None = None,
    left_out: tuple[str, ...] = (),
) -> Records:
    """The records of a figure, in copies that a test may spoil."""
    arrays = {
        name: {key: np.array(values) for key, values in parts[name].items()} for name in names
    }
    return Records(arrays, labels or {}, left_out)


def save_run(directory: Path, manifest: Manifest, parts: Mapping[str, Any]) -> None:
    """A run directory with the manifest and these parts, finished."""
    folder = directory / "records"
    folder.mkdir(exist_ok=True)
    for name, arrays in parts.items():
        np.savez(folder / f"{name}.npz", **arrays)
        (folder / f"{name}.json").write_text(json.dumps({}))
    (directory / "config.json").write_text(json.dumps({"command": "reproduce"}))
    (directory / "manifest.json").write_text(json.dumps(manifest.as_json()))


def words(figure: Figure) -> str:
    """All that can be read on a figure."""
    return "\n".join(t.get_text() for t in figure.findobj(Text) if t.get_visible())


def assert_described(figures: Mapping[str, PaperFigure], manifest: Manifest) -> None:
    """Every figure of the paper has a picture, and what a reader needs beside it."""
    assert set(figures) == {figure.key for figure in manifest.figures}
    for kind in figures.values():
        assert len(kind.text.how_to_read) > 80
        assert len(kind.text.what_it_does_not_show) > 40
    titles = [figure.title for figure in manifest.figures]
    assert len(set(titles)) == len(titles)


def assert_drawn_and_labeled(kind: PaperFigure, records: Records, labels: Iterable[str]) -> None:
    """It is drawn without a warning, says what a reader needs, and can be read from afar."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = kind.picture(records)
    assert isinstance(figure, Figure)
    text = words(figure)
    for expected in labels:
        assert expected in text
    sizes = [t.get_fontsize() for t in figure.findobj(Text) if t.get_text()]
    assert min(sizes) >= 9
