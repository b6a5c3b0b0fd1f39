"""The noisy quadratic model: when an optimizer is stable, and what that does to meta-training."""

from optoscope.analysis.quadratic._curvature_runs import CurvatureRuns, curvature_runs
from optoscope.analysis.quadratic._eigenvalue_maps import (
    INTERVENTIONS,
    EigenvalueMaps,
    Figure1Model,
    eigenvalue_maps,
    figure_1_model,
)
from optoscope.analysis.quadratic._figures import (
    figure_1_arrays,
    figure_2a_arrays,
    figure_2bc_arrays,
    stable_curvature_arrays,
)
from optoscope.analysis.quadratic._gradient_variance import (
    PAPER_HORIZONS,
    GradientVariance,
    gradient_variance,
    paper_nominals,
)
from optoscope.analysis.quadratic._meta_training import (
    PAPER_FRACTIONS,
    MetaSettings,
    MetaTraining,
    meta_train,
    paper_meta_nominals,
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
    "PAPER_FRACTIONS",
    "PAPER_HORIZONS",
    "CurvatureRuns",
    "EigenvalueMaps",
    "ExpectedLoss",
    "Figure1Model",
    "GradientVariance",
    "MatrixOptimizer",
    "MetaSettings",
    "MetaTraining",
    "NoisyQuadratic",
    "StabilityBounds",
    "StableCurvature",
    "curvature_runs",
    "dynamics_matrix",
    "eigenvalue_maps",
    "expected_loss",
    "expected_loss_and_gradient",
    "figure_1_arrays",
    "figure_1_model",
    "figure_2a_arrays",
    "figure_2bc_arrays",
    "gradient_variance",
    "meta_train",
    "paper_meta_nominals",
    "paper_nominals",
    "parameter_covariance",
    "preconditioned_bounds",
    "robust_bounds",
    "spectral_radius",
    "stability_bounds",
    "stable_curvature",
    "stable_curvature_arrays",
]
