"""The registry of optimizers: each is found by its name."""

import dataclasses
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from jaxtyping import PRNGKeyArray

from optoscope._core.errors import InvalidValueError
from optoscope._core.keys import as_key, new_key
from optoscope._core.registry import Registry
from optoscope.optimizers import _hand_designed as hand
from optoscope.optimizers import _optax_optimizers as more
from optoscope.optimizers._base import OptimizerModule
from optoscope.optimizers._celo import CeloOptimizer
from optoscope.optimizers._celo2 import Celo2Optimizer
from optoscope.optimizers._general import GeneralOptimizer
from optoscope.optimizers._lstm import LSTMOptimizer
from optoscope.optimizers._mlp import MLPOptimizer
from optoscope.optimizers._rnn import RNNOptimizer
from optoscope.optimizers._rnnprop import RNNPropOptimizer
from optoscope.optimizers._scheduled import scheduled, split_schedule
from optoscope.optimizers._star import StarOptimizer


@dataclass(frozen=True)
class OptimizerEntry:
    """A registered optimizer.

    Args:
        create: makes it; learned optimizers take a key first.
        description: one line for lists.
        learned: whether it is a network to be meta-trained.
        search: for each hyper-parameter worth searching, its range (low, high), logarithmic.
        takes_schedule: whether its updates may be multiplied by a schedule.
        takes_num_steps: whether `create` needs `num_steps`, the length of the run.
        family: the optimizers that lists show together.
    """

    create: Callable[..., OptimizerModule]
    description: str
    learned: bool = False
    search: dict[str, tuple[float, float]] = field(default_factory=dict)
    takes_schedule: bool = True
    takes_num_steps: bool = False
    family: str = "others"

    @property
    def arguments(self) -> tuple[str, ...]:
        """The names of the keyword arguments that `create` takes."""
        create = self.create
        own = ("num_steps",) if isinstance(create, _ScheduledCreate) else ()
        create = create.create if isinstance(create, _ScheduledCreate) else create
        return (*(p for p in inspect.signature(create).parameters if p != "key"), *own)


REGISTRY: Registry[OptimizerEntry] = Registry("optimizer")

# From low to high learning rates, wide enough for networks of all kinds; a search whose best value
# lies at an edge goes on past it.
_PLAIN = (1e-4, 3.0)
_GRADIENT, _ADAM, _OTHER = "gradient and momentum", "Adam and relatives", "signs and matrices"
for _family, _create, _range, _description in (
    (_GRADIENT, hand.sgd, _PLAIN, "stochastic gradient descent"),
    (_GRADIENT, hand.momentum, _PLAIN, "SGD with heavy-ball momentum (0.9)"),
    (_GRADIENT, more.nesterov, _PLAIN, "SGD with Nesterov momentum (0.9)"),
    (_ADAM, hand.rmsprop, _PLAIN, "RMSProp"),
    (_ADAM, hand.adam, _PLAIN, "Adam"),
    (_ADAM, more.adamw, _PLAIN, "Adam with decoupled weight decay (1e-4)"),
    (_ADAM, hand.nadamw, _PLAIN, "AdamW with Nesterov momentum"),
    (_ADAM, more.lamb, _PLAIN, "LAMB, Adam scaled to the norm of each array"),
    (_OTHER, hand.lion, _PLAIN, "Lion, the sign of an interpolated momentum"),
    (_GRADIENT, hand.aggmo, _PLAIN, "aggregated momentum (0, 0.9, 0.99)"),
    (_ADAM, more.adafactor, _PLAIN, "Adafactor, factored second moments"),
    (_ADAM, more.adan, _PLAIN, "Adan, Nesterov by differences of gradients"),
    (_ADAM, more.ademamix, _PLAIN, "AdEMAMix, Adam with a second, slow momentum"),
    (_ADAM, more.adopt, _PLAIN, "ADOPT, Adam with earlier second moments"),
    (_OTHER, more.muon, _PLAIN, "Muon, orthogonalized momentum"),
    (_OTHER, more.sophia, _PLAIN, "Sophia, by the diagonal of the Hessian"),
    (_ADAM, more.prodigy, (1e-2, 1e2), "Prodigy, Adam that estimates its own rate"),
):
    REGISTRY.register(
        _create.__name__,
        OptimizerEntry(_create, _description, search={"learning_rate": _range}, family=_family),
    )
