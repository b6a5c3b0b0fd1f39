"""The penalty on deviations during meta-training, and the probe that measures them."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optoscope import meta, optimizers, tasks, training
from optoscope._core.errors import InvalidValueError, UnknownNameError
from optoscope.analysis import symmetry
from optoscope.training import PROBES, StepRecord
from optoscope.training._run import split_run_key

KEY = jax.random.key(0)


def small_task():
    return tasks.get("digits-mlp-leaky-relu", batch_size=8, hidden=(4,))


def record(params, updates):
    zero = jnp.zeros(())
    return StepRecord(jnp.zeros((), jnp.int32), None, params, params, updates, None, zero)


def first_units(params):
    return params["w"]


def last_units(params):
    return params["v"]


UNITS = tasks.rescale(first_units, last_units)
PARAMS = {"w": jnp.array([1.0, 2.0]), "v": jnp.array([1.0, 3.0])}
UPDATES = {"w": jnp.array([1.0, 0.5]), "v": jnp.array([0.0, 1.0])}  # d = (1, 1 − 3)


def test_both_forms_by_hand():
    step = record(PARAMS, UPDATES)
    assert float(symmetry.SymmetryPenalty(UNITS, 0.5)(step)) == 1.5
    assert float(symmetry.SymmetryPenalty(UNITS, 0.5, "released")(step)) == 0.5


@pytest.mark.parametrize("form", ["paper", "released"])
def test_gradient_against_finite_differences_and_none_through_the_parameters(form):
    with jax.enable_x64(True):
        penalty = symmetry.SymmetryPenalty(UNITS, jnp.asarray(0.7), form)
        params, updates = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), (PARAMS, UPDATES))
        through_params = jax.grad(lambda p: penalty(record(p, updates)))(params)
        assert all(not leaf.any() for leaf in jax.tree.leaves(through_params))
        gradient = jax.grad(lambda u: penalty(record(params, u)))(updates)
        for name in updates:
            for k in range(2):

                def value(shift, name=name, k=k):
                    moved = updates | {name: updates[name].at[k].add(shift)}
                    return float(penalty(record(params, moved)))

                expected = (value(1e-6) - value(-1e-6)) / 2e-6
                np.testing.assert_allclose(gradient[name][k], expected, rtol=1e-7)


def test_a_meta_gradient_feels_the_penalty_and_sees_the_parameters_as_constants():
    """SGD of rate η on one step: the penalty's meta-gradient is ±sign(η) Σ|⟨g, ξ⟩|, by hand."""
    task = small_task()
    found = task.symmetries(None)["translation"]
    penalty = symmetry.SymmetryPenalty(found, 2.0)
    params = task.init(KEY)
    direction = jax.tree.map(lambda leaf: jnp.asarray(np.cos(50 * np.asarray(leaf))), params)

    def meta_loss(rate):
        first = jax.tree.map(lambda p: p * (1 + rate), params)
        updates = jax.tree.map(lambda d: rate * d, direction)
        return penalty(record(first, updates))

    expected = 2.0 * jnp.sum(jnp.abs(found.contract(direction, params)))
    np.testing.assert_allclose(jax.jit(jax.grad(meta_loss))(0.3), expected, rtol=1e-5)


def test_in_an_objective_beta_changes_the_meta_gradient_without_recompiling():
    task = small_task()
    learned = optimizers.LSTMOptimizer.create(KEY, hidden_size=3)
    traces = []

    def estimator(beta):
        # Made anew each time, as a sweep would.
        penalty = symmetry.SymmetryPenalty.for_task(task, "rescale", beta)
        return meta.TruncatedBackprop(
            tasks.fixed(task),
            truncation=2,
            horizon=4,
            objective=meta.Objective("sum", penalties=(penalty,)),
        )

    @eqx.filter_jit
    def estimate(one, optimizer):
        traces.append(1)
        return one.estimate(optimizer, one.init(optimizer, KEY), KEY)[0]

    results = [estimate(estimator(beta), learned) for beta in (0.0, 0.5, 1.0)]
    assert len(traces) == 1
    gradients = [jnp.concatenate([g.ravel() for g in jax.tree.leaves(r.gradient)]) for r in results]
    assert results[0].loss < results[1].loss < results[2].loss
    # Loss and gradient are linear in β.
    np.testing.assert_allclose(
        gradients[2] - gradients[0], 2 * (gradients[1] - gradients[0]), rtol=1e-3, atol=1e-4
    )
    assert jnp.abs(gradients[2] - gradients[0]).max() > 1e-3


def test_bad_penalties_are_refused():
    with pytest.raises(InvalidValueError, match="beta"):
        symmetry.SymmetryPenalty(UNITS, -1.0)
    with pytest.raises(UnknownNameError, match="rescale"):
        symmetry.SymmetryPenalty.for_task(small_task(), "recsale", 1.0)
    with pytest.raises(UnknownNameError, match="released"):
        symmetry.SymmetryPenalty(UNITS, 1.0, "release")


def test_the_probe_is_registered_and_measures_what_deviations_gives():
    task = small_task()
    probe = PROBES["symmetry"](every=2)
    lion = optimizers.lion(0.01)
    run = training.train(task, lion, 3, key=KEY, probes={"symmetry": probe}, num_runs=2)
    measured = run.records["symmetry"]
    assert set(measured) == {"translation", "rescale"}
    assert run.measured_steps["symmetry"] == (0, 2)
    assert measured["rescale"].vector.shape == (2, 2, 4)
    assert measured["rescale"].cosine.shape == (2, 2)
    plain = training.train(task, lion, 3, key=KEY, num_runs=2)
    np.testing.assert_allclose(run.losses, plain.losses, rtol=1e-6)
    # The first measurement again, from the run's keys.
    _, init_key, batch_key = split_run_key(training.run_keys(KEY, 2)[0])

    @jax.jit
    def measure(init_key, batch_key):
        params = task.init(init_key)
        batch = task.sample_batch(jax.random.fold_in(batch_key, 0))
        updates, _ = lion.update(jax.grad(task.loss)(params, batch), lion.init(params), params)
        return symmetry.deviations(updates, params, task.symmetries(params)["rescale"])

    expected = measure(init_key, batch_key)
    first = jax.tree.map(lambda leaf: leaf[0, 0], measured["rescale"])
    np.testing.assert_allclose(first.vector, expected.vector, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(first.cosine, expected.cosine, rtol=1e-4)


def test_the_probe_refuses_tasks_without_symmetries_before_the_run():
    problem = tasks.get("quadratic")
    with pytest.raises(InvalidValueError, match="declares no symmetries"):
        training.train(
            problem, optimizers.sgd(), 3, key=KEY, probes={"s": symmetry.SymmetryProbe(every=2)}
        )


def test_the_probe_takes_declared_symmetries_over_the_tasks():
    task = small_task()
    chosen = {"mine": task.symmetries(task.init(KEY))["translation"]}
    probe = symmetry.SymmetryProbe(every=2, symmetries=chosen)
    run = training.train(task, optimizers.sgd(), 3, key=KEY, probes={"s": probe})
    assert set(run.records["s"]) == {"mine"}
