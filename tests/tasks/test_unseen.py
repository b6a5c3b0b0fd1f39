"""The sixteen unseen tasks: their sizes, their data and that each of them can be learned."""

import os
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optoscope import data, optimizers, tasks, training
from optoscope._core.errors import InvalidValueError, UnknownNameError
from optoscope._core.trees import size
from optoscope.tasks._unseen import SCALES, UNSEEN_TASKS, build_unseen

KEY = jax.random.key(0)
SIDES = {"digits": (8, 1), "mnist": (28, 1), "fashion_mnist": (28, 1), "cifar10": (32, 3)}
PAPER_SIZES = {
    "layer-norm-mlp": 3072 * 128 + 2 * 128**2 + 9 * 128 + 1290,
    "layer-norm-tanh-mlp": 784 * 128 + 4 * 128**2 + 15 * 128 + 1290,
    "wide-mlp": 3072 * 1024 + 1024**2 + 2 * 1024 + 10_250,
    "deep-mlp": 784 * 128 + 4 * 128**2 + 5 * 128 + 1290,
    "lstm-language-model": 65 * 64 + (64 + 1 + 256) * 1024 + 257 * 65,
    "gru-language-model": 65 * 64 + (64 + 1 + 256) * 768 + 257 * 65,
    "rnn-language-model": 65 * 64 + (64 + 1 + 256) * 256 + 257 * 65,
    "es-gradient-layer-norm-mlp": 3072 * 128 + 2 * 128**2 + 9 * 128 + 1290,
}


@pytest.fixture
def invented(monkeypatch):
    """Datasets of the right shapes without any file; remembers what was asked for."""
    asked = []

    def load(name, **options):
        asked.append((name, options))
        if name == "tinyshakespeare":
            tokens = jnp.arange(500) % 65
            return data.TextDataset(name, tokens, tokens, tokens, "".join(map(chr, range(65))))
        side, channels = SIDES[name]
        side = options["size"] or side
        part = data.Split(jnp.zeros((6, side, side, channels)), jnp.arange(6))
        return data.Dataset(name, part, part, part, 10)

    monkeypatch.setattr(data, "load", load)
    return asked


def test_there_are_sixteen_of_all_families():
    assert len(tasks.UNSEEN) == len(set(tasks.UNSEEN)) == 16
    assert all(name in tasks.names() for name in tasks.UNSEEN)
    for family in ("layer-norm", "wide", "cnn", "residual", "autoencoder", "rnn", "gru", "lstm"):
        assert any(family in name for name in tasks.UNSEEN)
    assert sum(name.startswith("es-gradient-") for name in tasks.UNSEEN) == 2
    assert "transformer-language-model" in tasks.UNSEEN


@pytest.mark.parametrize("name", tasks.UNSEEN)
def test_sizes_grow_with_the_scale_and_are_the_papers_at_its(name, invented):
    metadata = [tasks.get(name, scale=scale).metadata for scale in SCALES]
    counts = [m["num_params"] for m in metadata]
    assert counts == sorted(set(counts))
    assert counts[0] < 7_000
    assert counts[1] < 100_000
    if name in PAPER_SIZES:
        assert counts[2] == PAPER_SIZES[name]
    assert [m["batch_size"] for m in metadata] == sorted(m["batch_size"] for m in metadata)
    for each in metadata:
        assert each["name"] == name
        assert each["num_classes"] in ({65} if "language" in name else {10, None})
        assert isinstance(each["guessing_loss"], float)


@pytest.mark.parametrize("name", tasks.UNSEEN)
def test_paper_is_the_default_scale(name, invented):
    shapes = [
        jax.eval_shape(task.init, KEY) for task in (tasks.get(name), tasks.get(name, scale="paper"))
    ]
    assert jax.tree.leaves(shapes[0]) == jax.tree.leaves(shapes[1])
    assert invented[0] == invented[1]


