"""Baselines and comparison: hyper-parameter search, paired evaluation, statistics."""

from optoscope.bench._comparison import Comparison, compare, tune
from optoscope.bench._evaluate import Evaluation, OptimizerEvaluation, evaluate
from optoscope.bench._search import (
    LogUniform,
    OneMinusLogUniform,
    SearchResult,
    Uniform,
    evaluate_configurations,
    grid_search,
    random_search,
)
from optoscope.bench._statistics import Summary, relative_improvement, summarize

__all__ = [
    "Comparison",
    "Evaluation",
    "LogUniform",
    "OneMinusLogUniform",
    "OptimizerEvaluation",
    "SearchResult",
    "Summary",
    "Uniform",
    "compare",
    "evaluate",
    "evaluate_configurations",
    "grid_search",
    "random_search",
    "relative_improvement",
    "summarize",
    "tune",
]
