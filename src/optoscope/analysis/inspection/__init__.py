"""What any optimizer does on a problem: panels, each a function that returns arrays with names."""

from optoscope._core.findings import Axis, Chart, Findings, Measured
from optoscope.analysis.inspection._coordinate_view import (
    CoordinateView,
    coordinate_dynamics,
    coordinate_view,
)
from optoscope.analysis.inspection._cost import costs
from optoscope.analysis.inspection._curvature import curvature_along, largest_eigenvalue
from optoscope.analysis.inspection._geometry import (
    effective_rank,
    explained_share,
    update_geometry,
)
from optoscope.analysis.inspection._learning_rates import learning_rates, time_part
from optoscope.analysis.inspection._noise import update_noise
from optoscope.analysis.inspection._panels import (
    PANELS,
    Inspection,
    Panel,
    inspect,
    optimizer_axis,
    save_findings,
    step_axis,
)
from optoscope.analysis.inspection._recording import Recording, record, recorded_steps
from optoscope.analysis.inspection._registered import REGISTERED
from optoscope.analysis.inspection._stability import (
    StableEdge,
    curvature_beside_edge,
    longer_runs,
    stable_edge,
)
from optoscope.analysis.inspection._symmetry import symmetry_deviations
from optoscope.analysis.inspection._update_functions import (
    Influence,
    conditional_updates,
    influence_of_others,
    update_functions,
)

__all__ = [
    "PANELS",
    "REGISTERED",
    "Axis",
    "Chart",
    "CoordinateView",
    "Findings",
    "Influence",
    "Inspection",
    "Measured",
    "Panel",
    "Recording",
    "StableEdge",
    "conditional_updates",
    "coordinate_dynamics",
    "coordinate_view",
    "costs",
    "curvature_along",
    "curvature_beside_edge",
    "effective_rank",
    "explained_share",
    "influence_of_others",
    "inspect",
    "largest_eigenvalue",
    "learning_rates",
    "longer_runs",
    "optimizer_axis",
    "record",
    "recorded_steps",
    "save_findings",
    "stable_edge",
    "step_axis",
    "symmetry_deviations",
    "time_part",
    "update_functions",
    "update_geometry",
    "update_noise",
]
