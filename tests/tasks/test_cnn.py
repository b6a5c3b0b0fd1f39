import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optoscope import data, tasks
from optoscope._core.errors import InvalidValueError, UnknownNameError
from optoscope._core.trees import size
from optoscope.analysis import symmetry
from optoscope.tasks import CNN
from optoscope.tasks._cnn_symmetries import cnn_symmetries

KEY = jax.random.key(0)
PAPER_C = {
    "channels": (32, 64, 64),
    "strides": (2, 1, 1),
    "padding": "SAME",
    "pooling": "mean",
    "initialization": "truncated_normal",
}


def literal_convolution(image, weights, bias, stride, padding):
    """One image, one output at a time; SAME pads the surplus pixel at the end."""
    height, width, _ = image.shape
    k = weights.shape[0]
    if padding == "SAME":
        pads = []
        for side in (height, width):
            total = max((-(-side // stride) - 1) * stride + k - side, 0)
            pads.append((total // 2, total - total // 2))
        image = np.pad(image, (*pads, (0, 0)))
        height, width, _ = image.shape
    rows, columns = ((side - k) // stride + 1 for side in (height, width))
    out = np.zeros((rows, columns, weights.shape[3]))
    for i, j, c in itertools.product(range(rows), range(columns), range(weights.shape[3])):
        patch = image[i * stride : i * stride + k, j * stride : j * stride + k]
        out[i, j, c] = np.sum(patch * weights[..., c]) + bias[c]
    return out


def literal_network(network, params, image):
    hidden = image.reshape(network.image_shape)
    for layer, stride in enumerate(network.strides or (1,) * len(network.channels)):
        entry = params[f"conv_{layer}"]
        hidden = literal_convolution(
            hidden, entry["weights"], entry["bias"], stride, network.padding
        )
        hidden = np.maximum(hidden, 0)
    flat = hidden.mean(axis=(0, 1)) if network.pooling == "mean" else hidden.ravel()
    return flat @ params["dense"]["weights"] + params["dense"]["bias"]


@pytest.mark.parametrize(
    "settings",
    [
        {"channels": (3, 2), "padding": "VALID"},
        {"channels": (3, 2), "strides": (2, 1), "padding": "SAME", "pooling": "mean"},
        {"channels": (2,), "strides": (2,), "kernel_size": 2},
        {"channels": (2, 2), "strides": (1, 3), "padding": "SAME", "kernel_size": 5},
    ],
)
def test_against_a_literal_implementation(settings):
    network = CNN((7, 6, 2), num_outputs=4, **settings)
    params = network.init(KEY)
    images = jax.random.normal(jax.random.key(1), (3, 7 * 6 * 2))
    plain = jax.tree.map(lambda leaf: np.asarray(leaf, float), params)
    expected = [literal_network(network, plain, np.asarray(image, float)) for image in images]
    found = eqx.filter_jit(lambda network, *args: network(*args))(network, params, images)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("network", "count"),
    [
        (CNN((28, 28, 1)), 82_250),
        (CNN((32, 32, 3), **PAPER_C), 56_970),
        (CNN((8, 8, 1)), 160 + 2 * 2320 + 650),
    ],
)
def test_the_papers_numbers_of_parameters(network, count):
    shapes = jax.eval_shape(network.init, KEY)
    assert size(shapes) == count
    assert list(shapes) == [f"conv_{layer}" for layer in range(3)] + ["dense"]
    assert all(set(entry) == {"weights", "bias"} for entry in shapes.values())


def test_planes_shrink_with_valid_kernels_and_strides():
    assert CNN((28, 28, 1)).planes == ((26, 26), (24, 24), (22, 22))
    assert CNN((32, 32, 3), **PAPER_C).planes == ((16, 16), (16, 16), (16, 16))
    assert CNN((9, 8, 1), (2, 2), strides=(2, 2)).planes == ((4, 3), (1, 1))


def test_initial_weights_have_the_stated_variance():
    for initialization, variance in (("uniform", 1 / 3), ("truncated_normal", 0.7737)):
        params = CNN((9, 9, 4), (64,), initialization=initialization).init(KEY)
        weights = np.asarray(params["conv_0"]["weights"], float) * 36**0.5
        spread = np.sqrt(np.var(weights**2) / weights.size)
        assert abs(np.mean(weights**2) - variance) < 4 * spread
        assert np.abs(weights).max() <= (1 if initialization == "uniform" else 2)
        assert np.any(params["dense"]["bias"]) == (initialization == "uniform")


@pytest.mark.parametrize(
    "settings",
    [{"channels": (3, 2)}, {"channels": (3, 2), "pooling": "mean", "padding": "SAME"}],
)
def test_declared_symmetries_hold_in_float64(settings):
    images = data.load("digits", size=5)
    task = tasks.cnn_classification(images, activation="leaky_relu", batch_size=8, **settings)
    report = symmetry.verify(task, KEY, num_draws=1)
    assert report.ok, str(report)
    assert report.checks["rescale"].labels == (
        *(f"conv_0 channel {k}" for k in range(3)),
        *(f"conv_1 channel {k}" for k in range(2)),
    )


def test_tanh_has_the_softmax_only():
    assert set(cnn_symmetries(CNN((8, 8, 1), activation="tanh"))) == {"translation"}


def test_registered_with_options_and_reduced_images():
    metadata = tasks.get("digits-cnn").metadata
    assert (metadata["name"], metadata["batch_size"]) == ("digits-cnn", 100)
    assert metadata["num_params"] == 5450
    task = tasks.get("digits-cnn", size=5, channels=(2,), pooling="mean", batch_size=3)
    assert task.metadata["num_params"] == 20 + 30
    assert task.sample_batch(KEY).inputs.shape == (3, 25)
    with pytest.raises(InvalidValueError, match="no option 'hidden'; it takes activation, batch"):
        tasks.get("digits-cnn", hidden=(3,))


def test_a_network_that_sees_one_pixel_is_a_dense_layer_of_it():
    network = CNN((3, 3, 1), (1,), num_outputs=1)
    params = {
        "conv_0": {"weights": jnp.zeros((3, 3, 1, 1)).at[1, 1].set(2.0), "bias": jnp.array([1.0])},
        "dense": {"weights": jnp.array([[10.0]]), "bias": jnp.array([0.5])},
    }
    assert network(params, jnp.arange(9.0)[None]).tolist() == [[90.5]]


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"channels": ()}, InvalidValueError, "there must be a convolution"),
        ({"channels": (4, 0)}, InvalidValueError, "every number at least 1"),
        ({"strides": (2,)}, InvalidValueError, "1 numbers for 3 convolutions"),
        ({"image_shape": (6, 6, 1)}, InvalidValueError, "become 4×4, 2×2, 0×0"),
        ({"padding": "same"}, UnknownNameError, "Did you mean 'SAME'|unknown padding"),
        ({"pooling": "max"}, UnknownNameError, "unknown pooling 'max'"),
        ({"activation": "rely"}, UnknownNameError, "Did you mean 'relu'"),
        ({"initialization": "normal"}, UnknownNameError, "unknown initialization"),
    ],
)
def test_wrong_settings(settings, error, message):
    with pytest.raises(error, match=message):
        CNN(**({"image_shape": (8, 8, 1)} | settings))
