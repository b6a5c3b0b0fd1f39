"""Paper A: training dynamics of learned optimizers (symmetry, noise, covariance, update sizes).

`FIGURES` and `CLAIMS` say what there is; `reproduce` measures it.
"""

from optoscope.papers.symmetry_and_noise._claims import CLAIMS
from optoscope.papers.symmetry_and_noise._figures import FIGURES, Figure
from optoscope.papers.symmetry_and_noise._reproduce import (
    Reproduction,
    figure_keys,
    get_scale,
    reproduce,
)
from optoscope.papers.symmetry_and_noise._scales import SCALES, Scale

__all__ = [
    "CLAIMS",
    "FIGURES",
    "SCALES",
    "Figure",
    "Reproduction",
    "Scale",
    "figure_keys",
    "get_scale",
    "reproduce",
]
