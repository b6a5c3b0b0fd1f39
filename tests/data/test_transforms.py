import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optoscope._core.errors import DataError
from optoscope.data._transforms import area_weights, channel_statistics, to_pixels


def test_area_weights_by_hand():
    np.testing.assert_allclose(area_weights(3, 2), [[2 / 3, 1 / 3, 0], [0, 1 / 3, 2 / 3]])
    np.testing.assert_allclose(area_weights(2, 4), [[1, 0], [1, 0], [0, 1], [0, 1]])
    np.testing.assert_array_equal(area_weights(5, 5), np.eye(5))


@given(st.integers(1, 40), st.integers(1, 40))
def test_area_weights_agree_with_the_naive_average(old, new):
    # Each old cell cut into `new` pieces, each new cell the mean of `old` pieces.
    naive = np.repeat(np.eye(old), new, axis=0).reshape(new, old, old).mean(1)
    np.testing.assert_allclose(area_weights(old, new), naive, atol=1e-12)


def test_pixels_are_divided_exactly_and_kept_in_place():
    images = np.arange(256, dtype=np.uint8).reshape(1, 16, 8, 2)
    got = to_pixels(images, 255, None)
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, np.arange(256, dtype=np.float32).reshape(1, 16, 8, 2) / 255)


def test_resizing_averages_blocks_of_each_channel():
    images = np.random.RandomState(0).randint(0, 256, (3, 28, 28, 3)).astype(np.uint8)
    blocks = (images / 255).reshape(3, 14, 2, 14, 2, 3).mean((2, 4))
    np.testing.assert_allclose(to_pixels(images, 255, 14), blocks, atol=1e-6)


@pytest.mark.parametrize("size", [1, 8, 13, 27, 40])
def test_resizing_keeps_the_mean_and_the_range(size):
    images = np.random.RandomState(0).choice(np.array([0, 255], np.uint8), (4, 28, 28, 1))
    got = to_pixels(images, 255, size)
    assert got.shape == (4, size, size, 1)
    np.testing.assert_allclose(got.mean((1, 2, 3)), images.mean((1, 2, 3)) / 255, atol=1e-6)
    assert got.min() >= 0
    assert got.max() <= 1
    assert to_pixels(np.full((1, 28, 28, 1), 255, np.uint8), 255, size).max() <= 1


def test_statistics_do_not_depend_on_the_chunks():
    pixels = np.random.RandomState(0).rand(5_003, 2, 2, 3).astype(np.float32)
    mean, deviation = channel_statistics(pixels)
    double = pixels.astype(np.float64)
    np.testing.assert_allclose(mean, double.mean((0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(deviation, double.std((0, 1, 2)), rtol=1e-12)


def test_a_constant_channel_has_no_scale():
    pixels = np.random.RandomState(0).rand(7, 3, 3, 2).astype(np.float32)
    pixels[..., 1] = 0.1
    with pytest.raises(DataError, match="cannot standardize"):
        channel_statistics(pixels)
