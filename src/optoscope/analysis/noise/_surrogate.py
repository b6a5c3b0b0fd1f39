"""What Gaussian noise with the silence, scales and correlations of given noise looks like."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64


@dataclass(frozen=True)
class Repetitions:
    """Which samples are repeated exactly within their coordinate.

    Noise with a density never repeats a value. What is repeated is an atom: most often the value
    of the batches in which the coordinate was silent (a dead pixel, a unit that was off), and
    with sign-like updates (Lion) every value. An atom has no tail.

    Args:
        repeated: samples whose value occurs at least twice in their coordinate.
        silent: samples that have the most frequent value of their coordinate, if it occurs at
            least twice. Silent batches have it after centering as well, which turns their zeros
            into one number, minus the mean.
    """

    repeated: Bool[np.ndarray, "batches coordinates"]
    silent: Bool[np.ndarray, "batches coordinates"]


def repetitions(samples: Float64[np.ndarray, "batches coordinates"]) -> Repetitions:
    """Finds the values that are repeated exactly within a coordinate; NumPy alone."""
    columns = np.ascontiguousarray(samples.T)
    ordered = np.sort(columns, axis=1)
    tied = (ordered[:, 1:] == ordered[:, :-1]).any(axis=1)
    repeated, silent = np.zeros(columns.shape, bool), np.zeros(columns.shape, bool)
    for index in np.flatnonzero(tied):
        _, which, counts = np.unique(columns[index], return_inverse=True, return_counts=True)
        repeated[index] = counts[which] > 1
        silent[index] = which == counts.argmax()
    return Repetitions(repeated.T, silent.T)


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
