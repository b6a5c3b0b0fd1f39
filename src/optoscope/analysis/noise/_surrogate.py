"""What Gaussian noise with the silence, scales and correlations of given noise looks like."""

import numpy as np
from jaxtyping import Bool, Float64


def gaussian_surrogate(
    samples: Float64[np.ndarray, "batches coordinates"],
    repeated: Bool[np.ndarray, "batches coordinates"],
    generator: np.random.Generator,
) -> Float64[np.ndarray, "batches coordinates"]:
    """Gaussian noise with the silence, means, scales and correlations of `samples`.

    Samples that are repeated in their coordinate stay as they are, in the same batches: silence
    is part of what the comparison holds fixed. So does the only other sample of a coordinate, of
    which no scale is known. All others are replaced: the batch rows, less the mean of each
    coordinate's replaced samples, are mixed by a standard Gaussian matrix; given the samples,
    the new rows are Gaussians with the variance of the replaced samples and, without
    repetitions, exactly with the sample covariance. They are centered and given the samples'
    means, so that whatever was subtracted from the samples has been subtracted here as well.
    """
    free = ~repeated
    free &= free.sum(axis=0) > 1
    count = free.sum(axis=0)
    mean = np.where(free, samples, 0.0).sum(axis=0) / np.maximum(count, 1)
    rows = np.where(free, samples - mean, 0.0) / np.sqrt(np.maximum(count - 1, 1))
    num_batches, num_coordinates = samples.shape
    if num_coordinates < num_batches:
        # Same covariance, fewer rows to mix: the Gaussian matrix times Q is Gaussian again.
        rows = np.asarray(np.linalg.qr(rows, mode="r"))
    mixed = generator.standard_normal((num_batches, rows.shape[0])) @ rows
    mixed += mean - np.where(free, mixed, 0.0).sum(axis=0) / np.maximum(count, 1)
    return np.where(free, mixed, samples)
