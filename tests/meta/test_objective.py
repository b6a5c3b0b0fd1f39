import math

import equinox as eqx
import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optoscope._core.errors import InvalidValueError, UnknownNameError
from optoscope.meta import REDUCTIONS, Objective, end_weights, final_mean
from optoscope.training import StepRecord

LOSSES = jnp.array([1.0, 2.0, 6.0])
NONE = jnp.zeros(3)
STEPS = jnp.arange(3)
ALL = jnp.ones(3, bool)


@pytest.mark.parametrize(
    ("reduction", "expected"),
    [("mean", 3.0), ("sum", 9.0), ("log_sum", math.log(9.0)), ("last", 6.0)],
)
def test_reductions_by_hand(reduction, expected):
    assert float(Objective(reduction)(LOSSES, NONE, STEPS, ALL)) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("reduction", "expected"),
    # (0.5*1 + 0*2 + 2*6) = 12.5, over the weights' sum 2.5.
    [("mean", 5.0), ("sum", 12.5), ("log_sum", math.log(12.5)), ("last", 6.0)],
)
def test_weights_by_hand(reduction, expected):
    objective = Objective(reduction, weights=jnp.array([0.5, 0.0, 2.0]))
    assert float(objective(LOSSES, NONE, STEPS, ALL)) == pytest.approx(expected)


def test_last_is_the_last_step_with_a_weight():
    objective = Objective("last", weights=jnp.array([1.0, 1.0, 0.0]))
    assert float(objective(LOSSES, NONE, STEPS, ALL)) == 2.0


def test_unrolls_of_an_episode_count_by_the_weights_of_their_own_steps():
    """As the terms of single steps do, of which evolution strategies make their meta-losses."""
    weights, losses = jnp.array([0.0, 0.0, 0.0, 1.0, 2.0, 3.0]), jnp.arange(1.0, 7.0)
    for reduction in ("mean", "mean_log", "last"):
        objective = Objective(reduction, weights=weights)
        parts = []
        for steps in (jnp.arange(3), jnp.arange(3, 6)):
            parts.append(objective(losses[steps], 0 * NONE, steps, ALL, whole=False))
            if reduction != "last":
                terms = objective.step_terms(losses[steps], 0 * NONE, steps)
                assert float(parts[-1]) == pytest.approx(float(terms.sum()))
        assert float(parts[0]) == 0
        # The mean over the unrolls is the meta-loss of the whole episode; the last loss is there.
        whole = float(objective(losses, jnp.zeros(6), jnp.arange(6), jnp.ones(6, bool)))
        share = 1 if reduction == "last" else 2
        assert float(parts[1]) == pytest.approx(share * whole)


def test_weights_are_looked_up_by_the_place_in_the_horizon():
    objective = Objective("sum", weights=jnp.array([100.0, 100.0, 1.0, 10.0, 0.0]))
    got = objective(LOSSES, NONE, jnp.array([2, 3, 4]), ALL)
    assert float(got) == pytest.approx(1.0 + 20.0)


@pytest.mark.parametrize(
    ("reduction", "expected"),
    [("mean", 3.0 + 0.2), ("sum", 9.6), ("log_sum", math.log(9.0) + 0.6), ("last", 6.6)],
)
def test_penalties_are_added_as_a_sum_or_for_the_mean_as_a_mean(reduction, expected):
    penalties = jnp.array([0.1, 0.2, 0.3])
    got = float(Objective(reduction)(LOSSES, penalties, STEPS, ALL))
    assert got == pytest.approx(expected)


def test_weights_do_not_touch_penalties():
    objective = Objective("mean", weights=jnp.array([1.0, 0.0, 0.0]))
    got = objective(LOSSES, jnp.array([0.1, 0.2, 0.3]), STEPS, ALL)
    assert float(got) == pytest.approx(1.0 + 0.2)


def test_penalty_sums_every_penalty_of_a_record():
    def updates(record):
        return jnp.sum(record.updates**2)

    def loss(record):
        return 10 * record.loss

    record = StepRecord(
        step=jnp.asarray(0),
        batch=None,
        params=jnp.zeros(2),
        grads=jnp.zeros(2),
        updates=jnp.array([1.0, 2.0]),
        state=(),
        loss=jnp.asarray(0.5),
    )
    assert float(Objective("sum", penalties=(updates, loss)).penalty(record)) == 10.0
    assert float(Objective("sum").penalty(record)) == 0.0


