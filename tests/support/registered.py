"""Registered optimizers, also those that need the length of training or the loss itself."""

from typing import Any

import jax
import jax.numpy as jnp

from optoscope import optimizers
from optoscope.optimizers import OptimizerModule

NEED_THE_LOSS = ("sophia",)


class WithLoss(OptimizerModule):
    """An optimizer that is given a loss where its caller has none: a loop of someone's own."""

    optimizer: Any

    def init(self, params):
        return self.optimizer.init(params)

    def update(self, grads, state, params=None, **extra):
        return self.optimizer.update(grads, state, params, **{"obj_fn": quadratic} | extra)


def quadratic(params):
    return sum(0.5 * jnp.sum(jnp.square(leaf.astype(float))) for leaf in jax.tree.leaves(params))


def registered(name, **configuration):
    """One by its name, to be called as if it needed neither."""
    found = as_registered(name, **configuration)
    return WithLoss(found) if name in NEED_THE_LOSS else found


def as_registered(name, **configuration):
    """The object that users get."""
    if optimizers.entry(name).takes_num_steps:
        configuration = {"num_steps": 100} | configuration
    return optimizers.get(name, **configuration)
