"""Tasks and task distributions: what optimizers are run on."""

from optoscope.tasks._base import Task, TaskDistribution, as_distribution, fixed
from optoscope.tasks._classification import Classification, LabelledBatch, mlp_classification
from optoscope.tasks._mlp import MLP
from optoscope.tasks._quadratic import LeastSquares, RandomLeastSquares
from optoscope.tasks._registry import REGISTRY, TaskEntry, get, names
from optoscope.tasks._symmetries import Symmetry

__all__ = [
    "MLP",
    "REGISTRY",
    "Classification",
    "LabelledBatch",
    "LeastSquares",
    "RandomLeastSquares",
    "Symmetry",
    "Task",
    "TaskDistribution",
    "TaskEntry",
    "as_distribution",
    "fixed",
    "get",
    "mlp_classification",
    "names",
]
