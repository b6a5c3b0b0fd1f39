"""Estimators, optimizers and problems whose meta-training is known in closed form."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from optoscope.meta import Estimator, MetaGradient, Worker
from optoscope.optimizers import OptimizerModule
from optoscope.tasks import LeastSquares, TaskDistribution


class Number(OptimizerModule):
    """An optimizer with a single meta-parameter."""

    value: Float[Array, ""]

    def init(self, params):
        return ()

    def update(self, grads, state, params=None, **extra):
        return grads, state


class Scripted(Estimator):
    """The meta-loss is ½x² for a number x; it is broken at the steps where `broken` is not 0."""

    broken: Float[Array, " steps"]
    noise: float = 0.0

    def init(self, optimizer, key):
        return Worker(jnp.zeros(2, jnp.uint32), jnp.zeros(()), (), jnp.zeros((), jnp.int32))

    def estimate(self, optimizer, workers, key):
        extra = self.broken[workers.step % self.broken.shape[0]]
        slope = optimizer.value + self.noise * jax.random.normal(key)
        gradient = eqx.tree_at(lambda o: o.value, optimizer, slope + extra)
        aux = {"inner_loss": optimizer.value, "non_finite": (extra != 0) * 1.0}
        workers = eqx.tree_at(lambda w: w.step, workers, workers.step + 1)
        return MetaGradient(0.5 * optimizer.value**2, gradient, aux), workers


def scripted(*broken, noise=0.0):
    return Scripted(jnp.array(broken or (0.0,)), noise)


def number(value=1.0):
    return Number(jnp.asarray(value, jnp.float32))


class Bowls(TaskDistribution):
    """Least squares in two unknowns."""

    def sample(self, key):
        matrix, target, start = (
            jax.random.normal(jax.random.fold_in(key, index), shape)
            for index, shape in enumerate([(3, 2), (3,), (2,)])
        )
        return LeastSquares(matrix / 2, target, start, jnp.zeros(()))


class Descent(OptimizerModule):
    """Gradient descent whose rate is learned."""

    rate: Float[Array, ""]

    def init(self, params):
        return ()

    def update(self, grads, state, params=None, **extra):
        return jax.tree.map(lambda g: -self.rate * g, grads), state
