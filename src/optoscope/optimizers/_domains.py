"""The domain of each hyper-parameter, by its name, for all optimizers that have it."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.core import Tracer

from optoscope._core.errors import InvalidValueError, check_number

_NOT_NEGATIVE = (0.0, np.inf)
_SHARE = (0.0, 1.0)
# Least and greatest, both included.
DOMAINS: dict[str, tuple[float, float]] = {
    "learning_rate": _NOT_NEGATIVE,
    "initial_rate": _NOT_NEGATIVE,
    "eps": _NOT_NEGATIVE,
    "gamma": _NOT_NEGATIVE,
    "weight_decay": _NOT_NEGATIVE,
    "alpha": _NOT_NEGATIVE,
    "decay_rate": _SHARE,
    "decay": _SHARE,
    "momentum": _SHARE,
    "beta": _SHARE,
    "betas": _SHARE,
    "b1": _SHARE,
    "b2": _SHARE,
    "b3": _SHARE,
}


def check_hyperparameters(optimizer: str, values: Mapping[str, Any]) -> None:
    """Raises InvalidValueError for numbers outside their domain, and for what is no number.

    Values that are traced, as in a search or a meta-gradient, are not known yet and pass.

    Args:
        optimizer: its name, for the message.
        values: numbers, or vectors of them, by the hyper-parameter's name.
    """
    for name, value in values.items():
        if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(value)):
            continue
        least, greatest = DOMAINS.get(name, (-np.inf, np.inf))
        try:
            numbers = np.asarray(value, np.float64)
        except (TypeError, ValueError):
            raise InvalidValueError(
                f"{name} of {optimizer} is {value!r}, which is no number."
            ) from None
        for number in numbers.ravel():
            check_number(f"{name} of {optimizer}", float(number), minimum=least, maximum=greatest)
