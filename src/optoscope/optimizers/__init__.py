"""Optimizers, hand-designed and learned, all with Optax's two methods."""

from optoscope.optimizers._base import Optimizer, OptimizerModule, as_optax, named_leaves
from optoscope.optimizers._files import load, pretrained_names, read_description, save
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
from optoscope.optimizers._lstm import LSTMOptimizer
from optoscope.optimizers._mlp import MLPOptimizer
from optoscope.optimizers._registry import REGISTRY, OptimizerEntry, get, names
from optoscope.optimizers._rnn import RNNOptimizer
from optoscope.optimizers._star import StarOptimizer

__all__ = [
    "REGISTRY",
    "AggregatedMomentum",
    "Interpolation",
    "LSTMOptimizer",
    "MLPOptimizer",
    "OptaxOptimizer",
    "Optimizer",
    "OptimizerEntry",
    "OptimizerModule",
    "RNNOptimizer",
    "StarOptimizer",
    "adam",
    "aggmo",
    "as_optax",
    "get",
    "interpolate",
    "lion",
    "load",
    "momentum",
    "nadamw",
    "named_leaves",
    "names",
    "pretrained_names",
    "read_description",
    "rmsprop",
    "save",
    "sgd",
]
