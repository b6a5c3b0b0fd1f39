"""The null space of the rows at a point: how large it is, and a basis of it."""

import math

import numpy as np
import scipy.linalg

from optoscope.analysis.symmetry._naming import Names, Point

LARGEST_NULL = 1e-10
_MOST_BASIS = 200_000_000
_ROUNDING = 1e-17
_STILL = 1e-7


def balanced(point: Point) -> tuple[np.ndarray, np.ndarray]:
    """The rows on live parameters, with columns of length 1, and what they were divided by."""
    rows = point.rows[:, point.live]
    lengths = np.linalg.norm(rows, axis=0)
    return rows / lengths, lengths


def split(point: Point) -> tuple[int, float, np.ndarray]:
    """The nullity on live parameters, its gap, and the null space as orthonormal columns.

    Where there are fewer rows than parameters (a projection), the nullity is only known if the
    rank is below the number of rows; if not it is given as 0.
    """
    matrix, lengths = balanced(point)
    count, size = matrix.shape
    if size == 0:
        return 0, math.inf, np.zeros((0, 0))
    wide = count < size
    if wide:
        sizes, right = scipy.linalg.svdvals(matrix), np.zeros((0, size))
    else:
        triangle = scipy.linalg.qr(matrix, mode="r")[0][:size]
        _, sizes, right = scipy.linalg.svd(triangle)
    relative = np.maximum(sizes / sizes[0], _ROUNDING)
    ratios = np.append(relative[:-1] / relative[1:], 0.0)
    allowed = np.append(relative[1:] <= LARGEST_NULL, False)
    if not allowed.any():
        return 0, float(relative[-1] / _ROUNDING), np.zeros((size, 0))
    rank = int(np.argmax(np.where(allowed, ratios, 0.0))) + 1
    null = right[rank:].T / lengths[:, None] if not wide else np.zeros((size, 0))
    if null.shape[1]:
        null = scipy.linalg.qr(null, mode="economic")[0]
    return size - rank, float(ratios[rank - 1]), np.asarray(null)


def still_null(point: Point, directions: np.ndarray) -> int:
    """How many combinations of the directions are null for other data, too."""
    sizes = scipy.linalg.svdvals(point.rows @ directions.T)
    largest = np.linalg.norm(point.rows, axis=1).max(initial=0.0)
    return len(directions) - int((sizes > _STILL * largest).sum())


def basis_of(
    point: Point, names: Names, null: np.ndarray | None, nullity: int
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Orthonormal rows: named directions, those without a name, dead parameters."""
    size = len(point.theta)
    if len(names) * size > _MOST_BASIS:
        return np.zeros((0, size)), ()
    named = names.basis()
    parts, labels = [named], list(names.labels)
    if null is not None and nullity > len(names):
        left = null - named.T @ (named @ null)
        directions = scipy.linalg.svd(left, full_matrices=False)[0]
        parts.append(directions[:, : nullity - len(names)].T)
        labels += ["unnamed"] * (nullity - len(names))
    rows = np.zeros((sum(map(len, parts)), size))
    rows[:, point.live] = np.concatenate(parts)
    if null is not None:
        dead = np.eye(size)[~point.live]
        rows, labels = np.concatenate([rows, dead]), labels + ["dead"] * len(dead)
    return rows, tuple(labels)
