"""Optimizers by name."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
from jaxtyping import PRNGKeyArray

from optoscope._core.errors import InvalidValueError
from optoscope._core.registry import Registry
from optoscope.optimizers import _hand_designed as hand
from optoscope.optimizers._base import OptimizerModule
from optoscope.optimizers._lstm import LSTMOptimizer
from optoscope.optimizers._mlp import MLPOptimizer
from optoscope.optimizers._rnn import RNNOptimizer
from optoscope.optimizers._star import StarOptimizer


@dataclass(frozen=True)
class OptimizerEntry:
    """A registered optimizer.

    Args:
        create: makes it; learned optimizers take a key first.
        description: one line for lists.
        learned: whether it is a network to be meta-trained.
        search: for each hyper-parameter worth searching, its range (low, high), logarithmic.
    """

    create: Callable[..., OptimizerModule]
    description: str
    learned: bool = False
    search: dict[str, tuple[float, float]] = field(default_factory=dict)


REGISTRY: Registry[OptimizerEntry] = Registry("optimizer")

_LEARNING_RATE = {"learning_rate": (1e-4, 3.0)}
for _name, _create, _description in (
    ("sgd", hand.sgd, "stochastic gradient descent"),
    ("momentum", hand.momentum, "stochastic gradient descent with heavy-ball momentum (0.9)"),
    ("rmsprop", hand.rmsprop, "RMSProp"),
    ("adam", hand.adam, "Adam"),
    ("nadamw", hand.nadamw, "Adam with Nesterov momentum and decoupled weight decay"),
    ("lion", hand.lion, "Lion, the sign of an interpolated momentum"),
    ("aggmo", hand.aggmo, "aggregated momentum (0, 0.9, 0.99)"),
):
    REGISTRY.register(_name, OptimizerEntry(_create, _description, search=_LEARNING_RATE))
REGISTRY.register(
    "lstm",
    OptimizerEntry(
        LSTMOptimizer.create, "coordinate-wise two-layer LSTM (Andrychowicz et al. 2016)", True
    ),
)
REGISTRY.register(
    "rnn",
    OptimizerEntry(RNNOptimizer.create, "component-wise GRU with a linear readout (paper B)", True),
)
REGISTRY.register(
    "mlp",
    OptimizerEntry(
        MLPOptimizer.create,
        "197-parameter perceptron over running averages (Metz et al. 2022)",
        True,
    ),
)
REGISTRY.register(
    "star",
    OptimizerEntry(
        StarOptimizer.create, "the same with a nominal term and preconditioning (paper C)", True
    ),
)


def get(name: str, *, key: PRNGKeyArray | None = None, **configuration: Any) -> OptimizerModule:
    """The optimizer called `name`; a learned one comes untrained.

    Args:
        name: one of `names()`.
        key: draws a learned optimizer's weights; `jax.random.key(0)` if not given.
        **configuration: its keyword arguments (learning rate, hidden size, …).

    Raises:
        UnknownNameError: no such optimizer; the message suggests the nearest names.
        InvalidValueError: a keyword argument the optimizer does not have.

    Example:
        >>> float(get("adam", learning_rate=0.5).hyperparameters["learning_rate"])
        0.5
    """
    entry = REGISTRY[name]
    known = [p for p in inspect.signature(entry.create).parameters if p != "key"]
    for argument in configuration:
        if argument not in known:
            raise InvalidValueError(
                f"optimizer {name!r} has no argument {argument!r}; it takes {', '.join(known)}."
            )
    if not entry.learned:
        return entry.create(**configuration)
    return entry.create(jax.random.key(0) if key is None else key, **configuration)


def names() -> tuple[str, ...]:
    """The names of all registered optimizers."""
    return REGISTRY.names()
