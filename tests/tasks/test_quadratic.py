import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optoscope._core.errors import InvalidValueError
from optoscope.tasks import LeastSquares, RandomLeastSquares

SHAPES = [(10, 5), (5, 5), (3, 5), (1, 1)]


@pytest.mark.parametrize(("rows", "columns"), SHAPES)
def test_the_minimum_is_zero_at_the_solution(rows, columns):
    with jax.enable_x64(True):
        task = RandomLeastSquares(rows, columns).sample(jax.random.key(0))
        solution, *_ = np.linalg.lstsq(np.asarray(task.matrix), np.asarray(task.target), rcond=None)
        assert abs(float(task.loss(jnp.asarray(solution)))) < 1e-12
        np.testing.assert_allclose(jax.grad(task.loss)(jnp.asarray(solution)), 0, atol=1e-10)


def test_no_parameters_are_below_the_minimum():
    with jax.enable_x64(True):
        task = RandomLeastSquares().sample(jax.random.key(1))
        points = 3 * jax.random.normal(jax.random.key(2), (1000, 5))
        assert float(jax.vmap(task.loss)(points).min()) >= 0


@pytest.mark.parametrize(("rows", "columns"), SHAPES)
def test_loss_and_gradient_in_closed_form(rows, columns):
    with jax.enable_x64(True):
        task = RandomLeastSquares(rows, columns).sample(jax.random.key(3))
        A, b, x = (np.asarray(leaf) for leaf in (task.matrix, task.target, task.start))
        minimum = 0.5 * np.sum((A @ np.linalg.pinv(A) @ b - b) ** 2)
        expected = 0.5 * np.sum((A @ x - b) ** 2) - minimum
        np.testing.assert_allclose(task.loss(task.start), expected, rtol=1e-10)
        np.testing.assert_allclose(jax.grad(task.loss)(task.start), A.T @ (A @ x - b), rtol=1e-10)


def test_the_start_belongs_to_the_problem_and_there_are_no_batches():
    task = RandomLeastSquares().sample(jax.random.key(0))
    for seed in range(2):
        key = jax.random.key(seed)
        np.testing.assert_array_equal(task.init(key), task.start)
        assert task.sample_batch(key) is None


def test_entries_have_the_stated_variances():
    @jax.jit
    @jax.vmap
    def draw(key):
        task = RandomLeastSquares(4, 9).sample(key)
        return task.matrix, task.target, task.start

    draws = draw(jax.random.split(jax.random.key(0), 2000))
    for leaf, variance in zip(draws, (1 / 9, 1.0, 1.0), strict=True):
        sample = np.asarray(leaf, np.float64).ravel()
        standard_error = variance * np.sqrt(2 / sample.size)
        assert abs(np.mean(sample**2) - variance) < 4 * standard_error
        assert abs(np.mean(sample)) < 4 * np.sqrt(variance / sample.size)


def test_matrix_target_and_start_are_independent_draws():
    task = RandomLeastSquares(5, 5).sample(jax.random.key(0))
    assert not np.isin(task.target, task.start).any()
    assert not np.isin(task.target, task.matrix * 5**0.5).any()


def test_a_problem_by_hand():
    task = LeastSquares(
        jnp.array([[1.0], [1.0]]), jnp.array([1.0, 3.0]), jnp.zeros(1), jnp.asarray(1.0)
    )
    assert float(task.loss(jnp.array([2.0]))) == 0.0
    assert float(task.loss(jnp.array([0.0]))) == 4.0


@pytest.mark.parametrize(("rows", "columns"), [(0, 5), (5, 0), (-1, -1)])
def test_wrong_sizes(rows, columns):
    with pytest.raises(InvalidValueError, match=f"{rows} and {columns}; both must be at least 1"):
        RandomLeastSquares(rows, columns)
