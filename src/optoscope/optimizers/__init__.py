"""Optimizers, hand-designed and learned, all with Optax's two methods."""

from optoscope._core.saved_optimizers import pretrained_names, read_description
from optoscope.optimizers._base import (
    Optimizer,
    OptimizerModule,
    Packed,
    as_optax,
    evaluation_params,
    named_leaves,
    packed_state,
)
from optoscope.optimizers._celo import CeloOptimizer
from optoscope.optimizers._celo2 import Celo2Optimizer
from optoscope.optimizers._costs import state_bytes, step_time
from optoscope.optimizers._files import load, save
from optoscope.optimizers._general import GeneralOptimizer
from optoscope.optimizers._hand_designed import (
    AggregatedMomentum,
    Interpolation,
    OptaxOptimizer,
    adam,
    aggmo,
    interpolate,
    lion,
    momentum,
    nadamw,
    rmsprop,
    sgd,
)
from optoscope.optimizers._known_weights import WEIGHTS, KnownWeights
from optoscope.optimizers._lstm import LSTMOptimizer
from optoscope.optimizers._mlp import MLPOptimizer
from optoscope.optimizers._optax_optimizers import (
    adafactor,
    adamw,
    adan,
    ademamix,
    adopt,
    lamb,
    muon,
    nesterov,
    prodigy,
    schedule_free_adamw,
    sophia,
)
from optoscope.optimizers._published import PUBLISHED, load_published
from optoscope.optimizers._registry import REGISTRY, OptimizerEntry, entry, get, names
from optoscope.optimizers._rnn import RNNOptimizer
from optoscope.optimizers._rnnprop import RNNPropOptimizer
from optoscope.optimizers._scale_by_learned import scale_by_learned
from optoscope.optimizers._scheduled import SCHEDULES, Scheduled, scheduled
from optoscope.optimizers._star import StarOptimizer

__all__ = [
    "PUBLISHED",
    "REGISTRY",
    "SCHEDULES",
    "WEIGHTS",
    "AggregatedMomentum",
    "Celo2Optimizer",
    "CeloOptimizer",
    "GeneralOptimizer",
    "Interpolation",
    "KnownWeights",
    "LSTMOptimizer",
    "MLPOptimizer",
    "OptaxOptimizer",
    "Optimizer",
    "OptimizerEntry",
    "OptimizerModule",
    "Packed",
    "RNNOptimizer",
    "RNNPropOptimizer",
    "Scheduled",
    "StarOptimizer",
    "adafactor",
    "adam",
    "adamw",
    "adan",
    "ademamix",
    "adopt",
    "aggmo",
    "as_optax",
    "entry",
    "evaluation_params",
    "get",
    "interpolate",
    "lamb",
    "lion",
    "load",
    "load_published",
    "momentum",
    "muon",
    "nadamw",
    "named_leaves",
    "names",
    "nesterov",
    "packed_state",
    "pretrained_names",
    "prodigy",
    "read_description",
    "rmsprop",
    "save",
    "scale_by_learned",
    "schedule_free_adamw",
    "scheduled",
    "sgd",
    "sophia",
    "state_bytes",
    "step_time",
]
