"""Optimizers that go coordinate by coordinate, small, and estimates of their meta-gradients."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from optoscope import optimizers
from optoscope.tasks import LeastSquares, TaskDistribution

_OPTIONS = {
    "lstm": {"hidden_size": 3},
    "rnn": {"hidden_size": 3, "input_scaling": "normalized"},
    "rnnprop": {"hidden_size": 2, "num_layers": 1},
}


class Bowls(TaskDistribution):
    """Problems of as many parameters."""

    num_parameters: int = eqx.field(static=True)

    def sample(self, key):
        size = self.num_parameters
        matrix, target, start = (
            jax.random.normal(jax.random.fold_in(key, index), shape)
            for index, shape in enumerate([(4, size), (4,), (size,)])
        )
        return LeastSquares(matrix * (3 / size) ** 0.5, target, start, jnp.zeros(()))


def drawn(name):
    """A drawn optimizer none of whose weights is zero, so that each has a meta-gradient."""
    arrays, rest = eqx.partition(optimizers.get(name, **_OPTIONS[name]), eqx.is_inexact_array)
    leaves, structure = jax.tree.flatten(arrays)
    keys = jax.random.split(jax.random.key(5), len(leaves))
    moved = [
        leaf + 0.3 * jax.random.normal(key, leaf.shape)
        for key, leaf in zip(keys, leaves, strict=True)
    ]
    return eqx.combine(structure.unflatten(moved), rest)


def estimates(estimator, optimizer):
    """Three estimates one after the other, which may pass the end of a horizon; and the workers."""
    # A function of its own is traced anew; the methods of estimators that are equal are not.
    estimate = eqx.filter_jit(lambda *args: estimator.estimate(*args))
    workers = estimator.init(optimizer, jax.random.key(0))
    gradients = []
    for step in range(3):
        gradient, workers = estimate(optimizer, workers, jax.random.key(step))
        gradients.append(gradient)
    return gradients, workers


def assert_close(first, second):
    """Both trees agree to rounding."""
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=2e-4, atol=1e-6),
        first,
        second,
    )


def assert_same_gradients(first, second):
    """Both sets of estimates and workers agree, and every weight has a meta-gradient in them."""
    for leaf in jax.tree.leaves(first[0][0].gradient):
        assert float(jnp.linalg.norm(leaf)) > 1e-6
    assert_close(first, second)
