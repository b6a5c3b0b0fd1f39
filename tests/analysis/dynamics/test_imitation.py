"""Programs whose numbers are wrong come back with those of the optimizer that they imitate."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optoscope import optimizers, tasks
from optoscope.analysis.dynamics import aggregated_momentum, coordinate_map, linearize
from optoscope.analysis.dynamics._explicit import Clipping, ExplicitOptimizer, Schedule
from optoscope.analysis.dynamics._imitation import Imitation


def program(learning_rate: float, momentum: float, **parts) -> ExplicitOptimizer:
    known = optimizers.momentum(learning_rate, momentum)
    modes = linearize(coordinate_map(known), np.zeros(1)).modes()
    return ExplicitOptimizer(aggregated_momentum(modes), **parts)


def imitated(learned, start: ExplicitOptimizer) -> ExplicitOptimizer:
    imitation = Imitation(learned, tasks.get("quadratic"), 40, 4, jax.random.key(0))
    return imitation(start)


def test_momentum_is_found_from_wrong_numbers():
    found = imitated(optimizers.momentum(0.1, 0.8), program(0.02, 0.5)).momentum
    assert float(found.transition[0, 0]) == pytest.approx(0.8, abs=1e-3)
    assert float(found.readout[0]) == pytest.approx(-0.1, rel=1e-3)
    assert float(found.direct) == pytest.approx(0.0, abs=1e-4)


def test_clipping_and_schedule_are_found_from_wrong_numbers():
    learned = program(
        0.1,
        0.6,
        clipping=Clipping(jnp.array(0.7)),
        schedule=Schedule(jnp.array(1.5), jnp.array(8.0)),
    )
    start = program(
        0.1,
        0.5,
        clipping=Clipping(jnp.array(2.0)),
        schedule=Schedule(jnp.array(0.5), jnp.array(5.0)),
    )
    found = imitated(learned, start)
    assert float(found.clipping.threshold) == pytest.approx(0.7, rel=0.02)
    assert float(found.schedule.excess) == pytest.approx(1.5, rel=0.02)
    assert float(found.schedule.duration) == pytest.approx(8.0, rel=0.02)
    assert found.adaptation is None


def test_a_mode_keeps_to_itself():
    """Entries of the transition that belong to no mode stay zero."""
    aggmo = optimizers.aggmo(0.05, [0.3, 0.9])
    modes = linearize(coordinate_map(aggmo), np.zeros(2)).modes()
    found = imitated(aggmo, ExplicitOptimizer(aggregated_momentum(modes))).momentum.transition
    assert found[0, 1] == found[1, 0] == 0


def test_a_program_that_diverges_is_led_back():
    found = imitated(optimizers.momentum(0.1, 0.8), program(3.0, 0.9)).momentum
    assert np.isfinite(np.asarray(found.transition)).all()
    assert float(found.readout[0]) == pytest.approx(-0.1, rel=0.05)
