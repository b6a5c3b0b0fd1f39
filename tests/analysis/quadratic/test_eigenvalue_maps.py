"""Figure 1's maps: what each intervention does, followed eigenvalue by eigenvalue."""

import numpy as np
import pytest

from optoscope._core.errors import InvalidValueError
from optoscope.analysis.quadratic import (
    INTERVENTIONS,
    NoisyQuadratic,
    dynamics_matrix,
    eigenvalue_maps,
)
from optoscope.papers.stability._theory_arrays import figure_1_model


def maps_of(seed=0, num_strengths=21, **options):
    model = figure_1_model(seed)
    settings = {"nominal": model.nominal, "weight_decay": model.weight_decay} | options
    maps = eigenvalue_maps(
        model.quadratic, model.preconditioner, num_strengths=num_strengths, **settings
    )
    return model, maps


def sorted_complex(values):
    return np.sort_complex(np.round(values, 10))


def test_the_ends_are_the_eigenvalues_of_the_interventions():
    model, maps = maps_of(1)
    P, alpha, left = model.preconditioner, model.nominal, 1 - model.weight_decay
    ends = {
        "nominal": dynamics_matrix(model.quadratic, P, alpha),
        "weight decay": dynamics_matrix(model.quadratic, left * P),
        "preconditioning": dynamics_matrix(model.quadratic, P, hessian_exponent=0.5),
        "all": dynamics_matrix(model.quadratic, left * P, alpha, hessian_exponent=0.5),
    }
    before = np.linalg.eigvals(dynamics_matrix(model.quadratic, P))
    for name in INTERVENTIONS:
        values = maps.eigenvalues[name]
        np.testing.assert_allclose(sorted_complex(values[0]), sorted_complex(before), atol=1e-9)
        np.testing.assert_allclose(
            sorted_complex(values[-1]), sorted_complex(np.linalg.eigvals(ends[name])), atol=1e-9
        )


def test_paths_are_continuous_and_weight_decay_goes_straight_to_one():
    _, maps = maps_of(0, num_strengths=201)
    for values in maps.eigenvalues.values():
        assert np.abs(np.diff(values, axis=0)).max() < 0.15
    values = maps.eigenvalues["weight decay"]
    straight = 1 + (values[0] - 1) * (1 - 0.5 * maps.strengths[:, None])
    np.testing.assert_allclose(values, straight, atol=1e-9)


def test_only_all_three_together_bring_every_example_into_the_circle():
    stable = dict.fromkeys(("before", *INTERVENTIONS), 0)
    for seed in range(10):
        _, maps = maps_of(seed, num_strengths=2)
        stable["before"] += bool((np.abs(maps.before) <= 1).all())
        for name in INTERVENTIONS:
            stable[name] += bool(maps.spectral_radii(name)[-1] <= 1)
    assert stable["before"] == 0
    assert stable["all"] >= 9
    assert all(stable[name] < stable["all"] for name in INTERVENTIONS[:3])


def test_what_is_no_intervention_is_refused():
    quadratic = NoisyQuadratic(np.eye(2))
    with pytest.raises(InvalidValueError, match="weight_decay"):
        eigenvalue_maps(quadratic, np.eye(2), nominal=0.1, weight_decay=1.5)
    with pytest.raises(InvalidValueError, match="num_strengths"):
        eigenvalue_maps(quadratic, np.eye(2), nominal=0.1, weight_decay=0.5, num_strengths=1)
