import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optoscope import data, tasks
from optoscope._core.errors import InvalidValueError
from optoscope._core.trees import size
from optoscope.analysis import symmetry
from optoscope.tasks import ResidualNetwork

KEY = jax.random.key(0)


def naive_convolution(image, layer, stride):
    """SAME, one output at a time; the surplus pixel of the padding is at the end."""
    weights, bias = (np.asarray(layer[name], float) for name in ("weights", "bias"))
    k = weights.shape[0]
    sides = [-(-side // stride) for side in image.shape[:2]]
    pads = [
        max((out - 1) * stride + k - side, 0)
        for out, side in zip(sides, image.shape[:2], strict=True)
    ]
    image = np.pad(image, [*((total // 2, total - total // 2) for total in pads), (0, 0)])
    result = np.zeros((*sides, weights.shape[3]))
    for i, j in itertools.product(*map(range, sides)):
        patch = image[i * stride : i * stride + k, j * stride : j * stride + k]
        result[i, j] = np.tensordot(patch, weights, 3) + bias
    return result


def naive_active(image, layer):
    normed = (image - image.mean()) / np.sqrt(image.var() + 1e-5)
    return np.maximum(normed * np.asarray(layer["scale"]) + np.asarray(layer["shift"]), 0)


def naive_network(params, image, strides):
    hidden = naive_convolution(image, params["stem"], 1)
    for block, stride in enumerate(strides):
        name = f"block_{block}"
        inside = naive_active(hidden, params[f"{name}_norm_0"])
        inside = naive_convolution(inside, params[f"{name}_conv_0"], stride)
        inside = naive_active(inside, params[f"{name}_norm_1"])
        inside = naive_convolution(inside, params[f"{name}_conv_1"], 1)
        if f"{name}_shortcut" in params:
            hidden = naive_convolution(hidden, params[f"{name}_shortcut"], stride)
        hidden = hidden + inside
    pooled = naive_active(hidden, params["norm"]).mean(axis=(0, 1))
    return pooled @ np.asarray(params["dense"]["weights"]) + np.asarray(params["dense"]["bias"])


def test_against_a_naive_implementation():
    network = ResidualNetwork((6, 5, 2), (3, 3, 4), (1, 1, 2), num_outputs=3)
    draw = np.random.default_rng(0).normal
    # Scales, shifts and biases too: at their initial values a mix-up would not show.
    params = jax.tree.map(
        lambda leaf: jnp.asarray(draw(0.2, 0.4, leaf.shape), jnp.float32),
        jax.eval_shape(network.init, KEY),
    )
    images = jnp.asarray(draw(0, 1, (4, 60)), jnp.float32)
    expected = [
        naive_network(params, np.asarray(image, float).reshape(6, 5, 2), network.strides)
        for image in images
    ]
    np.testing.assert_allclose(jax.jit(network)(params, images), expected, rtol=1e-3, atol=1e-4)


def test_a_shortcut_exists_only_where_the_shape_changes():
    shapes = jax.eval_shape(ResidualNetwork((8, 8, 1), (4, 4, 4, 8), (1, 2, 1, 1)).init, KEY)
    shortcuts = [name for name in shapes if "shortcut" in name]
    assert shortcuts == ["block_1_shortcut", "block_3_shortcut"]
    assert shapes["block_1_shortcut"]["weights"].shape == (1, 1, 4, 4)


def test_the_number_of_parameters_at_the_papers_size():
    shapes = jax.eval_shape(ResidualNetwork((32, 32, 3)).init, KEY)
    blocks = 0
    for inputs, outputs, shortcut in ((32, 32, False), (32, 64, True), (64, 128, True)):
        blocks += 9 * inputs * outputs + 9 * outputs**2 + 2 * outputs + 2 * inputs + 2 * outputs
        blocks += shortcut * (inputs * outputs + outputs)
    assert size(shapes) == 27 * 32 + 32 + blocks + 2 * 128 + 1290


def test_with_dead_branches_it_is_its_stem():
    network = ResidualNetwork((4, 4, 1), (2,), (1,), num_outputs=2)
    params = network.init(KEY)
    params["block_0_conv_1"] = jax.tree.map(jnp.zeros_like, params["block_0_conv_1"])
    images = jax.random.normal(KEY, (3, 16))
    for image, logits in zip(images, network(params, images), strict=True):
        stem = naive_convolution(np.asarray(image, float).reshape(4, 4, 1), params["stem"], 1)
        pooled = naive_active(stem, params["norm"]).mean(axis=(0, 1))
        expected = pooled @ params["dense"]["weights"]
        np.testing.assert_allclose(logits, expected, rtol=1e-3, atol=1e-5)


def test_the_task_declares_the_softmax():
    task = tasks.residual_classification(
        data.load("digits", size=4), channels=(2,), strides=(1,), batch_size=4
    )
    report = symmetry.verify(task, KEY, num_draws=1)
    assert report.ok, str(report)
    assert set(report.checks) == {"translation"}


@pytest.mark.parametrize(
    ("channels", "strides", "message"),
    [
        ((), (), "there must be a block"),
        ((4, 0), (1, 1), "every number at least 1"),
        ((4, 4), (1,), "1 numbers for 2 blocks"),
    ],
)
def test_wrong_settings(channels, strides, message):
    with pytest.raises(InvalidValueError, match=message):
        ResidualNetwork((8, 8, 1), channels, strides)