@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_what_lies_outside_the_horizon_poisons_neither_value_nor_gradient(reduction, bad):
    inside = jnp.array([True, True, False])
    objective = Objective(reduction, weights=jnp.array([1.0, 3.0]))
    places = jnp.array([0, 1, 1])

    def value(losses, penalties):
        return objective(losses, penalties, places, inside)

    losses, penalties = jnp.array([1.0, 2.0, bad]), jnp.array([0.1, 0.3, bad])
    expected = {"mean": 7 / 4 + 0.2, "sum": 7.4, "log_sum": math.log(7) + 0.4, "last": 2.4}
    expected["mean_log"] = 3 * math.log(2) / 4 + 0.2
    assert float(value(losses, penalties)) == pytest.approx(expected[reduction])
    by_loss, by_penalty = jax.grad(value, (0, 1))(losses, penalties)
    slopes = {
        "mean": [1 / 4, 3 / 4],
        "mean_log": [1 / 4, 3 / 8],
        "sum": [1.0, 3.0],
        "log_sum": [1 / 7, 3 / 7],
        "last": [0.0, 1.0],
    }
    np.testing.assert_allclose(by_loss, [*slopes[reduction], 0.0], rtol=1e-6)
    share = 0.5 if reduction in ("mean", "mean_log") else 1.0
    np.testing.assert_allclose(by_penalty, [share, share, 0.0], rtol=1e-6)


@pytest.mark.parametrize("bad", [math.inf, math.nan])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_what_lies_inside_is_not_hidden(reduction, bad):
    got = Objective(reduction)(jnp.array([1.0, 2.0, bad]), NONE, STEPS, ALL)
    assert not math.isfinite(float(got))


@settings(deadline=None, max_examples=20)
@given(st.lists(st.floats(0.125, 1024, width=32), min_size=1, max_size=8), st.floats(0.1, 10))
def test_without_weights_is_the_same_as_equal_weights_for_the_mean(values, weight):
    losses = jnp.array(values)
    zeros, steps, inside = jnp.zeros(len(values)), jnp.arange(len(values)), losses > 0
    weighted = Objective("mean", weights=jnp.full(len(values), weight))
    np.testing.assert_allclose(
        weighted(losses, zeros, steps, inside),
        Objective("mean")(losses, zeros, steps, inside),
        rtol=1e-5,
    )


def test_weights_are_data_and_the_reduction_is_not():
    objective = Objective("sum", weights=jnp.ones(3))
    compiled = eqx.filter_jit(lambda o: o(LOSSES, NONE, STEPS, ALL))
    assert float(compiled(objective)) == 9.0
    assert float(compiled(eqx.tree_at(lambda o: o.weights, objective, 2 * jnp.ones(3)))) == 18.0


def test_an_unknown_reduction_suggests_the_nearest():
    with pytest.raises(UnknownNameError, match=r"unknown meta-objective 'log_sun'.*'log_sum'"):
        Objective("log_sun")


def test_weights_must_be_a_vector(monkeypatch):
    # Users meet the message; in these tests the annotation would speak first.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(InvalidValueError, match=r"weights has shape \(3, 2\); .*\(horizon,\)"):
        Objective("mean", weights=jnp.ones((3, 2)))


def test_the_logarithm_of_a_negative_sum_is_not_a_number():
    """Once it was the logarithm of 1e-30, with a gradient of zero."""

    def meta_loss(losses):
        return Objective("log_sum")(losses, NONE, STEPS, ALL)

    value, gradient = jax.value_and_grad(meta_loss)(jnp.array([1.0, -2.0, -1.0]))
    assert jnp.isnan(value)
    assert jnp.isnan(gradient).all()
    value, gradient = jax.value_and_grad(meta_loss)(jnp.array([1.0, -2.0, 3.0]))
    assert value == pytest.approx(math.log(2))
    assert gradient.tolist() == pytest.approx([0.5, 0.5, 0.5])


def test_the_mean_logarithm_weighs_decades_alike():
    losses, ones = jnp.array([1.0, 0.1, 1e-6]), jnp.ones(3)
    objective = Objective("mean_log")
    expected = np.mean(np.log([1.0, 0.1, 1e-4]))
    whole = objective(losses, 0 * ones, jnp.arange(3), ones > 0)
    assert float(whole) == pytest.approx(expected, rel=1e-6)
    terms = objective.step_terms(losses, 0 * ones, jnp.arange(3))
    assert float(jnp.sum(terms)) == pytest.approx(expected, rel=1e-6)
    assert jnp.isnan(objective(-losses, 0 * ones, jnp.arange(3), ones > 0))


@pytest.mark.parametrize(("horizon", "tenth"), [(1, 1), (7, 1), (25, 2), (200, 20)])
def test_a_share_of_the_weight_lies_on_the_last_tenth(horizon, tenth):
    losses = jax.random.uniform(jax.random.key(0), (horizon,)) + 0.1
    everywhere = jnp.ones(horizon, bool), jnp.arange(horizon)
    for share in (0.0, 0.3, 1.0):
        objective = Objective("mean", end_weights(horizon, share))
        found = objective(losses, 0 * losses, everywhere[1], everywhere[0])
        expected = (1 - share) * losses.mean() + share * losses[-tenth:].mean()
        np.testing.assert_allclose(found, expected, rtol=1e-5)
    np.testing.assert_allclose(final_mean(losses[None]), losses[-tenth:].mean(), rtol=1e-6)


@pytest.mark.parametrize(("horizon", "share"), [(0, 0.5), (10, 1.5), (10, -0.1)])
def test_wrong_weights_of_the_end(horizon, share):
    with pytest.raises(InvalidValueError, match=r"horizon|share"):
        end_weights(horizon, share)
