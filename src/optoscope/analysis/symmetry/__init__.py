"""How far an optimizer's updates leave the directions that gradients are confined to."""

from optoscope.analysis.symmetry._deviations import Deviations, deviations, isotropic_level
from optoscope.analysis.symmetry._penalty import SymmetryPenalty
from optoscope.analysis.symmetry._probe import SymmetryProbe
from optoscope.analysis.symmetry._verify import Check, Verification, verify

__all__ = [
    "Check",
    "Deviations",
    "SymmetryPenalty",
    "SymmetryProbe",
    "Verification",
    "deviations",
    "isotropic_level",
    "verify",
]
