"""Sums of squares of products against NumPy, in every way the sizes may divide."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optoscope.optimizers._sums_of_squares import InverseRoot, as_array, sums_of_squares

# Folded more than once, with a rest, along the last axis, along none of its own, and small.
SHAPES = [(64, 128), (784, 16), (1003, 16), (9973 * 4, 2), (3, 1009), (2,) * 12, (3, 3, 64, 32)]
SHAPES += [(70_001,), (5000,), (5, 7), (3,), (1,)]


def tensors(shape):
    """A tensor, a row, a column and something positive."""
    generator = np.random.default_rng(0)
    row = (1, *shape[1:]) if len(shape) > 1 else shape
    column = (*shape[:-1], 1) if len(shape) > 1 else shape
    normal = (generator.standard_normal(size, np.float32) for size in (shape, row, column))
    return tuple(map(jnp.asarray, (*normal, np.float32(0.1) + generator.random(shape, np.float32))))


def loops(tensors):
    """Every kind of product: alone, repeated factors, and an inverse root as both."""
    whole, row, column, positive = tensors
    root = InverseRoot(positive)
    return (
        ((whole, ((), (row,), (column, row), (root,), (root, column))),),
        ((positive, ((),)), (root, ((), (whole,)))),
    )


def measured(tensors):
    """The mean squares of all of them, and of two tensors beside the loops."""
    sums = sums_of_squares(loops(tensors), (tensors[0], tensors[3]))
    return sums / tensors[0].size


def products(tensors):
    multiplied = [
        math.prod(map(as_array, factors), start=as_array(tensor))
        for groups in loops(tensors)
        for tensor, several in groups
        for factors in several
    ]
    return [*multiplied, tensors[0], tensors[3]]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_against_numpy_alone_and_side_by_side(shape):
    @jax.jit
    def every_way(one):
        two = jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf]), one)
        return measured(one), jax.vmap(measured)(two), products(one)

    alone, found, multiplied = every_way(tensors(shape))
    expected = [np.mean(np.asarray(value, np.float64) ** 2) for value in multiplied]
    np.testing.assert_allclose(alone, expected, rtol=2e-6)
    np.testing.assert_allclose(found[0], expected, rtol=2e-6)
    for doubled in (0, len(expected) - 2):
        np.testing.assert_allclose(found[1, doubled], 4 * expected[doubled], rtol=2e-6)


@pytest.mark.parametrize("shape", [(64, 128), (5, 7)], ids=str)
def test_derivatives_are_those_of_plain_means(shape):
    weights = jnp.arange(1.0, 11.0)

    def ours(several):
        return jnp.sin(weights @ measured(several))

    def plain(several):
        return jnp.sin(weights @ jnp.stack([jnp.mean(v * v) for v in products(several)]))

    @jax.jit
    def derivatives(point, direction):
        return (
            [jax.jvp(f, (point,), (direction,))[1] for f in (ours, plain)],
            [jax.grad(f)(point) for f in (ours, plain)],
            [jax.jvp(jax.grad(f), (point,), (direction,))[1] for f in (ours, plain)],
        )

    with jax.enable_x64(True):
        point = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), tensors(shape))
        along, slopes, curved = derivatives(point, jax.tree.map(jnp.cos, point))
        np.testing.assert_allclose(*along, rtol=1e-10)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-14), *slopes)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-14), *curved)


def test_of_a_large_tensor_neither_products_nor_inverse_roots_are_kept():
    large = tensors((512, 256))

    def of_roots_that_one_product_has(tensors):
        whole, row, column, positive = tensors
        root = InverseRoot(positive)
        first = ((whole, ((), (row,), (column, row), (root,))),)
        return sums_of_squares((first, ((positive, ((),)), (root, ((),)))))

    analysis = jax.jit(of_roots_that_one_product_has).lower(large).compile().memory_analysis()
    assert analysis is not None
    # An eighth of each of six products, and of that an eighth.
    assert analysis.temp_size_in_bytes < 0.9 * large[0].nbytes


def test_squares_that_overflow_leave_finite_derivatives():
    def scale(tensor):
        loops = [[(tensor, ((), (InverseRoot(1 + jnp.abs(tensor)),)))]]
        return jnp.sum(jax.lax.rsqrt(1 + sums_of_squares(loops) / tensor.size))

    assert jnp.isfinite(jax.grad(scale)(jnp.full((4, 4), 1e20))).all()
