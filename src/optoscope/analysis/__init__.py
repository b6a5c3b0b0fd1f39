"""Analysis of optimizers: symmetry breaking, noise, update sizes, dynamics, stability.

Importing it registers its probes and its panels.
"""

from optoscope.analysis import dynamics, inspection, noise, quadratic, symmetry, updates
from optoscope.training import PROBES

__all__ = ["dynamics", "inspection", "noise", "quadratic", "symmetry", "updates"]

# Here and not in the modules themselves: pytest imports those a second time for their doctests.
PROBES.register("symmetry", symmetry.SymmetryProbe)
PROBES.register("tail_index", noise.TailIndexProbe)
PROBES.register("covariance", noise.CovarianceProbe)
PROBES.register("histogram", updates.HistogramProbe)
PROBES.register("states", dynamics.StateProbe)
PROBES.register("group-states", dynamics.GroupProbe)
for _name, _panel in inspection.REGISTERED.items():
    inspection.PANELS.register(_name, _panel)
