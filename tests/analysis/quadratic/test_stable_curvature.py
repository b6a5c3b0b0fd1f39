"""Stable curvatures against closed forms, and against what runs do."""

import jax
import numpy as np
import optax
import pytest

from optoscope import optimizers
from optoscope._core.errors import InvalidValueError
from optoscope.analysis.dynamics import coordinate_map, joint_spectral_radius, linearize
from optoscope.analysis.quadratic import curvature_runs, stable_curvature


def check_edge(optimizer, edge, num_steps=600):
    found = stable_curvature(optimizer, num_steps=num_steps)
    assert len(found.intervals) == 1
    assert found.intervals[0] == (0.0, pytest.approx(edge, rel=1e-6))
    assert found.linear_up_to == np.inf
    assert found.caveats == ()
    # Runs at 0.1, 0.5, 0.95, 1.05 and 2 times the edge.
    assert found.runs.outcomes == ("converges",) * 3 + ("diverges",) * 2
    assert found.agrees == (True,) * 5
    return found


def test_gradient_descent():
    check_edge(optimizers.sgd(0.25), 2 / 0.25)


@pytest.mark.parametrize("beta", [0.5, 0.9])
def test_heavy_ball(beta):
    check_edge(optimizers.momentum(0.1, beta), 2 * (1 + beta) / 0.1)


def test_nesterov():
    beta = 0.9
    edge = 2 * (1 + beta) / (0.1 * (1 + 2 * beta))
    check_edge(optax.sgd(0.1, momentum=beta, nesterov=True), edge)


def test_the_radius_is_that_of_the_joint_matrix():
    optimizer = optimizers.aggmo(0.1)
    found = stable_curvature(optimizer, curvature_range=(0.1, 100.0), num_steps=8)
    linear = linearize(coordinate_map(optimizer), np.zeros(3))
    for index in (0, 40, 100):
        expected = joint_spectral_radius(linear, float(found.curvatures[index]))
        assert found.spectral_radii[index] == pytest.approx(expected, rel=1e-9)


def test_dependence_on_the_parameter_is_included():
    """Weight decay w: φ⁺ = (1 − ηw − ηλ) φ, stable up to λ = 2/η − w."""
    optimizer = optax.chain(optax.add_decayed_weights(3.0), optax.sgd(0.25))
    found = stable_curvature(optimizer, num_steps=400)
    assert found.intervals[0][1] == pytest.approx(2 / 0.25 - 3.0, rel=1e-6)
    assert found.agrees == (True,) * 5


def test_an_optimizer_that_climbs_is_stable_nowhere():
    found = stable_curvature(optax.sgd(-0.1), run_curvatures=[0.5, 5.0], num_steps=400)
    assert found.informative
    assert found.intervals == ()
    assert found.runs.outcomes == ("diverges", "diverges")
    assert found.agrees == (True, True)


def test_adam_with_its_preconditioner_held():
    rate, b1, v = 0.01, 0.9, 4.0
    state = {"mu": 0.0, "nu": v}
    optimizer = optimizers.adam(rate, b1=b1)
    labels = coordinate_map(optimizer).labels
    vector = np.array([next(x for key, x in state.items() if key in label) for label in labels])
    found = stable_curvature(optimizer, state=vector, run_curvatures=[1.0], num_steps=100)
    # The step that is linearized has let v decay once.
    edge = 2 * (1 + b1) / (1 - b1) * (0.999 * v) ** 0.5 / rate
    assert found.intervals[0][1] == pytest.approx(edge, rel=1e-5)
    assert "is held" in found.caveats[0]
    assert 0 < found.linear_up_to < np.inf


def test_adam_at_rest_has_no_derivative_and_says_so():
    found = stable_curvature(optimizers.adam(0.1), run_curvatures=[1.0], num_steps=2000)
    assert not found.informative
    assert found.intervals == ()
    assert np.isnan(found.spectral_radii).all()
    assert "no derivative at rest" in found.caveats[0]
    assert found.runs.outcomes == ("converges",)
    assert found.agrees == (None,)


def test_a_sign_optimizer_is_flagged_and_runs_into_a_limit_cycle():
    found = stable_curvature(optimizers.lion(0.01), run_curvatures=[0.1, 10.0], num_steps=1000)
    assert not found.informative
    assert found.intervals == ()
    assert "a sign" in found.caveats[0]
    assert found.runs.outcomes == ("limit cycle", "limit cycle")
    # It keeps stepping by its learning rate.
    np.testing.assert_allclose(found.runs.final_sizes, 0.01, rtol=0.5)


def test_a_sign_optimizer_in_the_middle_of_a_run_is_not_called_stable():
    """There its sign does not change with small gradients, so no radius is above 1."""
    found = stable_curvature(
        optimizers.lion(0.01), state=np.array([0.3]), run_curvatures=[1.0], num_steps=8
    )
    assert not found.informative
    assert found.intervals == ()
    assert "a sign" in found.caveats[-1]


def test_an_instability_that_ends_in_a_limit_cycle_is_seen_beside_the_interval():
    """RMSProp: slope η/√ε at rest, so λ ≤ 2√ε/η; beyond that it circles, it does not diverge."""
    rate, eps = 0.01, 1e-6
    found = stable_curvature(
        optimizers.rmsprop(rate, eps=eps), run_curvatures=[0.1, 0.4], num_steps=1000
    )
    assert found.intervals[0][1] == pytest.approx(2 * eps**0.5 / rate, rel=1e-5)
    assert 0 < found.linear_up_to < 0.01
    assert "limit cycle" in found.caveats[0]
    assert found.runs.outcomes == ("converges", "limit cycle")
    assert found.agrees == (True, True)


def test_a_learned_optimizer_that_drifts_is_flagged():
    optimizer = optimizers.LSTMOptimizer.create(jax.random.key(0), hidden_size=4)
    found = stable_curvature(
        optimizer, curvature_range=(0.1, 10.0), run_curvatures=[1.0], num_steps=50
    )
    assert any("no fixed point" in caveat for caveat in found.caveats)
    assert found.linear_up_to < np.inf


def test_outcomes_of_runs():
    outcomes = curvature_runs(
        optimizers.sgd(0.5), [1e-9, 1.0, 3.9, 4.0, 4.1], num_steps=400
    ).outcomes
    assert outcomes == ("stalls", "converges", "converges", "limit cycle", "diverges")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"curvature_range": (0.0, 1.0)}, "curvature_range"),
        ({"curvature_range": (2.0, 1.0)}, "curvature_range"),
        ({"state": np.zeros(2)}, "the optimizer's has 0 entries: none"),
        ({"run_curvatures": [-1.0]}, "curvatures"),
        ({"start": 0.0}, "start"),
        ({"num_steps": 2}, "num_steps"),
    ],
)
def test_what_cannot_be_looked_at_is_refused(options, words):
    with pytest.raises(InvalidValueError, match=words):
        stable_curvature(optimizers.sgd(0.1), **options)
