"""Update rules that are known come back as their formula."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from optoscope import optimizers
from optoscope._core.errors import InvalidValueError
from optoscope.analysis.dynamics import (
    FormulaOptimizer,
    Term,
    distill_formula,
    formula,
    formula_terms,
    is_recurrent,
)
from optoscope.analysis.dynamics._formula import remainder, trajectories
from optoscope.tasks import get

KEY = jax.random.key(0)
QUADRATIC = get("quadratic")
SHORT = {"num_steps": 60, "num_runs": 6}


def zero_star(nominal):
    """STAR whose network answers 0, so that its nominal term alone is left."""
    star = optimizers.StarOptimizer.create(KEY, nominal=nominal, nominal_scale=0.05)
    return dataclasses.replace(star, network=jax.tree.map(jnp.zeros_like, star.network))


KNOWN = {
    "sgd": (optimizers.sgd(0.1), "− 0.1·g"),
    "momentum": (optimizers.momentum(0.1, 0.9), "− 1·m[0.9]"),
    "adam": (optimizers.adam(0.1), "− 0.1·m̂[0.9]/√v̂[0.999]"),
    "rmsprop": (optimizers.adam(0.1, b1=0.0, b2=0.99), "− 0.1·g/√v̂[0.99]"),
    "lion": (
        optax.lion(0.05, b1=0.9, b2=0.99, weight_decay=0.0),
        "− 0.05·sign (0.9 m[0.99] + 0.1 g)",
    ),
    "sign": (optax.sign_sgd(0.05), "− 0.05·sign g"),
    "STAR without a network": (zero_star("sgd"), "− 0.05·g"),
}


@pytest.mark.parametrize("name", KNOWN)
def test_known_rules_are_one_term(name):
    optimizer, expected = KNOWN[name]
    found = formula(optimizer, QUADRATIC, key=KEY, **SHORT)
    assert str(found) == f"Δ = {expected}"
    assert found.explained == pytest.approx(1.0, abs=1e-4)


def test_weight_decay_is_a_second_term():
    adamw = optax.adamw(0.1, weight_decay=0.2)
    found = formula(adamw, QUADRATIC, key=KEY, **SHORT)
    terms = dict(zip(map(str, found.terms), found.coefficients, strict=True))
    assert set(terms) == {"m̂[0.9]/√v̂[0.999]", "p"}
    np.testing.assert_allclose(terms["p"], -0.02, rtol=1e-3)
    assert found.mechanisms == ("momentum", "normalization", "weight decay")
    assert found.path[0] < found.path[1] == found.explained


def test_a_rule_of_two_terms_and_one_that_fades():
    terms = (Term("gradient"), Term("gradient", early=True))
    made = FormulaOptimizer(jnp.array([-0.05, -0.1]), terms, 60)
    found = formula(made, QUADRATIC, key=KEY, **SHORT)
    coefficients = dict(zip(found.terms, found.coefficients, strict=True))
    assert coefficients == {terms[0]: pytest.approx(-0.05), terms[1]: pytest.approx(-0.1)}
    assert "schedule" in found.mechanisms


def test_what_no_formula_explains_is_said():
    class Noise(optimizers.OptimizerModule):
        def init(self, params):
            return jax.random.key(0)

        def update(self, grads, state, params=None, **extra):
            key, state = jax.random.split(state)
            return jax.tree.map(lambda g: 1e-3 * jax.random.normal(key, g.shape), grads), state

    found = formula(Noise(), QUADRATIC, key=KEY, **SHORT)
    assert found.explained < 0.2


def test_the_program_is_the_optimizer():
    some = [term for index, term in enumerate(formula_terms()) if index % 3 == 0]
    values = jnp.asarray(np.linspace(-1, 1, len(some)), jnp.float32)
    optimizer = FormulaOptimizer(values, tuple(some), 30)
    scope = {}
    exec(optimizer.source(), scope)
    copy = scope["distilled"]()
    params = {"w": jnp.arange(6.0).reshape(3, 2), "b": jnp.ones(())}
    states = optimizer.init(params), copy.init(params)
    for step in range(4):
        keys = jax.random.split(jax.random.key(step))
        grads = {"w": jax.random.normal(keys[0], (3, 2)), "b": jax.random.normal(keys[1])}
        mine, first = optimizer.update(grads, states[0], params)
        theirs, second = copy.update(grads, states[1], params)
        states = first, second
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4), mine, theirs)


def test_the_remainder_is_nothing_for_the_optimizer_itself_and_all_for_standing_still():
    adam = optimizers.adam(0.1)
    met = trajectories(adam, QUADRATIC, key=KEY, **SHORT)
    same, still = (remainder(one, met) for one in (adam, optimizers.sgd(0.0)))
    assert set(same) == {
        "all", "early", "middle", "late", "small gradients", "large gradients",
    }  # fmt: skip
    np.testing.assert_allclose(list(same.values()), 0, atol=1e-6)
    np.testing.assert_allclose(list(still.values()), 1, rtol=1e-6)


def test_adam_is_distilled_to_itself_and_each_of_its_parts_is_switched_off():
    found = distill_formula(optimizers.adam(0.1), QUADRATIC, key=KEY, num_steps=60, num_runs=24)
    assert found.mechanisms == ("momentum", "normalization")
    assert found.gains["distilled"].share == pytest.approx(1.0, abs=1e-2)
    assert found.gains["distilled"].kept.high < 1.05
    assert found.sufficient
    assert set(found.costs) >= {"momentum", "normalization"}
    assert "def distilled" in found.source


def test_of_star_the_learned_correction_is_named_only_where_it_does_something():
    found = distill_formula(zero_star("sgd"), QUADRATIC, key=KEY, num_steps=40, num_runs=12)
    assert found.established == ("nominal term",)
    assert found.gains["without learned correction"].share == pytest.approx(1.0)
    assert found.gains["without nominal term"].share == pytest.approx(0.0, abs=1e-6)


def test_which_optimizers_are_small_recurrent_ones():
    known = (optimizers.momentum(0.1, 0.9), optimizers.aggmo(0.1, [0.5, 0.9]))
    recurrent = (*known, optimizers.RNNOptimizer.create(KEY))
    others = (
        optimizers.adam(0.1),
        optimizers.sgd(0.1),
        optimizers.lion(0.1),
        optimizers.RNNOptimizer.create(KEY, input_scaling="normalized"),
    )
    learned = (optimizers.StarOptimizer.create(KEY), optimizers.LSTMOptimizer.create(KEY))
    assert not any(map(is_recurrent, learned))
    assert all(map(is_recurrent, recurrent))
    assert not any(map(is_recurrent, others))


def test_refusals():
    with pytest.raises(InvalidValueError, match="never moved"):
        formula(optimizers.sgd(0.0), QUADRATIC, key=KEY, **SHORT)
    with pytest.raises(InvalidValueError, match="most_terms"):
        formula(optimizers.sgd(0.1), QUADRATIC, key=KEY, most_terms=0)


@pytest.mark.slow
# An untrained "rnn" does not move: its readout starts at zero.
@pytest.mark.parametrize("name", [n for n in optimizers.names() if n != "rnn"])
def test_every_registered_optimizer_has_a_formula(name):
    entry = optimizers.entry(name)
    optimizer = optimizers.get(name, **({"num_steps": 30} if entry.takes_num_steps else {}))
    found = formula(optimizer, get("digits-mlp-relu"), key=KEY, num_steps=30, num_runs=2)
    assert np.isfinite(found.explained)
    assert found.terms
