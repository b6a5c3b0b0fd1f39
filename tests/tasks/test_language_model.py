import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optoscope import tasks
from optoscope._core.errors import InvalidValueError, UnknownNameError
from optoscope.analysis import symmetry
from optoscope.data import TextDataset
from optoscope.tasks import LanguageModel, RecurrentNetwork

KEY = jax.random.key(0)
VOCABULARY = "abcdefg"


def text(train=200, rest=40) -> TextDataset:
    draw = np.random.default_rng(0).integers
    splits = [jnp.asarray(draw(0, 7, n), jnp.int32) for n in (train, rest, rest)]
    return TextDataset("letters", *splits, VOCABULARY)


def counting(length=5, batch_size=4, train=30) -> LanguageModel:
    """A task whose tokens are their own places."""
    network = RecurrentNetwork(train, "vanilla", 4, 2)
    splits = {name: jnp.arange(train) for name in ("train", "validation", "test")}
    splits["test"] = splits["test"][::-1]
    return LanguageModel(network, splits, batch_size, length)


def recurrent(**options):
    return tasks.recurrent_language_model(
        text(),
        **{"cell": "gru", "units": 6, "embedding_size": 3, "length": 7, "batch_size": 5} | options,
    )


def transformer():
    return tasks.transformer_language_model(
        text(), num_layers=1, width=8, num_heads=2, length=7, batch_size=5
    )


both = pytest.mark.parametrize("make", [recurrent, transformer])


def test_batches_are_windows_of_the_training_split_from_everywhere():
    task = counting(batch_size=400)
    batch = np.asarray(task.sample_batch(KEY))
    assert batch.shape == (400, 6)
    np.testing.assert_array_equal(np.diff(batch, axis=1), 1)
    # The first and the last possible window, and all between.
    assert set(batch[:, 0]) == set(range(25))
    assert batch.max() == 29


@both
def test_the_loss_is_the_mean_surprise_of_the_next_character(make):
    task = make()
    params, batch = task.init(KEY), task.sample_batch(KEY)
    logits = np.asarray(eqx.filter_jit(task.network)(params, batch[:, :-1]), float)
    surprises = [
        -np.log(np.exp(row[target]) / np.exp(row).sum())
        for window, targets in zip(logits, batch[:, 1:].tolist(), strict=True)
        for row, target in zip(window, targets, strict=True)
    ]
    assert len(surprises) == 35
    np.testing.assert_allclose(
        eqx.filter_jit(task.loss)(params, batch), np.mean(surprises), rtol=1e-5
    )


@both
def test_equal_logits_cost_the_scale(make):
    task = make()
    params = jax.tree.map(jnp.zeros_like, task.init(KEY))
    loss = eqx.filter_jit(task.loss)(params, task.sample_batch(KEY))
    assert task.metadata["num_classes"] == 7
    np.testing.assert_allclose(loss, task.metadata["guessing_loss"], rtol=1e-6)


@pytest.mark.parametrize("split", ["train", "test"])
@both
def test_accuracy_counts_all_whole_windows(make, split):
    task = make()
    params = task.init(jax.random.key(2))
    tokens = np.asarray(task.splits[split])
    right, network = [], eqx.filter_jit(task.network)
    for start in range(0, len(tokens) - 7, 7):
        logits = network(params, jnp.asarray(tokens[None, start : start + 7]))[0]
        right += (np.argmax(logits, axis=1) == tokens[start + 1 : start + 8]).tolist()
    assert len(right) == {"train": 196, "test": 35}[split]
    np.testing.assert_allclose(task.accuracy(params, split), np.mean(right), rtol=1e-6)


@both
def test_the_validation_loss_is_that_of_all_whole_windows(make):
    task = make()
    params, tokens = task.init(jax.random.key(2)), np.asarray(task.splits["validation"])
    starts = range(0, len(tokens) - 7, 7)
    windows = jnp.asarray(np.stack([tokens[start : start + 8] for start in starts]))
    found = task.validate(params)
    np.testing.assert_allclose(found["loss"], task.loss(params, windows), rtol=1e-5)
    np.testing.assert_allclose(found["accuracy"], task.accuracy(params, "validation"), rtol=1e-6)


def test_accuracy_reads_forward():
    """A network that always answers one less is right on the split that counts down."""
    task = counting()
    params = jax.tree.map(jnp.zeros_like, task.init(KEY))
    params["dense"]["bias"] = params["dense"]["bias"].at[29].set(1.0)
    # 29 is the first token of the test split: never a next character there.
    assert float(task.accuracy(params, "test")) == 0
    params["dense"]["bias"] = params["dense"]["bias"].at[28].set(2.0)
    np.testing.assert_allclose(task.accuracy(params, "test"), 1 / 25, rtol=1e-6)


@both
def test_the_softmax_is_declared_as_a_symmetry(make):
    report = symmetry.verify(make(), KEY, num_draws=1)
    assert report.ok, str(report)
    assert set(report.checks) == {"translation"}


def test_names_of_the_built_tasks():
    assert recurrent().metadata["name"] == "letters-gru"
    assert transformer().metadata["name"] == "letters-transformer"
    assert recurrent(name="mine").metadata["name"] == "mine"


def test_wrong_settings():
    with pytest.raises(InvalidValueError, match=r"a split has 40 characters.*at most 39"):
        recurrent(length=40)
    assert recurrent(length=39).metadata["length"] == 39
    with pytest.raises(InvalidValueError, match="batch_size is 0"):
        recurrent(batch_size=0)
    with pytest.raises(InvalidValueError, match="length is 0"):
        recurrent(length=0)
    with pytest.raises(UnknownNameError, match="Did you mean 'test'"):
        recurrent().accuracy(recurrent().init(KEY), "tests")
