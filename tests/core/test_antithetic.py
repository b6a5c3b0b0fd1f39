"""The antithetic estimate against a closed form."""

import jax
import jax.numpy as jnp
import numpy as np

from optoscope._core.antithetic import draw_perturbation, moved, perturbed, scaled, slope

PARAMS = {"a": jnp.array([0.5, -1.0]), "b": jnp.array([[2.0]], jnp.bfloat16)}


def test_a_perturbation_has_the_structure_and_the_spread_that_are_asked_for():
    draws = jax.vmap(lambda key: draw_perturbation(key, PARAMS, 0.1))(
        jax.random.split(jax.random.key(0), 4000)
    )
    assert {name: leaf.dtype for name, leaf in draws.items()} == {
        name: leaf.dtype for name, leaf in PARAMS.items()
    }
    for leaf in jax.tree.leaves(draws):
        # The relative error of a standard deviation of n values is 1/√(2n).
        spread = np.asarray(leaf, float).std(axis=0)
        np.testing.assert_allclose(spread, 0.1, rtol=5 / 8000**0.5)
    # No two coordinates share their noise.
    assert abs(np.corrcoef(np.asarray(draws["a"]).T)[0, 1]) < 5 / 4000**0.5


def test_every_sign_is_moved_by_its_own_multiple():
    noise = jax.tree.map(jnp.ones_like, PARAMS)
    stacked = perturbed(PARAMS, noise, (1, -1, 0))
    for index, sign in enumerate((1, -1, 0)):
        expected = moved(PARAMS, noise, sign)
        for name, leaf in expected.items():
            np.testing.assert_array_equal(stacked[name][index], leaf)
            np.testing.assert_array_equal(leaf, PARAMS[name] + sign)


def test_the_estimate_is_the_smoothed_gradient_and_a_tenth_would_be_seen():
    """Of x³ it is 3(x² + σ²)."""
    std, place = 0.5, {"x": jnp.array([0.7, -1.2])}

    def estimate(key):
        noise = draw_perturbation(key, place, std)
        ahead, behind = (jnp.sum(moved(place, noise, sign)["x"] ** 3) for sign in (1, -1))
        return scaled(noise, slope(ahead, behind, std))["x"]

    keys = jax.random.split(jax.random.key(1), 20_000)
    found = np.asarray(jax.jit(lambda keys: jax.lax.map(estimate, keys, batch_size=1000))(keys))
    exact = 3 * (np.asarray(place["x"]) ** 2 + std**2)
    errors = found.std(axis=0, ddof=1) / len(found) ** 0.5
    assert np.all(np.abs(found.mean(axis=0) - exact) < 4 * errors)
    for wrong in (-1.0, 0.9, 1.1):
        assert np.any(np.abs(found.mean(axis=0) - wrong * exact) > 4 * errors)
