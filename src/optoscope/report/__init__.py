"""Figures, tables and pages, drawn from the saved records of a run directory.

Nothing here computes an optimizer's step or imports jax: every picture can be redrawn from what a
command saved, on a machine that has only NumPy and Matplotlib.
"""

from optoscope._core.estimates import Estimate
from optoscope.report._claim_words import chance, claim_basis, claim_number, claim_test
from optoscope.report._claims import Claim, claims_as_json, read_claims
from optoscope.report._comparison import comparison
from optoscope.report._curves import early_losses, loss_curves, meta_training
from optoscope.report._explanation import Explanation, Mode, Worth
from optoscope.report._figures import FIGURES, FigureKind, FigureText
from optoscope.report._manifest import Manifest, ManifestFigure
from optoscope.report._mechanisms import explanation_tables, in_words, worth_rows
from optoscope.report._page import render
from optoscope.report._records import (
    Comparison,
    MetaTraining,
    OptimizerResult,
    Results,
    Run,
    SearchRecord,
    read_run,
)
from optoscope.report._search import search
from optoscope.report._suite import SCORES, Score, SuiteOptimizer, SuiteRecord
from optoscope.report._suite_figures import SUITE_FIGURES
from optoscope.report._suite_words import (
    against_table,
    loss_table,
    ratio_table,
    score_table,
    suite_sentence,
    trial_table,
    validation_table,
)
from optoscope.report._summary import endurance, others_win, sentence
from optoscope.report._table import ranking_table, table

__all__ = [
    "FIGURES",
    "SCORES",
    "SUITE_FIGURES",
    "Claim",
    "Comparison",
    "Estimate",
    "Explanation",
    "FigureKind",
    "FigureText",
    "Manifest",
    "ManifestFigure",
    "MetaTraining",
    "Mode",
    "OptimizerResult",
    "Results",
    "Run",
    "Score",
    "SearchRecord",
    "SuiteOptimizer",
    "SuiteRecord",
    "Worth",
    "against_table",
    "chance",
    "claim_basis",
    "claim_number",
    "claim_test",
    "claims_as_json",
    "comparison",
    "early_losses",
    "endurance",
    "explanation_tables",
    "in_words",
    "loss_curves",
    "loss_table",
    "meta_training",
    "others_win",
    "ranking_table",
    "ratio_table",
    "read_claims",
    "read_run",
    "render",
    "score_table",
    "search",
    "sentence",
    "suite_sentence",
    "table",
    "trial_table",
    "validation_table",
    "worth_rows",
]
