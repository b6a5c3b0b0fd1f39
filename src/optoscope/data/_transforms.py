"""Images to float32 pixels: scaling, area averaging, standardization."""

import numpy as np
from jaxtyping import Float32, Float64, UInt8

from optoscope._core.errors import DataError

# Converting in chunks keeps the peak near the size of the result.
_CHUNK = 5_000


def to_pixels(
    images: UInt8[np.ndarray, "n height width channels"], maximum: int, size: int | None
) -> Float32[np.ndarray, "n new_height new_width channels"]:
    """Pixels divided by `maximum`, so in [0, 1], area-averaged to `size` x `size` where given."""
    height, width = images.shape[1:3]
    shape = (height, width) if size is None else (size, size)
    result = np.empty((len(images), *shape, images.shape[3]), np.float32)
    rows = area_weights(height, shape[0]).astype(np.float32)
    columns = area_weights(width, shape[1]).astype(np.float32)
    for start in range(0, len(images), _CHUNK):
        chunk = images[start : start + _CHUNK].astype(np.float32) / maximum
        if shape != (height, width):
            chunk = np.einsum("yh,nhwc->nywc", rows, chunk, optimize=True)
            chunk = np.einsum("xw,nywc->nyxc", columns, chunk, optimize=True)
            # The weights sum to one only up to rounding.
            chunk = np.clip(chunk, 0.0, 1.0)
        result[start : start + _CHUNK] = chunk
    return result


def area_weights(old: int, new: int) -> Float64[np.ndarray, "new old"]:
    """How much each of `old` equal cells contributes to each of `new` cells over the same length.

    Entry (i, j) is the part of new cell i that old cell j covers, so that each row sums to one.
    """
    edges = np.arange(new + 1)[:, None] * (old / new)
    starts = np.arange(old)[None, :]
    overlap = np.minimum(edges[1:], starts + 1) - np.maximum(edges[:-1], starts)
    return np.maximum(overlap, 0.0) * (new / old)


def channel_statistics(
    pixels: Float32[np.ndarray, "n height width channels"],
) -> tuple[Float64[np.ndarray, " channels"], Float64[np.ndarray, " channels"]]:
    """Mean and (population) standard deviation of each channel, accumulated in float64.

    Raises:
        DataError: a channel is constant, so that it has no scale to divide by.
    """
    chunks = [pixels[i : i + _CHUNK] for i in range(0, len(pixels), _CHUNK)]
    count = pixels[..., 0].size
    mean = sum(c.sum((0, 1, 2), dtype=np.float64) for c in chunks) / count
    variance = sum(np.square(c - mean).sum((0, 1, 2)) for c in chunks) / count
    # A constant channel's mean is exact only up to rounding.
    if np.any(variance < 1e-14):
        raise DataError(
            "cannot standardize: all training pixels of a channel have the same value. Leave out "
            "standardize, or take a larger training split."
        )
    return np.asarray(mean), np.sqrt(variance)
