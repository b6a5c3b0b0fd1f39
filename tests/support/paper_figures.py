"""What the tests of every paper's figures ask of a picture."""

import warnings
from collections.abc import Iterable, Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.text import Text

from optoscope.report._paper_figure import Arrays, PaperFigure


def copies(kind: PaperFigure, parts: Mapping[str, Arrays]) -> dict[str, dict[str, np.ndarray]]:
    """The records of a figure, in copies that a test may spoil."""
    return {
        name: {key: np.array(values) for key, values in parts[name].items()}
        for name in (*kind.parts, *kind.optional)
    }


def words(figure: Figure) -> str:
    """All that can be read on a figure."""
    return "\n".join(t.get_text() for t in figure.findobj(Text) if t.get_visible())


def assert_drawn_and_labeled(
    kind: PaperFigure, records: Mapping[str, Arrays], labels: Iterable[str]
) -> None:
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
