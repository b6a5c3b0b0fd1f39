"""Meta-training: meta-gradient estimators, the meta-objective and the meta-trainer."""

from optoscope.meta._checkpoints import Checkpoints
from optoscope.meta._estimator import Estimator, MetaGradient, Worker
from optoscope.meta._metrics import MetricsLog, TensorBoard
from optoscope.meta._objective import REDUCTIONS, Objective, Penalty
from optoscope.meta._trainer import HeldOutLoss, MetaTrainingResult, Report, Trainer
from optoscope.meta._truncated_backprop import TruncatedBackprop

__all__ = [
    "REDUCTIONS",
    "Checkpoints",
    "Estimator",
    "HeldOutLoss",
    "MetaGradient",
    "MetaTrainingResult",
    "MetricsLog",
    "Objective",
    "Penalty",
    "Report",
    "TensorBoard",
    "Trainer",
    "TruncatedBackprop",
    "Worker",
]
