"""The noisy quadratic model: when an optimizer is stable, and what its meta-gradients do."""

from optoscope.analysis.quadratic._curvature_runs import CurvatureRuns, curvature_runs
from optoscope.analysis.quadratic._eigenvalue_maps import (
    INTERVENTIONS,
    EigenvalueMaps,
    eigenvalue_maps,
)
from optoscope.analysis.quadratic._gradient_variance import (
    PAPER_HORIZONS,
    GradientVariance,
    gradient_variance,
    paper_nominals,
)
from optoscope.analysis.quadratic._model import (
    MatrixOptimizer,
    NoisyQuadratic,
    dynamics_matrix,
    spectral_radius,
)
from optoscope.analysis.quadratic._moments import (
    ExpectedLoss,
    expected_loss,
    expected_loss_and_gradient,
    parameter_covariance,
)
from optoscope.analysis.quadratic._stability import (
    StabilityBounds,
    preconditioned_bounds,
    robust_bounds,
    stability_bounds,
)
from optoscope.analysis.quadratic._stable_curvature import StableCurvature, stable_curvature

__all__ = [
    "INTERVENTIONS",
    "PAPER_HORIZONS",
    "CurvatureRuns",
    "EigenvalueMaps",
    "ExpectedLoss",
    "GradientVariance",
    "MatrixOptimizer",
    "NoisyQuadratic",
    "StabilityBounds",
    "StableCurvature",
    "curvature_runs",
    "dynamics_matrix",
    "eigenvalue_maps",
    "expected_loss",
    "expected_loss_and_gradient",
    "gradient_variance",
    "paper_nominals",
    "parameter_covariance",
    "preconditioned_bounds",
    "robust_bounds",
    "spectral_radius",
    "stability_bounds",
    "stable_curvature",
]
