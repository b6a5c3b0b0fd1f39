"""Registered optimizers, also those that need to know the length of training."""

from optoscope import optimizers


def registered(name, **configuration):
    if optimizers.entry(name).takes_num_steps:
        configuration = {"num_steps": 100} | configuration
    return optimizers.get(name, **configuration)
