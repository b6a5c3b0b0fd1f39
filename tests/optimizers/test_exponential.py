"""Powers of two against NumPy's in double precision, at their limits, and their derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optoscope.optimizers._exponential import times_power_of_two


@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit], ids=["op by op", "compiled"])
def test_against_double_precision(wrap):
    exponents = jnp.concatenate([jnp.linspace(-126, 127, 20_001), jnp.linspace(-2, 2, 20_001)])
    found = wrap(times_power_of_two)(jnp.full_like(exponents, -1.5), exponents)
    expected = -1.5 * np.exp2(np.asarray(exponents, np.float64))
    inside = np.abs(expected) < 3e38
    np.testing.assert_allclose(found[inside], expected[inside], rtol=3e-7)


def test_one_at_zero_and_limits_that_stay_finite():
    at = jnp.asarray([0.0, 1e9, -1e9, jnp.inf, -jnp.inf])
    found = times_power_of_two(jnp.ones(5), at)
    assert float(found[0]) == 1.0
    assert float(found[1]) >= 2.0**127
    assert 0 < float(found[2]) <= 2.0**-125
    assert np.isnan(times_power_of_two(jnp.ones(()), jnp.asarray(jnp.nan)))
    assert np.isnan(times_power_of_two(jnp.asarray(jnp.nan), jnp.ones(())))


def test_derivatives():
    with jax.enable_x64(True):
        point = (jnp.asarray(1.7), jnp.asarray(0.3))
        found = jax.grad(times_power_of_two, (0, 1))(*point)
        value = 1.7 * 2**0.3
        np.testing.assert_allclose(found, (2**0.3, np.log(2) * value), rtol=1e-12)
    single = jax.grad(times_power_of_two, (0, 1))(jnp.float32(1.7), jnp.float32(0.3))
    np.testing.assert_allclose(single, found, rtol=1e-6)
