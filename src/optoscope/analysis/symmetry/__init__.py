"""How far an optimizer's updates leave the directions that gradients are confined to."""

from optoscope.analysis.symmetry._deviations import Deviations, deviations, isotropic_level
from optoscope.analysis.symmetry._penalty import SymmetryPenalty
from optoscope.analysis.symmetry._probe import SymmetryProbe
from optoscope.analysis.symmetry._verify import Check, Verification, verify
from optoscope.tasks._mlp_symmetries import mlp_symmetries
from optoscope.tasks._symmetries import (
    Symmetry,
    from_action,
    join,
    rescale,
    scale,
    translation,
)

__all__ = [
    "Check",
    "Deviations",
    "Symmetry",
    "SymmetryPenalty",
    "SymmetryProbe",
    "Verification",
    "deviations",
    "from_action",
    "isotropic_level",
    "join",
    "mlp_symmetries",
    "rescale",
    "scale",
    "translation",
    "verify",
]
