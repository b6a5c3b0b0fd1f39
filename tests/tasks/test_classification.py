import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optoscope import data, tasks
from optoscope._core.errors import InvalidValueError, UnknownNameError
from optoscope.tasks import MLP, Classification, LabeledBatch


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


def tagged(batch_size: int = 64, sizes=(50, 20, 30), label_noise: float = 0) -> Classification:
    """A task whose every image says where it comes from: input 0 is the split, input 1 the row."""
    splits = {
        name: LabeledBatch(
            jnp.stack([jnp.full(count, float(index)), jnp.arange(float(count))], axis=1),
            jnp.arange(count) % 3,
        )
        for index, (name, count) in enumerate(
            zip(("train", "validation", "test"), sizes, strict=True)
        )
    }
    return Classification(MLP((2, 4, 3)), splits, batch_size, label_noise=label_noise)


def test_batches_come_only_from_the_train_split_and_reach_all_of_it():
    task = tagged()
    keys = jax.random.split(jax.random.key(0), 100)
    batches = jax.vmap(task.sample_batch)(keys)
    assert batches.inputs.shape == (100, 64, 2)
    assert set(np.unique(batches.inputs[..., 0])) == {0.0}
    rows, counts = np.unique(batches.inputs[..., 1], return_counts=True)
    assert rows.tolist() == list(range(50))
    # χ² with 49 degrees of freedom: with replacement and uniform.
    expected = 6400 / 50
    assert np.sum((counts - expected) ** 2 / expected) < 49 + 4 * np.sqrt(2 * 49)


def test_labels_stay_with_their_images():
    batch = tagged().sample_batch(jax.random.key(1))
    np.testing.assert_array_equal(batch.labels, batch.inputs[:, 1].astype(int) % 3)


def test_label_noise_replaces_its_share_of_the_labels_anew_in_every_batch():
    task = tagged(label_noise=0.3)
    batches = jax.vmap(task.sample_batch)(jax.random.split(jax.random.key(2), 400))
    rows = batches.inputs[..., 1].astype(int)
    wrong = np.asarray(batches.labels != rows % 3)
    # One class in three that is drawn is the image's own.
    share, count = 0.3 * 2 / 3, wrong.size
    assert abs(wrong.mean() - share) < 4 * np.sqrt(share * (1 - share) / count)
    for row in range(50):  # No image always has the wrong label, nor always its own.
        assert 0 < wrong[rows == row].mean() < 1
    labels, counts = np.unique(np.asarray(batches.labels)[wrong], return_counts=True)
    assert labels.tolist() == [0, 1, 2]
    assert counts.min() > 0.25 * wrong.sum()


def test_label_noise_leaves_the_data_that_are_held_out_as_they_are():
    clean, noisy = tagged(), tagged(label_noise=1.0)
    params = clean.init(jax.random.key(0))
    assert clean.validate(params)["loss"] == noisy.validate(params)["loss"]
    assert noisy.metadata["label_noise"] == 1.0
    assert "label_noise" not in clean.metadata


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_wrong_label_noise(share):
    with pytest.raises(InvalidValueError, match=f"label_noise is {share}; it must be at least 0"):
        tagged(label_noise=share)


@pytest.mark.parametrize("name", ["digits-mlp-relu", "digits-cnn", "residual-network"])
def test_a_registered_task_takes_label_noise(name):
    task = tasks.get(name, label_noise=0.2, **({"scale": "smoke"} if "digits" not in name else {}))
    assert task.metadata["label_noise"] == 0.2


def test_batches_are_drawn_with_replacement():
    batch = tagged(batch_size=200).sample_batch(jax.random.key(0))
    assert batch.labels.shape == (200,)


def test_the_loss_is_the_mean_negative_log_likelihood():
    task = tagged()
    params = jax.tree.map(lambda leaf: 0.1 * leaf, task.init(jax.random.key(0)))
    batch = task.sample_batch(jax.random.key(1))
    logits = np.asarray(task.network(params, batch.inputs), np.float64)
    expected = np.mean(
        [
            -np.log(np.exp(row[label]) / np.exp(row).sum())
            for row, label in zip(logits, batch.labels.tolist(), strict=True)
        ]
    )
    np.testing.assert_allclose(task.loss(params, batch), expected, rtol=1e-5)


def test_equal_logits_cost_the_log_of_the_number_of_classes(digits):
    task = tasks.mlp_classification(digits)
    params = jax.tree.map(jnp.zeros_like, task.init(jax.random.key(0)))
    loss = task.loss(params, task.sample_batch(jax.random.key(0)))
    np.testing.assert_allclose(loss, np.log(10), rtol=1e-6)


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_accuracy_counts_the_whole_named_split(split):
    task = tagged()
    params = task.init(jax.random.key(5))
    part = task.splits[split]
    predictions = np.argmax(task.network(params, part.inputs), axis=1)
    expected = np.mean(predictions == np.asarray(part.labels))
    np.testing.assert_allclose(task.accuracy(params, split), expected, rtol=1e-6)


def test_an_unknown_split_suggests():
    task = tagged()
    with pytest.raises(UnknownNameError, match="Did you mean 'train'"):
        task.accuracy(task.init(jax.random.key(0)), "training")


@pytest.mark.parametrize("batch_size", [0, -1])
def test_wrong_batch_size(batch_size):
    with pytest.raises(InvalidValueError, match=f"batch_size is {batch_size}; it must be at least"):
        tagged(batch_size=batch_size)


def test_images_are_flattened_row_by_row(digits):
    task = tasks.mlp_classification(digits)
    np.testing.assert_array_equal(
        task.splits["test"].inputs[3], np.asarray(digits.test.inputs[3]).ravel()
    )
    np.testing.assert_array_equal(task.splits["test"].labels, digits.test.labels)


def test_metadata_of_the_built_task(digits):
    task = tasks.mlp_classification(digits, hidden=(7, 6), norm="layer", batch_size=5)
    metadata = task.metadata
    assert metadata["widths"] == [64, 7, 6, 10]
    assert metadata["num_params"] == 64 * 7 + 7 + 14 + 7 * 6 + 6 + 12 + 6 * 10 + 10
    assert metadata["batch_size"] == 5
    assert metadata["name"] == "digits-mlp"
    assert sum(metadata["split_sizes"].values()) == 1797
