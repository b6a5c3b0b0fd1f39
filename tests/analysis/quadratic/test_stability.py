"""Theorem 1 and lemmas 2 and 3 on random cases, at their edges, and where they do not apply."""

import numpy as np
import pytest

from optoscope._core.errors import InvalidValueError
from optoscope.analysis.quadratic import (
    NoisyQuadratic,
    dynamics_matrix,
    preconditioned_bounds,
    robust_bounds,
    spectral_radius,
    stability_bounds,
)


def random_problem(generator, size):
    basis, _ = np.linalg.qr(generator.standard_normal((size, size)))
    hessian = (basis * 10 ** generator.uniform(-2, 1, size)) @ basis.T
    return NoisyQuadratic((hessian + hessian.T) / 2)


def with_eigenvalues(generator, values):
    basis, _ = np.linalg.qr(generator.standard_normal((len(values), len(values))))
    matrix = (basis * values) @ basis.T
    return (matrix + matrix.T) / 2


@pytest.mark.parametrize(
    ("bounds", "power"), [(stability_bounds, 1.0), (preconditioned_bounds, 0.5)]
)
def test_symmetric_matrices_within_the_bounds_are_stable(bounds, power):
    generator = np.random.default_rng(0)
    radii = []
    for _ in range(300):
        size = int(generator.integers(1, 6))
        quadratic = random_problem(generator, size)
        upper = 2 / quadratic.largest_curvature**power
        nominal = generator.uniform(0, upper)
        # The ends of the range included: that is where the theorem would break.
        values = generator.uniform(-nominal, upper - nominal, size)
        values[generator.random(size) < 0.3] = upper - nominal
        values[generator.random(size) < 0.3] = -nominal
        found = bounds(quadratic, with_eigenvalues(generator, values), nominal)
        assert found.guaranteed
        assert found.stable
        assert found.upper == pytest.approx(upper - nominal)
        radii.append(found.spectral_radius)
    assert max(radii) == pytest.approx(1, abs=1e-9)  # and the bounds are reached


@pytest.mark.parametrize("bounds", [stability_bounds, preconditioned_bounds])
def test_along_the_curvatures_own_axes_the_bounds_are_sharp(bounds):
    quadratic = NoisyQuadratic(np.diag([0.3, 4.0]))
    limits = bounds(quadratic, np.zeros((2, 2)), 0.1)
    for value, inside in (
        (limits.upper, True), (limits.upper * 1.001, False),
        (limits.lower, True), (limits.lower * 1.001, False),
    ):  # fmt: skip
        found = bounds(quadratic, value * np.eye(2), 0.1)
        assert found.applies
        assert found.satisfied is inside
        assert found.stable is inside


def test_the_bounds_are_sufficient_not_necessary():
    quadratic = NoisyQuadratic(np.diag([0.1, 4.0]))
    found = stability_bounds(quadratic, np.diag([10.0, 0.1]))
    assert found.applies
    assert not found.satisfied
    assert found.stable


@pytest.mark.parametrize("bounds", [stability_bounds, preconditioned_bounds])
def test_the_counterexample_is_outside_with_its_true_radius(bounds):
    quadratic = NoisyQuadratic([[1.0, 0.5], [0.5, 1.0]])
    P = np.array([[1.0, -8.0], [0.0, 0.5]])
    values, vectors = np.linalg.eig(P)
    assert np.isreal(values).all()
    assert np.linalg.matrix_rank(vectors) == 2  # as the paper asks
    found = bounds(quadratic, P, 0.25)
    assert found.satisfied
    assert not found.applies
    assert not found.guaranteed
    assert "not symmetric" in found.outside[0]
    exponent = 0.0 if bounds is stability_bounds else 0.5
    A = dynamics_matrix(quadratic, P, 0.25, hessian_exponent=exponent)
    assert found.spectral_radius == pytest.approx(np.abs(np.linalg.eigvals(A)).max())
    assert found.spectral_radius > 1.3
    assert not found.stable


