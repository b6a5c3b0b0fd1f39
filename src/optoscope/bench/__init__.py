"""Baselines and comparison: hyper-parameter search, paired evaluation, inference."""

from optoscope._core.criteria import (
    Criterion,
    above,
    below,
    expected_false_holds,
    within_factor,
)
from optoscope._core.estimates import COVERAGE, Estimate
from optoscope._core.inference import every, geometric_mean, interquartile_mean, mean, proportion
from optoscope._core.pairs import difference, ratio, relative_decrease
from optoscope.bench._comparison import compare, tune
from optoscope.bench._comparison_result import Comparison
from optoscope.bench._contestants import Contestant
from optoscope.bench._evaluate import (
    Evaluation,
    OptimizerEvaluation,
    evaluate,
    given_back,
    tenths,
)
from optoscope.bench._held_out_score import HELD_OUT_SCORES, HeldOutScore
from optoscope.bench._metrics import Metric
from optoscope.bench._relative import relative_loss
from optoscope.bench._scores import (
    Scores,
    equivalent_steps,
    final_ratios,
    lower_envelope,
    profile,
    profile_score,
    score,
    smoothed,
    speed_ups,
    step_ratios,
    steps_to,
)
from optoscope.bench._search import (
    LogUniform,
    OneMinusLogUniform,
    SearchResult,
    Uniform,
    evaluate_configurations,
    grid_search,
    random_search,
)
from optoscope.bench._suite import suite
from optoscope.bench._suite_result import SuiteResult
from optoscope.bench._suite_tasks import SUITES, SuiteTask

__all__ = [
    "COVERAGE",
    "HELD_OUT_SCORES",
    "SUITES",
    "Comparison",
    "Contestant",
    "Criterion",
    "Estimate",
    "Evaluation",
    "HeldOutScore",
    "LogUniform",
    "Metric",
    "OneMinusLogUniform",
    "OptimizerEvaluation",
    "Scores",
    "SearchResult",
    "SuiteResult",
    "SuiteTask",
    "Uniform",
    "above",
    "below",
    "compare",
    "difference",
    "equivalent_steps",
    "evaluate",
    "evaluate_configurations",
    "every",
    "expected_false_holds",
    "final_ratios",
    "geometric_mean",
    "given_back",
    "grid_search",
    "interquartile_mean",
    "lower_envelope",
    "mean",
    "profile",
    "profile_score",
    "proportion",
    "random_search",
    "ratio",
    "relative_decrease",
    "relative_loss",
    "score",
    "smoothed",
    "speed_ups",
    "step_ratios",
    "steps_to",
    "suite",
    "tenths",
    "tune",
    "within_factor",
]