REGISTRY.register(
    "schedule_free_adamw",
    OptimizerEntry(
        more.schedule_free_adamw,
        "AdamW without a schedule, by averaging",
        search={"learning_rate": _PLAIN},
        takes_schedule=False,
        family=_ADAM,
    ),
)
REGISTRY.register(
    "lstm",
    OptimizerEntry(LSTMOptimizer.create, "two-layer LSTM (Andrychowicz et al. 2016)", True),
)
REGISTRY.register(
    "rnn",
    OptimizerEntry(RNNOptimizer.create, "component-wise GRU (paper B)", True),
)
REGISTRY.register(
    "mlp",
    OptimizerEntry(
        MLPOptimizer.create,
        "perceptron over averages (Metz et al. 2022)",
        True,
    ),
)
REGISTRY.register(
    "star",
    OptimizerEntry(StarOptimizer.create, "the same with a nominal term (paper C)", True),
)
REGISTRY.register(
    "rnnprop",
    OptimizerEntry(
        RNNPropOptimizer.create, "two-layer LSTM over normalized gradients (Lv et al. 2017)", True
    ),
)
REGISTRY.register(
    "celo",
    OptimizerEntry(
        CeloOptimizer.create,
        "perceptron with a learned schedule (Celo)",
        True,
        takes_num_steps=True,
    ),
)
REGISTRY.register(
    "celo2",
    OptimizerEntry(
        Celo2Optimizer.create, "347-parameter perceptron with steps of unit size (Celo2)", True
    ),
)
REGISTRY.register(
    "general",
    OptimizerEntry(
        GeneralOptimizer.create,
        "SOAP of unit size, or with a network",
        True,
    ),
)


def entry(name: str) -> OptimizerEntry:
    """The entry that is registered under a name, which may end in a schedule.

    "adamw-cosine" and "adamw-warmup-cosine" are AdamW with a schedule of its learning rate; their
    `create` takes `num_steps`, the length of the run, besides AdamW's own arguments.

    Raises:
        UnknownNameError: no such optimizer; the message suggests the nearest names.
        InvalidValueError: the optimizer takes no schedule.
    """
    own, schedule = (name, "constant") if name in REGISTRY else split_schedule(name)
    found = REGISTRY[own]
    if schedule == "constant":
        return found
    if not found.takes_schedule:
        raise InvalidValueError(f"{own!r} takes no schedule; name it as it is: {own}.")
    return dataclasses.replace(
        found,
        create=_ScheduledCreate(found.create, schedule),
        description=f"{found.description}, {schedule.replace('-', ' and ')} schedule",
        takes_num_steps=True,
    )


@dataclass(frozen=True)
class _ScheduledCreate:
    """Makes an optimizer with a schedule; equal for equal parts, so that programs are shared."""

    create: Callable[..., OptimizerModule]
    schedule: str

    def __call__(self, *key: PRNGKeyArray, num_steps: int, **configuration: Any) -> OptimizerModule:
        return scheduled(self.create(*key, **configuration), self.schedule, num_steps)


def get(name: str, *, key: PRNGKeyArray | None = None, **configuration: Any) -> OptimizerModule:
    """The optimizer called `name`; a learned one comes untrained.

    Args:
        name: one of `names()`, with "-cosine" or "-warmup-cosine" behind it for a schedule.
        key: draws a learned optimizer's weights; `jax.random.key(0)` if not given.
        **configuration: its keyword arguments (learning rate, hidden size, …).

    Raises:
        UnknownNameError: no such optimizer; the message suggests the nearest names.
        InvalidValueError: a keyword argument the optimizer does not have, or none where one is
            needed.

    Example:
        >>> float(get("adam", learning_rate=0.5).hyperparameters["learning_rate"])
        0.5
    """
    found = entry(name)
    for argument in configuration:
        if argument not in found.arguments:
            raise InvalidValueError(
                f"optimizer {name!r} has no argument {argument!r}; it takes "
                f"{', '.join(found.arguments)}."
            )
    if found.takes_num_steps and "num_steps" not in configuration:
        raise InvalidValueError(
            f"optimizer {name!r} needs num_steps, the length of the run: "
            f"optimizers.get({name!r}, num_steps=1000)."
        )
    if not found.learned:
        return found.create(**configuration)
    return found.create(new_key(0) if key is None else as_key(key), **configuration)


def names() -> tuple[str, ...]:
    """The names of all registered optimizers."""
    return REGISTRY.names()