def test_images_are_the_digits_at_smoke_smaller_at_laptop_and_whole_at_paper(invented):
    for scale in SCALES:
        tasks.get("wide-mlp", scale=scale, verify=False, data_dir="here")
    tasks.get("wide-mlp", scale="laptop", dataset="mnist")
    tasks.get("wide-mlp", scale="smoke", dataset="cifar10")
    tasks.get("wide-mlp", scale="laptop", size=9)
    assert [(name, options["size"]) for name, options in invented] == [
        ("digits", None),
        ("cifar10", 16),
        ("cifar10", None),
        ("mnist", 14),
        ("cifar10", 8),
        ("cifar10", 9),
    ]
    assert invented[0][1]["data_dir"] == "here"
    assert invented[0][1]["verify"] is False


def test_text_takes_no_options_of_images(invented):
    tasks.get("gru-language-model", scale="smoke", verify=False)
    assert invented == [("tinyshakespeare", {"data_dir": None, "verify": False})]
    with pytest.raises(InvalidValueError, match="has no option 'size'"):
        tasks.get("gru-language-model", size=8)


def test_other_settings_than_the_scales(invented):
    metadata = tasks.get("deep-mlp", scale="smoke", hidden=(3,), batch_size=2).metadata
    assert metadata["widths"] == [64, 3, 10]
    assert metadata["batch_size"] == 2
    task = tasks.get("es-gradient-autoencoder", scale="smoke", num_pairs=3, std=0.1, hidden=(4,))
    assert (task.num_pairs, task.std) == (3, 0.1)
    assert task.metadata["widths"] == [64, 4, 64]


def test_an_es_task_is_its_plain_task_with_another_gradient(invented):
    for name in ("layer-norm-mlp", "autoencoder"):
        for scale in SCALES:
            plain = tasks.get(name, scale=scale)
            noisy = tasks.get(f"es-gradient-{name}", scale=scale)
            assert noisy.metadata == plain.metadata | {
                "name": f"es-gradient-{name}",
                "gradient": "es",
                "num_pairs": 6 if scale == "laptop" else 8,
                "std": 0.01,
            }


def test_wrong_scale_and_dataset():
    with pytest.raises(UnknownNameError, match="Did you mean 'laptop'"):
        tasks.get("wide-mlp", scale="labtop")
    with pytest.raises(UnknownNameError, match="unknown dataset"):
        tasks.get("wide-mlp", dataset="mnits")
    with pytest.raises(InvalidValueError, match="has no option 'num_pairs'"):
        tasks.get("layer-norm-mlp", num_pairs=3)


def available(name, scale):
    needs_files = UNSEEN_TASKS[name].is_text or scale != "smoke"
    return not needs_files or bool(os.environ.get("OPTOSCOPE_DATA"))


def built(name, scale):
    if not available(name, scale):
        pytest.skip("OPTOSCOPE_DATA is not set")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        # Half of CIFAR-10 is enough here.
        return build_unseen(name, scale=scale, verify=False)


def falls(name, scale, num_steps):
    """Adam at one rate for all; chosen before any run: 20% lower at its end, 5% for ES."""
    task = built(name, scale)
    run = training.train(task, optimizers.adam(3e-3), num_steps, key=KEY)
    losses = np.asarray(run.losses[0])
    assert np.isfinite(losses).all()
    assert size(run.params) == task.metadata["num_params"]
    ratio = losses[-20:].mean() / losses[:5].mean()
    return ratio < (0.95 if UNSEEN_TASKS[name].es else 0.8), ratio


# One of each kind of network; the others are left to `make test-all`.
SLOW = (
    "layer-norm-tanh-mlp",
    "wide-mlp",
    "deep-mlp",
    "wide-cnn",
    "tanh-cnn",
    "cross-entropy-autoencoder",
    "rnn-language-model",
    "lstm-language-model",
    "es-gradient-autoencoder",
)


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in tasks.UNSEEN],
)
def test_adam_learns_it_at_smoke_scale(name):
    ok, ratio = falls(name, "smoke", 300)
    assert ok, ratio


@pytest.mark.slow
@pytest.mark.parametrize("scale", ["laptop", "paper"])
@pytest.mark.parametrize("name", tasks.UNSEEN)
def test_adam_learns_it_at_larger_scales(name, scale):
    ok, ratio = falls(name, scale, 400)
    assert ok, ratio
