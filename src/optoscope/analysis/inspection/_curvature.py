"""The largest curvature of a loss, by Lanczos on products of the Hessian with vectors."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from optoscope._core.chunks import map_chunked, side_by_side
from optoscope._core.errors import check_count
from optoscope._core.keys import as_key
from optoscope._core.programs import Program
from optoscope._core.trees import size
from optoscope.analysis.inspection._recording import Recording
from optoscope.tasks import as_distribution
from optoscope.training import StepRecord
from optoscope.training._step import loss_at
from optoscope.training._train import split_run_key


def largest_eigenvalue(
    product: Callable[[Array], Array], start: Float[Array, " size"], iterations: int
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """The largest eigenvalue of a symmetric matrix by Lanczos; can be compiled and vmapped.

    Every new vector is made orthogonal to all earlier ones, twice. Value and residual are computed
    from the vector that comes out, with one further product, so that they hold whatever rounding
    has done on the way.

    Args:
        product: the matrix times a vector.
        start: the first direction, not zero.
        iterations: how many products; with as many as there are dimensions it is exact.

    Returns:
        The Rayleigh quotient of the vector v, a lower bound of the largest eigenvalue; and
        ‖A v − value · v‖ for ‖v‖ = 1: some eigenvalue is no farther from the value than that.

    Example:
        >>> matrix = jnp.diag(jnp.array([1.0, -7.0, 5.0]))
        >>> value, residual = largest_eigenvalue(lambda v: matrix @ v, jnp.ones(3), 3)
        >>> round(float(value), 4), bool(residual < 1e-4)
        (5.0, True)
    """

    def step(carry: tuple[Array, Array], index: Array) -> tuple[tuple[Array, Array], tuple]:
        basis, vector = carry
        basis = basis.at[index].set(vector)
        image = product(vector)
        diagonal = image @ vector
        for _ in range(2):
            image = image - basis.T @ (basis @ image)
        norm = jnp.linalg.norm(image)
        following = jnp.where(norm > 0, image / jnp.where(norm > 0, norm, 1.0), 0.0)
        return (basis, following), (diagonal, norm, jnp.any(vector != 0))

    basis = jnp.zeros((iterations, start.size), start.dtype)
    begin = start / jnp.linalg.norm(start)
    (basis, _), (diagonal, beside, alive) = jax.lax.scan(
        step, (basis, begin), jnp.arange(iterations)
    )
    # Once the space is exhausted no vectors are left; their places must not be the largest.
    lowest = -2 * (jnp.max(jnp.abs(diagonal)) + jnp.max(beside)) - 1
    diagonal = jnp.where(alive, diagonal, lowest)
    matrix = jnp.diag(diagonal) + jnp.diag(beside[:-1], 1) + jnp.diag(beside[:-1], -1)
    vector = basis.T @ jnp.linalg.eigh(matrix)[1][:, -1]
    vector = vector / jnp.linalg.norm(vector)
    image = product(vector)
    value = image @ vector
    return value, jnp.linalg.norm(image - value * vector)


@Program
def _largest(
    distribution: PyTree, keys: Array, records: StepRecord, draws: Array, iterations: int,
    chunk_size: int,
) -> tuple[Array, Array]:  # fmt: skip
    def one(item: tuple[PRNGKeyArray, StepRecord]) -> tuple[Array, Array]:
        run_key, met = item
        task = distribution.sample(split_run_key(run_key)[0])
        flat, unravel = ravel_pytree(met.params)

        def loss(vector: Array) -> Array:
            def on_batch(key: PRNGKeyArray) -> Array:
                there = eqx.tree_at(lambda r: r.batch, met, task.sample_batch(key))
                return loss_at(task, unravel(vector), there)

            return jnp.mean(jax.lax.map(on_batch, draws))

        def product(vector: Array) -> Array:
            return jax.jvp(jax.grad(loss), (flat,), (vector,))[1]

        start = jax.random.normal(draws[0], flat.shape, flat.dtype)
        return largest_eigenvalue(product, start, iterations)

    return map_chunked(one, (keys, records), chunk_size)


def curvature_along(
    recording: Recording, *, key: PRNGKeyArray, num_batches: int = 8, iterations: int = 20
) -> tuple[Float[np.ndarray, "steps runs"], Float[np.ndarray, "steps runs"]]:
    """The largest curvature of the loss at the recorded steps of all runs, with its residuals.

    The loss is the mean over some fresh batches, the same at every step.

    Args:
        recording: of the optimizer whose runs are followed.
        key: draws the batches.
        num_batches: how many batches the loss is the mean of.
        iterations: Hessian-vector products for each number.

    Returns:
        The eigenvalues, and the residuals of their vectors.
    """
    check_count("num_batches", num_batches, minimum=1)
    check_count("iterations", iterations, minimum=1)
    draws = jax.random.split(as_key(key), num_batches)
    coordinates = size(recording.records[0].params) // recording.num_runs
    iterations = min(iterations, coordinates)
    chunk = side_by_side(4 * iterations * coordinates, recording.num_runs)
    values, residuals = [], []
    for met in recording.records:
        # Neither the optimizers' states nor the batch of the step are needed.
        bare = eqx.tree_at(lambda r: (r.state, r.updates, r.grads), met, ((), (), ()))
        value, residual = _largest(
            as_distribution(recording.task), recording.keys, bare, draws, iterations, chunk
        )
        values.append(np.asarray(value, np.float64))
        residuals.append(np.asarray(residual, np.float64))
    return np.stack(values), np.stack(residuals)
