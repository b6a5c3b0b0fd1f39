import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from optoscope.optimizers._accumulators import Decays, advance, factored_axes, start
from support import literal_star

SHAPES = [(1,), (7,), (4, 6), (6, 4), (5, 5), (3, 3, 4, 8), (2, 6, 6, 3), (2, 1, 2)]
DECAYS = {"momentum": [0.02, -0.03, 0.25], "factored": [0.01, 0.6, -0.02], "second_moment": 0.05}


def as_module(decays):
    return Decays(**{name: jnp.asarray(value) for name, value in decays.items()})


def gradients(shape, count=4):
    generator = np.random.default_rng(0)
    sizes = 10.0 ** generator.uniform(-4, 2, shape)
    return [sizes * generator.standard_normal(shape) for _ in range(count)]


@pytest.mark.parametrize("shape", SHAPES)
def test_against_the_literal_implementation(shape):
    with jax.enable_x64(True):
        ours, literal = start(shape, jnp.float64), literal_star.empty_state(shape)
        decays, step = as_module(DECAYS), jax.jit(advance)
        for g in gradients(shape):
            ours = step(decays, ours, jnp.asarray(g))
            literal_star.accumulate(
                literal, g, {name: np.asarray(value) for name, value in DECAYS.items()}
            )
        expected = [literal["m"], [literal["v"]]]
        if len(shape) < 2:
            assert ours.columns is None
            expected += [literal["D"]]
        else:
            d1, d0 = literal_star.largest_axes(shape)
            expected += [[np.expand_dims(x, d0) for x in literal["R"]]]
            expected += [[np.expand_dims(x, d1) for x in literal["C"]]]
        found = [ours.momenta, [ours.second_moment], ours.rows]
        found += [ours.columns] if len(shape) >= 2 else []
        for one, other in zip(found, expected, strict=True):
            for a, b in zip(one, other, strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-12)


def test_the_decays_start_where_they_should_and_are_clipped():
    decays = Decays.create()
    np.testing.assert_allclose(decays.momentum_rates(), [0.1, 0.01, 0.001], rtol=1e-6)
    np.testing.assert_allclose(decays.factored_rates(), [0.1, 0.01, 0.001], rtol=1e-6)
    np.testing.assert_allclose(decays.second_moment_rate(), 0.001, rtol=1e-6)
    far = jax.tree.map(lambda leaf: leaf + 1.0, decays)
    np.testing.assert_array_equal(far.factored_rates(), 1.0)
    np.testing.assert_array_equal(far.second_moment_rate(), 1.0)
    np.testing.assert_allclose(far.momentum_rates()[0], 0.1 * np.exp(10), rtol=1e-5)


def test_ties_between_axes_are_broken_by_a_stable_sort():
    assert factored_axes((5, 5)) == (0, 1)
    assert factored_axes((3, 3, 8, 8)) == (2, 3)
    assert factored_axes((8, 3, 8)) == (0, 2)
    assert factored_axes((9, 2)) == (1, 0)
    assert factored_axes((1, 1, 2)) == (1, 2)


def test_a_constant_gradient_has_closed_forms():
    averages, decays = start((3, 2), jnp.float32), Decays.create()
    for _ in range(10):
        averages = advance(decays, averages, jnp.full((3, 2), -2.0))
    for k, beta in enumerate((0.9, 0.99, 0.999)):
        np.testing.assert_allclose(averages.momenta[k], -2 * (1 - beta**10), rtol=1e-5)
        np.testing.assert_allclose(averages.rows[k], 4 * (1 - beta**10), rtol=1e-5)
        np.testing.assert_allclose(averages.columns[k], 4 * (1 - beta**10), rtol=1e-5)
    np.testing.assert_allclose(averages.second_moment, 4 * (1 - 0.999**10), rtol=1e-5)


def test_huge_gradients_leave_squares_finite():
    averages = advance(Decays.create(), start((4, 3), jnp.float32), jnp.full((4, 3), 1e30))
    assert np.isfinite(np.concatenate([np.ravel(x) for x in jax.tree.leaves(averages)])).all()


def test_derivatives_in_the_decays_match_finite_differences():
    with jax.enable_x64(True):
        decays = as_module(DECAYS)
        flat, unravel = ravel_pytree(decays)
        grads = jnp.asarray(np.stack(gradients((3, 4))))

        @jax.jit
        def loss(vector):
            averages = start((3, 4), jnp.float64)
            for g in grads:
                averages = advance(unravel(vector), averages, g)
            return sum(jnp.sum(jnp.sin(x)) for x in jax.tree.leaves(averages))

        gradient = jax.grad(loss)(flat)
        for index in range(flat.size):
            step = 1e-6 * jnp.eye(flat.size)[index]
            difference = (loss(flat + step) - loss(flat - step)) / 2e-6
            # One factored average is clipped: its derivative is zero.
            np.testing.assert_allclose(gradient[index], difference, rtol=1e-5, atol=1e-7)
        assert float(unravel(gradient).factored[1]) == 0
