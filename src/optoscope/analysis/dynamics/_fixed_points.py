"""Fixed points of an optimizer's state under a constant gradient, unstable ones included."""

import dataclasses
from collections.abc import Callable

import numpy as np
from jaxtyping import Complex, Float, Int

from optoscope._core.errors import InvalidValueError, check_count, check_number
from optoscope._core.showing import shown
from optoscope.analysis.dynamics._coordinates import CoordinateMap, ScalarMap
from optoscope.analysis.dynamics._solver import Roots, find_roots, iterate_forward, jacobians

KINDS = ("stable", "saddle", "slow", "line")
_SLOW = 1e-3
_LINE = 1e-8
# The bounds are of first order: true distances can be a few times larger.
_SAFETY = 4.0
# Closer than this, relative to 1 + ‖h‖, two points count as one; so do two on one line
# closer than the second number, as a line is a continuum of them.
_SAME_POINT, _LINE_RESOLUTION = 1e-9, 1e-3
_MOST_PAIRS = 64
# A stable point is at least one that iterating leads to, so some starts are iterated as well.
_NUM_ITERATED = 64


@shown
@dataclasses.dataclass(frozen=True)
class FixedPoints:
    """The fixed points that were found, the one with the most starts first.

    Args:
        points: h*, with F(h*, g) = h*.
        residuals: ‖F(h*, g) − h*‖.
        sigma_min: the least singular value of 1 − ∂F/∂h.
        error_bounds: the distance to the true fixed point to first order, ‖r‖/σ_min with rounding
            counted as residual; for a line the distance to the line.
        eigenvalues: of ∂F/∂h, the largest first.
        kinds: "stable" (all |λ| < 1), "saddle" (some |λ| > 1), "slow" (the largest |λ| within 1e-3
            of 1) or "line" (some λ within 1e-8 of 1: the point is one sample of a manifold).
        multiplicity: how many of the starts ended there; 0 for what only further searching found.
        updates: what the optimizer does there, at every step.
        gradient: g.
        num_starts: all starts.
        num_unconverged: those that ended at no fixed point.
    """

    points: Float[np.ndarray, "points size"]
    residuals: Float[np.ndarray, " points"]
    sigma_min: Float[np.ndarray, " points"]
    error_bounds: Float[np.ndarray, " points"]
    eigenvalues: Complex[np.ndarray, "points size"]
    kinds: tuple[str, ...]
    multiplicity: Int[np.ndarray, " points"]
    updates: Float[np.ndarray, " points"]
    gradient: float
    num_starts: int
    num_unconverged: int

    def __len__(self) -> int:
        """How many fixed points were found."""
        return len(self.kinds)


def sorted_eigenvalues(
    all_jacobians: Float[np.ndarray, "points size size"],
) -> Complex[np.ndarray, "points size"]:
    """The eigenvalues of each matrix, the largest first."""
    values = np.linalg.eigvals(all_jacobians).astype(np.complex128)
    order = np.argsort(-np.abs(values), axis=1, kind="stable")
    return np.take_along_axis(values, order, axis=1)


def kind_of(eigenvalues: Complex[np.ndarray, " size"]) -> str:
    """The kind of a fixed point from the eigenvalues of ∂F/∂h."""
    sizes = np.abs(eigenvalues)
    if np.abs(eigenvalues - 1).min() < _LINE:
        return "line"
    if sizes.max() > 1 + _SLOW:
        return "saddle"
    return "slow" if sizes.max() >= 1 - _SLOW else "stable"


