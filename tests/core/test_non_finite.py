import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from optoscope._core.non_finite import (
    CAUSES,
    advice,
    describe,
    mean_over_usable,
    skip_causes,
    still_finite,
    worst_unless_finite,
    zero_unless,
)

ONE = jnp.ones(())
ZERO = jnp.zeros(())


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_was_finite_must_stay_so(bad):
    before = {"a": jnp.array([1.0, jnp.inf]), "count": jnp.arange(2), "key": jax.random.key(0)}
    assert still_finite(before, before)
    assert still_finite(before, before | {"a": jnp.array([2.0, 3.0])})
    assert not still_finite(before, before | {"a": jnp.array([bad, 3.0])})
    assert still_finite(before, before | {"a": jnp.array([2.0, bad])})


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_scores_and_sums(bad):
    np.testing.assert_array_equal(worst_unless_finite(jnp.array([1.0, bad])), [1.0, np.inf])
    tree = {"a": jnp.array([1.0, bad])}
    np.testing.assert_array_equal(zero_unless(jnp.asarray(False), tree)["a"], 0.0)
    np.testing.assert_array_equal(zero_unless(jnp.asarray(True), tree)["a"], tree["a"])
    assert float(mean_over_usable(6 * ONE, 3 * ONE)) == 2.0
    assert np.isnan(mean_over_usable(ZERO, ZERO))


def causes(loss, lost, gradient, meta_optimizer):
    params = jnp.zeros(2)
    state = meta_optimizer.init(params)
    gradient = jnp.asarray(gradient, jnp.float32)
    updates, after = meta_optimizer.update(gradient, state, params)
    found = skip_causes(
        jnp.asarray(loss), jnp.asarray(lost), gradient, updates, (params, state), (params, after)
    )
    assert list(found) == list(CAUSES)
    return [name for name in CAUSES if found[name]]


@pytest.mark.parametrize(
    ("loss", "lost", "gradient", "expected"),
    [
        (1.0, 0.0, [1.0, 2.0], []),
        (np.nan, 0.0, [0.0, 0.0], ["loss"]),
        (np.nan, 0.0, [np.nan, 0.0], ["loss"]),
        (np.nan, 1.0, [0.0, 0.0], ["gradient"]),
        (1.0, 0.0, [np.inf, 0.0], ["gradient"]),
        (1.0, 0.0, [1e18, 0.0], []),
        (1.0, 0.0, [1e22, 0.0], ["state"]),
    ],
)
def test_each_cause_has_its_name(loss, lost, gradient, expected):
    assert causes(loss, lost, gradient, optax.adam(0.1)) == expected


def test_clipping_by_a_norm_that_overflows_is_no_step():
    clipped = optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(0.1))
    assert causes(1.0, 0.0, [1e22, 1e22], clipped) == ["state"]
    assert causes(1.0, 0.0, [0.0, 0.0], clipped) == []
    assert causes(1.0, 0.0, [1e22, 1e22], optax.chain(optax.clip(1.0), optax.sgd(0.1))) == []


def test_words():
    counts = {"loss": 0, "gradient": 2, "state": 1}
    assert describe(counts).startswith("2 because the losses were finite, the meta-gradient")
    assert "; 1 because" in describe(counts)
    assert describe(dict.fromkeys(CAUSES, 0)) == ""
    assert "backward_clip" in advice(counts)
