"""The optimizers that are kept beside the pages of results."""

from pathlib import Path

import pytest

from optoscope.papers import PAPERS
from optoscope.papers._parts import Store
from optoscope.report import read_claims

RESULTS = Path(__file__).parents[2] / "docs" / "results"
KEPT = [letter for letter in PAPERS if (RESULTS / letter / "records").is_dir()]


@pytest.mark.parametrize("letter", KEPT)
def test_reproduce_takes_all_of_them_over(letter: str):
    """Where a change of settings or numerics makes them useless, they go until a page has new."""
    paper = PAPERS[letter]
    scale = read_claims(RESULTS / "verdicts" / f"{letter}.json")[0].scale
    setting = paper.setting(paper.get_scale(scale), 0, None, 1)
    parts = [part for figure in paper.figures.values() for part in figure.parts(setting)]
    missing = Store(RESULTS / letter).missing(parts)
    needed = {need.name for part in parts for need in part.needs}
    kept = {path.stem for path in (RESULTS / letter / "records").glob("*.json")}
    assert kept
    assert kept <= needed - missing.keys()
