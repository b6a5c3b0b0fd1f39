"""Principal components, spread over problems, motion without a gradient, modes over time."""

import dataclasses

import numpy as np
import optax
import pytest

from optoscope import optimizers
from optoscope._core.errors import InvalidValueError
from optoscope.analysis.dynamics import (
    autonomous_trajectory,
    coordinate_map,
    linearize,
    modes_of,
    state_pca,
    total_variance,
    track_modes,
)
from support.gru import hand_made, random_gru


def test_components_are_those_of_the_covariance():
    generator = np.random.default_rng(0)
    states = generator.normal(size=(5, 7, 4)) @ np.diag([3.0, 2.0, 1.0, 0.1]) + 5.0
    found = state_pca(states, num_components=2)
    flat = states.reshape(-1, 4)
    values, vectors = np.linalg.eigh(np.cov(flat.T))
    np.testing.assert_allclose(found.explained, values[:1:-1] / values.sum(), rtol=1e-10)
    np.testing.assert_allclose(
        np.abs(np.sum(found.components.T * vectors[:, :1:-1], axis=0)), 1.0, atol=1e-10
    )
    assert found.projections.shape == (5, 7, 2)
    np.testing.assert_allclose(found.project(states), found.projections, atol=1e-12)


def test_pca_refuses_what_it_cannot_do():
    for states in (np.zeros((1, 3)), np.full((4, 3), np.nan)):
        with pytest.raises(InvalidValueError):
            state_pca(states)
    with pytest.raises(InvalidValueError, match="num_components"):
        state_pca(np.eye(3), num_components=4)


def test_variance_over_runs():
    states = np.array([[[1.0, 0.0], [2.0, 2.0]], [[-1.0, 4.0], [2.0, 2.0]]])
    np.testing.assert_allclose(total_variance(states), [5.0, 0.0])


def test_without_a_gradient_a_gru_relaxes():
    # h ← (h + tanh(0.5))/2 without inputs.
    coordinates = coordinate_map(hand_made(2, bias=0.5, inputs=1.0, start=[1.0, -1.0]))
    found = autonomous_trajectory(coordinates, 6)
    level = np.tanh(0.5)
    expected = level + 0.5 ** np.arange(6)[:, None] * (np.array([1.0, -1.0]) - level)
    np.testing.assert_allclose(found.states, expected, atol=1e-12)
    np.testing.assert_allclose(found.rates.rates, -(1 - level**2), atol=1e-12)  # 2 units × 1/2
    updates = 2 * level - level * 2 * 0.5 ** np.arange(1, 7)
    np.testing.assert_allclose(found.updates, updates, atol=1e-12)
    np.testing.assert_allclose(found.drift, updates - updates[0], atol=1e-12)


def test_alignment_with_the_readout():
    coordinates = coordinate_map(hand_made(2, start=[1.0, -1.0], readout=[1.0, 1.0]))
    across = autonomous_trajectory(coordinates, 4)
    np.testing.assert_allclose(across.alignment[1:], 0.0, atol=1e-12)
    along = autonomous_trajectory(coordinates, 4, start=np.array([1.0, 1.0]))
    np.testing.assert_allclose(along.alignment[1:], 1.0, atol=1e-12)
    assert np.isnan(along.alignment[0])
    assert along.chance == pytest.approx(2 / np.pi)
    directions = np.random.default_rng(0).normal(size=(200_000, 2))
    cosines = np.abs(directions[:, 0]) / np.linalg.norm(directions, axis=1)
    assert cosines.mean() == pytest.approx(along.chance, abs=4 * cosines.std() / 200_000**0.5)


def test_optimizers_without_linear_readout_or_state_have_trajectories_too():
    found = autonomous_trajectory(coordinate_map(optax.adam(0.1)), 3, start=np.array([1.0, 1.0]))
    assert found.alignment is None
    np.testing.assert_allclose(found.states[:, 0], 0.9 ** np.arange(3))
    sgd = autonomous_trajectory(coordinate_map(optimizers.sgd(0.5)), 3)
    np.testing.assert_allclose(sgd.rates.rates, 0.5)
    with pytest.raises(InvalidValueError):
        autonomous_trajectory(coordinate_map(optax.adam(0.1)), 3, start=np.zeros(3))


def shuffled(modes, seed):
    order = np.random.default_rng(seed).permutation(len(modes.timescales))
    return dataclasses.replace(
        modes,
        **{name: getattr(modes, name)[order] for name in ("timescales", "learning_rates")},
        **{name: getattr(modes, name)[:, order] for name in ("right", "left")},
    )


def test_modes_are_followed_though_they_come_in_another_order():
    generator = np.random.default_rng(0)
    basis = generator.normal(size=(5, 5))
    checkpoints = []
    for index in range(6):
        # The first two timescales cross on the way.
        values = np.diag([0.5 + 0.05 * index, 0.74 - 0.05 * index, 0.1, -0.3, 0.95])
        turned = basis + 0.01 * index * generator.normal(size=(5, 5))
        modes = modes_of(turned @ values @ np.linalg.inv(turned), np.ones(5), np.ones(5))
        checkpoints.append(shuffled(modes, index))
    tracks = track_modes(checkpoints)
    ends = dict(zip(tracks.timescales[-1].real.round(6), tracks.timescales.real.T, strict=True))
    np.testing.assert_allclose(ends[0.75], 0.5 + 0.05 * np.arange(6), atol=1e-10)
    np.testing.assert_allclose(ends[0.49], 0.74 - 0.05 * np.arange(6), atol=1e-10)
    assert tracks.overlaps.shape == (5, 5)
    assert tracks.overlaps.min() > 0.8
    np.testing.assert_array_equal(tracks.timescales[-1], checkpoints[-1].timescales)
    np.testing.assert_array_equal(tracks.learning_rates[-1], checkpoints[-1].learning_rates)


def test_tracks_of_one_checkpoint_and_of_none():
    modes = linearize(coordinate_map(random_gru(0, size=4)), np.zeros(4)).modes()
    assert track_modes([modes]).overlaps.shape == (0, 4)
    with pytest.raises(InvalidValueError):
        track_modes([])
    other = linearize(coordinate_map(optimizers.momentum()), np.zeros(1)).modes()
    with pytest.raises(InvalidValueError, match="numbers"):
        track_modes([modes, other])