def test_complex_eigenvalues_satisfy_nothing():
    found = stability_bounds(NoisyQuadratic(np.eye(2)), [[0.5, 0.1], [-0.1, 0.5]])
    assert not found.satisfied
    assert "complex" in found.outside[0]
    assert found.spectral_radius == pytest.approx(abs(0.5 + 0.1j))


def test_a_negative_nominal_step_is_outside():
    found = stability_bounds(NoisyQuadratic(np.eye(2)), np.eye(2), -0.5)
    assert found.satisfied
    assert "negative" in found.outside[0]


def test_lemma_3_holds_for_every_disturbance_of_a_diagonal_matrix():
    generator = np.random.default_rng(1)
    for _ in range(60):
        size = int(generator.integers(1, 6))
        quadratic = random_problem(generator, size)
        reach = 2 / quadratic.largest_curvature
        nominal = generator.uniform(0.01, 0.99) * reach
        bound = generator.uniform(0.1, 4.0, size)
        edge = bound.max()
        P = np.diag(generator.uniform(-nominal / edge, (reach - nominal) / edge, size))
        found = robust_bounds(quadratic, P, bound, nominal)
        assert found.guaranteed
        assert found.stable
        for _ in range(20):
            delta = bound * generator.uniform(1e-6, 1, size)
            radius = spectral_radius(dynamics_matrix(quadratic, delta[:, None] * P, nominal))
            assert radius <= found.spectral_radius + 1e-9  # what it reports is the worst


def test_lemma_3_for_one_disturbance_that_commutes():
    generator = np.random.default_rng(2)
    for _ in range(60):
        quadratic = random_problem(generator, 4)
        reach = 2 / quadratic.largest_curvature
        nominal, common = generator.uniform(0.1, 0.9) * reach, generator.uniform(0.1, 3)
        values = generator.uniform(-nominal / common, (reach - nominal) / common, 4)
        P = with_eigenvalues(generator, values)
        one = np.full(4, common * generator.uniform(0.1, 1))
        found = robust_bounds(quadratic, P, common, nominal, disturbance=one)
        assert found.guaranteed
        assert found.stable


def test_lemma_3_without_commuting_is_outside_and_can_fail():
    quadratic = NoisyQuadratic([[1.79306396, -1.03474142], [-1.03474142, 0.71744686]])
    P = [[-0.16697644, -0.02200537], [-0.02200537, -0.00262915]]
    found = robust_bounds(quadratic, P, [2.38075453, 4.59424936], 0.7997758237)
    assert found.satisfied
    assert found.outside == ("P̃ is not diagonal, so it does not commute with every Δ.",)
    assert found.spectral_radius > 1.03
    one = robust_bounds(
        quadratic, P, [2.38075453, 4.59424936], 0.7997758237, disturbance=[2.0, 1.0]
    )
    assert one.outside == ("P̃ does not commute with Δ.",)


@pytest.mark.parametrize("nominal", [0.0, 2.1, -0.1])
def test_lemma_3_asks_for_a_nominal_step_inside_its_range(nominal):
    found = robust_bounds(NoisyQuadratic(np.eye(1)), [[0.0]], 1.0, nominal)
    assert "inside (0, 2)" in found.outside[-1]


def test_disturbances_that_cannot_be_are_refused():
    quadratic = NoisyQuadratic(np.eye(2))
    with pytest.raises(InvalidValueError, match="one number or"):
        robust_bounds(quadratic, np.eye(2), [1.0, 1.0, 1.0], 0.5)
    with pytest.raises(InvalidValueError, match="above 0"):
        robust_bounds(quadratic, np.eye(2), [1.0, 0.0], 0.5)
    with pytest.raises(InvalidValueError, match="be positive and at most"):
        robust_bounds(quadratic, np.eye(2), 1.0, 0.5, disturbance=[0.5, 1.5])
