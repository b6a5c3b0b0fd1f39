"""Deviations of an optimizer's updates from the constraints that symmetries put on gradients."""

from optoscope.analysis.symmetry._deviations import Deviations, deviations, isotropic_level
from optoscope.analysis.symmetry._discover import Discovery, discover
from optoscope.analysis.symmetry._generators import AffineSymmetry
from optoscope.analysis.symmetry._penalty import SymmetryPenalty
from optoscope.analysis.symmetry._probe import SymmetryProbe
from optoscope.analysis.symmetry._verify import Check, Verification, verify

__all__ = [
    "AffineSymmetry",
    "Check",
    "Deviations",
    "Discovery",
    "SymmetryPenalty",
    "SymmetryProbe",
    "Verification",
    "deviations",
    "discover",
    "isotropic_level",
    "verify",
]
