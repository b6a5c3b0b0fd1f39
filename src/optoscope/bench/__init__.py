"""Baselines and comparison: hyper-parameter search, paired evaluation, inference."""

from optoscope._core.criteria import (
    Criterion,
    above,
    below,
    expected_false_holds,
    within_factor,
)
from optoscope._core.inference import (
    COVERAGE,
    Estimate,
    difference,
    every,
    geometric_mean,
    mean,
    proportion,
    ratio,
    relative_decrease,
)
from optoscope.bench._comparison import Comparison, compare, tune
from optoscope.bench._contestants import Contestant
from optoscope.bench._evaluate import Evaluation, OptimizerEvaluation, evaluate
from optoscope.bench._metrics import Metric
from optoscope.bench._search import (
    LogUniform,
    OneMinusLogUniform,
    SearchResult,
    Uniform,
    evaluate_configurations,
    grid_search,
    random_search,
)

__all__ = [
    "COVERAGE",
    "Comparison",
    "Contestant",
    "Criterion",
    "Estimate",
    "Evaluation",
    "LogUniform",
    "Metric",
    "OneMinusLogUniform",
    "OptimizerEvaluation",
    "SearchResult",
    "Uniform",
    "above",
    "below",
    "compare",
    "difference",
    "evaluate",
    "evaluate_configurations",
    "every",
    "expected_false_holds",
    "geometric_mean",
    "grid_search",
    "mean",
    "proportion",
    "random_search",
    "ratio",
    "relative_decrease",
    "tune",
    "within_factor",
]
