"""Tasks and task distributions: what optimizers are run on."""

from optoscope.tasks._base import Task, TaskDistribution, as_distribution, fixed
from optoscope.tasks._classification import (
    Classification,
    LabelledBatch,
    cnn_classification,
    mlp_classification,
)
from optoscope.tasks._cnn import CNN
from optoscope.tasks._mlp import MLP
from optoscope.tasks._quadratic import LeastSquares, RandomLeastSquares, RandomQuadratic
from optoscope.tasks._registry import REGISTRY, TaskEntry, get, names
from optoscope.tasks._rosenbrock import Rosenbrock
from optoscope.tasks._symmetries import Symmetry
from optoscope.tasks._two_moons import TwoMoons, two_moons

__all__ = [
    "CNN",
    "MLP",
    "REGISTRY",
    "Classification",
    "LabelledBatch",
    "LeastSquares",
    "RandomLeastSquares",
    "RandomQuadratic",
    "Rosenbrock",
    "Symmetry",
    "Task",
    "TaskDistribution",
    "TaskEntry",
    "TwoMoons",
    "as_distribution",
    "cnn_classification",
    "fixed",
    "get",
    "mlp_classification",
    "names",
    "two_moons",
]
