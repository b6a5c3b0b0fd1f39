"""Meta-training: meta-gradient estimators, the meta-objective and the meta-trainer."""

from optoscope.meta._checkpoints import Checkpoints
from optoscope.meta._clip import ClipState, clip_backward, clip_elementwise
from optoscope.meta._curriculum import Curriculum
from optoscope.meta._estimator import Estimator, MetaGradient, Worker
from optoscope.meta._evaluations import GeometricMean, HeldOutLoss
from optoscope.meta._full_backprop import FullBackprop
from optoscope.meta._full_es import FullES
from optoscope.meta._halving import successive_halving
from optoscope.meta._imitation import Imitation
from optoscope.meta._metrics import MetricsLog, TensorBoard, join_logs
from optoscope.meta._mixture import Mixture
from optoscope.meta._objective import (
    REDUCTIONS,
    Objective,
    Penalty,
    classification_maximum,
    end_weights,
    final_mean,
)
from optoscope.meta._registry import ESTIMATORS, EstimatorEntry
from optoscope.meta._reports import MetaTrainingResult, Report
from optoscope.meta._trainer import Trainer
from optoscope.meta._truncated_backprop import TruncatedBackprop
from optoscope.meta._truncated_es import PES, TruncatedES

__all__ = [
    "ESTIMATORS",
    "PES",
    "REDUCTIONS",
    "Checkpoints",
    "ClipState",
    "Curriculum",
    "Estimator",
    "EstimatorEntry",
    "FullBackprop",
    "FullES",
    "GeometricMean",
    "HeldOutLoss",
    "Imitation",
    "MetaGradient",
    "MetaTrainingResult",
    "MetricsLog",
    "Mixture",
    "Objective",
    "Penalty",
    "Report",
    "TensorBoard",
    "Trainer",
    "TruncatedBackprop",
    "TruncatedES",
    "Worker",
    "classification_maximum",
    "clip_backward",
    "clip_elementwise",
    "end_weights",
    "final_mean",
    "join_logs",
    "successive_halving",
]
