import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optoscope import tasks
from optoscope._core.errors import InvalidValueError
from optoscope.tasks import LeastSquares, RandomLeastSquares, RandomQuadratic

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


class TestRandomQuadratic:
    """Eigenvalues log-uniform between bounds, in a random orthonormal basis."""

    def sampled(self, num=500, **settings):
        distribution = RandomQuadratic(**settings)
        return jax.vmap(distribution.sample)(jax.random.split(jax.random.key(0), num))

    def test_eigenvalues_are_log_uniform_between_the_bounds(self):
        with jax.enable_x64(True):
            matrix = np.asarray(self.sampled().matrix, float)
        values = np.linalg.eigvalsh(np.einsum("nij,nik->njk", matrix, matrix))
        unit = (np.log(values).ravel() - np.log(1e-3)) / -np.log(1e-3)
        assert unit.min() > -1e-6
        assert unit.max() < 1 + 1e-6
        assert abs(unit.mean() - 1 / 2) < 4 * np.sqrt(1 / 12 / unit.size)
        assert abs((unit**2).mean() - 1 / 3) < 4 * np.sqrt(4 / 45 / unit.size)

    def test_the_linear_term_and_the_start_are_standard_normal(self):
        with jax.enable_x64(True):
            tasks = self.sampled()
            slopes = jax.vmap(lambda task: jax.grad(task.loss)(jnp.zeros(5)))(tasks)
        for leaf in (np.asarray(slopes), np.asarray(tasks.start)):
            assert abs(np.mean(leaf**2) - 1) < 4 * np.sqrt(2 / leaf.size)
            assert abs(leaf.mean()) < 4 / np.sqrt(leaf.size)

    def test_the_basis_is_uniform(self):
        """Squared entries of a uniform orthonormal matrix have mean 1/n and second moment
        3/(n(n + 2))."""
        with jax.enable_x64(True):
            matrix = np.asarray(self.sampled(2000).matrix, float)
        basis = matrix / np.linalg.norm(matrix, axis=2, keepdims=True)
        assert np.abs(np.einsum("nij,nkj->nik", basis, basis) - np.eye(5)).max() < 1e-6
        # Entries of one matrix depend on each other: errors from matrices, not from entries.
        for power, expected in ((1, 0.0), (2, 1 / 5), (4, 3 / 35)):
            each = (basis**power).reshape(2000, 25)
            errors = each.std(axis=0) / np.sqrt(2000)
            assert np.all(np.abs(each.mean(axis=0) - expected) < 4.5 * errors + 1e-12)

    def test_the_minimum_is_zero(self):
        with jax.enable_x64(True):
            task = RandomQuadratic().sample(jax.random.key(1))
            solution = np.linalg.solve(np.asarray(task.matrix), np.asarray(task.target))
            np.testing.assert_allclose(task.loss(jnp.asarray(solution)), 0, atol=1e-18)
            assert float(task.loss(task.start)) > 0

    def test_its_bounds_are_in_its_metadata(self):
        metadata = RandomQuadratic(3, 0.1, 2.0).metadata
        assert metadata["curvature"] == [0.1, 2.0]
        assert (metadata["name"], metadata["num_params"]) == ("quadratic-log-uniform", 3)

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"num_params": 0}, "num_params is 0"),
            ({"smallest": 0.0}, "smallest is 0.0; it must be above 0"),
            ({"smallest": 2.0}, "largest is 1.0; it must be at least 2"),
        ],
    )
    def test_wrong_bounds(self, settings, message):
        with pytest.raises(InvalidValueError, match=message):
            RandomQuadratic(**settings)


@pytest.mark.parametrize(
    "name", ["quadratic", "quadratic-ill-conditioned", "quadratic-log-uniform"]
)
def test_a_registered_distribution_knows_its_name(name):
    assert tasks.get(name).metadata["name"] == name
