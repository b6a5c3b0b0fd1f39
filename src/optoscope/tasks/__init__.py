"""Tasks and task distributions: the problems that optimizers are run on."""

from optoscope.tasks._autoencoder import Autoencoder, autoencoder
from optoscope.tasks._base import Task, TaskDistribution, as_distribution, fixed
from optoscope.tasks._bridges import from_equinox, from_flax, from_haiku, from_nnx
from optoscope.tasks._classification import (
    Classification,
    LabeledBatch,
    cnn_classification,
    mlp_classification,
    residual_classification,
)
from optoscope.tasks._cnn import CNN
from optoscope.tasks._cnn_symmetries import cnn_symmetries
from optoscope.tasks._es_gradient import ESGradient, es_gradient
from optoscope.tasks._functions import FunctionTask, from_functions
from optoscope.tasks._language_model import (
    LanguageModel,
    recurrent_language_model,
    transformer_language_model,
)
from optoscope.tasks._mlp import MLP
from optoscope.tasks._mlp_symmetries import mlp_symmetries
from optoscope.tasks._quadratic import LeastSquares, RandomLeastSquares, RandomQuadratic
from optoscope.tasks._recurrent import RecurrentNetwork
from optoscope.tasks._registry import REGISTRY, TaskEntry, get, names
from optoscope.tasks._reparametrized import Reparametrized, ReparametrizedTasks, reparametrized
from optoscope.tasks._residual import ResidualNetwork
from optoscope.tasks._rosenbrock import Rosenbrock
from optoscope.tasks._streams import Stream
from optoscope.tasks._symmetries import Symmetry, from_action, join, rescale, scale, translation
from optoscope.tasks._torch import TorchTask, from_torch
from optoscope.tasks._transformer import Transformer
from optoscope.tasks._two_moons import TwoMoons, two_moons
from optoscope.tasks._unseen import UNSEEN

__all__ = [
    "CNN",
    "MLP",
    "REGISTRY",
    "UNSEEN",
    "Autoencoder",
    "Classification",
    "ESGradient",
    "FunctionTask",
    "LabeledBatch",
    "LanguageModel",
    "LeastSquares",
    "RandomLeastSquares",
    "RandomQuadratic",
    "RecurrentNetwork",
    "Reparametrized",
    "ReparametrizedTasks",
    "ResidualNetwork",
    "Rosenbrock",
    "Stream",
    "Symmetry",
    "Task",
    "TaskDistribution",
    "TaskEntry",
    "TorchTask",
    "Transformer",
    "TwoMoons",
    "as_distribution",
    "autoencoder",
    "cnn_classification",
    "cnn_symmetries",
    "es_gradient",
    "fixed",
    "from_action",
    "from_equinox",
    "from_flax",
    "from_functions",
    "from_haiku",
    "from_nnx",
    "from_torch",
    "get",
    "join",
    "mlp_classification",
    "mlp_symmetries",
    "names",
    "recurrent_language_model",
    "reparametrized",
    "rescale",
    "residual_classification",
    "scale",
    "transformer_language_model",
    "translation",
    "two_moons",
]
