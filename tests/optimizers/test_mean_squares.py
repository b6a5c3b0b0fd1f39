"""Mean squares of features against NumPy, in every way the sizes may divide."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optoscope.optimizers import _mean_squares
from optoscope.optimizers._mean_squares import mean_squares

# In blocks, in blocks with a rest, uncut because nothing divides it well, and small.
SHAPES = [(64, 128), (784, 16), (1003, 16), (9973 * 4, 2), (3, 3, 64, 32), (5, 7), (3,), (1,)]


def features(tensors):
    whole, row = tensors
    return [whole, whole * row, jnp.sin(whole), row + 2 * whole]


def tensors(shape):
    whole, row = jax.random.key(0), jax.random.key(1)
    repeated = (1, *shape[1:]) if len(shape) > 1 else shape
    return jax.random.normal(whole, shape), jax.random.normal(row, repeated)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_against_numpy_alone_and_side_by_side(shape):
    one = tensors(shape)
    expected = [np.mean(np.asarray(value, np.float64) ** 2) for value in features(one)]
    np.testing.assert_allclose(mean_squares(features, one), expected, rtol=2e-6)
    two = jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf]), one)
    found = jax.vmap(lambda both: mean_squares(features, both))(two)
    np.testing.assert_allclose(found[0], expected, rtol=2e-6)
    np.testing.assert_allclose(found[1, 0], 4 * expected[0], rtol=2e-6)


@pytest.mark.parametrize("shape", [(64, 128), (5, 7)], ids=str)
def test_derivatives_are_those_of_plain_means(shape):
    weights = jnp.arange(1.0, 5.0)

    def ours(both):
        return jnp.sin(weights @ mean_squares(features, both))

    def plain(both):
        return jnp.sin(weights @ jnp.stack([jnp.mean(v * v) for v in features(both)]))

    with jax.enable_x64(True):
        point = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), tensors(shape))
        direction = jax.tree.map(jnp.cos, point)
        along = [jax.jvp(f, (point,), (direction,))[1] for f in (ours, plain)]
        np.testing.assert_allclose(*along, rtol=1e-10)
        slopes = [jax.grad(f)(point) for f in (ours, plain)]
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-14), *slopes)
        curved = [jax.jvp(jax.grad(f), (point,), (direction,))[1] for f in (ours, plain)]
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-14), *curved)


def test_no_array_of_a_quarter_of_the_size_is_kept_of_a_large_tensor():
    large = tensors((512, 256))
    compiled = jax.jit(lambda both: mean_squares(features, both)).lower(large).compile()
    analysis = compiled.memory_analysis()
    assert analysis is not None
    assert analysis.temp_size_in_bytes < large[0].nbytes / 4


def test_blocks_divide_the_axis_or_are_not_used():
    assert _mean_squares._block_length(1000, 1000) == 4
    assert _mean_squares._block_length(784, 128) == 28
    assert _mean_squares._block_length(4 * 9973, 16) == 4 * 9973
