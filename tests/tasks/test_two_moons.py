import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optoscope import optimizers, training
from optoscope._core.errors import InvalidValueError, UnknownNameError
from optoscope.tasks import two_moons

KEY = jax.random.key(0)


def test_the_papers_network_has_8577_parameters():
    metadata = two_moons().metadata
    assert metadata["num_params"] == 8577
    assert metadata["num_points"] == 1024
    assert metadata["widths"] == [2, 64, 64, 64, 1]


def test_the_points_are_two_half_circles_with_noise():
    clean, noisy = two_moons(noise=0), two_moons(noise=0.1)
    points, labels = np.asarray(clean.points), np.asarray(clean.labels)
    assert labels.mean() == 0.5
    np.testing.assert_allclose(np.linalg.norm(points[labels == 0], axis=1), 1, rtol=1e-5)
    centered = points[labels == 1] - [1, 0.5]
    np.testing.assert_allclose(np.linalg.norm(centered, axis=1), 1, rtol=1e-5)
    # The same points in the same order, moved by normal noise.
    difference = np.asarray(noisy.points) - points
    assert abs(difference.std() / 0.1 - 1) < 4 / np.sqrt(2 * difference.size)


@pytest.mark.parametrize("l2", [0.0, 0.01])
def test_the_loss_is_the_mean_logistic_loss_and_half_the_squares(l2):
    task = two_moons(hidden=(4,), num_points=50, l2=l2)
    params = task.init(KEY)
    first, last = params["layer_0"], params["layer_1"]
    hidden = np.tanh(np.asarray(task.points, float) @ first["weights"] + first["bias"])
    logits = (hidden @ np.asarray(last["weights"], float) + last["bias"])[:, 0]
    signs = 2 * np.asarray(task.labels) - 1
    expected = np.mean(np.log(1 + np.exp(-signs * logits)))
    expected += l2 / 2 * sum(np.sum(np.square(leaf)) for leaf in jax.tree.leaves(params))
    np.testing.assert_allclose(task.loss(params), expected, rtol=1e-5)


def test_a_logit_of_zero_costs_the_log_of_two_and_the_loss_stays_finite():
    task = two_moons(hidden=(4,), num_points=50)
    params = jax.tree.map(jnp.zeros_like, task.init(KEY))
    np.testing.assert_allclose(task.loss(params), np.log(2), rtol=1e-6)
    params["layer_1"]["bias"] = jnp.array([1e4])
    np.testing.assert_allclose(task.loss(params), 5e3, rtol=1e-5)


def test_it_can_be_solved():
    task = two_moons(hidden=(16, 16), num_points=128)
    run = training.train(task, optimizers.adam(0.02), 200, key=KEY)
    params = jax.tree.map(lambda leaf: leaf[0], run.params)
    assert float(task.accuracy(params, "train")) > 0.98
    assert float(task.accuracy(task.init(KEY), "train")) < 0.95


def test_there_are_no_points_to_test_on():
    task = two_moons(hidden=(2,), num_points=10)
    assert task.accuracy(task.init(KEY)) is None
    assert task.sample_batch(KEY) is None
    with pytest.raises(UnknownNameError, match=r"unknown split 'tests'.*'test'"):
        task.accuracy(task.init(KEY), "tests")


def test_another_seed_draws_other_points():
    assert not np.isin(two_moons(seed=1).points, two_moons().points).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_points": 1}, "num_points is 1; it must be at least 2"),
        ({"noise": -0.1}, "noise is -0.1; it must be at least 0"),
        ({"l2": -1}, "l2 is -1; it must be at least 0"),
        ({"seed": -1}, "seed is -1; it must be a whole number from 0"),
        ({"hidden": (0,)}, "each 1 or more"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(InvalidValueError, match=message):
        two_moons(**options)
