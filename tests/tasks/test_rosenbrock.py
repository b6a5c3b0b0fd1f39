import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optoscope.tasks import Rosenbrock


@pytest.mark.parametrize(
    ("point", "value", "gradient"),
    # ∂x = −2(1 − x) − 400 x (y − x²), ∂y = 200 (y − x²).
    [((1, 1), 0, (0, 0)), ((0, 0), 1, (-2, 0)), ((-2, 3), 109, (-806, -200)),
     ((2, -1), 2501, (4002, -1000))],
)  # fmt: skip
def test_value_and_gradient_by_hand(point, value, gradient):
    params = jnp.asarray(point, jnp.float32)
    assert float(Rosenbrock().loss(params)) == value
    np.testing.assert_allclose(jax.grad(Rosenbrock().loss)(params), gradient)


def test_starts_are_uniform_over_their_rectangle():
    starts = np.asarray(jax.vmap(Rosenbrock().init)(jax.random.split(jax.random.key(0), 4000)))
    unit = (starts - [-2, -1]) / 4
    assert unit.min() >= 0
    assert unit.max() <= 1
    # The standard errors of mean and second moment of 4000 uniform numbers.
    assert np.all(np.abs(unit.mean(axis=0) - 1 / 2) < 4 * np.sqrt(1 / 12 / 4000))
    assert np.all(np.abs((unit**2).mean(axis=0) - 1 / 3) < 4 * np.sqrt(4 / 45 / 4000))
    assert abs(np.corrcoef(unit.T)[0, 1]) < 4 / np.sqrt(4000)


def test_nowhere_below_its_minimum():
    points = jax.random.normal(jax.random.key(0), (1000, 2)) * 3
    assert float(jax.vmap(Rosenbrock().loss)(points).min()) > 0
