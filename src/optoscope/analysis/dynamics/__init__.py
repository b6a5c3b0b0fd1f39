"""The dynamics of an optimizer's state: fixed points, modes and schedules."""

from optoscope.analysis.dynamics._continuation import Branch, continue_fixed_points
from optoscope.analysis.dynamics._coordinates import (
    CoordinateMap,
    LinearReadout,
    coordinate_map,
)
from optoscope.analysis.dynamics._distill import Distillation, Gain, distill
from optoscope.analysis.dynamics._distill_formula import (
    distill_formula,
    is_recurrent,
    with_formula,
)
from optoscope.analysis.dynamics._explicit import ExplicitOptimizer
from optoscope.analysis.dynamics._fixed_points import FixedPoints, fixed_points
from optoscope.analysis.dynamics._formula import Formula, formula
from optoscope.analysis.dynamics._formula_terms import FormulaOptimizer, Term, formula_terms
from optoscope.analysis.dynamics._groups import GroupTrajectories, group_trajectories
from optoscope.analysis.dynamics._joint import joint_matrix, joint_spectral_radius
from optoscope.analysis.dynamics._layout import coordinate_states
from optoscope.analysis.dynamics._linear_optimizer import (
    LinearOptimizer,
    aggregated_momentum,
    linearized_optimizer,
)
from optoscope.analysis.dynamics._linearize import Linearization, linearize
from optoscope.analysis.dynamics._mode_tracks import ModeTracks, track_modes
from optoscope.analysis.dynamics._modes import Modes, modes_of
from optoscope.analysis.dynamics._probes import (
    GroupProbe,
    GroupStates,
    StateProbe,
    VisitedStates,
)
from optoscope.analysis.dynamics._trajectories import (
    AutonomousTrajectory,
    StatePCA,
    autonomous_trajectory,
    state_pca,
    total_variance,
)
from optoscope.analysis.dynamics._update_function import (
    EffectiveLearningRates,
    effective_learning_rate,
    update_function,
)

__all__ = [
    "AutonomousTrajectory",
    "Branch",
    "CoordinateMap",
    "Distillation",
    "EffectiveLearningRates",
    "ExplicitOptimizer",
    "FixedPoints",
    "Formula",
    "FormulaOptimizer",
    "Gain",
    "GroupProbe",
    "GroupStates",
    "GroupTrajectories",
    "LinearOptimizer",
    "LinearReadout",
    "Linearization",
    "ModeTracks",
    "Modes",
    "StatePCA",
    "StateProbe",
    "Term",
    "VisitedStates",
    "aggregated_momentum",
    "autonomous_trajectory",
    "continue_fixed_points",
    "coordinate_map",
    "coordinate_states",
    "distill",
    "distill_formula",
    "effective_learning_rate",
    "fixed_points",
    "formula",
    "formula_terms",
    "group_trajectories",
    "is_recurrent",
    "joint_matrix",
    "joint_spectral_radius",
    "linearize",
    "linearized_optimizer",
    "modes_of",
    "state_pca",
    "total_variance",
    "track_modes",
    "update_function",
    "with_formula",
]
