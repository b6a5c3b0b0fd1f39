"""Coordinate maps and probes take every learned optimizer, those that others published included."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optoscope import optimizers, tasks, training
from optoscope._core.errors import InvalidValueError
from optoscope.analysis import dynamics
from support.registered import registered

LEARNED = [name for name in optimizers.names() if optimizers.REGISTRY[name].learned]
# They keep averages over rows and columns, and take small tensors together.
WITHOUT_COORDINATES = ("mlp", "star", "celo", "celo2", "general")
every_learned = pytest.mark.parametrize("name", LEARNED)
# One with a state for each coordinate and one with averages over rows stand for the others in
# `make test`; a program with every probe in it takes long to compile.
QUICK = ("rnnprop", "star")
some_learned = pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n not in QUICK)) for n in LEARNED]
)


@every_learned
def test_its_coordinate_map_does_what_it_does_to_one_number(name):
    optimizer = registered(name)
    coordinates = dynamics.coordinate_map(optimizer)
    state, update = coordinates.step(coordinates.initial_state, 0.3)

    @jax.jit
    def first_update(gradient, params):
        return optimizer.update(gradient, optimizer.init(params), params)[0]

    updates = first_update(jnp.asarray(0.3), jnp.zeros(()))
    assert np.isfinite(state).all()
    assert float(update) == pytest.approx(float(updates), rel=1e-3, abs=1e-8)


@some_learned
def test_every_probe_measures_it(name):
    task = tasks.get("digits-mlp-leaky-relu", hidden=(2,), batch_size=8)
    # A measurement of these is an epoch of batches otherwise.
    small = {known: {"num_batches": 8} for known in ("tail_index", "covariance")}
    probes = {
        known: training.PROBES[known](every=2, **small.get(known, {})) for known in training.PROBES
    }
    optimizer = registered(name)
    for known in ("states", "group-states") if name in WITHOUT_COORDINATES else ():
        with pytest.raises(InvalidValueError, match="not one for each coordinate"):
            probes.pop(known).bind(task, optimizer)
    run = training.train(task, optimizer, 3, key=jax.random.key(0), probes=probes)
    for known in probes:
        leaves = jax.tree.leaves(run.records[known])
        assert leaves, known
        assert all(leaf.shape[:2] == (1, 2) for leaf in leaves), known
    assert np.isfinite(run.losses).all()
