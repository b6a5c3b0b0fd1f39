"""Registered optimizers, also those that need the length of training or the loss itself."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from optoscope import optimizers
from optoscope.optimizers import OptimizerModule
from optoscope.optimizers._small_network import SmallNetwork

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
    """One by its name, to be called as if it needed neither, and quick to compile."""
    found = with_few_units(as_registered(name, **configuration))
    return WithLoss(found) if name in NEED_THE_LOSS else found


def as_registered(name, **configuration):
    """The object that users get."""
    if optimizers.entry(name).takes_num_steps:
        configuration = {"num_steps": 100} | configuration
    return optimizers.get(name, **configuration)


def with_few_units(optimizer, units=2):
    """The same with fewer units in each hidden layer of a small network.

    XLA is given the products of each unit one by one: two units instead of four or eight compile
    in half or a quarter of the time, and nothing else about an optimizer depends on their number.
    """

    def narrow(node):
        if not isinstance(node, SmallNetwork):
            return node

        def kept(leaf, *places):
            # By NumPy, which compiles no program for each shape.
            return jnp.asarray(np.asarray(leaf)[places])

        some = slice(units)
        return dataclasses.replace(
            node,
            input_weights=kept(node.input_weights, slice(None), some),
            input_bias=kept(node.input_bias, some),
            hidden_weights=kept(node.hidden_weights, some, some),
            hidden_bias=kept(node.hidden_bias, some),
            output_weights=kept(node.output_weights, some),
        )

    return jax.tree.map(narrow, optimizer, is_leaf=lambda node: isinstance(node, SmallNetwork))