def _bounds(
    points: np.ndarray, residuals: np.ndarray, all_jacobians: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """σ_min, the error bound, and whether a point lies on a line."""
    size = points.shape[1]
    singular = np.linalg.svd(np.eye(size) - all_jacobians, compute_uv=False)
    on_line = singular[:, -1] < _LINE
    # Along a line there is nothing to be wrong about; across it, the next singular value counts.
    across = np.where(singular < _LINE, np.inf, singular).min(axis=1)
    rounding = 4 * np.finfo(float).eps * (1 + np.linalg.norm(points, axis=1)) * size**0.5
    return singular[:, -1], (residuals + rounding) / across, on_line


def _merge(
    points: np.ndarray, radii: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the representatives, the surest first, and the weight each has gathered."""
    kept: list[int] = []
    gathered: list[int] = []
    for index in np.argsort(radii, kind="stable"):
        if kept:
            distances = np.linalg.norm(points[kept] - points[index], axis=1)
            near = distances <= radii[kept] + radii[index]
            if near.any():
                gathered[int(np.argmin(np.where(near, distances, np.inf)))] += int(weights[index])
                continue
        kept.append(int(index))
        gathered.append(int(weights[index]))
    return np.array(kept, int), np.array(gathered, int)


def _distinct(
    scalar_map: ScalarMap,
    gradient: float,
    points: np.ndarray,
    residuals: np.ndarray,
    weights: np.ndarray,
) -> FixedPoints:
    """Converged ends as fixed points: merged, judged, sorted."""
    scale = 1 + np.linalg.norm(points, axis=1)
    # Copies to rounding first: singular values are only worth their time for the others.
    kept, weights = _merge(points, 0.5 * _SAME_POINT * scale, weights)
    points, residuals, scale = points[kept], residuals[kept], scale[kept]
    all_jacobians, updates = jacobians(scalar_map, points, gradient)
    sigma_min, bounds, on_line = _bounds(points, residuals, all_jacobians)
    least = np.where(on_line, _LINE_RESOLUTION, _SAME_POINT) / 2
    kept, weights = _merge(points, _SAFETY * bounds + least * scale, weights)
    order = kept[np.argsort(-weights, kind="stable")]
    eigenvalues = sorted_eigenvalues(all_jacobians[order])
    return FixedPoints(
        points[order],
        residuals[order],
        sigma_min[order],
        bounds[order],
        eigenvalues,
        tuple(kind_of(values) for values in eigenvalues),
        np.sort(weights, kind="stable")[::-1],
        updates[order],
        gradient,
        int(weights.sum()),
        0,
    )


def _between(found: FixedPoints) -> np.ndarray:
    """Places between every two points: where two are stable, something divides them."""
    isolated = found.points[[kind != "line" for kind in found.kinds]]
    first, second = np.triu_indices(len(isolated), 1)
    first, second = first[:_MOST_PAIRS], second[:_MOST_PAIRS]
    shares = np.array([0.25, 0.5, 0.75])[:, None, None]
    return ((1 - shares) * isolated[first] + shares * isolated[second]).reshape(
        -1, found.points.shape[1]
    )


def _search_everywhere(
    scalar_map: ScalarMap,
    starts: np.ndarray,
    gradient: float,
    search: Callable[[np.ndarray], Roots],
    num_iterations: int,
) -> FixedPoints:
    """From the starts, from where they lead, and from between what that has found."""
    direct = search(starts)
    failed = ~direct.converged
    ahead = np.union1d(np.flatnonzero(failed), np.arange(min(len(starts), _NUM_ITERATED)))
    iterated = iterate_forward(scalar_map, starts[ahead], gradient, num_iterations)
    usable = np.isfinite(iterated).all(1)
    # Only what failed on its own counts as an end of its start.
    ends = [
        (direct, np.ones(len(starts), int)),
        (search(iterated[usable]), failed[ahead][usable].astype(int)),
    ]

    def distinct() -> FixedPoints:
        parts = [
            (roots.points[roots.converged], roots.residuals[roots.converged], w[roots.converged])
            for roots, w in ends
        ]
        points, residuals, weights = (np.concatenate(part) for part in zip(*parts, strict=True))
        return _distinct(scalar_map, gradient, points, residuals, weights)

    found = distinct()
    places = _between(found)
    between = search(places)
    if not between.converged.any():
        return found
    ends.append((between, np.zeros(len(places), int)))
    return distinct()


def fixed_points(
    coordinates: CoordinateMap,
    starts: Float[np.ndarray, "starts size"],
    gradient: float = 0.0,
    *,
    tolerance: float = 1e-12,
    max_steps: int = 120,
    num_iterations: int = 500,
) -> FixedPoints:
    """All fixed points of h -> F(h, g) that the starts lead to, in float64.

    Give it visited states (see `StateProbe`), or random ones. Each start goes straight to a root
    by Levenberg–Marquardt, which finds unstable points as well as stable ones; those that
    get stuck are iterated forward first and try again. A few starts are iterated forward in any
    case, and the places between the points found are searched too, as iteration never ends at a
    saddle.

    Points closer than their error bounds are one point, so a slow direction does not come back
    as a row of points; an eigenvalue of 1 does, as samples of a "line" at least 1e-3 apart.

    Math: minimizes ½‖F(h, g) − h‖².

    Source: paper B, section 4.2; Sussillo and Barak (2013). Both minimize by gradient descent and
    keep what is small; here every point is a root to rounding, with a bound on its error.

    Args:
        coordinates: the optimizer's map.
        starts: states.
        gradient: g, held constant.
        tolerance: the largest ‖F(h, g) − h‖ of a fixed point, relative to 1 + ‖h‖.
        max_steps: Levenberg–Marquardt steps per start.
        num_iterations: steps of forward iteration.

    Returns:
        The points with residuals, error bounds, eigenvalues, kinds and multiplicities. There may
        be none.

    Raises:
        InvalidValueError: an optimizer without state, starts of another size or not finite.

    Example:
        >>> from optoscope import optimizers
        >>> from optoscope.analysis.dynamics import coordinate_map
        >>> coordinates = coordinate_map(optimizers.momentum(0.1, 0.75))
        >>> found = fixed_points(coordinates, np.ones((9, 1)), 2.0)
        >>> found.points.round(12).tolist(), found.kinds, found.multiplicity.tolist()
        ([[8.0]], ('stable',), [9])
    """
    starts = np.asarray(starts, np.float64)
    coordinates.check_has_state("fixed points")
    check_number("gradient", gradient)
    check_number("tolerance", tolerance, minimum=0, exclusive_minimum=True)
    check_count("max_steps", max_steps, minimum=1)
    check_count("num_iterations", num_iterations, minimum=0)
    coordinates.check_states(starts)
    if starts.ndim != 2 or len(starts) == 0 or not np.isfinite(starts).all():
        raise InvalidValueError(
            f"starts of shape {starts.shape} must be a non-empty array of finite numbers, "
            f"of shape (starts, {coordinates.size})."
        )

    def search(places: np.ndarray) -> Roots:
        return find_roots(
            coordinates.scalar_map,
            places,
            float(gradient),
            tolerance=tolerance,
            max_steps=max_steps,
        )

    found = _search_everywhere(
        coordinates.scalar_map, starts, float(gradient), search, num_iterations
    )
    reached = found.num_starts
    return dataclasses.replace(found, num_starts=len(starts), num_unconverged=len(starts) - reached)
