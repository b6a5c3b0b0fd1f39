import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optoscope.tasks import _layers
from optoscope.tasks._layers import (
    convolve,
    dense,
    draw_embedding,
    draw_layer,
    fresh_norm,
    normalize,
)

KEY = jax.random.key(0)
# The second moment of a standard normal cut at ±2.
TRUNCATED = 0.7737


@pytest.mark.parametrize(("shape", "fan_in"), [((400, 50), 400), ((3, 3, 16, 64), 144)])
def test_truncated_normal_weights_have_the_stated_variance_and_no_bias(shape, fan_in):
    layer = draw_layer(KEY, shape, "truncated_normal")
    weights = np.asarray(layer["weights"], float) * fan_in**0.5
    error = np.std(weights**2) / weights.size**0.5
    assert abs(np.mean(weights**2) - TRUNCATED) < 4 * error
    # The variance-corrected start, or a plain normal, would be noticed.
    assert abs(1 - TRUNCATED) > 8 * error
    assert np.abs(weights).max() <= 2
    assert not np.any(layer["bias"])


def test_an_embedding_is_scaled_by_its_width():
    weights = np.asarray(draw_embedding(KEY, 500, 64)["weights"], float) * 8
    assert abs(np.mean(weights**2) - TRUNCATED) < 4 * np.std(weights**2) / weights.size**0.5


@pytest.mark.parametrize("axis", [-1, 0, (1, 2)])
def test_a_norm_against_one_group_at_a_time(axis):
    values = np.random.default_rng(0).normal(2, 7, (4, 5, 3))
    layer = {"scale": jnp.array([1.0, 2.0, -1.0]), "shift": jnp.array([0.0, 1.0, 5.0])}
    axes = tuple(a % 3 for a in ((axis,) if isinstance(axis, int) else axis))
    expected = np.empty(values.shape)
    for index in np.ndindex(values.shape):
        group = values[tuple(slice(None) if a in axes else index[a] for a in range(3))]
        spread = np.sqrt(np.mean((group - group.mean()) ** 2) + 1e-5)
        normed = (values[index] - group.mean()) / spread
        expected[index] = normed * layer["scale"][index[-1]] + layer["shift"][index[-1]]
    np.testing.assert_allclose(
        normalize(layer, jnp.asarray(values), axis), expected, rtol=1e-4, atol=1e-5
    )


def test_a_fresh_norm_gives_mean_zero_and_variance_one():
    normed = normalize(fresh_norm(50), 3 + 2 * jax.random.normal(KEY, (6, 50)))
    np.testing.assert_allclose(jnp.mean(normed, axis=1), 0, atol=1e-5)
    np.testing.assert_allclose(jnp.var(normed, axis=1), 1, rtol=1e-4)


def test_a_convolution_of_one_pixel_is_a_dense_layer_of_it():
    layer = draw_layer(KEY, (1, 1, 3, 4), "uniform")
    images = jax.random.normal(KEY, (2, 5, 5, 3))
    flat = {"weights": layer["weights"][0, 0], "bias": layer["bias"]}
    np.testing.assert_allclose(convolve(layer, images), dense(flat, images), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        convolve(layer, images, stride=2), dense(flat, images[:, ::2, ::2]), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (2, 2), (5, 3), (1, 2)])
def test_the_product_with_patches_is_xlas_convolution(kernel, stride, padding, monkeypatch):
    keys = jax.random.split(KEY, 3)
    layer = draw_layer(keys[0], (kernel, kernel, 2, 3), "uniform")
    images = jax.random.normal(keys[1], (2, 7, 6, 2))

    def both(layer, images):
        values = convolve(layer, images, stride=stride, padding=padding)
        return values, jax.grad(
            lambda *both: jnp.sum(jnp.sin(convolve(*both, stride=stride, padding=padding))), (0, 1)
        )(layer, images)

    product = jax.jit(lambda *a: both(*a))(layer, images)
    assert "conv_general" not in str(jax.make_jaxpr(lambda *a: both(*a))(layer, images))
    monkeypatch.setattr(_layers, "_PATCH_BYTES", 0)
    assert "conv_general" in str(jax.make_jaxpr(lambda *a: both(*a))(layer, images))
    convolution = jax.jit(lambda *a: both(*a))(layer, images)
    for one, other in zip(*map(jax.tree.leaves, (product, convolution)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
