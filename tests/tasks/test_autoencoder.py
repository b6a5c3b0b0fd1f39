import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optoscope import data, tasks
from optoscope._core.errors import InvalidValueError, UnknownNameError
from optoscope.tasks import MLP, Autoencoder

KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


@pytest.fixture(params=["squared_error", "cross_entropy"])
def task(request, digits):
    return tasks.autoencoder(digits, hidden=(8, 3, 8), loss=request.param, batch_size=16)


def naive_loss(outputs, targets, kind):
    if kind == "squared_error":
        return np.mean((outputs - targets) ** 2)
    probabilities = 1 / (1 + np.exp(-outputs))
    return -np.mean(targets * np.log(probabilities) + (1 - targets) * np.log(1 - probabilities))


def test_the_loss_against_its_formula(task):
    params, batch = task.init(KEY), task.sample_batch(KEY)
    assert batch.shape == (16, 64)
    outputs = np.asarray(task.network(params, batch), float)
    expected = naive_loss(outputs, np.asarray(batch, float), task.loss_name)
    np.testing.assert_allclose(task.loss(params, batch), expected, rtol=1e-5)


def test_the_validation_loss_is_that_of_images_that_are_not_trained_on(task, digits):
    params, images = task.init(KEY), digits.validation.inputs.reshape(200, 64)
    found = task.validate(params)
    np.testing.assert_allclose(found["loss"], task.loss(params, images), rtol=1e-6)
    noisy = tasks.es_gradient(task, num_pairs=2)
    np.testing.assert_allclose(noisy.validate(params)["loss"], found["loss"], rtol=1e-6)
    empty = eqx.tree_at(lambda t: t.splits["validation"], task, images[:0])
    assert empty.validate(params) == {}


def test_the_scale_is_the_loss_of_the_best_constant_answer(task):
    images = np.asarray(task.splits["train"], float)
    mean = images.mean(axis=0)
    # What the network gives before the sigmoid; pixels that are always 0 or 1 have no logit.
    inside = np.clip(mean, 1e-9, 1 - 1e-9)
    answer = mean if task.loss_name == "squared_error" else np.log(inside / (1 - inside))

    def costs(answer):
        return naive_loss(np.broadcast_to(answer, images.shape), images, task.loss_name)

    scale = task.metadata["guessing_loss"]
    np.testing.assert_allclose(scale, costs(answer), rtol=1e-6)
    assert scale < costs(answer + 0.1)
    assert scale < costs(answer - 0.1)
    assert task.metadata["num_classes"] is None


def test_zero_outputs_cost_the_log_of_two_for_the_cross_entropy(digits):
    task = tasks.autoencoder(digits, hidden=(2,), loss="cross_entropy")
    params = jax.tree.map(jnp.zeros_like, task.init(KEY))
    np.testing.assert_allclose(task.loss(params, task.sample_batch(KEY)), np.log(2), rtol=1e-6)


def test_batches_are_training_images_and_reach_all_of_them():
    marks = {name: jnp.full((7, 2), 10.0 * i) for i, name in enumerate(("train", "test"))}
    marks["train"] = jnp.stack([jnp.arange(7.0), jnp.zeros(7)], axis=1)
    task = Autoencoder(MLP((2, 1, 2)), marks, 50)
    batch = np.asarray(task.sample_batch(KEY))
    assert set(batch[:, 0]) == set(range(7))
    assert not batch[:, 1].any()


def test_there_is_nothing_to_classify(task):
    assert task.accuracy(task.init(KEY)) is None


def test_standardized_pixels_are_no_probabilities():
    standardized = data.load("digits", standardize=True)
    with pytest.raises(InvalidValueError, match=r"pixels go from -.*Leave out standardize"):
        tasks.autoencoder(standardized, loss="cross_entropy")
    assert tasks.autoencoder(standardized).metadata["guessing_loss"] > 0.5


def test_wrong_settings(digits):
    with pytest.raises(UnknownNameError, match="Did you mean 'cross_entropy'"):
        tasks.autoencoder(digits, loss="crossentropy")
    with pytest.raises(InvalidValueError, match="batch_size is 0"):
        tasks.autoencoder(digits, batch_size=0)
